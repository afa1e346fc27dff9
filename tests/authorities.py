"""Certificate authorities for tests: roots and intermediates of their own, and what they sign."""

from __future__ import annotations

import datetime
import functools
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = datetime.timedelta(days=1)


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


@functools.cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Slow to make, so each size is made once."""
    return rsa.generate_private_key(65537, bits)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def pem(*certificates: x509.Certificate) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


def key_text(key: Any, form: str = "PKCS8", passphrase: bytes = b"") -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    private_format = getattr(serialization.PrivateFormat, form)
    text: bytes = key.private_bytes(serialization.Encoding.PEM, private_format, encryption)
    return text.decode()


class Authority:
    """A CA: self-signed, or signed by `parent`. `key` and `name` may be another's, which makes a cross-signed one."""

    def __init__(self, name: str, parent: Authority | None = None, *, key: Key | None = None, days: float = 1000) -> None:
        self.name = name
        self.key = key or new_key()
        signer = parent or self
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder(named(signer.name), named(name), self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now + min(0, days - 1000) * DAY - 10 * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    def sign(
        self,
        *names: str,
        key: Any = None,
        days: float = 90,
        since: float = -1,
        common_name: str = "",
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
        staple: bool = False,
        issuers_at: str = "",
    ) -> x509.Certificate:
        """A server's certificate for names, from `since` to `days` days from now."""
        public = (key or new_key()).public_key()
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(named(self.name), named(common_name), public, x509.random_serial_number())
        builder = builder.not_valid_before(now + since * DAY).not_valid_after(now + days * DAY)
        if names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternative, critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if staple:
            builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        if issuers_at:
            location = x509.UniformResourceIdentifier(issuers_at)
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return builder.sign(self.key, hashes.SHA256())
