"""The state directory: that it is there, that it is ours alone, and the key of the published map."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

from edgeproxy import disk
from edgeproxy.errors import StateError
from edgeproxy.supervision.identity import Identities

LOCK_NAME = "edgeproxy.lock"

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid, padding
_FLOCK = "hhqqi4x"


class DirectoryLocked(StateError):
    """Another process has the state directory: `who`, as "process 812"."""

    code = "state_locked"
    retryable = True

    def __init__(self, directory: Path, who: str) -> None:
        super().__init__(
            f"The state directory {directory} is in use by {who}: an edgeproxy runs there already. "
            "Stop it first (edgeproxy stop), or give this one a state.directory of its own."
        )
        self.who = who


class StateLock:
    """A record lock on a file in the directory. It ends with this process, however that ends, and is never inherited."""

    def __init__(self, directory: Path) -> None:
        """Takes it. Raises StateError naming the process that has it.

        Never open the file a second time in the same process: closing that descriptor would free the lock (fcntl(2)).
        """
        self.path = directory / LOCK_NAME
        try:
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if disk.is_full(error):
                raise disk.full(StateError, self.path) from None
            raise StateError(
                f"{self.path} cannot be opened: {error.strerror}. "
                "The state directory must belong to the user who starts the program."
            ) from None
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self.descriptor)
            os.close(self.descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                raise DirectoryLocked(directory, f"process {holder}" if holder else "another process") from None
            raise StateError(f"{self.path} cannot be locked: {error.strerror}.") from None
        os.ftruncate(self.descriptor, 0)
        with contextlib.suppress(OSError):  # for people only; on a full disk the lock alone will do
            os.write(self.descriptor, b"%d\n" % os.getpid())

    def close(self) -> None:
        """Frees it; in a child only its copy of the descriptor. The file stays: without it two could lock two files."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def prepare(directory: Path, identities: Identities) -> None:
    """Makes the directory where it is missing, open to its owner alone, and to the group where workers are another user.

    Raises StateError when it cannot be made or is no directory.
    """
    try:
        directory.mkdir(mode=0o700, parents=True)
        made = True
    except FileExistsError:
        made = False
        if not directory.is_dir():
            raise StateError(
                f"state.directory: {directory} is not a directory. Name one; it is made where it is missing."
            ) from None
    except OSError as error:
        if disk.is_full(error):
            raise disk.full(StateError, directory) from None
        raise StateError(
            f"The state directory {directory} cannot be made: {error.strerror}. "
            f"Make it yourself (install -d -m 0700 -o USER {directory}), or set state.directory to one that you may write."
        ) from None
    try:
        if made:
            os.chown(directory, *identities.owner)
        if identities.separated and directory.stat().st_mode & 0o010 == 0:
            # Workers need to pass through to the map's own folder, and must not list what else is here.
            directory.chmod(0o710)
            os.chown(directory, -1, identities.owner[1])
    except OSError as error:
        raise StateError(f"The owner or mode of {directory} cannot be set: {error.strerror}.") from None


def require_writable(directory: Path) -> None:
    """Raises StateError unless the user of this process may write there; called by a child that became the controller's."""
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise StateError(
            f"The state directory {directory} is not writable for uid {os.geteuid()}. "
            f"Give it to that user: chown -R {os.geteuid()} {directory}"
        )


def _holder(descriptor: int) -> int:
    """Pid of who holds the lock; 0 where it cannot be seen (another machine or container)."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)
    except OSError:
        return 0
    return int(struct.unpack(_FLOCK, answer)[4])
