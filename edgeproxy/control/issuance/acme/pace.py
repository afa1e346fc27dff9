"""How fast a CA in trouble may be asked. Pure: `now` is a parameter, monotonic seconds."""

from __future__ import annotations

SPACING = 1.0
"""Seconds between two requests while the CA is in trouble: twenty waiting names make one request a second, not twenty."""

PAUSE_MAX = 60.0
"""Seconds of the longest pause that we choose ourselves."""


class Pace:
    """Knows when the next request may go out. Without trouble that is always now.

    A 503 opens a pause: what Retry-After says, else 1, 2, 4 … seconds. After it requests go one at a time and a second
    apart, until one is answered properly.
    """

    __slots__ = ("_failures", "_next", "_pause_ends")

    def __init__(self) -> None:
        self._failures = 0
        self._pause_ends = 0.0
        self._next = 0.0

    def waiting(self, now: float) -> float:
        """Seconds that `reserve` would answer now, taking nothing."""
        return max(0.0, self._next - now) if self._failures else 0.0

    def reserve(self, now: float) -> float:
        """Seconds to wait before the next request; the place is taken."""
        wait = self.waiting(now)
        if self._failures:
            self._next = now + wait + SPACING
        return wait

    def trouble(self, now: float, retry_after: float) -> None:
        """The CA did not answer, or with a status that means "not now"."""
        if now >= self._pause_ends:  # what was under way when the pause began says nothing new
            self._failures += 1
            self._pause_ends = now + min(2.0 ** min(self._failures - 1, 10), PAUSE_MAX)
        self._pause_ends = max(self._pause_ends, now + retry_after)
        self._next = max(self._next, self._pause_ends)

    def answered(self) -> None:
        """The CA answered properly."""
        self._failures = 0
        self._pause_ends = self._next = 0.0
