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


class Silences:
    """Which servers said nothing lately: they are left alone for a while, so that names of theirs hold up no others."""

    def __init__(self, kept: int, *, strikes: int, seconds: float) -> None:
        """After `strikes` questions without an answer between, a server is silent for `seconds`."""
        self._kept, self._strikes, self._seconds = kept, strikes, seconds
        self._of: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def note(self, server: str, now: float, *, answered: bool) -> None:
        """What became of a question. `now` is monotonic."""
        count, _ = self._of.pop(server, (0, 0.0))
        if answered:
            return
        self._of[server] = (count + 1, now + self._seconds)
        if len(self._of) > self._kept:
            self._of.popitem(last=False)

    def holds(self, server: str, now: float) -> bool:
        """Whether it is to be left alone."""
        count, until = self._of.get(server, (0, 0.0))
        return count >= self._strikes and now < until
