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
"""That look."""

WRITER_KILOBYTES = 16_384
"""Pages that the connection which writes keeps in memory: SQLite forgets them once another connection has written, and 250
domains in no order change hundreds."""


class Quick:
    """Connections to one SQLite file, and their threads. `prepare` is done to each new connection of sqlite3's."""

    def __init__(self, path: Path, prepare: Callable[[Any, object], None]) -> None:
        self._looking = _engine(path, THREADS, prepare)
        self._writing = _engine(path, 1, prepare)
        event.listen(self._writing, "connect", _enlarge)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store_writer")

    async def run(self, work: Callable[[sqlalchemy.Connection], T], *, writes: bool = False) -> T:
        """What `work` returns, which runs in a thread, within a transaction. `writes`: it may write, and nobody else writes
        meanwhile (`Database.note`). Whoever is cancelled meanwhile stops waiting; what was begun is done all the same."""
        loop = asyncio.get_running_loop()
        if writes:
            return await loop.run_in_executor(self._writer, _run, self._writing, work, "BEGIN IMMEDIATE")
        return await loop.run_in_executor(self._threads, _run, self._looking, work, "BEGIN")

    def close(self) -> None:
        """Waits until what is under way has ended, and closes the connections. Blocks."""
        for threads, engine in ((self._threads, self._looking), (self._writer, self._writing)):
            threads.shutdown(cancel_futures=True)
            engine.dispose()


def _engine(path: Path, connections: int, prepare: Callable[[Any, object], None]) -> sqlalchemy.Engine:
    url = sqlalchemy.URL.create("sqlite+pysqlite", database=str(path))
    engine = sqlalchemy.create_engine(url, pool_size=connections, max_overflow=0, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", prepare)
    return engine


def _enlarge(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA cache_size = -{WRITER_KILOBYTES}")
    connection.execute("PRAGMA temp_store = MEMORY")  # or each statement of many rows writes the pages as they were to a file


def _run(engine: sqlalchemy.Engine, work: Callable[[sqlalchemy.Connection], T], begin: str) -> T:
    with engine.begin() as connection:
        connection.exec_driver_sql(begin)
        return work(connection)
