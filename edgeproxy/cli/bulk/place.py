"""How far an import has come: a small file beside the one that is imported, by which the next run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

_HEAD = 64 * 1024
"""Bytes of the imported file whose digest is noted: another file may have the same size and time."""


@dataclasses.dataclass(slots=True)
class Place:
    """What was done up to the end of a line, all of it answered by the edge."""

    line: int = 0
    offset: int = 0
    """Bytes of the file up to there; 0: nothing was done."""
    added: int = 0
    there: int = 0
    refused: int = 0
    ahead: int = 0
    """Domains that were added from among the next lines, which are to be sent again."""
    refused_bytes: int = 0
    """Of the file with refused lines."""
    last: str = ""
    """The last domain of these that the edge has: it is asked whether it still does."""

    @property
    def lines(self) -> int:
        """Domains of the file that were dealt with."""
        return self.added + self.there + self.refused


class PlaceFile:
    """`options`: what of the command must be the same."""

    def __init__(self, imported: Path, file: BinaryIO, options: Mapping[str, Any]) -> None:
        self.path = imported.with_name(f"{imported.name}.resume")
        status = os.fstat(file.fileno())
        head = os.pread(file.fileno(), _HEAD, 0)
        known = [status.st_size, status.st_mtime_ns, hashlib.sha256(head).hexdigest(), dict(options)]
        self._of = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self.works = True
        """Whether it can be written. Where it cannot, the next run begins at the first line; that does no harm."""

    def read(self) -> tuple[Place, bool]:
        """Where to go on, at the beginning where nothing says otherwise; and whether there was a place in another file, or for
        other options."""
        try:
            text = self.path.read_bytes()
        except OSError:
            return Place(), False
        try:
            noted = json.loads(text)
            if noted.pop("of") != self._of:
                return Place(), True
            return Place(**noted), False
        except (ValueError, TypeError, AttributeError, KeyError):
            return Place(), True

    def write(self, place: Place) -> None:
        """Notes it, whole or not at all."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps({"of": self._of} | dataclasses.asdict(place)))
            temporary.replace(self.path)
        except OSError:
            self.works = False
            with contextlib.suppress(OSError):
                temporary.unlink()

    def remove(self) -> None:
        """All is done."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
