"""What was committed, brought from SQLite's log into its file beside those who write.

By itself SQLite has this done by whose commit makes the log a thousand pages long, while all others wait: for many rows in no
order that was every second commit, 25 ms each and up to 400 where the disk was busy (of a commit that takes 3 to 10). Here a
thread of its own does it; who writes goes on meanwhile. Only where the log has become long do writers wait until the last few
pages are copied, so that it begins anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

log = structlog.get_logger("store")

EVERY = 0.5
"""Seconds from when there is enough to copy until that begins: a page that is changed again meanwhile is copied once."""

ENOUGH = 1_000
"""Pages of the log, as they are guessed, from which on it is copied."""

COMMIT_PAGES, KEY_PAGES = 8, 3
"""What a commit adds to the log, and each key that it changes: a page for each index, less what neighbours share."""

LONG = 4_000
"""Pages of the log, 16 MB, from which on it is to begin anew."""

FEW, ROUNDS = 400, 3
"""Pages that writers may wait for, 5 ms; and how often it is tried to have so few left while they go on writing."""

BACKSTOP = 20_000
"""Pages from which on whoever commits copies them after all: the store is open for a moment only, or the disk is too slow."""


class Checkpoints:
    """Of one SQLite file. `writing` is held by who writes."""

    def __init__(self, path: Path, writing: asyncio.Lock) -> None:
        self._path = path
        self._writing = writing
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store_checkpoints")
        self._connection: sqlite3.Connection | None = None
        self._file = -1
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._guessed = 0
        self._fails = self._stopped = False

    def committed(self, keys: int = 0) -> None:
        """Something was committed; `keys`: how many keys of the map it concerns."""
        self._guessed += COMMIT_PAGES + KEY_PAGES * keys
        self._plan()

    async def stop(self) -> None:
        """Waits for what is under way; nothing is begun any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Closes what is open. Blocks. The last to be closed: with the file all locks of this process on it are gone."""
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()
        if self._file >= 0:
            os.close(self._file)

    def _plan(self) -> None:
        if self._guessed >= ENOUGH and self._timer is None and self._task is None and not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._guessed = 0
        self._task = asyncio.get_running_loop().create_task(self._checkpoint(), name="checkpoint")

    async def _checkpoint(self) -> None:
        try:
            pages = await self._copied()
            for _ in range(ROUNDS if pages >= LONG else 0):
                before, pages = pages, await self._copied()
                if pages - before < FEW:
                    break
            if pages >= LONG:
                async with self._writing:  # with no page left behind, the next to write begins the log anew
                    await self._copied()
            self._fails = False
        except (sqlite3.Error, OSError) as error:  # the log keeps all of it: whoever writes is told once that has no room
            if not self._fails:
                log.warning("the store's log cannot be copied into its file", detail=str(error))
            self._fails = True
        finally:
            self._task = None
            self._plan()

    async def _copied(self) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._copy)

    def _copy(self) -> int:
        """How many pages the log has, those included that were copied before. What a reader still needs of the file stays."""
        if self._connection is None:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        # SQLite does this only where nothing was added meanwhile: in the end writers would wait for all that was copied.
        os.fdatasync(self._file)
        return int(pages)
