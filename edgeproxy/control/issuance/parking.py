"""Names whose DNS does not point here any more: no renewal is spent on them, until they come back.

Only the renewal rests. What the name has is served for as long as it lasts, and a visitor who comes after that gets a
certificate as at any other time.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.dns.pointing import Pointer, Pointing, Points
from edgeproxy.control.events import Event
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.policy import own_names
from edgeproxy.control.issuance.renewal import later
from edgeproxy.control.store import Store, StoredCertificate

log = structlog.get_logger("issuance")

LOOK_AGAIN_SECONDS = 3_600.0
"""Between two looks into the DNS for a name that does not point here."""

VISITED_SECONDS = 86_400.0
"""A name that visitors reached here so lately is renewed whatever the DNS says: some stand behind a CDN or another proxy,
whose addresses are not ours."""


class Parking:
    """One per controller. `clock` gives Unix time."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], float], *, pointer: Pointer | None = None) -> None:
        self._store = store
        self._clock = clock
        self._pointer = pointer or Pointer(config)
        self._after = config.issuance.park_after
        self._own = own_names(config)
        self._on = config.issuance.directory != INTERNAL and self._pointer.knows

    async def lets(self, stored: StoredCertificate) -> bool:
        """Whether a certificate that is due is to be renewed. Where it is not, that is noted, and when to look again. Raises
        StateError."""
        name = stored.names[0]
        if not self._on or name.startswith("*.") or name in self._own:
            return True
        found = await self._pointer.look(name)
        if found.points is Points.UNKNOWN and stored.parked_at is not None:
            await self._rests(stored, stored.astray_since, stored.parked_at)
            return False
        if found.points is not Points.ELSEWHERE or await self._is_visited(name):
            if found.points is not Points.UNKNOWN:
                await self._is_back(stored)
            return True
        await self._is_astray(stored, found)
        return False

    async def _is_astray(self, stored: StoredCertificate, found: Pointing) -> None:
        now, name = self._clock(), stored.names[0]
        since, parked = stored.astray_since, stored.parked_at
        if since is None:
            since = now
            log.warning("a certificate is not renewed while its name points elsewhere", hostname=name, detail=found.detail)
        parks = parked is None and now - since >= self._after
        event = telling.parked(name, stored, since, detail=found.detail) if parks else None
        await self._rests(stored, since, now if parks else parked, event)
        if event is not None:
            events.tell(event)

    async def _rests(
        self, stored: StoredCertificate, since: float | None, parked: float | None, event: Event | None = None
    ) -> None:
        now = self._clock()
        await self._store.went_astray(stored.id, since, parked, now + later(LOOK_AGAIN_SECONDS, stored.id), now, event=event)

    async def _is_back(self, stored: StoredCertificate) -> None:
        if stored.astray_since is None:
            return
        await self._store.clear_failure(stored.names[0])  # of a time when it pointed elsewhere
        event = None if stored.parked_at is None else telling.unparked(stored.names[0], stored)
        await self._store.went_astray(stored.id, None, None, 0.0, self._clock(), event=event)
        log.info("a name points here again", hostname=stored.names[0])
        if event is not None:
            events.tell(event)

    async def _is_visited(self, name: str) -> bool:
        _, seen_at = (await self._store.visits([name])).get(name, (0.0, 0.0))
        return self._clock() - seen_at < VISITED_SECONDS
