"""Header sections of requests that came before, byte for byte: what their lines say together. Pure.

A browser asks for a page's images with the same fields each time, so of the requests that share a visitor, a page and a kind
all but the first are one look-up where there would be fifteen, and nothing is taken apart and put together again
(`docs/performance.md`).
"""

from __future__ import annotations

import msgspec

SECTION_MOST = 2048
"""Bytes of a section that is remembered. Larger ones are rare, and each would drive out several others."""

SECTIONS_BYTES = 2 * 1024 * 1024
"""Bytes of memory for one generation. There are two."""

ENTRY_BYTES = 400
"""What one costs besides its lines, which are kept as they came and as they go on: somebody may send none but short ones."""

SECTIONS_SECONDS = 10.0
"""How long a generation lasts at most."""


class Section(msgspec.Struct, frozen=True, gc=False):
    """What the field lines of a request say that has no body, is for no proxy's eyes and asks for no other protocol."""

    authority: bytes
    """The value of Host, as sent."""
    host: str
    """See RequestHead."""
    kept: bytes
    """The lines for the origin, CRLF before each and behind the last."""
    close: bool = False
    """The client wants the connection closed afterwards."""


class Sections:
    """A bounded memo in two generations. A full one becomes the older of them, whose sections come back when they are asked for
    and go otherwise: whoever fills it with his own makes others' requests cost what they would cost without it."""

    __slots__ = ("_age_at", "_bytes", "_older", "recent")

    def __init__(self) -> None:
        self.recent: dict[bytes, Section] = {}
        """By the lines between the request line and the empty line, without the CRLF at either end."""
        self._older: dict[bytes, Section] = {}
        self._bytes = 0
        self._age_at = 0.0

    def again(self, section: bytes) -> Section | None:
        """One that is not among the recent ones, if it is known at all; from now on it is recent."""
        known = self._older.get(section)
        if known is not None:
            self.add(section, known)
        return known

    def add(self, section: bytes, known: Section) -> None:
        """Remembers what a section says."""
        if len(section) > SECTION_MOST:
            return
        if self._bytes > SECTIONS_BYTES:
            self._age()
        self._bytes += 2 * len(section) + ENTRY_BYTES
        self.recent[section] = known

    def sweep(self, now: float) -> None:
        """Forgets what has not come for SECTIONS_SECONDS, or twice that: there are cookies and tokens in it, which are not to
        stay for longer than they are of use. `now`: monotonic seconds."""
        if now >= self._age_at:
            self._age_at = now + SECTIONS_SECONDS
            self._age()

    def _age(self) -> None:
        self._older, self.recent, self._bytes = self.recent, {}, 0
