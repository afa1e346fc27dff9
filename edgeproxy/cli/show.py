"""What commands print: tables, fields, JSON, progress. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import typer

Row = Sequence[Any]


def text_of(value: Any) -> str:
    """A value for a person, without control characters: what others sent must not steer the terminal."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(text_of(element) for element in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {text_of(element)}" for key, element in value.items())
    return "".join(character if character.isprintable() else "·" for character in str(value))


def table(heads: Sequence[str], rows: Iterable[Row], *, empty: str) -> None:
    """A table with aligned columns; `empty` is said, on stderr, when there are no rows."""
    cells = [[text_of(value) for value in row] for row in rows]
    if not cells:
        typer.echo(empty, err=True)
        return
    widths = [max(len(head), *(len(row[column]) for row in cells)) for column, head in enumerate(heads)]
    for row in ([head.upper() for head in heads], *cells):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def fields(values: Mapping[str, Any], *, leave_out: frozenset[str] = frozenset()) -> None:
    """One thing: a line for each of its fields that says something."""
    shown = {
        key.replace("_", " "): text_of(value)
        for key, value in values.items()
        if key not in leave_out and (value or value is False or value == 0)
    }
    width = max((len(key) for key in shown), default=0)
    for key, text in shown.items():
        typer.echo(f"{key.ljust(width)}  {text}")


def zone_lines(values: Mapping[str, Any]) -> None:
    """The DNS records that go with a thing, as lines of a zone file, required ones first, each with what is there now."""
    records = sorted(values.get("dns_records", ()), key=lambda record: not record["required"])
    for record in records:
        need = "required" if record["required"] else "optional"
        what = "file" if record.get("type") == "FILE" else "DNS record"
        reason = f" {text_of(record['reason'])}" if record["reason"] else ""
        typer.echo(f"\n{need} {what}:{reason}\n  {text_of(record['zone_line'] or record['name'])}")
        if record.get("ok") is not None or record.get("seen"):
            there = text_of(record.get("seen") or "nothing")
            typer.echo(f"  Now: {there}{', as it must be' if record.get('ok') else ''}")


def as_json(value: Any) -> None:
    """JSON for programs, indented for people."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def listing_as_json(name: str, members: Iterable[Mapping[str, Any]]) -> None:
    """{"NAME": […]}, written as the members come: a listing may have a million. Nothing where not even the first one comes."""
    rest = iter(members)
    first = list(itertools.islice(rest, 1))
    typer.echo(f'{{"{name}": [', nl=False)
    separator = "\n"
    for member in itertools.chain(first, rest):
        typer.echo(separator + "  " + json.dumps(member, ensure_ascii=False), nl=False)
        separator = ",\n"
    typer.echo("\n]}" if separator != "\n" else "]}")


def say(text: str) -> None:
    """Something beside the result, for a person."""
    typer.echo(text, err=True)


def end_with_reader() -> None:
    """From now on ends this program as soon as nobody reads what it prints any more (`… | head -1`), as `tail -f` does. It
    would else be noticed with the next line, which may never come."""
    try:
        descriptor = sys.stdout.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return
    except (OSError, ValueError):
        return

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)  # errors alone, which come unasked
        poll.poll()
        os._exit(0)  # each line is flushed when it is printed

    threading.Thread(target=wait, daemon=True).start()


class Progress:
    """What is being waited for: on a terminal one line that changes, else a line for each step. Use with `with`."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since = time.monotonic()
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._last = ""

    def __enter__(self) -> Self:
        self.step("")
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            typer.echo("\r\x1b[K", err=True, nl=False)

    def step(self, text: str) -> None:
        """What is being done now."""
        text = text_of(text) if text else ""
        line = f"{self._what}{': ' + text if text else ''} …"
        if self._live:
            typer.echo(f"\r\x1b[K{line} {time.monotonic() - self._since:.0f} s", err=True, nl=False)
        elif line != self._last:
            typer.echo(line, err=True)
        self._last = line


class Bar:
    """How much of something is done, on stderr: on a terminal one line with a bar, else a line every SECONDS. Use with
    `with`."""

    SECONDS = 10.0
    DRAWN_SECONDS = 0.1
    WIDTH = 24

    def __init__(self, what: str, size: int) -> None:
        """`size`: of all of it, in whatever it is counted by."""
        self._what = what
        self._size = max(size, 1)
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = time.monotonic() if not self._live else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            typer.echo("\r\x1b[K", err=True, nl=False)

    def show(self, done: int, text: str) -> None:
        """So much of it is done. Not each call is shown."""
        now = time.monotonic()
        if now - self._shown < (self.DRAWN_SECONDS if self._live else self.SECONDS):
            return
        self._shown = now
        share = min(done / self._size, 1.0)
        text = text_of(text)
        if not self._live:
            typer.echo(f"{self._what}: {share:.0%}, {text}", err=True)
            return
        filled = int(share * self.WIDTH)
        line = f"{self._what} [{'#' * filled}{'.' * (self.WIDTH - filled)}] {share:.0%} {text}"
        typer.echo(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False)
