"""How fast a CA may be asked. Pure: `now` is a parameter, monotonic seconds."""

from __future__ import annotations

import math

SPACING = 1.0
"""Seconds between two requests to a CA in trouble: twenty waiting names make one request a second, not twenty."""

PAUSE_MAX = 60.0
"""Seconds of the longest pause that we choose ourselves."""

BELIEVED = 86_400.0
"""Seconds of the longest pause that a CA in trouble may ask for: a broken front end's Retry-After must not last for years."""

RECOVERED = 5
"""Proper answers in a row after which a CA whose trouble came back counts as well again."""

MEMORY = 120.0
"""Seconds after a pause during which further trouble is the same, and lengthens the pause."""

WIDEST = 8
"""Requests to one CA at once."""

IDLE = 10.0
"""Seconds without an answer after which it is not known any more how the CA is."""


class Pace:
    """Knows when the next request may go out.

    To a CA that answers properly WIDEST requests go at once. One that has not been asked for a while is first asked by one
    request, then by two, and so on: so a crowd that arrives while it is in trouble meets that with a single request. Where
    even that answer takes its time, another request goes each second.

    A 503 opens a pause: what Retry-After says, else 1, 2, 4 … seconds. After it requests go one at a time and a second
    apart, until one is answered properly; where the trouble came back, until RECOVERED are. So a CA that still tells what
    became of an order, but signs nothing, is not taken for a healthy one in between.
    """

    __slots__ = ("_answered_at", "_failures", "_good", "_next", "_pause_ends", "_sent_at", "_troubled", "_window")

    def __init__(self) -> None:
        self._failures = 0
        self._good = 0
        self._troubled = False
        self._pause_ends = -math.inf
        self._next = 0.0
        self._window = 1
        self._sent_at = self._answered_at = -math.inf

    @property
    def troubled(self) -> bool:
        """Whether the CA's last answer said that it is not well."""
        return self._troubled

    def waiting(self, now: float, under_way: int) -> float:
        """Seconds until another request may go out beside those under way; math.inf: not before one of them is answered."""
        if self._troubled:
            return max(0.0, self._next - now)
        if under_way == 0:
            return 0.0
        if now - self._answered_at > IDLE:
            self._window = 1
        if under_way < self._window:
            return 0.0
        return math.inf if under_way >= WIDEST else max(0.0, self._sent_at + SPACING - now)

    def sent(self, now: float) -> None:
        """A request goes out."""
        self._sent_at = now
        self._next = max(self._next, now + SPACING)

    def trouble(self, now: float, retry_after: float) -> None:
        """The CA did not answer, or with a status that means "not now"."""
        if now >= self._pause_ends:  # what was under way when the pause began says nothing new
            if now - self._pause_ends > MEMORY:
                self._failures = 0
            self._failures += 1
            self._pause_ends = now + min(2.0 ** min(self._failures - 1, 10), PAUSE_MAX)
        self._pause_ends = max(self._pause_ends, now + min(retry_after, BELIEVED))
        self._next = max(self._next, self._pause_ends)
        self._window, self._good, self._troubled = 1, 0, True

    def answered(self, now: float) -> None:
        """The CA answered properly."""
        if now - self._answered_at > IDLE:
            self._window = 1
        self._answered_at = now
        self._window = min(self._window * 2, WIDEST)
        self._good += 1
        if self._troubled and self._good < (1 if self._failures == 1 else RECOVERED):
            return
        self._troubled = False
        self._next = 0.0
