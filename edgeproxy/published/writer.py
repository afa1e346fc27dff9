"""The published map as its one writer, the publisher, sees it.

Order of every change: one LMDB commit (records, ring of changes, the store's change number), then the word in `current`
moves. A writer killed between the two leaves a map that is right and readers that have not looked yet; the next opening
moves the word, since the generation is nothing but the number of the newest change in the ring.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import lmdb
import msgspec

from edgeproxy import disk
from edgeproxy.errors import MapError
from edgeproxy.published import layout
from edgeproxy.published.records import CHANGES_RING, Change, Record

Put: TypeAlias = tuple[str, str, Record]
"""(database, key, record)."""
Key: TypeAlias = tuple[str, str]
"""(database, key)."""

LOCK_BYTES = (layout.MAX_READERS + 8) * 64
"""The table of readers: a cache line for each, after a head of a few."""

KEEP_OLD_MAPS = 60.0
"""Seconds after which a folder that no longer counts may go: readers look once a second which one does."""

DAMAGED = "map_damaged"
"""The code of a MapError that no second try will cure: rebuild."""

_encode = msgspec.msgpack.Encoder().encode


class MapWriter:
    """Writes the map. Blocking, a few milliseconds a call: call it from a thread, one call at a time.

    A call that was given up by whoever awaits it goes on in its thread: closing waits for it, since LMDB would wait for ever
    for a transaction whose environment is closed under it.

    Several processes may hold a writer for a moment (a controller that is replaced): LMDB lets one write at a time, and
    what an older one knows less is not written over what the newer one wrote.
    """

    def __init__(self, state_directory: Path, *, group: int | None = None) -> None:
        """Opens the map where there is a usable one; otherwise `change()` is None until a `rebuild`.

        `group`: id of the group whose members may read the map, where workers run as another user. Raises MapError
        where the folder cannot be made or opened.
        """
        self._busy = threading.RLock()
        self._directory = layout.published_directory(state_directory)
        self._state_directory = state_directory
        self._group = group
        self._env: lmdb.Environment | None = None
        self._kinds: dict[str, lmdb._Database] = {}
        self._current: layout.Current | None = None
        self._data: tuple[int, int] | None = None
        self._epoch = 0
        lmdb.enable_drop_gil()  # a commit waits for the disk: the process's other threads go on meanwhile
        self._prepare_directory()
        self.fresh = not self._folders() and layout.identity(self._directory / "current") is None
        """Whether there was no trace of a map when this was opened, as on a first start."""
        self.reopen()

    # what there is

    def change(self) -> int | None:
        """The store's change number that the map has reached; None: there is no usable map, rebuild it."""
        value = self._meta(layout.META_CHANGE)
        return None if value is None else layout.number(value)

    def store_id(self) -> str:
        """The identity of the store that the map was made from, as given to `rebuild`; empty where there is no map."""
        return (self._meta(layout.META_STORE) or b"").decode()

    def settings(self) -> bytes:
        """What the publisher noted with `apply` about its own settings; empty where nothing was."""
        return self._meta(layout.META_SETTINGS) or b""

    def intact(self) -> bool:
        """Whether the map's files are still those that are open: somebody may have deleted them."""
        return (
            self._env is not None
            and self._current is not None
            and layout.identity(self._directory / "current") == self._current.identity
            and layout.identity(self._folder() / "data.mdb") == self._data
            and layout.identity(self._folder() / "lock.mdb") is not None
            and layout.epoch_of(self._current.word()) == self._epoch
        )

    def reader_check(self) -> int:
        """Frees the places of readers that died, which otherwise keep old pages from being used again. How many."""
        if self._env is None:
            return 0
        try:
            return int(self._env.reader_check())
        except lmdb.Error as error:
            raise _failed(error, self._directory) from error

    # changing it

    def apply(self, puts: Iterable[Put], deletes: Iterable[Key], change: int, *, settings: bytes | None = None) -> list[Change]:
        """Writes records, removes keys, notes `change` as the store's number now reached; all in one commit.

        What is already so is not written and not announced. Returns what was announced. Where another writer has
        reached a higher number, nothing is done. Raises MapError where there is no map, or it cannot be written;
        nothing of the call is visible then.
        """
        with self._busy:
            return self._apply(puts, deletes, change, settings)

    def _apply(self, puts: Iterable[Put], deletes: Iterable[Key], change: int, settings: bytes | None) -> list[Change]:
        env, current = self._env, self._current
        if env is None or current is None:
            raise MapError("There is no published map to write to; it is rebuilt first.")
        if layout.epoch_of(current.word()) != self._epoch:
            raise MapError("Another process has made a newer published map; it is opened next.")
        changed: dict[Key, None] = {}
        try:
            with env.begin(write=True) as transaction:
                meta = self._kinds["meta"]
                reached = layout.number(transaction.get(layout.META_CHANGE, db=meta))
                if change < reached:
                    return []
                for database, name, record in puts:
                    key, value, kind = _key(database, name), _encode(record), self._kinds[database]
                    if transaction.get(key, db=kind) != value:
                        transaction.put(key, value, db=kind)
                        changed[database, name] = None
                for database, name in deletes:
                    if transaction.delete(_key(database, name), db=self._kinds[database]):
                        changed[database, name] = None
                announced = [Change(database=database, key=name) for database, name in changed]  # type: ignore[arg-type]
                sequence = layout.number(transaction.get(layout.META_SEQUENCE, db=meta))
                for number, entry in enumerate(announced[-CHANGES_RING:], sequence + len(announced[:-CHANGES_RING]) + 1):
                    transaction.put(layout.ring_key(number), _encode(entry), db=self._kinds["changes"])
                sequence += len(announced)
                if announced:
                    transaction.put(layout.META_SEQUENCE, sequence.to_bytes(8, "big"), db=meta)
                if change > reached:
                    transaction.put(layout.META_CHANGE, change.to_bytes(8, "big"), db=meta)
                if settings is not None:
                    transaction.put(layout.META_SETTINGS, settings, db=meta)
        except lmdb.Error as error:
            raise _failed(error, self._directory) from error
        if announced:
            self._move(sequence)
        return announced

    def rebuild(self, puts: Iterable[Put], change: int, *, store_id: str = "", settings: bytes = b"") -> None:
        """Makes a new map out of `puts` in a folder of its own, then lets it count. See `rebuilding` for a stream that
        does not come all at once."""
        with self.rebuilding() as rebuild:
            rebuild.put(puts)
            rebuild.finish(change, store_id=store_id, settings=settings)

    def rebuilding(self) -> Rebuild:
        """A new map in the making. The one that counts goes on being readable and writable until `Rebuild.finish`."""
        self._prepare_directory()
        epochs = [epoch for _, epoch, _ in self._folders()]
        with contextlib.suppress(MapError):
            current = layout.Current(self._directory / "current")
            epochs.append(layout.epoch_of(current.word()))
            current.close()
        epoch = max(self._epoch, *epochs, 0) + 1
        while True:
            folder = layout.map_folder(self._state_directory, epoch)
            try:
                folder.mkdir()
                break
            except FileExistsError:
                epoch += 1
            except OSError as error:
                raise _not_made(error, folder) from error
        try:
            return Rebuild(self, folder, epoch)
        except MapError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def reopen(self) -> bool:
        """Opens the map that `current` names, if it is usable; whether it is."""
        self.close()
        path = self._directory / "current"
        try:
            self._current = layout.Current(path, writable=True)
            self._epoch = max(self._epoch, epoch := layout.epoch_of(self._current.word()))
            self._env, self._kinds = _open(layout.map_folder(self._state_directory, epoch), create=False)
            self._epoch = epoch
            if self._meta(layout.META_COMPLETE) is None or _is_cut(self._env, self._folder() / "data.mdb"):
                raise MapError("The published map is not whole.")
        except (MapError, OSError):
            self.close()
            return False
        self._data = layout.identity(self._folder() / "data.mdb")
        self._permissions(self._folder())
        self._move(layout.number(self._meta(layout.META_SEQUENCE)))
        return True

    def close(self) -> None:
        """Closes the map; readers go on."""
        with self._busy:
            if self._env is not None:
                self._env.close()
                self._env = None
            if self._current is not None:
                self._current.close()
                self._current = None

    def remove_old(self, now: float) -> list[str]:
        """Deletes the folders of maps that no longer count, that nobody reads, and that have not been written to for
        `KEEP_OLD_MAPS` seconds (`now` is Unix time). Returns their names. Half-made ones of a killed rebuild go too."""
        removed: list[str] = []
        if self._env is None:
            return removed
        for _, epoch, folder in self._folders():
            if epoch == self._epoch:
                continue
            with contextlib.suppress(OSError):
                newest = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
                if now - newest < KEEP_OLD_MAPS or _is_read(folder):
                    continue
                shutil.rmtree(folder)
                removed.append(folder.name)
        return removed

    # inner

    def _folder(self) -> Path:
        return layout.map_folder(self._state_directory, self._epoch)

    def _folders(self) -> list[tuple[int, int, Path]]:
        """(schema, epoch, folder) of every map there is."""
        try:
            found = [(layout.parse_folder(path.name), path) for path in self._directory.iterdir()]
        except OSError:
            return []
        return [(*parsed, path) for parsed, path in found if parsed is not None]

    def _meta(self, name: bytes) -> bytes | None:
        if self._env is None:
            return None
        try:
            with self._env.begin(self._kinds["meta"]) as transaction:
                value: bytes | None = transaction.get(name)
                return value
        except lmdb.Error as error:
            raise _failed(error, self._directory) from error

    def _move(self, sequence: int) -> None:
        """Moves the word forward, never back: another writer may have been quicker."""
        current = self._current
        word = layout.word_of(self._epoch, sequence)
        if current is not None and layout.epoch_of(current.word()) == self._epoch and current.word() < word:
            current.move(word)

    def _install(self, env: lmdb.Environment, kinds: dict[str, lmdb._Database], epoch: int, sequence: int) -> None:
        """Lets a finished map count."""
        path = self._directory / "current"
        word = layout.word_of(epoch, sequence)
        try:
            current = layout.Current(path, writable=True)
        except MapError:
            layout.create_current(path, word, self._group)
            current = layout.Current(path, writable=True)
        else:
            current.move(word)
            current.sync()
        self.close()
        self._current, self._env, self._kinds, self._epoch = current, env, kinds, epoch
        self._data = layout.identity(self._folder() / "data.mdb")

    def _prepare_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o750, exist_ok=True)
            self._permissions(self._directory)
        except OSError as error:
            raise _not_made(error, self._directory) from error

    def _permissions(self, folder: Path) -> None:
        """Modes are set outright: the program runs under umask 077. chmod opens nothing, so no lock is lost by it."""
        for path, mode in (
            (folder, layout.FOLDER_MODE),
            (folder / "data.mdb", layout.DATA_MODE),
            (folder / "lock.mdb", layout.LOCK_MODE),
        ):
            try:
                if self._group is not None and path.stat().st_gid != self._group:
                    os.chown(path, -1, self._group)
                if path.stat().st_mode & 0o7777 != mode:
                    path.chmod(mode)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MapError(
                    f"The published map's permissions cannot be set: {path}: {error.strerror}. It must belong to the "
                    "service's user, and that user to the group that is to read it."
                ) from error


