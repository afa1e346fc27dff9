"""A disk without room: how it is recognised behind the errors of others, and what is said of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TypeVar

from edgeproxy.errors import EdgeError, Fault

FULL = "disk_full"
"""The code of such an error."""

_LITTLE = 64 * 1024
"""Bytes; where less is free, a write that failed without saying why failed for that."""

_Kind = TypeVar("_Kind", bound=EdgeError)


def is_full(error: OSError) -> bool:
    """Whether a system call failed for want of room, or of the user's share of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def has_no_room(path: Path) -> bool:
    """Whether the disk of a file or folder has next to nothing left. For errors that do not say so: SQLite and LMDB call a
    write that was cut short an input/output error."""
    try:
        found = os.statvfs(path if path.exists() else path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LITTLE or (found.f_files > 0 and found.f_favail == 0)


def full(kind: type[_Kind], path: Path) -> _Kind:
    """The error, of a kind that the caller raises, for what could not be written."""
    return kind(
        f"The disk is full: {path} cannot be written. Make room there, and try again.",
        code=FULL,
        fault=Fault.OPERATOR,
        retryable=True,
    )
