"""How often and how many at once one server is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator


class Pace:
    """Turns, at most `at_once` of them under way, and `rate` a second after a `burst` of them."""

    def __init__(self, *, rate: float, burst: int, at_once: int) -> None:
        self._step = 1.0 / rate
        self._burst = burst * self._step
        self._next = 0.0
        self._places = asyncio.Semaphore(at_once)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn and holds it. Whoever gives up waiting leaves a turn unused."""
        if (delay := self.reserve(asyncio.get_running_loop().time())) > 0:
            await asyncio.sleep(delay)
        async with self._places:
            yield

    def reserve(self, now: float) -> float:
        """Takes the next turn; seconds until it comes. `now` is monotonic."""
        self._next = max(self._next, now - self._burst) + self._step
        return max(0.0, self._next - now)


class Paces:
    """A pace for each of many servers: the longest unused are forgotten."""

    def __init__(self, kept: int, *, rate: float, burst: int, at_once: int) -> None:
        self._kept = kept
        self._rate, self._burst, self._at_once = rate, burst, at_once
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def of(self, server: str) -> Pace:
        """The server's own."""
        pace = self._paces.get(server)
        if pace is None:
            pace = self._paces[server] = Pace(rate=self._rate, burst=self._burst, at_once=self._at_once)
            if len(self._paces) > self._kept:
                self._paces.popitem(last=False)
        self._paces.move_to_end(server)
        return pace
