"""An import: batches of lines go to the edge, which answers for each line; what was answered is noted, so that whoever is
interrupted goes on there.

A domain that its workspace has already counts as done. So nothing is lost and nothing is done twice, wherever this program, the
edge or the machine ends: what was sent last is sent again.
"""

from __future__ import annotations

import dataclasses
import json
import select
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from edgeproxy.cli.bulk.lines import Lines, Record, WrongFile
from edgeproxy.cli.bulk.place import Place, PlaceFile
from edgeproxy.cli.bulk.refused import RefusedLines
from edgeproxy.cli.client import AdminClient, Refused
from edgeproxy.cli.show import Bar, say
from edgeproxy.errors import AdminUnavailable, EdgeError

DOMAINS = "/api/v1/infrastructure/domains"
IMPORTS = "/api/v1/infrastructure/domain-imports"

BATCH = 250
"""Lines of one request: 60 ms of the edge's time, for which others who change something wait at most."""

BATCH_BYTES = 512 * 1024
"""Of one request; the edge takes twice as many."""

WINDOW, WINDOW_BYTES = 100_000, 32 * 1024 * 1024
"""Lines, and bytes of them, that are read ahead and sent by name: for 250 names that stand together the edge writes 30 pages of
each index, for any others 250, twenty times what there is to store."""

NOTED_SECONDS = 1.0
"""Between two notes how far it has come."""

PATIENCE = 120.0
"""Seconds for which an edge that answered before may be silent: its controller may be replaced, or the disk busy."""

