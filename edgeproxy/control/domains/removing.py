"""The end of removed domains: when nobody can bring them back any more, their keys are destroyed."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.policy import served_unregistered
from edgeproxy.control.store import Removal, Store

log = structlog.get_logger("domains")

LOOK_SECONDS = 30.0
"""Between two looks for what is over."""

PAGE = 100


class Removals:
    """One task of the controller. `clock` gives Unix time."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], float]) -> None:
        self._config = config
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. Raises StateError."""
        while True:
            while await self.end_due() == PAGE:
                pass
            await anyio.sleep(LOOK_SECONDS)

    async def end_due(self) -> int:
        """Ends what is over now; how many."""
        now = self._clock()
        due = await self._store.removals_ending(now, PAGE)
        for removal in due:
            await self._end(removal, now)
        return len(due)

    async def _end(self, removal: Removal, now: float) -> None:
        domain, revoking = removal.domain, False
        keep_keys = served_unregistered(domain.hostname, self._config)
        if self._config.verification.revoke_removed and not keep_keys:
            revoking = await self._revoke(domain.hostname, removal.removed_by, now)
        if await self._store.end_removal(removal, keep_keys=keep_keys or revoking, now=now):
            log.info("a removed domain cannot be brought back any more", domain=domain.hostname, workspace=domain.workspace_id)

    async def _revoke(self, hostname: str, actor: str, now: float) -> bool:
        """Has the name's own certificates revoked, unless somebody has registered it again; whether there are any. They are
        destroyed once their CA has taken that (`issuance.lifecycle`); uploaded ones are at once."""
        if await self._store.get_domain(hostname) is not None:
            return False
        own = [stored for stored in await self._store.certificates_of(hostname) if stored.names == (hostname,)]
        for stored in own:
            if stored.custom:
                await self._store.remove_certificate(stored.id, now, actor=actor, why="its domain was removed")
            elif stored.revocation is None and stored.not_after > now:
                await self._store.begin_revocation(stored.id, "cessationOfOperation", actor=actor, now=now)
        return any(not stored.custom and stored.not_after > now for stored in own)
