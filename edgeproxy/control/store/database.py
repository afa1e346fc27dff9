"""Connections and transactions of the store, and the translation of the database's errors."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import msgspec
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from edgeproxy import disk
from edgeproxy.control.store import schema
from edgeproxy.control.store.checkpoints import BACKSTOP, Checkpoints
from edgeproxy.control.store.quick import Quick
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.control.store.rows.publishing import Database as MapDatabase
from edgeproxy.control.store.rows.telling import Beside
from edgeproxy.errors import StateError

T = TypeVar("T")

Values = dict[str, Any] | None
Describe = Callable[[Domain], Awaitable[Beside]]

CONNECTIONS = 5
"""Connections to the file, each with a thread: four may read while one writes."""

BUSY_SECONDS = 5.0
"""How long to wait for a lock that another process holds."""

CLOSING_SECONDS = 2 * BUSY_SECONDS
"""How long the end waits for a connection that is still busy."""

SCRUB_SECONDS = 0.25
"""How long the wiping of deleted secrets waits for readers. Writers wait meanwhile; it is tried again."""

MAX_LOG = 1_000_000
"""Changes in the log at most. The publisher keeps it far shorter; where no map can be written for days, the log is cut
here and the map rebuilt."""

CUT_EVERY = 1024
"""Changes between two looks at MAX_LOG."""


_COUNT = sqlalchemy.text("UPDATE counters SET value = value + :more WHERE name = 'change' RETURNING value")
_CUT = sqlalchemy.text("DELETE FROM changes WHERE number <= :up_to")
_LOG = sqlalchemy.text(
    'INSERT INTO changes (number, "database", "key") '
    "SELECT :first + rows.key, json_extract(rows.value, '$[0]'), json_extract(rows.value, '$[1]') FROM json_each(:rows) AS rows"
)
"""All of a transaction in one step, however many: for each row by itself Python's threads would change twice."""


class Noting:
    """What a writing transaction does beside its rows: the keys of the published map that it concerns, and whom it wakes."""

    __slots__ = ("_keys", "destroys", "number", "tells")

    def __init__(self) -> None:
        self.number = 0
        """After the transaction: the number of its last change; 0 where it logged none."""
        self.destroys = False
        self.tells = False
        self._keys: dict[tuple[MapDatabase, str], None] = {}

    def destroyed(self) -> None:
        """Notes that a private key was deleted: what is left of it in SQLite's log is to be wiped out (`Database.scrub`)."""
        self.destroys = True

    def told(self) -> None:
        """Notes that there is something new in the outbox, or to be delivered from it (`Database.told`)."""
        self.tells = True

    def changed(self, database: MapDatabase, key: str) -> None:
        """Notes that the map's value under this key may be another one. Goes into the change log with the commit."""
        self._keys[database, key] = None

    @property
    def count(self) -> int:
        """How many keys it concerns."""
        return len(self._keys)

    def _rows(self) -> dict[str, Any]:
        """What _LOG writes, once `number` is known."""
        first = self.number - len(self._keys) + 1
        return {"first": first, "rows": msgspec.json.encode(list(self._keys)).decode()}

    def _is_to_be_cut(self) -> bool:
        return self.number // CUT_EVERY != (self.number - len(self._keys)) // CUT_EVERY


class Write(Noting):
    """A writing transaction: a connection, and what it notes."""

    __slots__ = ("connection", "describe")

    def __init__(self, connection: AsyncConnection, describe: Describe | None = None) -> None:
        super().__init__()
        self.connection = connection
        self.describe = describe

    async def head(self) -> int:
        """The number of the newest change so far. Nobody else gives one before this transaction ends."""
        value = await self.connection.scalar(
            sqlalchemy.select(schema.counters.c.value).where(schema.counters.c.name == "change")
        )
        return int(value or 0)

    async def log(self) -> None:
        """Writes the change log. Called once, at the end."""
        if not self._keys:
            return
        # The counter's row is written first and its lock held to the commit: numbers come in the order of commits, on a
        # database with several writers too, and a follower that asks for what is behind its last number misses nothing.
        self.number = int(await self.connection.scalar(_COUNT, {"more": len(self._keys)}) or 0)
        await self.connection.execute(_LOG, self._rows())
        if self._is_to_be_cut():
            await self.connection.execute(_CUT, {"up_to": self.number - MAX_LOG})


