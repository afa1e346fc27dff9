"""What is being found out already is waited for, not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """One flight per key: who asks for what is being found out already waits for that."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def join(self, key: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the flight under way brings, or else a new one, made by `begin`."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(begin())
            self._flights[key] = flight
            flight.add_done_callback(lambda _done: self._flights.pop(key, None))
        # shielded: the first that asked may leave while others wait for the same answer
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Ends what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
