"""The lines of a file that were refused, in a file of their own: it can be corrected and imported in its turn."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from edgeproxy.cli.bulk.lines import OURS, Lines, Record


class RefusedLines:
    """Writes them in the format that they came in, each with its number and why. The file is made with the first one."""

    def __init__(self, path: Path, lines: Lines) -> None:
        self.path = path
        self._lines = lines
        self._file: BinaryIO | None = None

    def resume(self, size: int) -> None:
        """Goes on behind so many bytes of the file; 0: there is none that counts, and one that is there is removed."""
        if size == 0:
            self.path.unlink(missing_ok=True)
            return
        self._file = self.path.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, record: Record, code: str, detail: str) -> None:
        """Adds one."""
        if self._file is None:
            self._file = self.path.open("wb")
            if self._lines.is_csv:
                self._file.write(_row([*OURS, *(name for name in self._lines.header if not _is_ours(name))]))
        self._file.write(self._as_csv(record, code, detail) if self._lines.is_csv else _as_json(record, code, detail))

    def size(self) -> int:
        """Bytes of the file, once it is flushed; 0 where there is none."""
        return 0 if self._file is None else self._file.tell()

    def flush(self) -> None:
        """Brings what was written into the file."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _as_csv(self, record: Record, code: str, detail: str) -> bytes:
        header, given = self._lines.header, record.given
        cells = [given] if isinstance(given, str) else [str(cell) for cell in given]
        if len(cells) == len(header):
            cells = [cell for cell, name in zip(cells, header, strict=True) if not _is_ours(name)]
        return _row([str(record.line), code, detail, *cells])


def _is_ours(name: str) -> bool:
    return name.strip().lower() in OURS


def _as_json(record: Record, code: str, detail: str) -> bytes:
    given = record.given if isinstance(record.given, dict) else {"text": record.given}
    rest = {name: value for name, value in given.items() if name not in OURS}
    whole = {"line": record.line, "code": code, "detail": detail} | rest
    return json.dumps(whole, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _row(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")
