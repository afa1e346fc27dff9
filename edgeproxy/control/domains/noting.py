"""What looks brought, written for many of them in one transaction: a commit waits for the disk, and whoever else writes waits
behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgeproxy.control.store import Domain, Note, Store

GATHER_SECONDS = 0.02
"""For which further notes are waited for."""

MOST = 64
"""Notes of one transaction: others who write wait for some milliseconds of it."""


class Notes:
    """One per reconciler. `holder` is who has the leases; `clock` gives Unix time."""

    def __init__(self, store: Store, holder: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._waiting: list[tuple[Note, asyncio.Future[Domain | None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, note: Note) -> Domain | None:
        """Returns when it is written, as `note_looks` says. Raises StateError. Whoever is cancelled stops waiting."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Domain | None] = loop.create_future()
        self._waiting.append((note, done))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write())
        return await done

    async def close(self) -> None:
        """Returns when all that was put is written, or could not be."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            some, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            writing = self._store.note_looks([note for note, _ in some], self._holder, self._clock())
            [found] = await asyncio.gather(writing, return_exceptions=True)
            if isinstance(found, BaseException):  # it is theirs who wait
                for _, done in some:
                    if not done.done():
                        done.set_exception(found)
                continue
            for (_, done), each in zip(some, found, strict=True):
                if not done.done():
                    done.set_result(each)
