"""How much is answered over UDP to one network: response-rate limiting, so that nobody makes this server shout at somebody
else in whose name they ask. Pure.

A network above its rate gets silence, and to every second question a truncated answer: a resolver that is really there
comes back by TCP. Memory is fixed, however many networks ask.
"""

from __future__ import annotations

import enum

from edgeproxy.buckets import SLOTS, Buckets

BURST_SECONDS = 2
"""Seconds' worth of answers that a network which was quiet may have at once."""


class Verdict(enum.Enum):
    """What to do with a question."""

    ANSWER = "answer"
    TRUNCATE = "truncated"
    DROP = "dropped"


class RateLimit:
    """Decides on each question by its network's bucket."""

    def __init__(self, rate: int, secret: bytes) -> None:
        """`rate`: answers a second and network. `secret`: random, at most 64 bytes."""
        self._buckets = Buckets(float(rate), float(rate * BURST_SECONDS), secret)
        self._odd = bytearray(SLOTS)

    def take(self, network: bytes, now: float) -> Verdict:
        """Counts a question from a network (`buckets.network_of`). `now` is monotonic, in seconds."""
        place = self._buckets.place(network)
        if self._buckets.take_at(place, now):
            return Verdict.ANSWER
        slot = place % SLOTS
        self._odd[slot] ^= 1
        return Verdict.TRUNCATE if self._odd[slot] else Verdict.DROP
