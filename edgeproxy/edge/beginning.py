"""The lines with which an origin's answers begin alike: status, server, date, type. Pure.

They are parsed once and then known as one, by one comparison of bytes: of the six or eight lines that an answer has, two or
three are left to be looked at (`bench/`, scenario h2: half a microsecond of 28).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from operator import eq
from typing import Final

from edgeproxy.edge.headers import CONNECTION, DROP, KEEP, LENGTH, REFUSE, Field, ResponseLine

WORTH: Final = 4
"""Lines, the status line included, from which on it pays."""
REST: Final = 32
"""Answers that are not compared after two had too little in common: an origin whose answers always differ pays for few."""

_Status = tuple[int, bool, bytes, Field]
"""Status, whether it is HTTP/1.1, the status line that goes on, the status as HTTP/2 has it."""
_UNKNOWN: ResponseLine = (REFUSE, (b"", b""), None)
_NEVER = b"\n"
"""No head begins so."""


class Beginning:
    """What the answers of one origin have in common. Empty at first; it learns from what it does not know."""

    __slots__ = ("_before", "_rest", "dropped", "fields", "keep", "length", "lines", "start_line", "status", "text", "whole")

    def __init__(self) -> None:
        self.text = _NEVER
        """The raw lines, each with its CRLF. Never all of a head: behind it there is at least one more."""
        self.status = 0
        self.start_line = b""
        self.keep = True
        self.length: int | None = None
        """What its Content-Length said; None where it has none."""
        self.lines: list[bytes] = []
        """Its field lines."""
        self.dropped: list[bytes] = []
        """Those of them that are not passed on."""
        self.fields: list[Field] = []
        """Those that are, as HTTP/2 has them, :status first."""
        self.whole = b""
        """The start line, and the lines that are passed on, each with its CRLF."""
        self._before = b""
        """A head that begins otherwise: the next such one is compared with it."""
        self._rest = 0

    def learn(self, head: bytes, status: _Status, known: Callable[[bytes], ResponseLine | None]) -> None:
        """A valid answer came that begins otherwise; `status` is what its first line says.

        Where it shares enough with what is known, that is kept. Where it does not, nothing changes until a second such answer
        shows that they begin alike: the date has gone on. An odd answer between others costs them nothing.
        """
        if self._rest:
            self._rest -= 1
            return
        lines = head.split(b"\r\n")
        if self._take(lines, self.text, status, known):
            return
        before, self._before = self._before, head
        if before:
            self._before = b""
            if not self._take(lines, before, status, known):
                self._rest = REST

    def _take(self, lines: list[bytes], before: bytes, status: _Status, known: Callable[[bytes], ResponseLine | None]) -> bool:
        """Notes the lines that are as before, up to the first that wants a closer look; whether they are enough."""
        alike = sum(1 for _ in takewhile(bool, map(eq, lines[:-1], before.split(b"\r\n"))))
        length: int | None = None
        dropped: list[bytes] = []
        fields = [status[3]]
        taken = 1
        for line in lines[1:alike]:
            kind, field, says = known(line) or _UNKNOWN
            if kind == KEEP:
                fields.append(field)
            elif kind == LENGTH and length is None and isinstance(says, int):
                length = says
                fields.append(field)
            elif kind == DROP or (kind == CONNECTION and not says):
                dropped.append(line)
            else:
                break
            taken += 1
        if taken < WORTH:
            return False
        self.text = b"\r\n".join((*lines[:taken], b""))
        self.status, self.keep, self.start_line, _ = status
        self.whole = b"\r\n".join((self.start_line, *(line for line in lines[1:taken] if line not in dropped), b""))
        self.length, self.lines, self.dropped, self.fields = length, lines[1:taken], dropped, fields
        return True
