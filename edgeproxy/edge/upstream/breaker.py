"""When an origin that fails is left alone for a while, so that it can recover and visitors need not wait to be told. Pure."""

from __future__ import annotations

import math
from typing import Final

LONGEST: Final = 60.0
"""Seconds that an origin is left alone at most between two attempts."""


PERSISTENT: Final = 3.0
"""Seconds over which an origin's failures must have gone on, with no answer between them, before it is left alone. Some request
makes nearly every origin fail: one that crashes it, one that its firewall drops. Who knows such a one sends fifty at once, and
would take the origin from everybody else; so their answers are waited for."""


class Breaker:
    """Closed: everything passes. Open after `threshold` failures over `persistent` seconds with no answer between them: one
    request passes after each pause, which doubles as long as those fail; the first answer closes it. `now` is monotonic,
    `pause` in seconds. A threshold of 0: it never opens."""

    def __init__(self, threshold: int, pause: float, persistent: float = 0.0) -> None:
        self._threshold = threshold
        self._first_pause = self._pause = pause
        self._persistent = persistent
        self._failing_since = 0.0
        self._until = 0.0
        self._probing = False
        self.failures = 0
        """Since the last answer."""
        self.open = False

    def failed(self, now: float) -> bool:
        """A request had no answer. Whether it opens by this."""
        if not self.failures:
            self._failing_since = now
        self.failures += 1
        if not self.open:
            persist = now - self._failing_since >= self._persistent
            if not self._threshold or self.failures < self._threshold or not persist:
                return False
            self.open = True
            self._until = now + self._pause
            return True
        if self._probing:  # others were under way when it opened, and say nothing new
            self._probing = False
            self._pause = min(self._pause * 2, LONGEST)
            self._until = now + self._pause
        return False

    def answered(self) -> bool:
        """A request had an answer. Whether it closes by this."""
        was_open = self.open
        self.failures = 0
        self.open = self._probing = False
        self._pause = self._first_pause
        return was_open

    def admits(self, now: float) -> bool:
        """Whether a request may be sent. While it is open that one is the probe: what becomes of it must be told; where nobody
        does, its client having left, there is another after the same pause."""
        if not self.open:
            return True
        if now < self._until:
            return False
        self._probing = True
        self._until = now + self._pause
        return True

    def seconds_left(self, now: float) -> int:
        """Until the next probe, at least 1: for Retry-After."""
        return max(1, math.ceil(self._until - now))
