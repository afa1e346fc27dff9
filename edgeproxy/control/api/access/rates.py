"""How often a token may ask. Pure."""

from __future__ import annotations

AT_ONCE = 30
"""Seconds' worth of requests that may come at once: a program that looks at all its domains every 30 s does so in one go."""

PAGE_RATE = 2.0
"""Requests a second of a token for one domain: a page looks every few seconds, in some tabs."""

ENTRIES = 10_000
"""Tokens that are remembered, some 2 MB. Above it those go that could have all their requests at once again; then any."""


class Rates:
    """A token bucket for each token."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float, float]] = {}
        """By key: what was left, when, and requests gained a second."""

    def take(self, key: str, rate: float, now: float) -> float:
        """Takes one of `rate` requests a second; the seconds to wait where there is none, else 0. `now` is monotonic."""
        full = rate * AT_ONCE
        before, at, _ = self._left.get(key, (full, now, rate))
        left = min(full, before + max(0.0, now - at) * rate)
        if key not in self._left and len(self._left) >= ENTRIES:
            self._make_room(now)
        taken = left >= 1.0
        self._left[key] = (left - 1.0 if taken else left, now, rate)
        return 0.0 if taken else (1.0 - left) / rate

    def _make_room(self, now: float) -> None:
        kept = {key: each for key, each in self._left.items() if each[0] + (now - each[1]) * each[2] < each[2] * AT_ONCE}
        self._left = kept if len(kept) < ENTRIES else {}
