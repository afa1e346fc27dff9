"""What was found out a moment ago, asked for once however many want it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from edgeproxy.control.flights import Flights

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by key, each for a time of its own; at most `kept`, the longest unchanged are forgotten. `clock`: monotonic
    seconds."""

    def __init__(self, kept: int, clock: Callable[[], float]) -> None:
        self._kept = kept
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._flights = Flights[T]()

    async def get(self, key: str, find: Callable[[], Awaitable[tuple[T, float]]]) -> T:
        """The value of a key: remembered, or found now with the seconds for which it counts. Who gives up waiting stops nobody
        else."""
        until, *known = self._values.get(key, (0.0,))
        if known and self._clock() < until:
            return known[0]
        return await self._flights.join(key, lambda: self._find(key, find))

    async def close(self) -> None:
        """Ends what is under way."""
        await self._flights.close()

    async def _find(self, key: str, find: Callable[[], Awaitable[tuple[T, float]]]) -> T:
        value, seconds = await find()
        self._values[key] = (self._clock() + seconds, value)
        self._values.move_to_end(key)
        while len(self._values) > self._kept:
            self._values.popitem(last=False)
        return value
