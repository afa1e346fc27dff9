"""Simulated time for what speaks with real servers: it stands still while anything happens, and jumps when nothing does."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

QUIET = 0.03
"""Real seconds without any event after which the next sleeper's time has come."""

LOOKS = 6
"""How often it looks in that time. It does so as often on a machine so slow that one look takes the time of all."""

AHEAD = 60.0
"""Seconds by which it begins ahead of the real time: what a real server signs is valid already, though time stands still."""


def threads_at_work() -> bool:
    """Whether another thread of this process, as those of the store, computes, waits for a processor or for a disk."""
    for thread in Path("/proc/self/task").iterdir():
        if int(thread.name) != threading.get_native_id():
            with contextlib.suppress(OSError):  # it has ended
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
    return False


class SimulatedTime:
    """Unix time, for `clock`, `monotonic` and `sleep` at once; an async context manager.

    `busy` says whether a server has something to do, `stirred` when (monotonic) it last had. A machine that is slow makes
    time pass early at worst: an hour of waiting is never shorter than an hour, and what happens in it may come later.
    """

    def __init__(self) -> None:
        self.now = time.time() + AHEAD
        self.busy: Callable[[], bool] = lambda: False
        self.stirred: Callable[[], float] = lambda: 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._touched = 0.0
        self._task: asyncio.Task[None] | None = None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Until that much of this time has passed."""
        self._touched = time.monotonic()
        self._count += 1
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, future))
        await future

    async def __aenter__(self) -> Self:
        loop: Any = asyncio.get_running_loop()
        process = loop._process_events

        def processed(events: list[object]) -> None:
            """What comes over a connection, a handshake's parts too, or from a thread, as those of the store."""
            if events:
                self._touched = time.monotonic()
            process(events)

        loop._process_events = processed
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        del asyncio.get_running_loop()._process_events  # type: ignore[attr-defined]
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        looks, last = 0, 0.0
        while True:
            await asyncio.sleep(QUIET / LOOKS)
            newest = max(self._touched, self.stirred())
            quiet = newest == last and not self.busy() and not (self._sleepers and threads_at_work())
            looks = looks + 1 if quiet else 0
            last = newest
            if self._sleepers and looks >= LOOKS and time.monotonic() - newest >= QUIET:
                self._jump()

    def _jump(self) -> None:
        self._touched = time.monotonic()
        self.now = max(self.now, self._sleepers[0][0])
        while self._sleepers and self._sleepers[0][0] <= self.now:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)
