"""How much is answered over UDP to one network: response-rate limiting, so that nobody makes this server shout at somebody
else in whose name they ask. Pure.

A network above its rate gets silence, and to every second question a truncated answer: a resolver that is really there
comes back by TCP. Memory is fixed, however many networks ask.
"""

from __future__ import annotations

import enum
import hashlib
from array import array

SLOTS = 16_384
"""Buckets in each of the two rows; 0.4 MB together."""

BURST_SECONDS = 2
"""Seconds' worth of answers that a network which was quiet may have at once."""

IPV4_PREFIX, IPV6_PREFIX = 3, 7
"""Bytes of an address that make a network: a /24, a /56. Whoever has one address there has most others."""


class Verdict(enum.Enum):
    """What to do with a question."""

    ANSWER = "answer"
    TRUNCATE = "truncated"
    DROP = "dropped"


def network_of(address: bytes) -> bytes:
    """The network of a packed address."""
    return address[: IPV4_PREFIX if len(address) == 4 else IPV6_PREFIX]


class RateLimit:
    """A token bucket for each network, in two rows of buckets at places that only this process can compute. A network is
    limited where its buckets in both rows are empty, so that one that floods takes hardly anybody with it."""

    def __init__(self, rate: int, secret: bytes) -> None:
        """`rate`: answers a second and network. `secret`: random, at most 64 bytes."""
        self._rate = float(rate)
        self._full = float(rate * BURST_SECONDS)
        self._secret = secret
        self._tokens = array("d", [self._full]) * (2 * SLOTS)
        self._seen = array("d", [0.0]) * (2 * SLOTS)
        self._odd = bytearray(SLOTS)

    def take(self, network: bytes, now: float) -> Verdict:
        """Counts a question from a network (`network_of`). `now` is monotonic, in seconds."""
        place = int.from_bytes(hashlib.blake2b(network, digest_size=8, key=self._secret).digest(), "big")
        first = place % SLOTS
        one, other = self._draw(first, now), self._draw(SLOTS + (place >> 32) % SLOTS, now)
        if one or other:
            return Verdict.ANSWER
        self._odd[first] ^= 1
        return Verdict.TRUNCATE if self._odd[first] else Verdict.DROP

    def _draw(self, slot: int, now: float) -> bool:
        """Takes a token out of a bucket, if it has one."""
        gained = max(0.0, now - self._seen[slot]) * self._rate
        tokens = min(self._full, self._tokens[slot] + gained)
        self._seen[slot] = now
        self._tokens[slot] = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1
