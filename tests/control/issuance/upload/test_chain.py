"""The chain that is sent: in order, whole, and without what visitors have themselves."""

import itertools
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.control.issuance.upload.chain import Roots, build, called
from edgeproxy.errors import InvalidCertificate
from tests.authorities import Authority, named, new_key, rsa_key

NAME = "a.example.com"
ROOT = Authority("Root")
UPPER = Authority("Upper", ROOT)
LOWER = Authority("Lower", UPPER)
ROOTS = Roots([ROOT.certificate])
NONE = Roots([])
LEAF = LOWER.sign(NAME)
WHOLE = (LEAF, LOWER.certificate, UPPER.certificate)


def refused(leaf, uploaded, roots=ROOTS, now=None) -> InvalidCertificate:
    with pytest.raises(InvalidCertificate) as caught:
        build(leaf, uploaded, roots, now or time.time())
    return caught.value


@pytest.mark.parametrize("uploaded", list(itertools.permutations([*WHOLE, ROOT.certificate])), ids=str)
def test_any_order_is_repaired_and_the_root_left_out(uploaded):
    chain = build(LEAF, uploaded, NONE, time.time())
    assert chain.certificates == WHOLE
    assert "the root left out, which visitors have themselves" in chain.notes
    in_order = [each for each in uploaded if each != ROOT.certificate] == list(WHOLE)
    assert ("the order was repaired" in chain.notes) is not in_order


def test_a_chain_that_is_right_is_left_alone():
    chain = build(LEAF, WHOLE, ROOTS, time.time())
    assert (chain.certificates, chain.notes) == (WHOLE, ())


def test_duplicates_and_strangers_are_left_out():
    stranger = Authority("Stranger")
    uploaded = [*WHOLE, LEAF, LOWER.certificate, stranger.certificate, stranger.sign("b.example.com")]
    chain = build(LEAF, uploaded, ROOTS, time.time())
    assert chain.certificates == WHOLE
    assert chain.notes == ("2 duplicates left out", "2 certificates left out that the chain does not need")


def test_of_two_with_one_name_the_one_that_signed_is_taken():
    impostor = Authority("Lower", UPPER)
    chain = build(LEAF, [LEAF, impostor.certificate, *WHOLE[1:]], ROOTS, time.time())
    assert chain.certificates == WHOLE


def test_a_server_cannot_sign_for_others():
    key = new_key()
    server = LOWER.sign("b.example.com", key=key, common_name="b.example.com")
    forger = Authority("b.example.com", LOWER, key=key)
    leaf = forger.sign(NAME)
    assert refused(leaf, [leaf, server, *WHOLE[1:]]).code == "incomplete_chain"


def test_a_cross_signed_root_that_visitors_know_ends_the_chain():
    older = Authority("Older")
    crossed = Authority("Root", older, key=ROOT.key)
    chain = build(LEAF, [*WHOLE, crossed.certificate], ROOTS, time.time())
    assert chain.certificates == (*WHOLE, crossed.certificate)
    with_both = build(LEAF, [*WHOLE, crossed.certificate, ROOT.certificate], NONE, time.time())
    assert with_both.certificates == WHOLE


def test_of_two_cross_signed_ones_the_valid_one_is_taken():
    renewed = Authority("Lower", UPPER, key=LOWER.key)
    expired = Authority("Lower", UPPER, key=LOWER.key, days=-2)
    chain = build(LEAF, [LEAF, expired.certificate, renewed.certificate, UPPER.certificate], ROOTS, time.time())
    assert chain.certificates == (LEAF, renewed.certificate, UPPER.certificate)


