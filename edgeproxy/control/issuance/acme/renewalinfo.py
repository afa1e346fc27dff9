"""When a CA wants a certificate renewed (RFC 9773): how it is asked for, and what it answers. Pure."""

from __future__ import annotations

import base64
from datetime import datetime

import msgspec
from cryptography import x509

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.wire import RenewalInfo, read
from edgeproxy.control.issuance.renewal import Suggestion
from edgeproxy.errors import IssuanceError

EXPLANATION_LENGTH = 200
"""Characters of an explanation's URL that are logged."""

_ABOUT_REPLACING = frozenset(("alreadyReplaced", "malformed", "unauthorized", "conflict"))


def identifier(chain: bytes) -> str:
    """The unique identifier of a PEM chain's leaf (section 4.1): the authority's key identifier and the serial number's DER
    octets, base64url; empty where the certificate has no such key identifier."""
    leaf = x509.load_pem_x509_certificate(chain)
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        authority = None
    if not authority:
        return ""
    # of a two's complement: a first byte from 0x80 on has a zero before it
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return f"{_base64(authority)}.{_base64(serial)}"


def read_suggestion(body: bytes, retry_after: float) -> Suggestion:
    """An answer's window. Raises IssuanceError where it is none, or ends before it begins (section 4.2: to be treated as
    none)."""
    answer = read(body, RenewalInfo)
    start, end = _moment(answer.suggested_window.start), _moment(answer.suggested_window.end)
    if end <= start:
        raise IssuanceError("The CA suggests a renewal in a window that ends before it begins.", code="ca_malformed")
    return Suggestion(start, end, retry_after, _printable(answer.explanation_url))


def refuses_to_replace(error: CaRefused) -> bool:
    """Whether an order may have been refused for the certificate that it says it replaces: another order replaced that, or
    the CA does not know it, or as another account's."""
    return error.problem in _ABOUT_REPLACING and error.status in (400, 403, 404, 409)


def _moment(text: str) -> float:
    """Unix time of a timestamp (RFC 3339)."""
    try:
        moment = msgspec.convert(text, datetime)
        if moment.tzinfo is None:
            raise ValueError
        return moment.timestamp()
    except (msgspec.ValidationError, ValueError, OverflowError, OSError):
        raise IssuanceError(f"The CA suggests a renewal at {text[:40]!r}, which is no time.", code="ca_malformed") from None


def _printable(url: str) -> str:
    return "".join(char for char in url[:EXPLANATION_LENGTH] if char.isprintable())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
