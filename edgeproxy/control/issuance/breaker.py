"""When a CA that fails is left alone, and when it is tried again. Pure: `now` is a parameter, Unix time."""

from __future__ import annotations

import math
from typing import Literal

State = Literal["closed", "open", "half_open"]

FAILURES = 3
"""Failures in a row after which a CA is left alone: one may be a connection that broke, two a front end that restarts."""

FIRST_PAUSE = 60.0
"""Seconds until the first trial."""

GROWTH = 2.0
"""Each trial that fails makes the next pause so many times as long."""

PAUSE_MAX = 3_600.0
"""Seconds of the longest pause that we choose ourselves: once an hour is asked even of a CA that was given up."""

BELIEVED = 7 * 86_400.0
"""Seconds of the longest pause that the CA itself may ask for."""

_NEXT: dict[tuple[State, str], State] = {
    ("closed", "failed"): "closed",
    ("closed", "failed too often"): "open",
    ("closed", "worked"): "closed",
    ("open", "pause over"): "half_open",
    ("open", "failed too often"): "open",
    ("open", "worked"): "closed",
    ("half_open", "failed too often"): "open",
    ("half_open", "worked"): "closed",
}
"""Everything that can happen. What was under way when it opened may still fail or work: an answer is an answer."""


class Breaker:
    """One CA's. Closed: it is used. Open: it is not. Half open: one order is let through, to see."""

    __slots__ = ("_length", "_next", "_pause", "_state", "_trial", "failures", "reason", "since")

    def __init__(self) -> None:
        self._state: State = "closed"
        self._pause = self._length = 0.0
        self._next = -math.inf
        self._trial = False
        self.failures = 0
        """In a row."""
        self.reason = ""
        """Of the last failure, in words; empty once it works again."""
        self.since = 0.0
        """Unix time since which it is left alone; 0: it is not."""

    def state(self, now: float) -> State:
        """How it stands."""
        # further off than it ever was: the clock was set back
        if self._state == "open" and (now >= self._next or self._next - now > self._length + 1):
            self._state = _NEXT[self._state, "pause over"]
        return self._state

    @property
    def next_trial(self) -> float:
        """Unix time from which it is tried again; what is past means nothing."""
        return self._next

    def allows(self, now: float) -> bool:
        """Whether it may be asked for a certificate."""
        return self.state(now) == "closed" or (self._state == "half_open" and not self._trial)

    def begin(self, now: float) -> None:
        """It is asked. To be followed by `worked`, `failed` or `left`."""
        if self.state(now) == "half_open":
            self._trial = True

    def left(self) -> None:
        """It was not asked after all, or nothing was learnt."""
        self._trial = False

    def worked(self) -> None:
        """It did its work, or said in order why it would not."""
        self._state = _NEXT[self._state, "worked"]
        self._trial = False
        self.failures, self.reason, self.since, self._pause = 0, "", 0.0, 0.0

    def failed(self, now: float, reason: str, pause: float = 0.0) -> bool:
        """It failed by its own fault; whether it is left alone from now on. `pause`: seconds that it asked for, which make one
        failure enough."""
        was = self.state(now)
        self._trial = False
        self.failures += 1
        self.reason = reason
        if was == "closed" and not pause and self.failures < FAILURES:
            self._state = _NEXT[was, "failed"]
            return False
        self._state = _NEXT[was, "failed too often"]
        if was == "open":  # what was under way tells nothing new
            self._wait_until(now, max(self._next - now, min(pause, BELIEVED)))
            return True
        self._pause = min(self._pause * GROWTH, PAUSE_MAX) if self._pause else FIRST_PAUSE
        self._wait_until(now, max(self._pause, min(pause, BELIEVED)))
        self.since = self.since or now
        return True

    def _wait_until(self, now: float, seconds: float) -> None:
        self._length = seconds
        self._next = now + seconds
