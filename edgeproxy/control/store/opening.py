"""What must hold before a store is opened: that the file is a store, whole, and of a schema that this program reads.

Nothing here writes. Whatever is found wrong is a StateError that says what to do, and the files stay as they are.
Works on the plain sqlite3 module, in a few milliseconds however large the store.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from edgeproxy.control.store import schema
from edgeproxy.control.store.database import in_one_line
from edgeproxy.errors import StateError
from edgeproxy.published import layout

_HEADER = b"SQLite format 3\0"
_SMALL = 16 * 1024 * 1024
"""Bytes up to which the whole store is checked at each start: some tens of milliseconds."""


class Found(msgspec.Struct, frozen=True):
    """What there is."""

    exists: bool
    version: int = 0
    """The schema's; 0: an empty file."""
    readable_from: int = 0
    store_id: str = ""


def look(path: Path, state_directory: Path) -> Found:
    """What kind of store the file is. Raises StateError where it must not be used."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        header = b""
        exists = False
    except OSError as error:
        raise StateError(f"The store cannot be read: {path}: {error.strerror}. The service's user must be able to.") from error
    else:
        exists = True
    if not header:
        _refuse_a_lost_store(path, state_directory)
        return Found(exists)
    if header != _HEADER:
        raise _damaged(path, state_directory, "The file is not a SQLite database.")
    try:
        connection = connect(path)
        try:
            found = _about(connection, path)
        finally:
            connection.close()
    except _Damage as damage:
        raise _damaged(path, state_directory, str(damage)) from None
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise _damaged(path, state_directory, f"SQLite says: {error}") from error
        raise StateError(
            f"The store cannot be opened: {path}. See that the service's user may read and write it, and that its disk works. "
            f"Nothing was overwritten. SQLite says: {in_one_line(str(error))}",
            retryable=True,
        ) from error
    if not found.version:
        _refuse_a_lost_store(path, state_directory)
    return found


class _Damage(Exception):
    """The file is no store that can be used; what is wrong with it."""


def connect(path: Path) -> sqlite3.Connection:
    """Read-only, so that not even a checkpoint of its log is written while it is not known to be ours. Without a log nobody
    has it open, and as "immutable" it is read without so much as the log's files being made."""
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=5)


def _damaged(path: Path, state_directory: Path, detail: str) -> StateError:
    return StateError(
        f"The store is damaged: {path}. Put a backup in its place; or, to start with an empty store, move it away together "
        f"with its -wal and -shm files and {layout.published_directory(state_directory)}. Nothing was overwritten. "
        f"{in_one_line(detail)}"
    )


def _about(connection: sqlite3.Connection, path: Path) -> Found:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return Found(exists=True)
    if "about" not in tables:
        raise StateError(
            f"{path} is a SQLite database, but not a store of this program. Check store.url. Nothing was overwritten."
        )
    about = dict(connection.execute("SELECT name, value FROM about"))
    try:
        version, readable_from = int(about["version"]), int(about["readable_from"])
    except (KeyError, ValueError):
        raise _Damage("It does not say which schema it has.") from None
    if readable_from > schema.VERSION:
        raise StateError(
            f"{path} has schema {version}, which needs a program that knows schema {readable_from}; this one knows "
            f"{schema.VERSION}. Start the newer version that wrote it, or put back the backup from before the upgrade. "
            "Nothing was overwritten."
        )
    _sample(connection, tables, path)
    return Found(exists=True, version=version, readable_from=readable_from, store_id=about.get("store_id", ""))


def _sample(connection: sqlite3.Connection, tables: set[str], path: Path) -> None:
    """A bounded check: all of a small store, both ends of every table of a large one. What it misses is met later, as a
    StateError of the call that meets it."""
    if path.stat().st_size <= _SMALL:
        faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
        if faults != ["ok"]:
            raise _Damage(f"SQLite says: {'; '.join(faults)}")
        return
    for table in tables & set(schema.metadata.tables):
        for order in ("ASC", "DESC"):
            connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid {order} LIMIT 1').fetchall()  # noqa: S608


def _refuse_a_lost_store(path: Path, state_directory: Path) -> None:
    """A map without the store that it was made from is the trace of a loss (a disk that is not mounted, a file cut to
    nothing). Starting empty would take every customer's name off the air."""
    current = layout.published_directory(state_directory) / "current"
    if current.exists():
        raise StateError(
            f"The store is missing or empty: {path}, although domains were published from one ({current}). Put a backup in "
            f"its place, or delete {current.parent} to start with an empty store."
        )
