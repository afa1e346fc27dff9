"""Token buckets for client networks, in a memory of fixed size however many of them come. Pure."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from array import array

SLOTS = 16_384
"""Buckets in each of the two rows; 0.5 MB together."""

IPV4_PREFIX, IPV6_PREFIX = 3, 7
"""Bytes of an address that make a network: a /24, a /56. Whoever has one address there has most others."""


def network_of(address: bytes) -> bytes:
    """The network of a packed address."""
    return address[: IPV4_PREFIX if len(address) == 4 else IPV6_PREFIX]


@functools.lru_cache(4096)
def network_of_literal(address: str) -> bytes:
    """The same of an IP literal; IPv4 that is mapped into IPv6 counts as IPv4. Raises ValueError for anything else."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return network_of(ip.packed)


def written(network: bytes) -> str:
    """A network as people write it: "192.0.2.0/24"."""
    packed = network + bytes((4 if len(network) == IPV4_PREFIX else 16) - len(network))
    return f"{ipaddress.ip_address(packed)}/{8 * len(network)}"


class Buckets:
    """A token bucket for each network, in two rows of buckets at places that only this process can compute. A network is
    limited where its buckets in both rows are empty, so that one that floods takes hardly anybody with it."""

    def __init__(self, rate: float, full: float, secret: bytes) -> None:
        """`rate`: tokens gained a second; `full`: tokens of a network that was quiet. `secret`: random, at most 64 bytes."""
        self._rate = rate
        self._full = full
        self._secret = secret
        self._tokens = array("d", [full]) * (2 * SLOTS)
        self._seen = array("d", [0.0]) * (2 * SLOTS)

    def place(self, network: bytes) -> int:
        """Where a network's buckets are, as a number below 2**64."""
        return int.from_bytes(hashlib.blake2b(network, digest_size=8, key=self._secret).digest(), "big")

    def take(self, network: bytes, now: float) -> bool:
        """Takes a token for a network (`network_of`); False where there is none. `now` is monotonic, in seconds."""
        return self.take_at(self.place(network), now)

    def left(self, network: bytes, now: float) -> bool:
        """Whether there is a token for a network. Takes none."""
        place = self.place(network)
        slots = place % SLOTS, SLOTS + (place >> 32) % SLOTS
        return any(self._tokens[slot] + max(0.0, now - self._seen[slot]) * self._rate >= 1 for slot in slots)

    def take_at(self, place: int, now: float) -> bool:
        """The same for a place that is known already."""
        one, other = self._draw(place % SLOTS, now), self._draw(SLOTS + (place >> 32) % SLOTS, now)
        return one or other

    def _draw(self, slot: int, now: float) -> bool:
        """Takes a token out of a bucket, if it has one."""
        gained = max(0.0, now - self._seen[slot]) * self._rate
        tokens = min(self._full, self._tokens[slot] + gained)
        self._seen[slot] = now
        self._tokens[slot] = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1
