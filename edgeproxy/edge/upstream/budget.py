"""How many requests may be sent to an origin a second time. Pure.

A retry helps a visitor whose connection closed by chance; many at once multiply the load of an origin that is failing.
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 10.0
"""Seconds: what counts is this window and the one before it."""

SHARE: Final = 0.2
"""Retries to requests, of one worker to one origin."""

FLOOR: Final = 10
"""Retries that are allowed however few requests there were: the first request of a quiet night may meet a closed connection."""


class RetryBudget:
    """At most SHARE of the recent requests, or FLOOR. `now` is monotonic."""

    def __init__(self) -> None:
        self._begun = 0.0
        self._requests = self._retries = 0
        self._requests_before = self._retries_before = 0

    def asked(self, requests: int, now: float) -> None:
        """So many more requests were sent, retries among them or not."""
        self._roll(now)
        self._requests += requests

    def take(self, now: float) -> bool:
        """Whether one more may be sent again; it counts then."""
        self._roll(now)
        allowed = max(FLOOR, SHARE * (self._requests + self._requests_before))
        if self._retries + self._retries_before >= allowed:
            return False
        self._retries += 1
        return True

    def _roll(self, now: float) -> None:
        passed = now - self._begun
        if passed < WINDOW:
            return
        recent = passed < 2 * WINDOW
        self._requests_before, self._requests = self._requests if recent else 0, 0
        self._retries_before, self._retries = self._retries if recent else 0, 0
        self._begun = now
