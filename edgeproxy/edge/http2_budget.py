"""What a client may do so many times at once, and so many times a second. Pure."""

from __future__ import annotations


class Budget:
    """`burst` at once, and `rate` a second after that."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = self._left = float(burst)
        self._rate = rate
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is within it; it counts then or not. `now`: any clock's seconds."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate) - 1
        self._at = now
        return self._left >= 0
