"""What the published map is to hold, worked out from what the store has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from edgeproxy.control.store.rows.publishing import SiteFacts
from edgeproxy.control.store.store import Store
from edgeproxy.model import ANSWERED, DomainState, covers
from edgeproxy.policies import decode
from edgeproxy.published.records import Site
from edgeproxy.published.writer import Key, Put

_NOT_YET_ACTIVE = frozenset((DomainState.VERIFIED, DomainState.AWAITING_CUTOVER, DomainState.ISSUING))


class Settings(msgspec.Struct, frozen=True, array_like=True):
    """What of the configuration is in the map: noted there, so that a start sees what changed."""

    edge_names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


def site_for(facts: SiteFacts, settings: Settings) -> Site | None:
    """What the map says of a hostname; None: not served.

    The platform's own names come first, so that nobody's registration takes one over. A registration that is not in a
    served state keeps its name from being served on other grounds.
    """
    certificate = facts.own_certificate or facts.wildcard_certificate or ""
    since = facts.served_since or 0.0 if certificate else 0.0
    if facts.hostname in settings.edge_names:
        return Site(certificate=certificate, source="edge", stable_since=since)
    if facts.state is not None:
        return _registered(facts, certificate)
    if facts.fresh_until is not None:
        return Site(
            workspace=facts.gate_workspace_id or "",
            origin=facts.gate_origin or "",
            certificate=certificate,
            source="gate",
            fresh_until=facts.fresh_until,
            stable_since=since,
        )
    if facts.own_certificate and any(covers(pattern, facts.hostname) for pattern in settings.patterns):
        return Site(certificate=certificate, source="pattern", stable_since=since)
    return None


def _registered(facts: SiteFacts, certificate: str) -> Site | None:
    """What the map says of a registered name.

    One that awaits its cut-over is served as soon as it has its certificate: whose DNS comes here then must not find an error
    until somebody has looked. It gets none by a visitor's coming, though.
    """
    if facts.state not in ANSWERED and not (facts.state == DomainState.AWAITING_CUTOVER and certificate):
        return None
    return Site(
        workspace=facts.workspace_id or "",
        origin=facts.origin or "",
        certificate=certificate,
        redirect_to=facts.redirect_to or "",
        maintenance=bool(facts.maintenance),
        suspended=facts.state == DomainState.SUSPENDED,
        # Where the operator's word was enough there is nothing that it could become.
        new=bool(facts.method) and facts.state in _NOT_YET_ACTIVE,
        policies=decode(facts.policies) if facts.policies else None,
        stable_since=_stable_since(facts) if certificate else 0.0,
    )


def _stable_since(facts: SiteFacts) -> float:
    """Since when a registered name with a certificate has been in good order: active, or the operator's word; 0: it is not.

    What is not right just now, a name whose DNS points elsewhere or whose workspace does not pay, may be about to leave, and a
    browser that was told to insist on https could not follow it.
    """
    good = facts.state == DomainState.ACTIVE or (facts.state == DomainState.VERIFIED and not facts.method)
    if not good or facts.served_since is None:
        return 0.0
    return max(facts.served_since, facts.created_at or 0.0, facts.active_at or 0.0)


class MapContent:
    """Asks the store what the map is to say of keys; it keeps nothing."""

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock`: Unix time, by which a certificate is valid or not."""
        self._store = store
        self.settings = settings
        self._clock = clock

    async def of(self, database: str, keys: Sequence[str]) -> tuple[list[Put], list[Key]]:
        """(what to write, what to remove) for some keys of a database, as it is now."""
        found: dict[str, Put] = {}
        if database == "sites":
            for facts in await self._store.site_facts(keys, self._clock()):
                site = site_for(facts, self.settings)
                if site is not None:
                    found[facts.hostname] = ("sites", facts.hostname, site)
        elif database == "certificates":
            certificates = await self._store.published_certificates(keys)
            found = {key: (database, key, record) for key, record in certificates.items()}
        elif database == "challenges":
            challenges = await self._store.published_challenges(keys)
            found = {key: (database, key, record) for key, record in challenges.items()}
        else:
            tickets = await self._store.tickets()
            found = {} if tickets is None else {"current": ("tickets", "current", tickets)}
        return list(found.values()), [(database, key) for key in keys if key not in found]

    async def keys(self, database: str, after: str, limit: int) -> Sequence[str]:
        """Up to `limit` keys that the store has for a database, in their order, beginning behind `after`; of sites all but
        the platform's own names (`settings.edge_names`), which are in no table. Empty at the end."""
        if database == "sites":
            return await self._store.names_beneath(None, after, limit)
        return await self._store.keys_of(database, after, limit)
