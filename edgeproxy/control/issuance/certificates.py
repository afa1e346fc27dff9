"""Keys, certificate requests, chains and the two kinds of certificate that we sign ourselves. Pure: no I/O, no clock."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.model import covers

KeyType = Literal["p256", "p384", "rsa2048", "rsa3072", "rsa4096"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CHAIN_BYTES = 64 * 1024
"""Bytes of a PEM chain that is looked at. Real ones have 3 to 8 KiB."""

CHAIN_LENGTH = 10
"""Certificates of a chain that are looked at; OpenSSL's clients give up at about this depth too."""

ACME_TLS_1 = "acme-tls/1"
"""ALPN protocol of a TLS-ALPN-01 validation (RFC 8737 section 4)."""

_ACME_IDENTIFIER = ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_CHALLENGE_LIFE = timedelta(days=1)
_CLOCK_SKEW = timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate as an issuer hands it over, checked by `checked_chain`."""

    names: tuple[str, ...]
    """Its DNS names, normalised."""
    chain: bytes
    """PEM, leaf first."""
    key: bytes = dataclasses.field(repr=False)
    """PKCS#8 PEM, in clear: seal it at once."""
    not_before: float
    not_after: float
    """Unix time."""
    id: str
    """Hex, from the leaf's SHA-256: the same certificate has the same id wherever it is stored again."""
    serial: str = ""
    """The leaf's serial number, lower-case hex."""
    challenge: str = ""
    """By which the name was proven to an ACME CA; empty: by none."""
    key_type: str = ""
    """The kind of its key, as `kind_of` has it."""
    directory: str = ""
    """Of the CA, where there are several."""


def new_key(kind: KeyType) -> PrivateKey:
    """A fresh private key. RSA takes up to some seconds: `key_made` does not hold up the loop."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


async def key_made(kind: KeyType) -> PrivateKey:
    """`new_key`, in a thread where that takes long."""
    return await asyncio.to_thread(new_key, kind) if kind.startswith("rsa") else new_key(kind)


def kind_of(key: PrivateKey) -> str:
    """A key's kind, as a KeyType where it is one of those."""
    return f"{'p' if isinstance(key, ec.EllipticCurvePrivateKey) else 'rsa'}{key.key_size}"


def key_pem(key: PrivateKey) -> bytes:
    """PKCS#8 PEM in clear."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def load_key(pem: bytes) -> PrivateKey:
    """Reads what `key_pem` wrote; raises IssuanceError where it is something else."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise IssuanceError("A stored private key cannot be read.", fault=Fault.EDGE, retryable=False)
    return key


def signing_request(key: PrivateKey, names: Sequence[str]) -> x509.CertificateSigningRequest:
    """A CSR for DNS names. The subject stays empty: names belong into the SAN only (CA/Browser Forum BR 7.1.4.2), and a
    common name of more than 64 characters would not even encode."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )


def certificate_id(leaf: x509.Certificate) -> str:
    """128 bits of the leaf's SHA-256, as hex."""
    return leaf.fingerprint(hashes.SHA256())[:16].hex()


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate's SAN, lower case."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


def checked_chain(chain: bytes, key: PrivateKey, hostname: str, now: float) -> Issued:
    """What a CA sent, taken only if it fits: our key, the wanted name, in date, each certificate signed by the next.

    `hostname` may be a wildcard. Raises IssuanceError saying what does not fit.
    """
    certificates = _parse(chain)
    leaf = certificates[0]
    if _public_bytes(leaf.public_key()) != _public_bytes(key.public_key()):
        raise _unfit("its certificate is for another key")
    names = dns_names(leaf)
    if not any(covers(name, hostname) for name in names):
        raise _unfit(f"its certificate does not cover {hostname}")
    not_before, not_after = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if not_after <= now:
        raise _unfit("its certificate has expired already; look at this machine's clock")
    for certificate, issuer in itertools.pairwise(certificates):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _unfit("the certificates of its chain do not follow one from another") from None
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
    return Issued(
        names=names,
        chain=pem,
        key=key_pem(key),
        not_before=not_before,
        not_after=not_after,
        id=certificate_id(leaf),
        serial=f"{leaf.serial_number:x}",
        key_type=kind_of(key),
    )


def tls_alpn_certificate(hostname: str, key_authorization: str, now: float) -> tuple[bytes, bytes]:
    """The self-signed certificate that answers a TLS-ALPN-01 challenge (RFC 8737 section 3), and its key; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme challenge")])
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    certificate = (
        _issued_by_itself(name, key, now, _CHALLENGE_LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        # Authorization ::= OCTET STRING (SIZE (32)), and the extension must be critical
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)


def _issued_by_itself(name: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, life: timedelta) -> x509.CertificateBuilder:
    """A certificate that has its own subject as issuer, without extensions yet."""
    moment = datetime.fromtimestamp(now, UTC)
    return x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), moment - _CLOCK_SKEW, moment + life
    )


def make_root(now: float, life: timedelta) -> tuple[x509.Certificate, PrivateKey]:
    """A root for the internal CA. Its name carries a part of its key, so that two machines' roots can be told apart."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Edgeproxy"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Edgeproxy internal CA {identifier.digest[:4].hex()}"),
        ]
    )
    certificate = (
        _issued_by_itself(name, key, now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def sign_leaf(
    root: x509.Certificate, root_key: PrivateKey, key: PrivateKey, names: Sequence[str], now: float, life: timedelta
) -> x509.Certificate:
    """A server certificate signed by the internal CA's root. It never outlives the root."""
    moment = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - min(_CLOCK_SKEW, life / 10))
        .not_valid_after(min(moment + life, root.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        # critical because the subject is empty (RFC 5280 section 4.2.1.6)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )


def _parse(chain: bytes) -> list[x509.Certificate]:
    if len(chain) > CHAIN_BYTES:
        raise _unfit(f"its chain has more than {CHAIN_BYTES} bytes")
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise _unfit("what it sent is not a PEM certificate chain") from None
    if len(certificates) > CHAIN_LENGTH:
        raise _unfit(f"its chain has more than {CHAIN_LENGTH} certificates")
    return certificates


def _public_bytes(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _unfit(reason: str) -> IssuanceError:
    return IssuanceError(f"The CA's answer cannot be used: {reason}.", code="unusable_certificate")
