"""How long to wait between two looks at something that the CA is working on. Pure."""

from __future__ import annotations

FIRST = 0.01
LONGEST = 5.0
GROWTH = 0.6

EAGER = 0.5
"""Seconds of looking quickly first. A Retry-After counts after them: CAs send a fixed one of several seconds even where
the work is done in milliseconds, and the nine looks until then are no burden to anybody."""


def next_delay(spent: float, retry_after: float, limit: float) -> float | None:
    """Seconds until the next look after `spent` seconds of waiting, or None when `limit` is spent."""
    if spent >= limit:
        return None
    delay = min(max(FIRST, spent * GROWTH), LONGEST)
    if spent > EAGER:
        delay = max(delay, retry_after)
    return min(delay, max(limit - spent, FIRST))
