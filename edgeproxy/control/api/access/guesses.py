"""Whoever tries tokens that nobody has is not listened to for a while. Pure."""

from __future__ import annotations

from edgeproxy.buckets import Buckets, network_of_literal

AT_ONCE = 20
"""Wrong tokens that a client network (/24, /56) may send at once: a program with a mistyped one is still told why."""

RATE = 1 / 6
"""Wrong tokens a second after that. 256 bits are not guessed at any rate: this keeps guesses from costing look-ups."""

KNOWN = 10_000
"""Tokens that were right lately, 1 MB. They are let in from a network that guesses, too: it may be a whole company's."""

NOWHERE = b""
"""The network of whoever has no address."""


class Guesses:
    """`secret`: random, at most 64 bytes. Times are monotonic."""

    def __init__(self, secret: bytes) -> None:
        self._buckets = Buckets(RATE, AT_ONCE, secret)
        self._known: dict[bytes, None] = {}

    def may_try(self, address: str, digest: bytes, now: float) -> bool:
        """Whether a token with this digest is to be looked up for a client at this address."""
        return digest in self._known or self._buckets.left(_network(address), now)

    def right(self, digest: bytes) -> None:
        """It was a valid one."""
        self._known.pop(digest, None)
        self._known[digest] = None
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    def wrong(self, address: str, digest: bytes, now: float) -> None:
        """It was none, or one that has ended."""
        self._known.pop(digest, None)
        self._buckets.take(_network(address), now)


def _network(address: str) -> bytes:
    try:
        return network_of_literal(address)
    except ValueError:
        return NOWHERE
