"""Hostname → site: what the published map says, remembered as long as it says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from edgeproxy.config.check import own_socket
from edgeproxy.config.platform import Origin
from edgeproxy.config.structs import Config
from edgeproxy.edge.admission import Admission, admission
from edgeproxy.edge.dressing import Dressing, dressing
from edgeproxy.edge.instead import Instead, instead_of
from edgeproxy.edge.upstream.target import Target, for_workspace, parse_target
from edgeproxy.errors import InvalidName, MapError
from edgeproxy.model import WORKSPACE_ID, wildcard_of
from edgeproxy.published.records import Change, Site

if TYPE_CHECKING:
    from edgeproxy.edge.encoded import Encodings
    from edgeproxy.edge.rates import RouteRates
    from edgeproxy.edge.upstream.pool import Pool
    from edgeproxy.policies import Policies

_STALE = -1

FREED = 2
"""Forgotten ones that are freed with each that is read anew, so that there are never more of them than of the others."""


class Route:
    """Where the requests for one hostname go. Immutable but for its bookkeeping."""

    __slots__ = (
        "admission",
        "api",
        "dressing",
        "encodings",
        "epoch",
        "fresh_until",
        "instead",
        "known",
        "name",
        "new",
        "pool",
        "rates",
        "refreshing",
        "request_body",
        "target",
        "workspace",
        "workspace_line",
    )

    def __init__(
        self,
        *,
        known: bool,
        workspace: str,
        target: Target,
        header: str,
        name: str = "",
        api: bool = False,
        fresh_until: float = 0.0,
        instead: Instead | None = None,
        new: bool = False,
        rates: RouteRates | None = None,
        encodings: Encodings | None = None,
        admission: Admission | None = None,
        dressing: Dressing | None = None,
        request_body: int | None = None,
    ) -> None:
        self.known = known
        """Whether a workspace was found; otherwise `origin.on_unknown` decides."""
        self.name = name
        """The name in the map that it was found under: the hostname, or the wildcard above it. Empty for the platform's own."""
        self.api = api
        """The edge's own API, which the controller answers."""
        self.workspace = workspace
        self.workspace_line = f"{header}: {workspace}\r\n".encode("ascii") if workspace else b""
        self.target = target
        self.instead = instead
        """What the edge answers by itself; None: the origin is asked."""
        self.new = new
        """Its domain is not active yet: an origin that does not answer is not told as a failure."""
        self.rates = rates
        """What limits how many requests go there; None: nothing."""
        self.encodings = encodings
        """How its answers are compressed; None: not at all."""
        self.admission = admission
        """Which clients are answered; None: all."""
        self.dressing = dressing
        """What answers get beside what the origin says; None: nothing."""
        self.request_body = request_body
        """Bytes of a request's body, 0: any number; None: as the configuration says."""
        self.fresh_until = fresh_until
        self.refreshing = False
        self.pool: Pool | None = None
        """None where `dressing` is not: such a route's exchanges ask for it each time, and become others by that."""
        self.epoch = 0


def platform_target(origin: Origin) -> Target:
    """Where `origin.url` is. Where `[origin]` speaks of the platform's own origin it has connections of its own: domains'
    origins are others' servers, which know nothing of that."""
    return parse_target(origin.url)._replace(platform=bool(origin.proxy_protocol or origin.client_certificate or origin.pins))


