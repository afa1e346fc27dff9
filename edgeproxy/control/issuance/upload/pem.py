"""PEM as people have it: with text around, with foreign line ends, with blocks that nobody asked for. Pure.

Nothing of a private key gets into an error: what OpenSSL says of one that it cannot read is left out.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from edgeproxy.control.issuance.certificates import PrivateKey
from edgeproxy.errors import InvalidCertificate

BLOCKS = 64
"""Blocks that are looked at. A chain has two to four."""

_BEGIN, _DASHES = "-----BEGIN ", "-----"
_CERTIFICATES = frozenset(("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"))
_KEYS = frozenset(("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))

_OTHER = {
    "PKCS7": "is PKCS #7. Convert it: openssl pkcs7 -print_certs -in FILE -out chain.pem",
    "CERTIFICATE REQUEST": "is a certificate request. Upload the certificate that the CA made of it",
    "NEW CERTIFICATE REQUEST": "is a certificate request. Upload the certificate that the CA made of it",
    "PUBLIC KEY": "is a public key. The private key is needed that the certificate was requested with",
    "OPENSSH PRIVATE KEY": "is a key for SSH. The private key is needed that the certificate was requested with",
    "DSA PRIVATE KEY": "is a DSA key, which no browser takes. Have a certificate made for an ECDSA key on P-256",
}


_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for certificates that are none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One block."""

    label: str
    der: bytes = dataclasses.field(repr=False)
    encrypted: bool = False


def blocks(text: str, what: str) -> list[Block]:
    """All blocks of a text, in order; raises InvalidCertificate for one that is damaged. `what` is "chain" or "key"."""
    if "\\n" in text and "\n" not in text.strip():
        text = text.replace("\\r", "").replace("\\n", "\n")  # a JSON string that was quoted twice
    found: list[Block] = []
    place = text.find(_BEGIN)
    while place >= 0 and len(found) < BLOCKS:
        label, dashes, _ = text[place + len(_BEGIN) : place + len(_BEGIN) + 60].partition(_DASHES)
        if not dashes or "\n" in label:
            raise _damaged(what, "the first line of a block is cut off")
        start = place + len(_BEGIN) + len(label) + len(_DASHES)
        ending = f"-----END {label}-----"
        end = text.find(ending, start)
        if end < 0 or text.find(_BEGIN, start, end) >= 0:
            raise _damaged(what, f'a block has no "{ending[:60]}"')
        found.append(_block(label, text[start:end], what))
        place = text.find(_BEGIN, end)
    return found


def certificates(text: str) -> list[x509.Certificate]:
    """The certificates of a text, in order, at least one. Raises InvalidCertificate."""
    found = blocks(text, "chain")
    ders = [block.der for block in found if block.label in _CERTIFICATES]
    if not ders:
        raise InvalidCertificate(f"The chain holds no certificate{_instead(found)}", code="unreadable_certificate")
    made = []
    for number, der in enumerate(ders, 1):
        try:
            made.append(_whole(x509.load_der_x509_certificate(_first_value(der))))
        except _UNREADABLE:
            raise InvalidCertificate(
                f"Certificate {number} of the chain cannot be read: it is damaged. Upload the file as the CA gave it to you.",
                code="unreadable_certificate",
            ) from None
    return made


def private_keys(text: str) -> list[PrivateKey]:
    """The private keys of a text, at least one, of kinds that a browser takes. Raises InvalidCertificate."""
    found = blocks(text, "key")
    mine = [block for block in found if block.label in _KEYS]
    if not mine:
        raise InvalidCertificate(f"There is no private key{_instead(found)}", code="unreadable_key")
    if any(block.encrypted for block in mine):
        raise InvalidCertificate(
            "The private key is encrypted with a passphrase, which the edge does not know. Decrypt it and upload the result: "
            "openssl pkey -in KEY -out KEY.decrypted",
            code="encrypted_key",
        )
    return [_key(block) for block in mine]


def _whole(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate, once all of it was read: the library looks at most parts only when they are asked for."""
    _ = certificate.subject, certificate.issuer, certificate.serial_number, certificate.version
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, list(certificate.extensions)
    return certificate


def _key(block: Block) -> PrivateKey:
    try:
        key = serialization.load_der_private_key(block.der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidCertificate(
            "The private key cannot be read: it is damaged, or of a kind that OpenSSL does not have here. See what this says: "
            "openssl pkey -in KEY -noout -check",
            code="unreadable_key",
        ) from None
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return key
    raise InvalidCertificate(
        f"The private key is {_kind(key)}, of a kind that browsers do not take in certificates. Have a certificate made for an "
        "ECDSA key on P-256.",
        code="weak_certificate",
    )


def _kind(key: object) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return "one of an Edwards curve"
    return "neither RSA nor ECDSA"


def _block(label: str, body: str, what: str) -> Block:
    encrypted = label == "ENCRYPTED PRIVATE KEY"
    if ":" in body:  # RFC 1421 headers, which OpenSSL still writes for encrypted keys of the traditional form
        encrypted = encrypted or "ENCRYPTED" in body
        body = "\n".join(line for line in body.splitlines() if ":" not in line)
    if encrypted:
        return Block(label, b"", encrypted=True)
    try:
        return Block(label, base64.b64decode("".join(body.split()), validate=True))
    except (ValueError, binascii.Error):
        raise _damaged(what, "a block is not base64") from None


def _first_value(der: bytes) -> bytes:
    """The first ASN.1 value: behind the certificate of a TRUSTED CERTIFICATE OpenSSL keeps what it trusts it for."""
    if len(der) < 4 or der[1] & 0x80 == 0:
        return der
    count = der[1] & 0x7F
    return der[: 2 + count + int.from_bytes(der[2 : 2 + count], "big")] if 0 < count <= 3 else der


def _instead(found: Sequence[Block]) -> str:
    """What was sent in its place, as far as that helps, to the sentence's end."""
    for block in found:
        if block.label in _OTHER:
            return f": what was sent {_OTHER[block.label]}."
        if block.label in _CERTIFICATES:
            return ": what was sent is a certificate. Was the chain given in place of the key?"
        if block.label in _KEYS:
            return ": what was sent is a private key. Was the key given in place of the chain?"
    return (
        ": it must be PEM, text that begins with -----BEGIN. Convert what is binary: openssl x509 -inform der -in FILE -out "
        "chain.pem, openssl pkey -in FILE -out key.pem; or, for PKCS #12, openssl pkcs12 -in FILE -nodes -out both.pem."
    )


def _damaged(what: str, reason: str) -> InvalidCertificate:
    thing, code = ("private key", "unreadable_key") if what == "key" else ("chain", "unreadable_certificate")
    return InvalidCertificate(f"The {thing} is damaged: {reason}. Upload the whole file, as it was made.", code=code)