class PlainWrite(Noting):
    """The same in one go in a thread, for many rows of a few tables (`Database.write_at_once`)."""

    __slots__ = ("connection",)

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        super().__init__()
        self.connection = connection

    def log(self) -> None:
        """As Write's."""
        if not self._keys:
            return
        self.number = int(self.connection.scalar(_COUNT, {"more": len(self._keys)}) or 0)
        self.connection.execute(_LOG, self._rows())
        if self._is_to_be_cut():
            self.connection.execute(_CUT, {"up_to": self.number - MAX_LOG})


class Database:
    """One SQLite file: WAL, every commit on the disk before it is acknowledged, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed = asyncio.Event()
        """Set after each commit that logged a change. Whoever follows the log clears it before it looks."""
        self.destroyed = asyncio.Event()
        """Set after each commit that deleted a private key, until `scrub` has wiped it out of the files."""
        self.told = asyncio.Event()
        """Set, and replaced by another one, after each commit that has something to deliver. Whoever waits takes it before it
        looks."""
        self.describe: Describe | None = None
        """What events tell of a domain beside its row; None: nothing is known of that. Asked within their transactions: it may
        read the store, and waits for nobody else."""
        self._lock = asyncio.Lock()
        self._identity = _identity(path)
        url = sqlalchemy.URL.create("sqlite+aiosqlite", database=str(path))
        self._reading: AsyncEngine = create_async_engine(
            url, pool_size=CONNECTIONS, max_overflow=0, async_creator=self._connect
        )
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        event.listen(self._reading.sync_engine, "connect", _prepare)
        event.listen(self._reading.sync_engine, "begin", _begin)
        self._writing = self._reading.execution_options(edgeproxy_writes=True)
        self._quick = Quick(path, _prepare)
        self._checkpoints = Checkpoints(path, self._lock)

    async def close(self) -> None:
        """Closes all connections. Theirs are the threads that it waits for: one that is still busy with what was cancelled
        would tell its result to a loop that may be closed by then."""
        await self._checkpoints.stop()
        await asyncio.to_thread(self._quick.close)
        await self._reading.dispose()
        for thread in list(self._threads):
            await asyncio.to_thread(thread.join, CLOSING_SECONDS)
        await asyncio.to_thread(self._checkpoints.close)

    async def _connect(self) -> aiosqlite.Connection:
        """A connection for the pool. Its thread is remembered before it runs: whoever asked may be cancelled meanwhile."""
        connection = aiosqlite.connect(self.path, factory=_Connection, check_same_thread=False)
        thread = connection._thread  # aiosqlite has no public name for it
        thread.daemon = True  # nobody waits for it where the process is to end at once
        self._threads.add(thread)
        return await connection

    async def look(self, work: Callable[[sqlalchemy.Connection], T]) -> T:
        """What `work` finds: a transaction as `read`, in one go in a thread, for what is asked often and quickly answered.
        Raises StateError."""
        with translated(self.path):
            return await self._quick.run(work)

    async def rows(self, query: sqlalchemy.Select[Any], values: Values = None) -> Sequence[sqlalchemy.Row[Any]]:
        """The rows that answer one question, by `look`; `values` are those of its parameters."""
        return await self.look(lambda connection: connection.execute(query, values).all())

    async def first(self, query: sqlalchemy.Select[Any], values: Values = None) -> sqlalchemy.Row[Any] | None:
        """The first of them; None where there is none."""
        return await self.look(lambda connection: connection.execute(query, values).first())

    async def note(self, work: Callable[[sqlalchemy.Connection], T]) -> T:
        """A transaction that writes what neither the published map nor an event tells of, in one go in a thread. Committed
        when it returns; nothing of it remains where `work` raises. Raises StateError."""
        with translated(self.path):
            async with self._lock:
                self._check_there()
                found = await self._quick.run(work, writes=True)
        self._checkpoints.committed()
        return found

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state of the store and writes nothing. Raises StateError."""
        with translated(self.path):
            async with self._reading.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Write]:
        """A transaction that may write. Its change log is written and it is committed at the end of the block, or, where
        the block raises, nothing of it remains. Raises StateError."""
        with translated(self.path):
            async with self._lock, self._writing.begin() as connection:
                self._check_there()
                write = Write(connection, self.describe)
                yield write
                await write.log()
        self._wake(write)

    async def write_at_once(self, work: Callable[[PlainWrite], T]) -> tuple[PlainWrite, T]:
        """What a transaction noted, and what `work` returns: it may write, as `write`, in one go in a thread. What a dozen
        statements cost is not how often they change to a thread and back (`quick`). Raises StateError."""

        def whole(connection: sqlalchemy.Connection) -> tuple[PlainWrite, T]:
            write = PlainWrite(connection)
            found = work(write)
            write.log()
            return write, found

        with translated(self.path):
            async with self._lock:
                self._check_there()
                write, found = await self._quick.run(whole, writes=True)
        self._wake(write)
        return write, found

    def _wake(self, write: Noting) -> None:
        """Those who wait for what a transaction noted."""
        self._checkpoints.committed(write.count)
        if write.number:
            self.changed.set()
        if write.destroys:
            self.destroyed.set()
        if write.tells:
            told, self.told = self.told, asyncio.Event()
            told.set()

    def _check_there(self) -> None:
        """SQLite would go on writing into the file that nobody can find any more."""
        if _identity(self.path) != self._identity:
            raise StateError(
                f"The store's file was moved, replaced or deleted: {self.path}. Nothing of this was saved. Stop the "
                "edge, put the file back, and start again."
            )

    async def scrub(self) -> bool:
        """Wipes deleted secrets out of the files. SQLite has overwritten their rows (`secure_delete`), but in its
        write-ahead log the old pages stay until it is cut. Whether that could be done: a reader may be in the way for a
        moment. Raises StateError."""
        self.destroyed.clear()
        with translated(self.path):
            async with self._lock:
                done = await asyncio.to_thread(_cut_log, self.path)
        if not done:
            self.destroyed.set()
        return done


