"""Whether a workspace has shown the TXT record of a name that another one has registered, and never proved."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from edgeproxy.control.domains.looking import Looker
from edgeproxy.control.store import Domain

LOOK_SECONDS = 24.0
"""How long who claims a name waits for the look."""

PAUSE_SECONDS = 1.0
"""Between the beginnings of two looks for the same workspace at the same name. Who asks sooner waits for the next one: the
record may have been set a moment ago."""

CLAIMS = 2_000
"""Claims whose last look is remembered, so that each is made once in PAUSE_SECONDS."""


class Claims:
    """One look at a time for each claim, however many ask, and each of them begins after somebody asked for it."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._looks: OrderedDict[tuple[str, str], tuple[float, asyncio.Task[bool]]] = OrderedDict()

    async def shown(self, wanted: Domain) -> bool:
        """Whether the record is there for `wanted`, a registration as it would be made. Within LOOK_SECONDS."""
        loop = asyncio.get_running_loop()
        key, now = (wanted.hostname, wanted.workspace_id), loop.time()
        begins, task = self._looks.get(key, (now - PAUSE_SECONDS, None))
        if task is None or task.done():
            begins = max(now, begins + PAUSE_SECONDS)
            task = loop.create_task(self._look(wanted, begins - now))
            self._looks[key] = (begins, task)
            self._looks.move_to_end(key)
            while len(self._looks) > CLAIMS:
                self._looks.popitem(last=False)
        return await asyncio.shield(task)

    async def _look(self, wanted: Domain, wait: float) -> bool:
        await asyncio.sleep(wait)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                verdict = await self._looker.look(msgspec.structs.replace(wanted, method="dns"), urgent=True)
        except TimeoutError:
            return False
        return verdict.state != "unsure" and "txt" in verdict.proven
