"""Whose requests hold more than their share of an origin's connections while others wait for one. Pure.

Each answer that its client takes slowly holds a connection, and over HTTP/2 a client needs no more for a thousand of them than
eight connections of its own: without shares it has the origin to itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

PART: Final = 4
"""A client network (/24, /56) may hold the fourth part of all connections while others wait, as it may of the handshakes that
wait for a certificate (`limits.waiting_handshakes`)."""


def crowd(holders: Iterable[bytes], waiters: Iterable[bytes], places: int) -> tuple[bytes, int]:
    """The network that takes places from others, and how many it is to give back at most: b"" and 0 where there is none.

    `holders` are the networks of those who have one of the `places`, `waiters` those of who waits; b"" for whom it is not known
    (a proxy of the operator's), and who is left in peace.
    """
    held = Counter(holders)
    held.pop(b"", None)
    ((network, count),) = held.most_common(1) or ((b"", 0),)
    surplus = count - places // PART
    others = sum(1 for each in waiters if each != network)
    return (network, min(surplus, others)) if surplus > 0 and others else (b"", 0)