class Rebuild:
    """A map in the making; a context manager that discards it unless `finish` was called."""

    def __init__(self, writer: MapWriter, folder: Path, epoch: int) -> None:
        self._writer = writer
        self._folder = folder
        self._epoch = epoch
        self._finished = False
        self._busy = threading.RLock()
        # Nothing of it counts until it is whole: the disk is waited for once, at the end.
        self._env, self._kinds = _open(folder, create=True, sync=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with self._busy:  # as MapWriter: a call that was given up ends first
            if not self._finished:
                self._env.close()
                shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, puts: Iterable[Put]) -> None:
        """Adds records; quickest where keys come in order. Memory stays bounded whatever the stream's length."""
        batch: dict[str, list[tuple[bytes, bytes]]] = {name: [] for name in layout.DATABASES}
        count = 0
        with self._busy:
            for database, name, record in puts:
                batch[database].append((_key(database, name), _encode(record)))
                count += 1
                if count == 20_000:
                    self._write(batch)
                    count = 0
            self._write(batch)

    def finish(self, change: int, *, store_id: str, settings: bytes) -> None:
        """Brings it to the disk, then lets it count as the store's state at `change`."""
        with self._busy:
            self._finish(change, store_id, settings)

    def _finish(self, change: int, store_id: str, settings: bytes) -> None:
        # Generations of a new epoch start at the time, so that a `current` made anew, after a deletion, hardly repeats
        # a word that a reader has seen.
        sequence = int(time.time())
        values = {
            layout.META_CHANGE: change.to_bytes(8, "big"),
            layout.META_SEQUENCE: sequence.to_bytes(8, "big"),
            layout.META_STORE: store_id.encode(),
            layout.META_SETTINGS: settings,
            layout.META_COMPLETE: b"yes",
        }
        try:
            with self._env.begin(write=True) as transaction:
                for name, value in values.items():
                    transaction.put(name, value, db=self._kinds["meta"])
            self._env.sync(True)
            self._env.close()
            env, kinds = _open(self._folder, create=False)
        except lmdb.Error as error:
            raise _failed(error, self._folder) from error
        try:
            self._writer._permissions(self._folder)
            self._writer._install(env, kinds, self._epoch, sequence)
        except MapError:
            env.close()
            raise
        self._finished = True

    def _write(self, batch: dict[str, list[tuple[bytes, bytes]]]) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                for database, items in batch.items():
                    if items:
                        with transaction.cursor(self._kinds[database]) as cursor:
                            cursor.putmulti(items)
                        items.clear()
        except lmdb.Error as error:
            raise _failed(error, self._folder) from error


