"""Another root for all keys at rest, made while the edge does not run.

Whatever ends this on the way, the store opens under one of two keys that are both on the disk, and the next call finishes it:

1. the new key is written beside the present one (`state.key.new`); from here on no edge starts until 5 is done
2. everything in the store is sealed under it, in one transaction
3. the published map is deleted: it is made again from the store at the next start
4. the present key is set aside (`state.key.old`)
5. the new key takes its name
6. everything is opened once under it; then the old key is destroyed
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgeproxy import keys
from edgeproxy.config.structs import Config
from edgeproxy.control.store import opening, schema, sealed
from edgeproxy.control.store.database import translated
from edgeproxy.control.store.sealed import Report, Sealers
from edgeproxy.errors import StateError
from edgeproxy.published import layout
from edgeproxy.published.seal import Sealer
from edgeproxy.supervision.state import DirectoryLocked, StateLock

Told = Callable[[str], None]
"""Told each step in a short phrase, once it is done."""


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a rotation."""

    key: str
    """The file that has the new key."""
    finished: bool
    """Whether one that was interrupted was finished, instead of another one made."""
    report: Report
    """What opened under the new key; its faults did not open under the old one either."""


def rotate(config: Config, directory: Path, told: Told, *, old_key_to: Path | None = None) -> Rotated:
    """Makes a new state key, and seals everything under it; `old_key_to`: a file that gets a copy of the old one.

    Raises StateError, among others while an edge runs: nothing was changed then, or the next call finishes it. Blocking.
    """
    place = keys.key_file(config, directory)
    path = keys.store_path(config, directory)
    if not directory.is_dir() or not path.exists():
        raise StateError(f"There is no store at {path}, and so nothing that is sealed under a state key.")
    try:
        lock = StateLock(directory)
    except DirectoryLocked as locked:
        raise StateError(
            f"The state key can only be changed while no edge runs, and {locked.who} does. `edgeproxy stop` ends it; while it "
            "is down, visitors are not served.",
            code=locked.code,
        ) from None
    try:
        if os.geteuid() == 0:  # a lock that root has just made must not keep the service's user from starting
            owner = directory.stat()
            os.fchown(lock.descriptor, owner.st_uid, owner.st_gid)
        _make_current(path, directory)
        return _rotate(place, path, directory, told, old_key_to)
    finally:
        lock.close()


def check(config: Config, directory: Path) -> Report:
    """Opens every secret of the store; may run beside a running edge. Raises StateError. Blocking."""
    root = keys.root_key(config, directory, may_create=False)
    path = keys.store_path(config, directory)
    found = opening.look(path, directory)
    if not found.exists or not found.version:
        raise StateError(f"There is no store at {path}, and so nothing that is sealed under a state key.")
    if found.version < schema.VERSION:
        raise StateError(
            f"{path} has schema {found.version}; this program knows {schema.VERSION}. Start the edge once, which brings it up."
        )
    with _opened(path, writing=False) as connection:
        if sealed.belongs(connection, _sealers(root)) is False:
            raise _foreign("")
        return sealed.check(connection, _sealers(root))


def _rotate(place: keys.KeyFile, path: Path, directory: Path, told: Told, old_key_to: Path | None) -> Rotated:
    present, coming = place.read(), place.read_coming()
    with _opened(path, writing=True) as connection:
        if coming is None and place.former.exists() and sealed.belongs(connection, _sealers(present)):
            return _finish(place, connection, Report(opened={}, faults=()), told, finished=True)
        finished = coming is not None
        if old_key_to is not None:
            keys.copy_key(present, old_key_to)
            told(f"the present key is copied to {old_key_to}")
        if coming is None:
            if sealed.belongs(connection, _sealers(present)) is False:
                raise _foreign(f" in {place.path}")
            coming = place.make_coming()
            told("a new key is made")
        before = Report(opened={}, faults=())
        if not sealed.belongs(connection, _sealers(coming)):
            if sealed.belongs(connection, _sealers(present)) is False:
                raise _foreign(f" in {place.path}")
            before = _reseal(connection, path, _sealers(present), _sealers(coming))
            told("everything is sealed under it")
        _cut_log(connection)
        _delete_map(directory)
        told("the published map is deleted, to be made anew")
        place.set_aside()
        told("the old key is set aside")
        place.take_over()
        told("the new key has taken its place")
        return _finish(place, connection, before, told, finished=finished)


def _finish(place: keys.KeyFile, connection: sqlite3.Connection, before: Report, told: Told, *, finished: bool) -> Rotated:
    report = sealed.check(connection, _sealers(place.read()))
    if len(report.faults) + report.further > len(before.faults) + before.further and not finished:
        raise StateError(
            f"Not everything opens under the new state key: {'; '.join(report.faults[:3])}. The old key is still there: "
            f"{place.former}. Keep it, and report this."
        )
    told("everything opens under it")
    place.destroy_former()
    told("the old key is destroyed")
    return Rotated(key=str(place.path), finished=finished, report=report)


def _reseal(connection: sqlite3.Connection, path: Path, old: Sealers, new: Sealers) -> Report:
    with translated(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            report = sealed.reseal(connection, old, new)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return report


def _cut_log(connection: sqlite3.Connection) -> None:
    """What is left in SQLite's log is sealed under the old key, and of no use to anybody but its thief."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _make_current(path: Path, directory: Path) -> None:
    """Brings the store to this program's schema, so that every sealed place is where `sealed` knows it."""
    if opening.look(path, directory).version < schema.VERSION:
        from edgeproxy.control.store.migrate import migrate  # seldom needed, and slow to import

        migrate(path)


@contextlib.contextmanager
def _opened(path: Path, *, writing: bool) -> Iterator[sqlite3.Connection]:
    with translated(path):
        if writing:
            connection = sqlite3.connect(path, timeout=5, isolation_level=None)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
        else:
            connection = opening.connect(path)
            connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.close()


def _sealers(root: bytes) -> Sealers:
    return {"map": _sealer(root, "map"), "store": _sealer(root, "store"), "acme": _sealer(root, "acme")}


def _sealer(root: bytes, purpose: keys.Purpose) -> Sealer:
    return Sealer(keys.derive(root, purpose))


def _delete_map(directory: Path) -> None:
    published = layout.published_directory(directory)
    try:
        if published.exists():
            shutil.rmtree(published)
    except OSError as error:
        raise StateError(
            f"The published map cannot be deleted: {published}: {error.strerror}. Delete it, and run this again: it goes on "
            "from here."
        ) from error


def _foreign(where: str) -> StateError:
    return StateError(
        f"The state key{where} is not the one that the store was made with. Put that key back from your copy. Nothing was "
        "changed."
    )
