"""Whether a client takes a certificate with an ECDSA key, by its ClientHello. Pure.

Every client of the last ten years does. The others are why a name may have a certificate with an RSA key beside
(`tls.second_key_type`); they get that one only where this says no.
"""

from __future__ import annotations

import struct
from typing import Final

from edgeproxy.edge.hello import TLS_1_3, ClientHello

_ECDSA_SUITES: Final = frozenset((0xC02B, 0xC02C, 0xCCA9))
"""Cipher suites of TLS 1.2 with ECDSA among those of `context.CIPHERS`."""

_ECDSA_SCHEMES: Final = frozenset((0x0403, 0x0503, 0x0603))
"""With SHA-256, SHA-384 and SHA-512. TLS 1.2 ties none of them to a curve (RFC 8446 section 4.2.3)."""

_SCHEME: Final = {"p256": 0x0403, "p384": 0x0503}
"""The one scheme of TLS 1.3 for a key on each curve."""

_GROUP: Final = {"p256": 23, "p384": 24}
"""The curves in supported_groups (RFC 8422 section 5.1.1)."""


def takes_ecdsa(hello: ClientHello, key_type: str) -> bool:
    """Whether a handshake with this client works under a key of `key_type` ("p256" or "p384"; "": on P-256)."""
    schemes = hello.signature_algorithms
    if TLS_1_3 in hello.versions:
        return _SCHEME.get(key_type, _SCHEME["p256"]) in schemes
    if schemes and _ECDSA_SCHEMES.isdisjoint(schemes):
        return False
    # Without supported_groups a server may take any curve (RFC 8422 section 4); the list has a length before it.
    if hello.groups and _GROUP.get(key_type, _GROUP["p256"]) not in _numbers(hello.groups[2:]):
        return False
    return not _ECDSA_SUITES.isdisjoint(_numbers(hello.ciphers))


def _numbers(content: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f">{len(content) >> 1}H", content)
