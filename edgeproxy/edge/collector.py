"""When a worker's heap is looked through for cycles of objects that nobody else refers to.

What a connection or a request leaves is freed by its reference counts: `tests/edge/test_collector.py` has them come and end in
every way and finds no cycle. So the collector is there for what nobody thought of, and must cost next to nothing. A look
through everything stops a worker for 200 ms that has 10,000 connections and 20,000 hostnames in memory; one at what is new,
2,000 objects at most, for 1 ms. Only the latter is left to Python; the former is had by hand, where little is open.
"""

from __future__ import annotations

import gc

YOUNG = 2_000
"""So many objects more than before, and those are looked at once: whatever an error leaves behind by its traceback is among
them, since it is garbage at once."""

NEVER = 2**31 - 1

CONNECTIONS, ROUTES, CONTEXTS = 100, 1_000, 250
"""With so many at most everything is looked through: some 10,000 objects, less than 10 ms."""

LOOK_SECONDS = 600.0


class Collector:
    """The cyclic collector of one worker."""

    def __init__(self) -> None:
        self._next = 0.0

    def begin(self, now: float) -> None:
        """Everything that is there stays to the end, and is not looked at any more."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, NEVER, NEVER)
        self._next = now + LOOK_SECONDS

    def beat(self, now: float, connections: int, routes: int, contexts: int) -> None:
        """Call it now and then, with how much is open and remembered: looks through everything where that is little."""
        if now >= self._next and connections <= CONNECTIONS and routes <= ROUTES and contexts <= CONTEXTS:
            gc.collect()
            self._next = now + LOOK_SECONDS
