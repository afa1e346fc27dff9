"""Where the published map lies, and the small file that says which map counts and whether it moved.

    published/current               64 bytes, mapped by every reader; never truncated, never unlinked by the program
    published/<schema>-<epoch>/     an LMDB environment: data.mdb, lock.mdb

`current` holds one word that readers watch: the epoch (which folder) in its upper 24 bits and the generation (the number
of the newest `Change` in that folder) in its lower 40. One aligned 64-bit word is read and written whole, so that no
reader sees the epoch of one map with the generation of another.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import stat
import sys
from pathlib import Path

from edgeproxy import disk
from edgeproxy.errors import MapError
from edgeproxy.published.records import CHANGES_RING, SCHEMA

MAP_SIZE = 64 * 1024**3
"""Bytes of address space for a map, the same in every process. The file is sparse: it takes what is in it."""

MAX_READERS = 1024
"""Places in LMDB's reader table. It counts at the first opening, whoever that is."""

DATABASES = ("sites", "certificates", "challenges", "tickets")
"""Databases whose keys appear in the ring of changes."""

INTERNAL_DATABASES = ("changes", "meta")

MAX_KEY = 511
"""Bytes of an LMDB key, fixed when LMDB was built."""

META_CHANGE = b"change"
META_SEQUENCE = b"sequence"
META_STORE = b"store"
META_SETTINGS = b"settings"
META_COMPLETE = b"complete"

MAGIC = b"edgemap1"
CURRENT_SIZE = 64
WORD = 1
"""The word's place among the file's 64-bit words, behind the magic."""

_GENERATION_BITS = 40
_GENERATION_MASK = (1 << _GENERATION_BITS) - 1
MAX_EPOCH = (1 << (64 - _GENERATION_BITS)) - 1

_FOLDER = re.compile(r"([0-9]{1,9})-([0-9]{1,9})\Z")

FOLDER_MODE = 0o2750
DATA_MODE = 0o640
LOCK_MODE = 0o660
"""Readers write their place in the reader table, so the lock file is theirs to write too; the data is not."""


def published_directory(state_directory: Path) -> Path:
    """The folder of all maps."""
    return state_directory / "published"


def map_folder(state_directory: Path, epoch: int) -> Path:
    """The folder of one map, of this program's schema."""
    return published_directory(state_directory) / f"{SCHEMA}-{epoch}"


def parse_folder(name: str) -> tuple[int, int] | None:
    """(schema, epoch) of a map's folder by its name; None where it is something else."""
    match = _FOLDER.match(name)
    return (int(match[1]), int(match[2])) if match and int(match[2]) <= MAX_EPOCH else None


def word_of(epoch: int, generation: int) -> int:
    """The word that readers watch."""
    return epoch << _GENERATION_BITS | generation & _GENERATION_MASK


def epoch_of(word: int) -> int:
    """The epoch in the word."""
    return word >> _GENERATION_BITS


def generation_of(word: int) -> int:
    """The generation in the word."""
    return word & _GENERATION_MASK


def ring_key(sequence: int) -> bytes:
    """The key in `changes` of the change with this number."""
    return (sequence % CHANGES_RING).to_bytes(8, "big")


def number(value: bytes | None) -> int:
    """An integer of `meta`; 0 where there is none. Raises MapError on anything but 8 bytes."""
    if value is None:
        return 0
    if len(value) != 8:
        raise MapError(f"The published map is damaged: a counter of {len(value)} bytes. It is rebuilt by the controller.")
    return int.from_bytes(value, "big")


class Current:
    """`published/current`, mapped. Only the publisher opens it writable."""

    __slots__ = ("_map", "identity", "words")

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Raises MapError where the file does not exist, is not one of ours, or may not be opened."""
        try:
            descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        except OSError as error:
            raise MapError(f"The published map cannot be opened: {path}: {error.strerror}.") from error
        try:
            status = os.fstat(descriptor)
            # The size is looked at before mapping: touching a page behind a file's end kills the process (SIGBUS).
            if not stat.S_ISREG(status.st_mode) or status.st_size != CURRENT_SIZE:
                raise MapError(f"{path} is not what the publisher writes. The controller replaces it.")
            self._map = mmap.mmap(descriptor, CURRENT_SIZE, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        except OSError as error:
            raise MapError(f"The published map cannot be mapped: {path}: {error.strerror}.") from error
        finally:
            os.close(descriptor)
        self.words = memoryview(self._map).cast("Q")
        self.identity = (status.st_dev, status.st_ino)
        if self._map[: len(MAGIC)] != MAGIC:
            self.close()
            raise MapError(f"{path} is not what the publisher writes. The controller replaces it.")

    def word(self) -> int:
        """Epoch and generation, see `epoch_of` and `generation_of`."""
        return self.words[WORD]

    def move(self, word: int) -> None:
        """Tells every reader. The publisher does it after the commit, never before."""
        self.words[WORD] = word

    def sync(self) -> None:
        """Writes the page to the disk: a new epoch should survive a power cut."""
        self._map.flush()

    def close(self) -> None:
        """Unmaps the file."""
        self.words.release()
        self._map.close()


def identity(path: Path) -> tuple[int, int] | None:
    """(device, inode) of a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def create_current(path: Path, word: int, group: int | None) -> None:
    """Puts a new `current` in place, whole or not at all. For a first start, or where it was deleted or is not ours."""
    temporary = path.with_name(f".current.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    content = MAGIC + word.to_bytes(8, sys.byteorder) + bytes(CURRENT_SIZE - len(MAGIC) - 8)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, DATA_MODE)
        try:
            os.fchmod(descriptor, DATA_MODE)
            if group is not None:
                os.fchown(descriptor, -1, group)
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if disk.is_full(error):
            raise disk.full(MapError, path) from error
        raise MapError(f"The published map cannot be made: {path}: {error.strerror}.") from error