_PAUSES = (0.2, 0.5, 1.0, 2.0)
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Import:
    """One file that goes to one edge. `defaults`: fields of each domain that says nothing else; `refused`: where refused lines
    go, by default beside the file. Use with `with`; raises WrongFile, OSError."""

    def __init__(
        self, path: Path, edge: AdminClient, defaults: dict[str, Any], *, refused: Path | None = None, events: bool = False
    ) -> None:
        self.path = path
        self._edge = edge
        self._events = events
        if path.exists() and not path.is_file():
            raise WrongFile(f"{path} is no file. Give a CSV file, or one with a JSON object on each line.")
        self._file: BinaryIO = path.open("rb")
        try:
            self._lines = Lines(self._file, str(path), defaults)
            suffix = path.suffix or (".csv" if self._lines.is_csv else ".jsonl")
            self.refused_path = refused or path.with_name(f"{path.stem}.refused{suffix}")
            if self.refused_path.exists() and self.refused_path.samefile(path):
                raise WrongFile(f"{path} cannot be the file for its own refused lines. Give another one with --refused.")
        except BaseException:
            self._file.close()
            raise
        self._refused = RefusedLines(self.refused_path, self._lines)
        options = {**defaults, "events": events, "edge": str(edge.path), "refused": str(self.refused_path.resolve())}
        self._noted = PlaceFile(path, self._file, options)
        self._noted_at = 0.0
        self._answered = False
        self._began = time.monotonic()
        self.place = Place()
        self.resumed = 0
        """The lines that an earlier run had done."""
        self.published = True
        """Whether every worker serves what was added."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._refused.close()
        self._file.close()

    def run(self, bar: Bar) -> None:
        """All that is left of the file. Raises Refused where the edge refuses the whole, AdminUnavailable where it does not
        answer; how far it has come is noted then, as it is where the program is interrupted."""
        self._go_on()
        done = False
        try:
            for window in _windows(self._lines):
                self._do(window, bar)
            done = True
        finally:
            if done:
                self._refused.flush()
                self._noted.remove()
            elif self.place.offset or self.place.ahead:
                self._note()

    def _do(self, window: list[Record], bar: Bar) -> None:
        """One window; noted as a whole, once all of it was answered."""
        reached = dataclasses.replace(self.place, line=window[-1].line, offset=window[-1].end, ahead=0)
        known, size = self.place.ahead, reached.offset - self.place.offset
        refused = [(record, record.code, record.detail) for record in window if record.detail]
        sent = 0
        for batch in _batches(window):
            answer = self._send(batch, bar)
            reasons = {each["index"]: each for each in answer["refused"]}
            for index, record in enumerate(batch):
                if reason := reasons.get(index):
                    refused.append((record, str(reason["code"]), str(reason["detail"])))
                else:
                    self.place.last = reached.last = str(record.fields["domain"])
            before = min(known, answer["there"])  # by the run that was interrupted
            known -= before
            reached.added += answer["added"] + before
            reached.there += answer["there"] - before
            self.published = answer["published"]
            self.place.ahead = max(self.place.ahead, reached.added - self.place.added)
            if time.monotonic() - self._noted_at >= NOTED_SECONDS:
                self._note()
            sent += len(batch)
            bar.show(self.place.offset + size * sent // len(window), self._standing(reached, sent, len(refused)))
        for record, code, detail in sorted(refused, key=lambda each: each[0].line):
            self._refused.write(record, code, detail)
        reached.refused += len(refused)
        reached.refused_bytes = self._refused.size()
        self.place = reached

    def _go_on(self) -> None:
        """At the line where an earlier run ended, if there was one and the edge still has what it added."""
        place, other = self._noted.read()
        if other:
            say(f"{self.path} or the command is another one than when its import was interrupted; beginning at its first line.")
        if place.last and not self._has(place.last):
            say(f"The edge does not have {place.last} any more, which was imported before; beginning at the first line.")
            place = Place()
        if place.refused_bytes and _size(self.refused_path) < place.refused_bytes:
            say(f"{self.refused_path} is not what it was when the import was interrupted; beginning at the first line.")
            place = Place()
        self._refused.resume(place.refused_bytes)
        if place.offset or place.ahead:
            self.place, self.resumed = place, place.lines + place.ahead
            if place.offset:
                self._lines.seek(place.line, place.offset)
            say(f"Going on where the import was interrupted, after {self.resumed:,} domains.")

    def _has(self, hostname: str) -> bool:
        try:
            self._edge.get(f"{DOMAINS}/{quote(hostname, safe='')}")
        except Refused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    def _send(self, batch: list[Record], bar: Bar) -> dict[str, Any]:
        """The edge's answer to a batch; waits for an edge that is replaced, or has too much to do."""
        sent = [record.fields for record in batch]
        until = time.monotonic() + PATIENCE
        for tries in range(10_000):
            try:
                answer = self._edge.post(IMPORTS, {"domains": sent, "events": self._events})
            except (AdminUnavailable, Refused) as error:
                if not self._may_wait(error) or time.monotonic() >= until:
                    raise
                bar.show(self.place.offset, f"waiting: {error.detail}")
                select.select([], [], [], _PAUSES[min(tries, len(_PAUSES) - 1)])
            else:
                self._answered = True
                return answer
        raise AdminUnavailable(f"The edge at {self._edge.path} does not take the import.")

    def _may_wait(self, error: EdgeError) -> bool:
        """Whether the same may succeed in a moment. Who has not answered yet may never do: that is told at once."""
        if isinstance(error, Refused):
            return error.retryable and error.status in _LATER
        return self._answered or self.resumed > 0

    def _note(self) -> None:
        self._noted_at = time.monotonic()
        self._refused.flush()
        self._noted.write(self.place)
        if not self._noted.works and self._noted_at:
            self._noted_at = float("inf")  # said once, and not tried again
            say(f"{self._noted.path} cannot be written: an import that is interrupted begins at its first line again.")

    def _standing(self, reached: Place, sent: int, refused: int) -> str:
        """How it goes, in a few words."""
        seconds = time.monotonic() - self._began
        lines = self.place.lines + sent + refused
        rate = (lines - self.resumed) / max(seconds, 0.001)
        parts = [f"{lines:,} lines", f"{rate:,.0f}/s"]
        if reached.refused + refused:
            parts.append(f"{reached.refused + refused:,} refused")
        return ", ".join(parts)


def _windows(lines: Lines) -> Iterator[list[Record]]:
    """The lines in groups that are put in order."""
    window: list[Record] = []
    size = lines.offset
    for record in lines:
        window.append(record)
        if len(window) == WINDOW or record.end - size > WINDOW_BYTES:
            yield window
            window, size = [], record.end
    if window:
        yield window


def _batches(window: Sequence[Record]) -> Iterator[list[Record]]:
    """Those of a window that can be sent: by name, and then, as they come, those that redirect, since they may lead to
    others."""
    records = [record for record in window if not record.detail]
    records.sort(key=_turn)
    batch: list[Record] = []
    size = 0
    for record in records:
        bytes_of = len(json.dumps(record.fields))
        if batch and (len(batch) == BATCH or size + bytes_of > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += bytes_of
    if batch:
        yield batch


def _turn(record: Record) -> tuple[bool, str, int]:
    redirects = bool(record.fields.get("redirect_to"))
    return redirects, "" if redirects else str(record.fields.get("domain")), record.line


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def duration(seconds: float) -> str:
    """For a person: "48 s", "4 min 12 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
