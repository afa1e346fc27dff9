"""A file of domains, line by line: CSV whose first line names the columns, or a JSON object on each line.

A file may have a gigabyte: it is read a line at a time, each with the place behind it, from where reading may go on another
time. What is wrong with one line is told with the line; what is wrong with the whole file is raised.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, NoReturn

from edgeproxy.errors import EdgeError, Fault

LINE_BYTES = 64 * 1024
"""Of one line. A domain with all that it may have takes some 30 KB."""

HEAD_BYTES = 4096
"""That are looked at to see what a file is."""

COLUMNS: Mapping[str, str] = {
    "hostname": "domain",
    "domain": "domain",
    "host": "domain",
    "workspace": "workspace_id",
    "workspace_id": "workspace_id",
    "origin": "origin",
    "redirect_to": "redirect_to",
    "include_www": "include_www",
    "metadata": "metadata",
    "policies": "policies",
    "verify": "verify",
    "method": "method",
}
"""What people call them, and the API."""

OURS = ("line", "code", "detail")
"""What a file of refused lines has beside what the line had. They are passed over, so that one that was corrected can be
imported as it is."""

_SWITCHES = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
_SHOWN = "hostname,workspace"


class WrongFile(EdgeError):
    """A file that cannot be imported."""

    code = "wrong_file"
    fault = Fault.CLIENT


class Record(NamedTuple):
    """One domain of a file."""

    line: int
    """Its number, from 1 on."""
    end: int
    """Bytes of the file up to its end."""
    fields: dict[str, Any]
    """As POST …/domains takes them; none where `detail` says why it cannot be sent."""
    given: Sequence[str] | dict[str, Any] | str
    """As it was in the file: CSV's cells, JSON's object, or the text of what is neither."""
    code: str = ""
    detail: str = ""


class Lines:
    """Reads a file that is open for reading. `defaults`: fields that each domain has which says nothing else. Raises WrongFile
    where it is none of domains."""

    def __init__(self, file: BinaryIO, name: str, defaults: Mapping[str, Any]) -> None:
        self._file = file
        self._name = name
        self._defaults = dict(defaults)
        self._parse: Callable[[str], tuple[Any, dict[str, Any]]] = _object
        self.header: tuple[str, ...] = ()
        """The columns of a CSV file, as they stand there; none of JSON."""
        self.line = 0
        """The number of the line that was read last."""
        self._begin()

    @property
    def is_csv(self) -> bool:
        """Whether it is CSV; else there is a JSON object on each line."""
        return bool(self.header)

    @property
    def offset(self) -> int:
        """Bytes of the file that were read."""
        return self._file.tell()

    def seek(self, line: int, offset: int) -> None:
        """Goes on behind a line, at its `Record.end`."""
        self._file.seek(offset)
        self.line = line

    def __iter__(self) -> Iterator[Record]:
        while data := self._read():
            if data.strip() or len(data) > LINE_BYTES:
                yield self._record(data)

    def _record(self, data: bytes) -> Record:
        line, end = self.line, self._file.tell()
        if len(data) > LINE_BYTES:
            text = data[:200].decode("utf-8", "replace")
            return Record(line, end, {}, text, "line_too_long", f"The line has more than {LINE_BYTES:,} bytes.")
        try:
            text = data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            shown = data.decode("utf-8", "replace").rstrip("\r\n")
            detail = f"The line is not in UTF-8: byte {error.start + 1} of it is 0x{data[error.start]:02x}."
            return Record(line, end, {}, shown, "wrong_encoding", detail)
        try:
            given, fields = self._parse(text)
        except ValueError as error:
            cells = getattr(error, "cells", text)
            return Record(line, end, {}, cells, "malformed_line", f"{error}.")
        return Record(line, end, {**self._defaults, **fields}, given)

    def _read(self) -> bytes:
        """The next line; of one that is too long its beginning."""
        data = self._file.readline(LINE_BYTES + 1)
        self.line += bool(data)
        rest = data
        while len(rest) > LINE_BYTES and not rest.endswith(b"\n"):
            rest = self._file.readline(LINE_BYTES + 1)
        return data

    # What it is

    def _begin(self) -> None:
        head = self._file.read(HEAD_BYTES)
        self._file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise self._wrong("is in UTF-16. Save it as UTF-8")
        if b"\0" in head:
            raise self._wrong("is not a text. Give a CSV file, or one with a JSON object on each line")
        start = head.removeprefix(codecs.BOM_UTF8).lstrip()
        if not start and len(head) < HEAD_BYTES:
            raise self._wrong("is empty. It needs a line for each domain")
        if start.startswith(b"["):
            raise self._wrong("is a JSON array. Write an object on each line, as `jq -c '.[]'` does")
        if not start.startswith(b"{"):
            self._begin_csv()

    def _begin_csv(self) -> None:
        data = self._read()
        while data and not data.strip():
            data = self._read()
        if len(data) > LINE_BYTES:
            raise self._wrong(f"has a first line of more than {LINE_BYTES:,} bytes. It names the columns: {_SHOWN}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise self._wrong("is not in UTF-8. Save it as UTF-8") from None
        delimiter = next((each for each in ",;\t" if each in text), ",")
        try:
            cells = _cells(text.rstrip("\r\n"), delimiter)
        except ValueError as error:
            raise self._wrong(f"has a first line that cannot be read: {error}. It names the columns: {_SHOWN}") from None
        names = [cell.strip().lower().replace("-", "_").replace(" ", "_") for cell in cells]
        self._check_header(cells, names)
        self.header = tuple(cells)
        self._parse = _Row(delimiter, [None if name in OURS else COLUMNS[name] for name in names])

    def _check_header(self, cells: Sequence[str], names: Sequence[str]) -> None:
        known = f"The columns are hostname, workspace, {', '.join(list(COLUMNS)[5:])}"
        unknown = [cell for cell, name in zip(cells, names, strict=True) if name not in COLUMNS and name not in OURS]
        if len(unknown) == len(names) or any("." in cell for cell in unknown):
            raise self._wrong(f"does not name its columns. Its first line must: {_SHOWN}. {known}")
        if unknown:
            raise self._wrong(f"has a column {unknown[0][:60]!r}, which nobody knows. {known}")
        meant = [COLUMNS[name] for name in names if name in COLUMNS]
        if twice := next((each for each in meant if meant.count(each) > 1), None):
            raise self._wrong(f"has two columns for {twice}. Leave one of them out")
        if "domain" not in meant:
            raise self._wrong("has no column hostname")
        if "workspace_id" not in meant and "workspace_id" not in self._defaults:
            raise self._wrong("has no column workspace. Add one, or say with --workspace whose all of them are")

    def _wrong(self, what: str) -> WrongFile:
        return WrongFile(f"{self._name} {what}.")


class _Row:
    """Reads a line of CSV."""

    def __init__(self, delimiter: str, columns: Sequence[str | None]) -> None:
        self._delimiter = delimiter
        self._columns = columns

    def __call__(self, text: str) -> tuple[Any, dict[str, Any]]:
        cells = _cells(text, self._delimiter)
        if len(cells) != len(self._columns):
            raise _Malformed(f"It has {len(cells)} fields, and the header names {len(self._columns)} columns", cells)
        fields: dict[str, Any] = {}
        try:
            for name, cell in zip(self._columns, cells, strict=True):
                if name is not None and (value := cell.strip()):
                    fields[name] = _value(name, value)
        except ValueError as error:
            raise _Malformed(str(error), cells) from None
        return cells, fields


class _Malformed(ValueError):
    def __init__(self, text: str, cells: Sequence[str]) -> None:
        super().__init__(text)
        self.cells = cells


def _cells(text: str, delimiter: str) -> list[str]:
    """Each line is read by itself: a quotation mark that is missing somewhere must not swallow the rest of the file."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"Its quotation marks are wrong ({error})") from None


def _value(name: str, text: str) -> Any:
    if name in ("include_www", "verify"):
        switch = _SWITCHES.get(text.lower())
        if switch is None:
            raise ValueError(f"{name}: {text[:40]!r} is neither true nor false")
        return switch
    if name in ("metadata", "policies"):
        value = _json(text)
        if not isinstance(value, dict):
            raise ValueError(f'{name}: {text[:40]!r} is no JSON object, like {{"plan": "gold"}}')
        return value
    return text


def _object(text: str) -> tuple[Any, dict[str, Any]]:
    """Reads a line with a JSON object."""
    value = _json(text)
    if not isinstance(value, dict):
        raise ValueError('It is no JSON object, like {"hostname": "gallery.example.com", "workspace": "spandantest"}')
    fields: dict[str, Any] = {}
    for name, member in value.items():
        if name in OURS:
            continue
        api = COLUMNS.get(name, name)
        if api in fields:
            raise ValueError(f"It says {api} twice")
        fields[api] = member
    return value, fields


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"It is not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("It is not JSON: it is nested too deeply") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("It has a name twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"It is not JSON: {name} is no number there")
