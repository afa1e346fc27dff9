"""Certificates and keys given to OpenSSL past Python's ssl: the same comes of it, and what fails leaves nothing behind."""

from __future__ import annotations

import base64
import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeproxy.edge import openssl
from edgeproxy.edge.context import server_context
from edgeproxy.errors import MapError
from tests.certificates import self_signed
from tests.edge.fakemap import leaf, presented

NAME = "shop.example.com"
CHAIN, KEY = self_signed(NAME)
OTHER_KEY = self_signed("other.example.com")[1]
RSA_KEY = self_signed(NAME, kind="rsa2048")[1]


@pytest.fixture
def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_handshakes_work_under_what_was_loaded(context: ssl.SSLContext, kind: str, version: str) -> None:
    assert openssl.load(context, *self_signed(NAME, kind=kind), kind)
    assert presented(context, NAME, version=version).getpeercert(binary_form=True) == leaf(NAME, kind=kind)


@pytest.mark.parametrize(
    ("chain", "key", "kind"),
    [
        (CHAIN, OTHER_KEY, "p256"),
        (CHAIN, RSA_KEY, "rsa2048"),
        (CHAIN, KEY, "rsa2048"),
        (CHAIN, KEY, ""),
        (CHAIN, b"", "p256"),
        (b"", KEY, "p256"),
        (CHAIN + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KEY, "p256"),
        (CHAIN, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "p256"),
    ],
    ids=["another's", "of another kind", "kind is wrong", "kind unknown", "no key", "no chain", "chain broken", "key broken"],
)
def test_what_cannot_be_loaded_leaves_ssl_as_it_was(context: ssl.SSLContext, chain: bytes, key: bytes, kind: str) -> None:
    assert not openssl.load(context, chain, key, kind)
    # OpenSSL keeps its errors in a queue: one that stayed would be raised by the next thing that ssl does.
    assert presented(server_context(CHAIN, KEY, ["h2"], ssl.TLSVersion.TLSv1_2, "a test"), NAME).version() == "TLSv1.3"
    assert openssl.load(context, CHAIN, KEY, "p256")
    assert presented(context, NAME).getpeercert(binary_form=True) == leaf(NAME)


def test_what_cannot_be_loaded_is_told_by_the_longer_way() -> None:
    with pytest.raises(MapError, match="key values mismatch"):
        server_context(CHAIN, OTHER_KEY, ["h2"], ssl.TLSVersion.TLSv1_2, "certificate c1", kind="p256")
    made = server_context(CHAIN, KEY, ["h2"], ssl.TLSVersion.TLSv1_2, "certificate c1", kind="rsa2048")
    assert presented(made, NAME).version() == "TLSv1.3"


def test_the_whole_chain_is_sent(context: ssl.SSLContext) -> None:
    chain, key, root = chained()
    assert openssl.load(context, chain, key, "p384")
    assert verified(context, root)


def verified(context: ssl.SSLContext, root: bytes) -> bytes | None:
    """The certificate that a visitor who knows the root alone has found in order."""
    visitor = ssl.create_default_context(cadata=root.decode())  # knows the root alone
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = visitor.wrap_bio(to_client, to_server, server_hostname=NAME)
    there = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (here, there, here):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return here.getpeercert(binary_form=True)


def test_issuers_are_kept_read_up_to_a_bound_and_stay_where_they_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    issuers = openssl._Issuers(2)
    monkeypatch.setattr(openssl, "_issuers", issuers)
    made = []
    for _ in range(3):
        chain, key, root = chained()
        contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for each in contexts:
            assert openssl.load(each, chain, key, "p384")
            made.append((each, root))
    assert len(issuers) == 2
    for context, root in made:
        assert verified(context, root)


def written(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8, DER."""
    encoding = serialization.Encoding.DER
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@pytest.mark.parametrize(("kind", "curve"), [("p256", ec.SECP256R1()), ("p384", ec.SECP384R1())])
def test_a_key_as_this_program_writes_it_is_made_of_its_numbers(kind: str, curve: ec.EllipticCurve) -> None:
    if openssl._from_parts() is None:
        pytest.skip("this OpenSSL is older than 3.0")
    key = written(ec.generate_private_key(curve))
    made = openssl._of_curve(key, kind)
    assert made is not None
    openssl.library().EVP_PKEY_free(made)
    assert openssl._of_curve(key[:-1], kind) is None
    assert openssl._of_curve(key[:-1] + bytes((key[-1] ^ 1,)), kind) is None, "no point of the curve"
    openssl.library().ERR_clear_error()


def test_a_key_that_is_written_otherwise_is_read_all_the_same(context: ssl.SSLContext) -> None:
    private = serialization.load_pem_private_key(KEY, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    number = written(private)[36:68]  # without the public key, which may be left out
    inner = bytes.fromhex("30250201010420") + number
    outer = bytes.fromhex("020100301306072a8648ce3d020106082a8648ce3d030107") + b"\x04" + bytes([len(inner)]) + inner
    pem = base64.b64encode(b"\x30" + bytes([len(outer)]) + outer)
    assert openssl._of_curve(b"\x30" + bytes([len(outer)]) + outer, "p256") is None
    assert openssl.load(context, CHAIN, b"-----BEGIN PRIVATE KEY-----\n" + pem + b"\n-----END PRIVATE KEY-----\n", "p256")
    assert presented(context, NAME).getpeercert(binary_form=True) == leaf(NAME)


def chained() -> tuple[bytes, bytes, bytes]:
    """Leaf and intermediate, the leaf's key (P-384), and the root, all PEM."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
    ]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("root", "intermediate", NAME)]
    made = []
    for place, (name, key) in enumerate(zip(names, keys, strict=True)):
        above = max(place - 1, 0)
        builder = (
            x509.CertificateBuilder(names[above], name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=place < 2, path_length=None), critical=True)
        )
        if place == 2:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        made.append(builder.sign(keys[above], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys[2].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made[2] + made[1], private, made[0]
