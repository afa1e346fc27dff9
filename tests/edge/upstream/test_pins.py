"""Which key an origin has."""

from __future__ import annotations

import base64
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeproxy.edge.upstream.pins import PinError, check, pin_of
from tests.certificates import self_signed


def der(*names: str, kind: str = "p256") -> bytes:
    return ssl.PEM_cert_to_DER_cert(self_signed(*names, kind=kind)[0].decode())


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_a_pin_is_the_digest_of_the_public_key(kind: str) -> None:
    certificate = der("localhost", "a.example.com", kind=kind)
    key = x509.load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert pin_of(certificate) == base64.b64encode(hashlib.sha256(spki).digest()).decode()


def test_one_of_the_pins_has_to_be_it() -> None:
    one, other = der("one.example.com"), der("other.example.com")
    check(one, (pin_of(other), pin_of(one)))
    with pytest.raises(PinError, match="its key is none of") as caught:
        check(one, (pin_of(other),))
    assert pin_of(one) in str(caught.value)


def test_what_is_no_certificate_has_no_key() -> None:
    whole = der("localhost")
    for broken in (b"", b"\x30", whole[:100], whole[:-1], b"\x30\x82\xff\xff" + whole[4:], bytes(200)):
        with pytest.raises(PinError, match="cannot be read"):
            check(broken, ("x",))
