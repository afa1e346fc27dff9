"""Which public key an origin has: for `origin.pins`. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_BEFORE: Final = 5
"""Fields of a TBSCertificate before the key: serial number, signature, issuer, validity, subject (RFC 5280 section 4.1)."""


class PinError(OSError):
    """An origin whose key is none of those that are pinned."""


def check(certificate: bytes, pins: tuple[str, ...]) -> None:
    """Raises PinError unless the key of this certificate, DER, is among the pins."""
    found = pin_of(certificate)
    if found not in pins:
        raise PinError(f"its key is none of origin.pins; it has {found}. Look whether that is your origin before you pin it")


def pin_of(certificate: bytes) -> str:
    """The SHA-256 digest of a certificate's SubjectPublicKeyInfo, base64 (RFC 7469 section 2.4).

    The certificate was read by OpenSSL before. Raises PinError where it is none.
    """
    try:
        begin, _ = _inside(certificate, 0)
        position, end = _inside(certificate, begin)
        if certificate[position] == _VERSION:
            position = _inside(certificate, position)[1]
        for _ in range(_BEFORE):
            position = _inside(certificate, position)[1]
        if certificate[position] != _SEQUENCE:
            raise PinError("its certificate cannot be read")
        after = _inside(certificate, position)[1]
        if after > end:
            raise PinError("its certificate cannot be read")
    except IndexError:
        raise PinError("its certificate cannot be read") from None
    return base64.b64encode(hashlib.sha256(certificate[position:after]).digest()).decode("ascii")


def _inside(data: bytes, position: int) -> tuple[int, int]:
    """Where the content of the DER value at this position begins and ends. Raises IndexError."""
    length, begin = data[position + 1], position + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + size]), begin + size
    if begin + length > len(data):
        raise IndexError(position)
    return begin, begin + length