def test_a_missing_intermediate_is_named_with_where_to_get_it():
    error = refused(LEAF, [LEAF, UPPER.certificate])
    assert error.code == "incomplete_chain"
    assert error.detail.startswith(
        "The chain is incomplete: Lower, which has signed the certificate, is missing, so browsers cannot trust it."
    )
    assert "is missing" in refused(LEAF, WHOLE[:2]).detail
    assert "Upper, which has signed Lower" in refused(LEAF, WHOLE[:2]).detail
    leaf = LOWER.sign(NAME, issuers_at="http://ca.example/lower.der")
    assert "(the CA has it at http://ca.example/lower.der)" in refused(leaf, [leaf]).detail


def test_without_roots_of_its_own_the_machine_says_so():
    error = refused(LEAF, WHOLE, NONE)
    assert "Root, which has signed Upper, is missing" in error.detail
    assert "install ca-certificates" in error.detail
    assert "install" not in refused(LEAF, WHOLE[:2]).detail


def test_a_root_may_have_signed_the_server_itself():
    leaf = ROOT.sign(NAME)
    assert build(leaf, [leaf], ROOTS, time.time()).certificates == (leaf,)


def test_an_intermediate_that_has_expired_is_named():
    old = Authority("Old", ROOT, days=-2)
    leaf = old.sign(NAME)
    error = refused(leaf, [leaf, old.certificate])
    assert error.code == "certificate_expired"
    assert error.detail.startswith("The intermediate certificate Old has expired on 2")
    assert "is valid only from" in refused(LEAF, WHOLE, now=time.time() - 20 * 86400).detail


# Keys are made by who needs them: four processes collect this file, and RSA's are dear.


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rsa_key(1024), "an RSA key of 1024 bits; browsers refuse less than 2048"),
        (lambda: rsa_key(4608), "an RSA key of 4608 bits: each handshake would cost too much"),
        (lambda: new_key(ec.SECP521R1()), "the curve secp521r1, which browsers do not take"),
        (lambda: new_key(ec.SECP256K1()), "the curve secp256k1"),
        (lambda: new_key(ec.SECP224R1()), "the curve secp224r1"),
        (ed25519.Ed25519PrivateKey.generate, "a key of a kind that browsers do not take"),
    ],
)
def test_a_weak_or_unusual_key_is_refused(make, says):
    leaf = LOWER.sign(NAME, key=make())
    error = refused(leaf, [leaf, *WHOLE[1:]])
    assert error.code == "weak_certificate"
    assert says in error.detail


@pytest.mark.parametrize("make", [new_key, lambda: new_key(ec.SECP384R1()), lambda: rsa_key(2048), lambda: rsa_key(4096)])
def test_a_usual_key_is_taken(make):
    leaf = LOWER.sign(NAME, key=make())
    assert build(leaf, [leaf, *WHOLE[1:]], ROOTS, time.time()).certificates[0] == leaf


def test_a_weak_intermediate_is_named():
    weak = Authority("Weak", ROOT, key=rsa_key(1024))
    leaf = weak.sign(NAME)
    error = refused(leaf, [leaf, weak.certificate])
    assert (error.code, error.detail[:43]) == ("weak_certificate", "The intermediate certificate Weak has an RS")


@pytest.mark.parametrize(("digest", "number"), [("SHA1", 5), ("MD5", 4)])
def test_what_is_signed_with_a_broken_hash_is_refused(digest, number):
    """No library here signs so any more: the algorithm's number is changed afterwards (1.2.840.113549.1.1.N)."""
    old = Authority("Old", ROOT, key=rsa_key(2048))
    prefix = bytes.fromhex("06092a864886f70d0101")
    der = old.sign(NAME).public_bytes(Encoding.DER).replace(prefix + b"\x0b", prefix + bytes([number]))
    leaf = x509.load_der_x509_certificate(der)
    error = refused(leaf, [leaf, old.certificate])
    assert error.code == "weak_certificate"
    assert f"The certificate is signed with {digest}, which browsers refuse." in error.detail


def test_names_that_would_steer_a_terminal_are_made_harmless():
    assert called(named("a\x1b[31mb")) == "a·[31mb"
    assert called(named("")) == "one without a name"
