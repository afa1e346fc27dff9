"""Rate limits of visitors' requests: which ones a request counts for, and the answer to one too many.

What is limited is decided where a route is read from the map (`of_route`), and for whom where a connection first asks for such
a route. A route without limits has none of this: a request that goes there takes not one step more. One that has some is looked
up for each request, counted and checked: 1.7 µs with one limit, 3.1 µs with all three.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from edgeproxy import buckets
from edgeproxy.config.rates import Rates
from edgeproxy.edge import forwarding
from edgeproxy.edge.error_pages import ErrorPages
from edgeproxy.edge.forwarding import Network
from edgeproxy.edge.respond import Fields, Text
from edgeproxy.errors import Fault
from edgeproxy.gcra import SECOND, Rate, parse_rate
from edgeproxy.link.arrivals import Arrivals, Key, Over

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.headers import RequestHead
    from edgeproxy.edge.route import Route
    from edgeproxy.policies import Policies

_TITLE: Final = "Too many requests"
_WAIT: Final = "Wait a moment, then reload the page."

TEXTS: Final = {
    "network": Text(
        429,
        "too_many_requests",
        _TITLE,
        "More requests came from your network in a short time than this site accepts.",
        (_WAIT, "A program should wait as long as Retry-After says, and then ask more slowly."),
        Fault.CLIENT,
        retryable=True,
        policy="network",
    ),
    "hostname": Text(
        429,
        "site_too_busy",
        "This site is very busy",
        "More requests come for it in a short time than it accepts. Your connection is fine.",
        (_WAIT,),
        Fault.OPERATOR,
        retryable=True,
        policy="hostname",
    ),
    "workspace": Text(
        429,
        "workspace_too_busy",
        "This site is very busy",
        "More requests come for it and its sister sites in a short time than they accept. Your connection is fine.",
        (_WAIT,),
        Fault.OPERATOR,
        retryable=True,
        policy="workspace",
    ),
}
"""What is said, by whose limit it was."""

REASONS: Final = {
    "network": "rate limit of the client's network (rates.per_network, or the domain's own)",
    "hostname": "rate limit of the hostname (rates.per_hostname, or the domain's own)",
    "workspace": "rate limit of the workspace (rates.per_workspace)",
}
"""The same for the operator."""


class RouteRates(msgspec.Struct, frozen=True, gc=False):
    """What limits the requests that go one way."""

    network: Rate | None
    """For each client network."""
    scope: bytes
    """Whose the client network's limit is: empty for the one that all domains share."""
    keys: tuple[Key, ...]
    """Hostname and workspace."""


class Caller:
    """A connection's client, once it has asked for something that is limited."""

    __slots__ = ("exempt", "keys", "network", "route")

    def __init__(self, network: bytes, *, exempt: bool) -> None:
        self.network = network
        """Its packed network; empty where it is to be told by each request."""
        self.exempt = exempt
        self.route: Route | None = None
        """That `keys` were made for."""
        self.keys: tuple[Key, ...] = ()