class _Connection(sqlite3.Connection):
    """Ends its transaction before it closes. A statement of which not all rows were fetched, as one of a cancelled task,
    keeps a closed connection and its locks alive for as long as anybody refers to it: nobody could write until then."""

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.rollback()
        super().close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _cut_log(path: Path) -> bool:
    """Brings the log's pages into the database and cuts it to nothing; False where a reader still needs it."""
    connection = sqlite3.connect(path, timeout=SCRUB_SECONDS, isolation_level=None)
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not busy


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # no implicit transactions: `_begin` says when and which
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # a deleted key is overwritten, and not only no longer found
    cursor.close()


def _begin(connection: sqlalchemy.Connection) -> None:
    # A transaction that reads first and writes later could find its state outdated; one that will write says so at once.
    writes = connection.get_execution_options().get("edgeproxy_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """The database's errors as StateError: damage is final, anything else may pass."""
    try:
        yield
    except sqlalchemy.exc.TimeoutError as error:
        raise StateError("The store is busy: no connection came free in time.", retryable=True) from error
    except (sqlalchemy.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise StateError(
                f"The store is damaged: {path}. What is published goes on being served. Stop the edge and put a backup in its "
                f"place. SQLite says: {in_one_line(str(cause))}"
            ) from error
        kind = "_".join(name.split("_")[:2])
        if kind == "SQLITE_FULL" or (kind in ("SQLITE_IOERR", "SQLITE_CANTOPEN") and disk.has_no_room(path)):
            raise disk.full(StateError, path) from error
        what, cure = _PASSING.get(kind, ("The store cannot be used just now", "Try again."))
        raise StateError(
            f"{what}: {path}. Nothing of this was saved. {cure} SQLite says: {in_one_line(str(cause))}", retryable=True
        ) from error


_PASSING = {
    "SQLITE_BUSY": ("The store is locked by another process", "Try again."),
    "SQLITE_READONLY": ("The store is read-only", "Let the service's user write it."),
    "SQLITE_IOERR": ("The disk of the store does not work", "Look at the disk and at the kernel's log."),
}
"""By SQLite's error, without its extension: what it means, and what to do."""


def in_one_line(text: str) -> str:
    """What SQLite says, which may have several lines, to stand at the end of a sentence of ours."""
    return f"{' '.join(text.split()).rstrip('.')}."