class Routes:
    """The routes that one worker knows. Reads the map, never the store.

    `site` reads one record by exact key and raises MapError; `count` counts a look-up's result; `rates` says what limits the
    requests for a name, its workspace, and by its own policies.
    """

    def __init__(
        self,
        config: Config,
        site: Callable[[str], Site | None],
        count: Callable[[str], None],
        rates: Callable[[str, str, Policies | None], RouteRates | None] = lambda _name, _workspace, _own: None,
        encodings: Callable[[Policies | None], Encodings | None] = lambda _own: None,
    ) -> None:
        self._config = config
        self._rates = rates
        self._encodings = encodings
        self._site = site
        self._count = count
        self._default = platform_target(config.origin)
        self._api = Target("", 0, False, config.admin.api_socket)
        self._known: dict[str, Route] = {}
        self._forgotten: list[dict[str, Route]] = []
        """What was remembered until there was no more room: its memory is freed bit by bit."""
        self.hits = 0
        """Answers from memory. Others are counted by `count`: "miss" (read from the map), "negative" and "error"."""
        self.epoch = 0
        """A route whose own is another one is to be looked up again."""
        self._suffix = f".{config.platform.name}" if config.platform.name else ""
        self._reserved = frozenset(config.platform.reserved)
        self._admission = admission(config.http.allow, config.http.deny, None)
        self._dressing = dressing(config.http, config.tls, None, 0.0)
        """For answers to whoever is nobody's visitor."""
        self._never = {name for name in (config.platform.cname_target, config.api.hostname) if name}

    def find(self, host: str) -> Route | None:
        """The route of a normalised hostname; None when nobody is served there.

        When the map cannot be read it is the last known answer, else what `origin.on_error` says: the origin without a
        workspace, or MapError.
        """
        route = self._known.get(host)
        if route is not None and route.epoch == self.epoch:
            self.hits += 1
            return route if route.known or route.api else self._unknown(route)
        try:
            fresh = self._read(host)
        except MapError:
            self._count("error")
            if route is not None:
                return route if route.known or route.api else self._unknown(route)
            if self._config.origin.on_error == "reject":
                raise
            return self._nobody(host)
        self._count("miss" if fresh.known else "negative")
        if self._forgotten:
            self.free(FREED)
        if route is not None:
            fresh.pool = route.pool if route.target == fresh.target and fresh.dressing is None else None
        elif len(self._known) >= self._config.limits.sites:
            self._forgotten.append(self._known)
            self._known = {}
            self.epoch += 1  # client connections keep routes too: those that no change would reach any more
        fresh.epoch = self.epoch
        self._known[host] = fresh
        return fresh if fresh.known or fresh.api else self._unknown(fresh)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def free(self, most: int) -> None:
        """Frees the memory of so many that were forgotten. Call it now and then: all of them at once take 6 to 17 ms."""
        for forgotten in self._forgotten[:1]:
            for _ in range(min(most, len(forgotten))):
                forgotten.popitem()
            if not forgotten:
                del self._forgotten[0]

    def name_of(self, host: str) -> str:
        """`Route.name` of a hostname that was looked up; "" for others."""
        route = self._known.get(host)
        return route.name if route is not None else ""

    def drop(self, changes: Iterable[Change] | None) -> None:
        """Forgets what changed; everything for None. Forgotten answers stay as the last known ones."""
        if changes is None:
            self.epoch += 1
            return
        wildcards: set[str] = set()
        for change in changes:
            if change.database != "sites":
                continue
            if change.key.startswith("*."):
                wildcards.add(change.key)
            elif (route := self._known.get(change.key)) is not None:
                route.epoch = _STALE
        if wildcards:  # one pass over what is remembered, 3 ms, however many changed
            for host, route in self._known.items():
                if wildcard_of(host) in wildcards:
                    route.epoch = _STALE

    def _unknown(self, route: Route) -> Route | None:
        return route if self._config.origin.on_unknown == "forward" else None

    def _nobody(self, host: str, *, api: bool = False) -> Route:
        target = self._api if api else self._default
        rates = None if api else self._rates(host, "", None)  # the API has limits of its own, by token
        return Route(
            known=False,
            workspace="",
            target=target,
            header=self._config.origin.header,
            api=api,
            rates=rates,
            admission=self._admission,
            dressing=self._api_dressing() if api else self._dressing,
        )

    def _read(self, host: str) -> Route:
        config = self._config
        if host in self._never:
            return self._nobody(host, api=host == config.api.hostname)
        site, name = self._site(host), host
        if site is None or not site.workspace:
            workspace = self.platform_workspace(host)
            if workspace:
                return self._route(host, Site(workspace=workspace, source="edge", stable_since=self._platform_since()))
        if site is None:
            name = wildcard_of(host)
            site = self._site(name)
        if site is None or not site.workspace:
            return self._nobody(host)
        return self._route(host, site, name, instead_of(site, host, setup=config.pages.setup_until_active))

    def platform_workspace(self, host: str) -> str:
        """The workspace of `<workspace>.<platform.name>`; "" for other and reserved names."""
        if not self._suffix or not host.endswith(self._suffix):
            return ""
        label = host[: -len(self._suffix)]
        if "." in label or label in self._reserved or host in self._never or not WORKSPACE_ID.match(label):
            return ""
        return label

    def _route(self, host: str, site: Site, name: str = "", instead: Instead | None = None) -> Route:
        config, own = self._config, site.policies
        try:
            ours = not site.origin or own_socket(site.origin, config)  # nobody's request ever goes to the operator's socket
            target = self._default if ours else parse_target(site.origin, restricted=site.source == "gate")
        except InvalidName:
            target = self._default
        if config.origin.routing == "subdomain" and not site.origin:
            target = for_workspace(target, site.workspace)
        return Route(
            known=True,
            workspace=site.workspace,
            target=target,
            header=config.origin.header,
            name=name,
            fresh_until=site.fresh_until,
            instead=instead,
            new=site.new,
            rates=self._rates(name or host, site.workspace, site.policies),
            encodings=self._encodings(site.policies),
            admission=self._admission if own is None else admission(config.http.allow, config.http.deny, own),
            dressing=dressing(config.http, config.tls, own, site.stable_since),
            request_body=site.policies.request_body if site.policies is not None else None,
        )

    def _api_dressing(self) -> Dressing | None:
        """For the API's answers, by the rules for sites. It is there when the map cannot be read, too."""
        config, since = self._config, 0.0
        if config.tls.hsts:
            with contextlib.suppress(MapError):
                site = self._site(config.api.hostname)
                since = site.stable_since if site is not None else 0.0
        return dressing(config.http, config.tls, None, since)

    def _platform_since(self) -> float:
        """`Site.stable_since` of the platform's names, which are all served under its wildcard."""
        above = self._site(f"*{self._suffix}") if self._config.tls.hsts else None
        return above.stable_since if above is not None else 0.0
