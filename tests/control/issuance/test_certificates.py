"""Keys, requests, chains and the certificates that we sign."""

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.verification import PolicyBuilder, Store

from edgeproxy.control.issuance import certificates
from edgeproxy.control.issuance.certificates import (
    certificate_id,
    checked_chain,
    dns_names,
    key_pem,
    load_key,
    make_root,
    new_key,
    sign_leaf,
    signing_request,
    tls_alpn_certificate,
)
from edgeproxy.errors import IssuanceError

NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def root():
    return make_root(NOW, timedelta(days=3650))


def pem(*chain):
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def leaf(root, key, *names, life=timedelta(days=90), now=NOW):
    certificate, root_key = root
    return sign_leaf(certificate, root_key, key, names, now, life)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("p256", lambda key: isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"),
        ("p384", lambda key: isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1"),
        ("rsa2048", lambda key: isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048),
    ],
)
def test_keys_of_each_kind_survive_being_stored(kind, check):
    key = new_key(kind)
    assert check(key)
    again = load_key(key_pem(key))
    assert again.private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"rubbish",
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
)
def test_a_stored_key_of_another_kind_is_refused_without_showing_it(stored):
    with pytest.raises(IssuanceError) as caught:
        load_key(stored)
    assert "PRIVATE" not in str(caught.value)


def test_a_request_names_hosts_only_in_the_san():
    name = "a" * 60 + ".example.com"
    request = signing_request(new_key("p256"), [name, "*.b.example"])
    assert request.is_signature_valid
    assert list(request.subject) == []
    san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == [name, "*.b.example"]


def test_a_leaf_of_the_internal_ca_is_trusted_by_a_verifier_for_its_names(root):
    certificate = leaf(root, new_key("p256"), "a.example", "*.b.example")
    builder = PolicyBuilder().store(Store([root[0]])).time(certificate.not_valid_before_utc + timedelta(days=1))
    for name in ("a.example", "x.b.example"):
        chain = builder.build_server_verifier(x509.DNSName(name)).verify(certificate, [])
        assert chain == [certificate, root[0]]


def test_a_leaf_never_outlives_its_root(root):
    certificate = leaf(root, new_key("p256"), "a.example", life=timedelta(days=100_000))
    assert certificate.not_valid_after_utc == root[0].not_valid_after_utc


def test_two_roots_can_be_told_apart_by_name():
    one, other = (make_root(NOW, timedelta(days=1))[0].subject.rfc4514_string() for _ in range(2))
    assert one != other
    assert "Edgeproxy internal CA" in one


def test_a_fitting_chain_is_taken_with_its_dates_from_the_certificate(root):
    key = new_key("p256")
    certificate = leaf(root, key, "a.example")
    issued = checked_chain(pem(certificate, root[0]), key, "a.example", NOW)
    assert issued.names == ("a.example",)
    assert issued.not_after == certificate.not_valid_after_utc.timestamp()
    assert issued.not_before == certificate.not_valid_before_utc.timestamp()
    assert issued.id == certificate_id(certificate)
    assert issued.chain.count(b"BEGIN CERTIFICATE") == 2
    assert b"PRIVATE" not in repr(issued).encode()


def test_a_wildcard_certificate_covers_a_name_beneath_it(root):
    key = new_key("p256")
    assert checked_chain(pem(leaf(root, key, "*.example.com")), key, "a.example.com", NOW).names == ("*.example.com",)


def test_chains_that_do_not_fit_are_refused_saying_why(root):
    key, other = new_key("p256"), new_key("p384")
    good = leaf(root, key, "a.example")
    stranger = make_root(NOW, timedelta(days=1))[0]
    cases = {
        "another key": (pem(leaf(root, other, "a.example")), "a.example", NOW),
        "does not cover b.example": (pem(good), "b.example", NOW),
        "expired": (pem(good), "a.example", NOW + 91 * 86400),
        "do not follow": (pem(good, stranger), "a.example", NOW),
        "not a PEM": (b"hello", "a.example", NOW),
        "more than 65536 bytes": (pem(good) + b"\n" * 70_000, "a.example", NOW),
        "more than 10 certificates": (pem(good, *[root[0]] * 10), "a.example", NOW),
    }
    for reason, (chain, name, now) in cases.items():
        with pytest.raises(IssuanceError, match=reason):
            checked_chain(chain, key, name, now)


def test_the_answer_to_tls_alpn_01_is_what_rfc_8737_demands():
    chain, key = tls_alpn_certificate("a.example", "token.thumbprint", NOW)
    certificate = x509.load_pem_x509_certificate(chain)
    assert dns_names(certificate) == ("a.example",)
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
    assert certificate.public_key() == load_key(key).public_key()
    certificate.verify_directly_issued_by(certificate)


def test_a_certificate_without_names_has_none():
    key = new_key("p256")
    assert dns_names(make_root(NOW, timedelta(days=1))[0]) == ()
    assert key_pem(key).startswith(b"-----BEGIN PRIVATE KEY-----")
    assert certificates.ACME_TLS_1 == "acme-tls/1"
