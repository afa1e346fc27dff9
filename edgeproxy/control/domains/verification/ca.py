"""By which names CAA records know the configured CA."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.verification.memory import Remembered
from edgeproxy.control.issuance.acme.transport import Transport
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError

CA_SECONDS = 5.0
"""Seconds that a CA has to say it."""

LIFE, TROUBLE_LIFE = 3600.0, 60.0
"""Seconds for which that counts, and for which a CA that said nothing is left alone."""

Known = tuple[tuple[str, ...], str]


class Directories:
    """Asks the directories of `issuance.directory` and `issuance.fallback`: a name that any of them may issue for is well.
    Fulfils `looker.Ca`."""

    def __init__(self, config: Config, store: Store, now: Callable[[], float]) -> None:
        """`now`: Unix time."""

        def clock() -> float:
            return asyncio.get_running_loop().time()

        issuance = config.issuance
        self._store = store
        self._directories = () if issuance.directory == INTERNAL else (issuance.directory, *issuance.fallback)
        self._transports = [Transport(each, issuance.ca_bundle, now, clock) for each in self._directories]
        self._known: Remembered[Known] = Remembered(1, clock)

    async def identities(self) -> tuple[Sequence[str], str]:
        """See `looker.Ca`. None where one of them does not tell: what it may do is not known then. Raises StateError."""
        return await self._known.get("", self._find)

    async def close(self) -> None:
        """Ends its connections."""
        await self._known.close()
        for transport in self._transports:
            await transport.close()

    async def _find(self) -> tuple[Known, float]:
        try:
            async with asyncio.timeout(CA_SECONDS):
                found = [(await transport.directory()).meta.caa_identities for transport in self._transports]
        except (TimeoutError, EdgeError):
            return ((), ""), TROUBLE_LIFE
        if not all(found):
            return ((), ""), LIFE
        account = await self._store.account(self._directories[0]) if len(self._directories) == 1 else None
        return (tuple(name for names in found for name in names), account.url if account is not None else ""), LIFE
