"""How much each name is visited: whose certificate comes first where many are to be renewed at once.

Workers tell each second which hostnames they answered requests for, the busiest of them. That is gathered here, and noted in
the store now and then, one row for each name that has a certificate. A visit of long ago counts for little: each
HALF_LIFE halves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import anyio
import structlog

from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError

log = structlog.get_logger("issuance")

HALF_LIFE = 3 * 86_400.0
"""Seconds after which a visit counts for half."""

NOTE_SECONDS = 60.0
"""Between two notes in the store."""

PRUNE_SECONDS = 86_400.0
"""Between two looks for names that have no certificate any more."""

GATHERED = 10_000
"""Hostnames gathered until the next note; more of them go without."""


def heated(heat: float, requests: int, now: float) -> float:
    """How much a name is visited, with so many requests more; 0 without any. Pure.

    The logarithm of a sum in which a visit counts for the double of one that was a HALF_LIFE before: so heats of any two
    names can be compared at any time, and none has to be written anew while nobody comes.
    """
    more = now / HALF_LIFE + math.log2(max(requests, 1))
    high, low = max(heat, more), min(heat, more)
    return high + math.log2(1 + 2.0 ** max(low - high, -60.0)) if heat > 0 else more


class Visits:
    """One per controller."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._gathered: dict[str, int] = {}
        self._pruned_at = clock()

    def add(self, hosts: Mapping[str, int]) -> None:
        """A worker's word, as `Report.hosts`."""
        gathered = self._gathered
        for host, count in hosts.items():
            if host in gathered:
                gathered[host] += count
            elif len(gathered) < GATHERED:
                gathered[host] = count

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await anyio.sleep(NOTE_SECONDS)
            try:
                await self.note()
            except EdgeError as error:
                log.error("visits could not be noted", detail=error.detail)

    async def note(self) -> None:
        """Writes down what was gathered. Raises StateError."""
        gathered, self._gathered = self._gathered, {}
        now = self._clock()
        if gathered:
            counted: dict[str, int] = {}
            for host, name in (await self._store.counted_names(list(gathered))).items():
                counted[name] = counted.get(name, 0) + gathered[host]
            known = await self._store.visits(list(counted))
            heats = {name: heated(known[name][0] if name in known else 0.0, count, now) for name, count in counted.items()}
            await self._store.save_visits(heats, now)
        if now - self._pruned_at > PRUNE_SECONDS:
            self._pruned_at = now
            await self._store.prune_visits()
