"""From a heap of certificates to the chain that is to be sent: leaf first, each signed by the next, the root left out. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from edgeproxy.control.issuance.certificates import CHAIN_LENGTH
from edgeproxy.errors import InvalidCertificate

RSA_BITS = (2048, 4096)
"""The smallest RSA key that browsers take, and the largest that is worth it: at 8192 bits one signature, which each handshake
costs, takes ten times as long, and strangers could keep a core busy with a hundred handshakes a second."""

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
_WEAK = (hashes.MD5, hashes.SHA1)


class Roots:
    """Certificates that visitors are taken to trust."""

    def __init__(self, certificates: Iterable[x509.Certificate]) -> None:
        self._by_subject: dict[bytes, list[x509.Certificate]] = {}
        for certificate in certificates:
            self._by_subject.setdefault(certificate.subject.public_bytes(), []).append(certificate)

    def __len__(self) -> int:
        return sum(map(len, self._by_subject.values()))

    def have_signed(self, certificate: x509.Certificate) -> bool:
        """Whether one of them has signed it."""
        return any(signed_by(certificate, root) for root in self._by_subject.get(certificate.issuer.public_bytes(), ()))

    def have(self, certificate: x509.Certificate) -> bool:
        """Whether it is one of them, by name and key: a cross-signed root is the same root."""
        found = self._by_subject.get(certificate.subject.public_bytes(), ())
        return any(public_bytes(root) == public_bytes(certificate) for root in found)


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """What is to be sent."""

    certificates: tuple[x509.Certificate, ...]
    notes: tuple[str, ...]
    """What was repaired or left out, as short phrases."""


def build(leaf: x509.Certificate, uploaded: Sequence[x509.Certificate], roots: Roots, now: float) -> Chain:
    """The chain from `leaf` up, of what was `uploaded` in whatever order. Raises InvalidCertificate where a link is missing,
    has expired or is weak."""
    pool = [certificate for certificate in dict.fromkeys(uploaded) if certificate != leaf]
    path = [leaf]
    root = None
    while root is None and len(path) < CHAIN_LENGTH:
        _check_strength(path[-1], leaf)
        signers = [each for each in pool if is_authority(each) and signed_by(path[-1], each)]
        if not signers:
            break
        root = next((each for each in signers if signed_by(each, each)), None)
        if root is None:
            best = max(signers, key=lambda each: (_valid(each, now), each.not_valid_after_utc))
            _check_dates(best, now)
            path.append(best)
            pool.remove(best)
    if root is None and not roots.have_signed(path[-1]) and not any(roots.have(each) for each in path[1:]):
        raise _incomplete(path[-1], leaf, roots)
    return Chain(tuple(path), tuple(_notes(path, uploaded, root)))


def _notes(path: Sequence[x509.Certificate], uploaded: Sequence[x509.Certificate], root: x509.Certificate | None) -> list[str]:
    known = dict.fromkeys(uploaded)
    notes = []
    if [each for each in known if each in path] != list(path):
        notes.append("the order was repaired")
    if len(known) < len(uploaded):
        notes.append(f"{_counted(len(uploaded) - len(known), 'duplicate')} left out")
    if root is not None:
        notes.append("the root left out, which visitors have themselves")
    if others := len(known) - len(path) - (root is not None):
        notes.append(f"{_counted(others, 'certificate')} left out that the chain does not need")
    return notes


def signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    """Whether its signature is the signer's."""
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return certificate.version is x509.Version.v1  # old roots have no extensions
    return constraints.value.ca


def public_bytes(certificate: x509.Certificate) -> bytes:
    """The public key; empty for one of a kind that cannot be read."""
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def called(certificate: x509.Certificate | x509.Name) -> str:
    """What a certificate is called in sentences, or a name."""
    name = certificate.subject if isinstance(certificate, x509.Certificate) else certificate
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return clean(str(attribute.value))
    if isinstance(certificate, x509.Certificate) and not name.rdns:
        return f"certificate {certificate.serial_number:x}"
    return clean(name.rfc4514_string()) or "one without a name"


def day(moment: datetime) -> str:
    """A date for people."""
    return f"{moment:%Y-%m-%d}"


def _check_strength(certificate: x509.Certificate, leaf: x509.Certificate) -> None:
    which = "The certificate" if certificate is leaf else f"The intermediate certificate {called(certificate)}"
    cure = "Have it made anew for" if certificate is leaf else "Ask the CA for a chain with"
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_BITS[0]:
            raise _weak(f"{which} has an RSA key of {key.key_size} bits; browsers refuse less than {RSA_BITS[0]}. {cure} an "
                        "ECDSA key on P-256, or RSA with 2048 bits.")  # fmt: skip
        if key.key_size > RSA_BITS[1] and certificate is leaf:
            raise _weak(f"{which} has an RSA key of {key.key_size} bits: each handshake would cost too much. {cure} an ECDSA "
                        f"key on P-256, or RSA with at most {RSA_BITS[1]} bits.")  # fmt: skip
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if certificate is leaf and key.curve.name not in _CURVES:
            raise _weak(f"{which} is for a key on the curve {key.curve.name}, which browsers do not take. {cure} a key on "
                        "P-256 or P-384.")  # fmt: skip
    else:
        raise _weak(f"{which} has a key of a kind that browsers do not take. {cure} an ECDSA key on P-256.")
    if isinstance(_hash(certificate), _WEAK):
        name = _hash(certificate)
        raise _weak(f"{which} is signed with {name.name.upper() if name else ''}, which browsers refuse. Ask the CA for one "
                    "that is signed with SHA-256.")  # fmt: skip


def _hash(certificate: x509.Certificate) -> hashes.HashAlgorithm | None:
    try:
        return certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None


def _check_dates(intermediate: x509.Certificate, now: float) -> None:
    if _valid(intermediate, now):
        return
    ended = intermediate.not_valid_after_utc.timestamp() <= now
    when = (
        f"has expired on {day(intermediate.not_valid_after_utc)}"
        if ended
        else f"is valid only from {day(intermediate.not_valid_before_utc)}"
    )
    raise InvalidCertificate(
        f"The intermediate certificate {called(intermediate)} {when}. Put the one in its place that the CA offers now"
        f"{_download(intermediate)}.",
        code="certificate_expired",
    )


def _valid(certificate: x509.Certificate, now: float) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    return certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc


def _incomplete(last: x509.Certificate, leaf: x509.Certificate, roots: Roots) -> InvalidCertificate:
    missing = called(last.issuer)
    after = "the certificate" if last is leaf else called(last)
    no_roots = "" if len(roots) else " (This machine has no roots to compare with: install ca-certificates.)"
    return InvalidCertificate(
        f"The chain is incomplete: {missing}, which has signed {after}, is missing, so browsers cannot trust it. Add that "
        f"certificate to the chain{_download(last)}; if it is a private root of your own, add it too: it is only looked at "
        f"and never sent.{no_roots}",
        code="incomplete_chain",
    )


def _download(certificate: x509.Certificate) -> str:
    """Where a certificate says that its issuer's can be had."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for entry in access:
        if entry.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            entry.access_location, x509.UniformResourceIdentifier
        ):
            return f" (the CA has it at {clean(entry.access_location.value)})"
    return ""


def _weak(detail: str) -> InvalidCertificate:
    return InvalidCertificate(detail, code="weak_certificate")


def clean(text: str) -> str:
    """What a certificate says of itself, fit for terminals and logs."""
    line = "".join(character if character.isprintable() else "·" for character in text)
    return line if len(line) <= 100 else line[:99] + "…"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' if count > 1 else ''}"
