"""Short transactions, each in one go in a thread.

A transaction of `Database.read` changes to its connection's thread and back for each of its steps, a dozen times for one
question, and each time the interpreter's lock changes hands: what SQLite does in 0.05 ms costs 1 ms of CPU. Here a plain
function has the connection for all of it: a third of a millisecond (tests/control/store/test_quick.py says what holds; the
bench's scenario "pending" what it costs).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import event

T = TypeVar("T")

THREADS = 3
"""Of them one may write."""


class Quick:
    """Connections to one SQLite file, and their threads. `prepare` is done to each new connection of sqlite3's."""

    def __init__(self, path: Path, prepare: Callable[[Any, object], None]) -> None:
        url = sqlalchemy.URL.create("sqlite+pysqlite", database=str(path))
        self._engine = sqlalchemy.create_engine(
            url, pool_size=THREADS, max_overflow=0, connect_args={"check_same_thread": False}
        )
        event.listen(self._engine, "connect", prepare)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    async def run(self, work: Callable[[sqlalchemy.Connection], T], *, writes: bool = False) -> T:
        """What `work` returns, which runs in a thread, within a transaction. `writes`: it may write, and nobody else writes
        meanwhile (`Database.note`). Whoever is cancelled meanwhile stops waiting; what was begun is done all the same."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work, writes)

    def close(self) -> None:
        """Waits until what is under way has ended, and closes the connections. Blocks."""
        self._threads.shutdown(cancel_futures=True)
        self._engine.dispose()

    def _run(self, work: Callable[[sqlalchemy.Connection], T], writes: bool) -> T:
        with self._engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
            return work(connection)
