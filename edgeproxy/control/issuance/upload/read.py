"""What was uploaded for a name, looked at in every respect in which a visitor's browser would. Pure: no I/O, no clock."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeproxy.control.issuance.certificates import CHAIN_BYTES, Issued, PrivateKey, dns_names, key_pem
from edgeproxy.control.issuance.upload.chain import Roots, build, called, clean, day, is_authority, public_bytes, signed_by
from edgeproxy.control.issuance.upload.pem import certificates, private_keys
from edgeproxy.errors import InvalidCertificate
from edgeproxy.model import covers

KEY_BYTES = 16 * 1024
"""Characters of a key's PEM. One of RSA with 4096 bits has 3,300."""

UPLOADED = 32
"""Certificates of one upload that are looked at. A chain has two to four."""

NAMES_TOLD = 5
"""Names of a certificate that a sentence lists."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A certificate that can be served."""

    issued: Issued
    """Its `names` is the one name that it was uploaded for, whatever else it covers; its id is that name's and chain's."""
    notes: tuple[str, ...]
    """What was repaired, for people."""


def read_upload(name: str, chain: str, key: str, roots: Roots, now: float) -> Upload:
    """The certificate that somebody brings for a hostname or wildcard, its chain in order and complete.

    Raises InvalidCertificate with one sentence that says what is wrong and what to do, never with anything of the key.
    """
    if len(chain) > CHAIN_BYTES:
        raise InvalidCertificate(
            f"The chain has more than {CHAIN_BYTES} characters. Upload the certificate and its intermediates only.",
            code="unreadable_certificate",
        )
    if len(key) > KEY_BYTES:
        raise InvalidCertificate(
            f"The private key has more than {KEY_BYTES} characters. Upload it alone.", code="unreadable_key"
        )
    uploaded = certificates(chain)
    if len(uploaded) > UPLOADED:
        raise InvalidCertificate(
            f"The chain has {len(uploaded)} certificates. Upload the server's and its intermediates only.",
            code="unreadable_certificate",
        )
    leaf, private = _leaf(uploaded, private_keys(key))
    _check_kind(leaf, called(leaf))
    _check_name(leaf, name)
    _check_dates(leaf, now)
    built = build(leaf, uploaded, roots, now)
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in built.certificates)
    return Upload(
        issued=Issued(
            names=(name,),
            chain=pem,
            key=key_pem(private),
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            serial=f"{leaf.serial_number:x}",
            id=hashlib.sha256(name.encode("ascii") + b"\0" + pem).digest()[:16].hex(),
        ),
        notes=built.notes,
    )


def _leaf(uploaded: Sequence[x509.Certificate], keys: Sequence[PrivateKey]) -> tuple[x509.Certificate, PrivateKey]:
    """The certificate that is for one of the keys, wherever in the upload it stands."""
    by_public = {_public(key): key for key in keys}
    matching = [certificate for certificate in uploaded if public_bytes(certificate) in by_public]
    if not matching:
        raise InvalidCertificate(
            f"The private key does not belong to the certificate of {called(uploaded[0])}. Upload the key that this "
            "certificate was requested with; these two print the same for a pair: openssl pkey -in KEY -pubout, openssl x509 "
            "-in CHAIN -noout -pubkey",
            code="key_mismatch",
        )
    # Renewed with the same key, both may be there: the newer one is meant.
    leaf = max(matching, key=lambda each: (not is_authority(each), each.not_valid_after_utc))
    return leaf, by_public[public_bytes(leaf)]


def _public(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_kind(leaf: x509.Certificate, name: str) -> None:
    """That it is a server's certificate which this edge can serve."""
    if signed_by(leaf, leaf):
        raise InvalidCertificate(
            f"The certificate of {name} is self-signed: no visitor's browser trusts it. Have it signed by a CA, or leave the "
            "name to the edge, which obtains a certificate by itself.",
            code="self_signed",
        )
    if is_authority(leaf):
        raise InvalidCertificate(
            f"The key belongs to {name}, which is a CA's certificate and no server's. Upload the server's certificate and key.",
            code="wrong_purpose",
        )
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        usage = None
    if usage is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise InvalidCertificate(
            f"The certificate of {name} is not made for servers (its extended key usage lacks serverAuth). Ask the CA for a "
            "TLS server certificate.",
            code="wrong_purpose",
        )
    if _must_staple(leaf):
        raise InvalidCertificate(
            f"The certificate of {name} demands OCSP stapling (must-staple), which this edge does not do, so that browsers "
            "would refuse it. Ask the CA for one without.",
            code="wrong_purpose",
        )


def _must_staple(leaf: x509.Certificate) -> bool:
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return x509.TLSFeatureType.status_request in features


def _check_name(leaf: x509.Certificate, name: str) -> None:
    names = dns_names(leaf)
    if any(covers(each, name) for each in names):
        return
    if not names:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        says = f" It names {called(leaf)} as its common name only, which browsers do not look at." if common else ""
        raise InvalidCertificate(
            f"The certificate has no DNS names (subjectAltName).{says} Ask the CA for one with {name} among its DNS names.",
            code="name_not_covered",
        )
    listed = ", ".join(map(clean, names[:NAMES_TOLD])) + (
        f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
    )
    raise InvalidCertificate(
        f"The certificate does not cover {name}: it is for {listed}. Upload it for one of these, or one that names {name}.",
        code="name_not_covered",
    )


def _check_dates(leaf: x509.Certificate, now: float) -> None:
    if leaf.not_valid_after_utc.timestamp() <= now:
        raise InvalidCertificate(
            f"The certificate has expired on {day(leaf.not_valid_after_utc)}. Upload the one that has taken its place.",
            code="certificate_expired",
        )
    if leaf.not_valid_before_utc.timestamp() > now:
        raise InvalidCertificate(
            f"The certificate is valid only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC. Upload it then; or, if that "
            "is past, set this machine's clock.",
            code="certificate_not_yet_valid",
            retryable=True,
        )
