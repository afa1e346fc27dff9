"""Which machine this is, to others that use the same store: an id in the state directory, which outlives restarts."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from edgeproxy import disk
from edgeproxy.errors import StateError

FILE = "instance"

_ID = re.compile(r"[0-9a-f]{16}\Z")


def machine_id(state_directory: Path) -> str:
    """The id in the state directory; made where there is none, and made anew where it cannot be one: then leases of this
    machine's earlier processes end with their time instead of at once. Blocking; raises StateError."""
    path = state_directory / FILE
    temporary = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        try:
            found = path.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            found = ""
        if _ID.match(found):
            return found
        made = secrets.token_hex(8)
        try:
            temporary.write_text(f"{made}\n", "ascii")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if disk.is_full(error):
            raise disk.full(StateError, path) from error
        raise StateError(
            f"The machine's id cannot be kept: {path}: {error.strerror}. The service's user must be able to."
        ) from (error)
    return made