def _open(folder: Path, *, create: bool, sync: bool = True) -> tuple[lmdb.Environment, dict[str, lmdb._Database]]:
    if create:
        _allocate_lock(folder)
    try:
        env = lmdb.open(
            str(folder),
            map_size=layout.MAP_SIZE,
            max_readers=layout.MAX_READERS,
            max_dbs=len(layout.DATABASES) + len(layout.INTERNAL_DATABASES),
            mode=layout.DATA_MODE,
            create=create,
            lock=True,
            sync=sync,
            # A power cut may undo the last commit, never damage the map; the publisher then follows the log again.
            metasync=False,
        )
    except lmdb.Error as error:
        raise _failed(error, folder) from error
    try:
        names: Sequence[str] = (*layout.DATABASES, *layout.INTERNAL_DATABASES)
        return env, {name: env.open_db(name.encode(), create=create) for name in names}
    except lmdb.Error as error:
        env.close()
        raise _failed(error, folder) from error


def _allocate_lock(folder: Path) -> None:
    """Gives the table of readers its blocks before LMDB maps it: on a disk that is full later, touching a page without one
    would kill whoever reads (SIGBUS). Only before the map is open in this process: closing the file then would let go of
    LMDB's locks."""
    try:
        descriptor = os.open(folder / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, layout.LOCK_MODE)
        try:
            os.posix_fallocate(descriptor, 0, LOCK_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _not_made(error, folder) from error


def _is_cut(env: lmdb.Environment, data: Path) -> bool:
    """Whether the file ends before its last page: reading what is missing would kill the process (SIGBUS)."""
    return bool(data.stat().st_size < (env.info()["last_pgno"] + 1) * env.stat()["psize"])


def _is_read(folder: Path) -> bool:
    """Whether a living process has a place in the reader table of a map."""
    try:
        env = lmdb.open(str(folder), map_size=layout.MAP_SIZE, max_readers=layout.MAX_READERS, readonly=True, create=False)
    except lmdb.Error:
        return False
    try:
        env.reader_check()
        return len(env.readers().splitlines()) > 1  # a heading, then a line per reader; or "(no active readers)"
    finally:
        env.close()


def _key(database: str, name: str) -> bytes:
    key = name.encode()
    if not 0 < len(key) <= layout.MAX_KEY:
        raise MapError(f"A key of {database} is {len(key)} bytes long; 1 to {layout.MAX_KEY} fit.", retryable=False)
    return key


_DAMAGE = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError)


def _failed(error: Exception, folder: Path) -> MapError:
    if isinstance(error, _DAMAGE):
        return MapError(f"The published map is damaged: {error}. It is made anew.", code=DAMAGED)
    # LMDB has EIO for a write that was cut short ("filesystem full?" says its source, mdb_page_flush).
    if isinstance(error, lmdb.DiskError) or (os.strerror(errno.EIO) in str(error) and disk.has_no_room(folder)):
        return disk.full(MapError, folder)
    return MapError(f"The published map cannot be written: {folder}: {error}. Readers go on with what it has.")


def _not_made(error: OSError, path: Path) -> MapError:
    if disk.is_full(error):
        return disk.full(MapError, path)
    return MapError(f"The published map cannot be made: {path}: {error.strerror}.")