class RateLimits:
    """The limits of one worker. `arrivals` are the shared times; None: of its own."""

    def __init__(
        self, config: Rates, arrivals: memoryview | None, trusted: Sequence[Network], exempt: Sequence[Network]
    ) -> None:
        self.arrivals = Arrivals(arrivals) if arrivals is not None else Arrivals.create()[0]
        self._network, self._hostname, self._workspace = (
            parse_rate(text) if text else None for text in (config.per_network, config.per_hostname, config.per_workspace)
        )
        self._trusted = trusted
        self._exempt = exempt
        self._exempt_header = config.exempt_header.encode("ascii")
        self._tokens = [_digest(token.encode("ascii")) for token in config.exempt_tokens]
        self.refused = dict.fromkeys(TEXTS, 0)
        """Requests, by whose limit it was."""

    def of_route(self, name: str, workspace: str, own: Policies | None) -> RouteRates | None:
        """What limits requests for a name of the map, or of the platform's, with or without policies of its own; None where
        nothing does."""
        network, hostname, scope = self._network, self._hostname, b""
        if own is not None and own.rate_per_network:
            network, scope = _own(own.rate_per_network, network), name.encode()
        if own is not None and own.rate_per_hostname:
            hostname = _own(own.rate_per_hostname, hostname)
        keys = []
        if hostname is not None and name:
            keys.append(self.arrivals.key("hostname", name.encode(), hostname))
        if self._workspace is not None and workspace:
            keys.append(self.arrivals.key("workspace", workspace.encode(), self._workspace))
        return RouteRates(network, scope, tuple(keys)) if keys or network is not None else None

    def over(self, connection: Connection, request: RequestHead, route: Route, started: float) -> Over | None:
        """Counts a request that came at `started` (time.perf_counter(), which is CLOCK_MONOTONIC and so the same everywhere on
        the machine) for whatever limits its route; whose limit it goes beyond."""
        caller = connection.caller or self._caller(connection)
        if caller.exempt:
            return None
        keys = caller.keys if caller.route is route else self._keys(caller, route)
        if request.forwarded:
            if self._tokens and self._bears_token(request.forwarded):
                return None
            if connection.trusted:
                client = forwarding.client_of(request.forwarded, self._trusted)
                if client and self._exempt and forwarding.is_trusted(client, self._exempt):
                    return None
                keys = self._with_network(buckets.network_of_literal(client) if client else b"", route)
        return self.arrivals.admit(keys, int(started * SECOND)) if keys else None

    def answer(self, over: Over, accept: bytes, request_id: str, host: str, pages: ErrorPages) -> tuple[Fields, bytes]:
        """The 429, as `ErrorPages.answer`; counts it too."""
        key = over.key
        self.refused[key.kind] += 1
        fields, body = pages.answer(429, accept, request_id, host, TEXTS[key.kind])
        rate, seconds = key.rate, b"%d" % -(-over.wait // SECOND)
        kind = key.kind.encode("ascii")
        # draft-ietf-httpapi-ratelimit-headers-11; a burst is nothing that it knows, and so a parameter of our own.
        policy = b'"%b";q=%d;w=%d' % (kind, rate.count, rate.seconds)
        if rate.burst != rate.count:
            policy += b";edgeproxy-burst=%d" % rate.burst
        fields += [
            (b"retry-after", seconds),
            (b"ratelimit", b'"%b";r=0;t=%b' % (kind, seconds)),
            (b"ratelimit-policy", policy),
        ]
        return fields, body

    def counters(self) -> dict[str, float]:
        """For the worker's report."""
        return {f"rate_limited_total|{kind}": count for kind, count in self.refused.items() if count}

    def sweep(self, now: float) -> None:
        """Call it each second, with time.monotonic()."""
        self.arrivals.sweep(int(now * SECOND))

    def _caller(self, connection: Connection) -> Caller:
        if connection.trusted:  # many clients have its address
            caller = Caller(b"", exempt=False)
        else:
            exempt = bool(self._exempt) and forwarding.is_trusted(connection.peer, self._exempt)
            caller = Caller(buckets.network_of_literal(connection.peer), exempt=exempt)
        connection.caller = caller
        return caller

    def _keys(self, caller: Caller, route: Route) -> tuple[Key, ...]:
        caller.route = route
        caller.keys = keys = self._with_network(caller.network, route)
        return keys

    def _with_network(self, network: bytes, route: Route) -> tuple[Key, ...]:
        """What a client of this network counts for on its way; the network first, so that one who floods is told so."""
        rates: RouteRates = route.rates  # type: ignore[assignment]  # that there are some brought us here
        if rates.network is None or not network:
            return rates.keys
        key = self.arrivals.key("network", bytes((len(network),)) + network + rates.scope, rates.network)
        return key, *rates.keys

    def _bears_token(self, sent: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether one of the request's fields is a token. Of equal length and all compared: how long it takes says nothing."""
        bears = False
        for name, value in sent:
            if name == self._exempt_header:
                digest = _digest(value)
                for token in self._tokens:
                    bears |= hmac.compare_digest(digest, token)
        return bears


def _own(text: str, otherwise: Rate | None) -> Rate | None:
    """A domain's own rate. What a later version stored and this one cannot read counts as the configuration says."""
    if text == "off":
        return None
    try:
        return parse_rate(text)
    except ValueError:
        return otherwise


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
