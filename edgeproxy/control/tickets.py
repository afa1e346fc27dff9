"""Secrets for session tickets: made at random, published ahead of their time, destroyed when no hostname uses them.

A secret counts from its `start`; each hostname goes over to it at a moment of its own within the day after (`edge.tickets`
says when). So a day after the newest secret's start all the older ones are of no use to anybody but a thief of recorded
traffic.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence

import anyio
import structlog

from edgeproxy.control.store import Store
from edgeproxy.published.records import Tickets
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("tickets")

DAY = 86_400
HOUR = 3_600

SECRET_BYTES = 48

AHEAD = 2 * HOUR
"""A secret is published so long before it counts: a worker must never be asked for a ticket of a secret that it lacks."""

LOOK_SECONDS = 600.0
"""Between two looks for what is due."""


def next_start(starts: Sequence[int], now: float) -> int | None:
    """The start of the secret that is due to be made now; None when none is. `starts` newest first. Pure.

    The first counts at once. Then there is one a day, or, after a time when nobody made any, one from the coming hour on.
    """
    this_hour = int(now) // HOUR * HOUR
    if not starts:
        return this_hour
    following = starts[0] + DAY
    if following > now + AHEAD:
        return None
    return max(following, this_hour + HOUR)


def in_use(starts: Sequence[int], now: float) -> int:
    """How many secrets, newest first, some hostname uses or will. Pure."""
    for index, start in enumerate(starts):
        if start + DAY <= now:
            return index + 1
    return len(starts)


class TicketSecrets:
    """Makes and destroys the secrets. `run` is its task; `sealer` has the map's key."""

    def __init__(self, store: Store, sealer: Sealer, now: Callable[[], float]) -> None:
        self._store = store
        self._sealer = sealer
        self._now = now

    async def run(self) -> None:
        """Until cancelled. Raises StateError where the store cannot be used."""
        while True:
            await self.look()
            await anyio.sleep(LOOK_SECONDS)

    async def look(self) -> bool:
        """Does what is due; whether there was anything."""
        now = self._now()
        there = await self._store.tickets() or Tickets(secrets=(), starts=())
        sealed, starts = list(there.secrets), list(there.starts)
        # A clock that was wrong, far ahead, must not keep the secrets of those days for ever.
        while starts and starts[0] > now + AHEAD + DAY:
            del sealed[0], starts[0]
        start = next_start(starts, now)
        if start is not None:
            sealed.insert(0, self._sealer.seal(secrets.token_bytes(SECRET_BYTES), b"ticket:%d" % start))
            starts.insert(0, start)
        kept = in_use(starts, now)
        tickets = Tickets(secrets=tuple(sealed[:kept]), starts=tuple(starts[:kept]))
        if tickets == there:
            return False
        await self._store.save_tickets(tickets, now)
        log.info("session ticket secrets changed", kept=kept, newest_in_seconds=max(0, math.ceil(tickets.starts[0] - now)))
        return True
