"""How often and how many at once one server is asked."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import heapq
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextvars import ContextVar


class Rank(enum.IntEnum):
    """Who goes first where many want to ask the same server."""

    WAITED_FOR = 0
    """Somebody waits for the answer."""
    YOUNG = 1
    """A name registered a moment ago: its customer is about to make the record."""
    DUE = 2
    """It is time to look again."""


rank: ContextVar[Rank] = ContextVar("rank", default=Rank.WAITED_FOR)
"""For what this task asks. A variable of the context, since between who knows it and the servers that are asked there is much
that need not know."""


class Pace:
    """Turns, at most `at_once` of them under way, and `rate` a second after a `burst` of them; by `rank`, and within a rank in
    the order in which they were wanted."""

    def __init__(self, *, rate: float, burst: int, at_once: int) -> None:
        self._step = 1.0 / rate
        self._burst = burst * self._step
        self._last = 0.0
        self._places = at_once
        self._line: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn and holds it. Whoever gives up waiting costs nobody a turn, but for one that had just come."""
        await self._wait()
        try:
            yield
        finally:
            self._give_back()

    def delay(self, now: float) -> float:
        """Seconds until the next turn, were there a place. `now` is monotonic."""
        return max(0.0, self._after(now) - now)

    def take(self, now: float) -> None:
        """Takes that turn."""
        self._last = self._after(now)

    def _after(self, now: float) -> float:
        """When the turn after the last one taken comes."""
        return max(self._last, now - self._burst) + self._step

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (rank.get(), next(self._numbers), future))
        self._grant()
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it had come to the turn just before
                self._give_back()
            raise

    def _give_back(self) -> None:
        self._places += 1
        self._grant()

    def _grant(self) -> None:
        """Gives turns to those who are first in line, as far as there are any now."""
        loop = asyncio.get_running_loop()
        while self._line and self._places:
            future = self._line[0][-1]
            if not future.done():
                if (delay := self.delay(loop.time())) > 0:
                    if self._timer is None:
                        self._timer = loop.call_later(delay, self._come)
                    return
                self.take(loop.time())
                self._places -= 1
                future.set_result(None)
            heapq.heappop(self._line)

    def _come(self) -> None:
        self._timer = None
        self._grant()


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
