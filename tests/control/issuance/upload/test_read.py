"""An upload: everything that a visitor's browser would complain of is told to whoever uploads."""

import base64
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.certificates import load_key
from edgeproxy.control.issuance.upload import Roots, read_upload
from edgeproxy.control.issuance.upload.read import KEY_BYTES
from edgeproxy.errors import Fault, InvalidCertificate
from tests.authorities import Authority, key_text, new_key, pem, rsa_key

NAME = "shop.example.com"
ROOT = Authority("Root")
LOWER = Authority("Lower", ROOT)
ROOTS = Roots([ROOT.certificate])
KEY = new_key()
LEAF = LOWER.sign(NAME, "www.example.com", key=KEY)


def read(chain, key=KEY, name=NAME, now=None, roots=ROOTS):
    text = key if isinstance(key, str) else key_text(key)
    return read_upload(name, chain, text, roots, now or time.time())


def refused(chain, key=KEY, name=NAME, now=None) -> InvalidCertificate:
    with pytest.raises(InvalidCertificate) as caught:
        read(chain, key, name, now)
    error = caught.value
    assert error.fault is Fault.CLIENT
    text = key if isinstance(key, str) else key_text(key)
    secret = "".join(text.splitlines()[1:-1])
    assert not any(secret[place : place + 12] in error.detail for place in range(0, max(1, len(secret) - 12), 12)) or not secret
    return error


def test_a_good_one_is_served_for_its_name_alone():
    upload = read(pem(LEAF, LOWER.certificate))
    issued = upload.issued
    assert issued.names == (NAME,)
    assert issued.chain.decode() == pem(LEAF, LOWER.certificate)
    assert load_key(issued.key).private_numbers() == KEY.private_numbers()
    assert issued.not_before == LEAF.not_valid_before_utc.timestamp()
    assert issued.not_after == LEAF.not_valid_after_utc.timestamp()
    assert upload.notes == ()
    assert key_text(KEY)[30:60] not in repr(upload)


def test_one_file_with_everything_serves_for_both():
    both = key_text(KEY, "TraditionalOpenSSL") + pem(ROOT.certificate, LOWER.certificate, LEAF)
    upload = read(both, both)
    assert upload.issued.chain.decode() == pem(LEAF, LOWER.certificate)
    assert len(upload.notes) == 2


def test_its_id_is_of_the_name_and_the_chain():
    chain = pem(LEAF, LOWER.certificate)
    one = read(chain).issued.id
    assert one == read(pem(LOWER.certificate, LEAF, ROOT.certificate)).issued.id
    assert one != read(chain, name="www.example.com").issued.id


@pytest.mark.parametrize(
    ("names", "name"),
    [(("*.example.com",), NAME), (("*.example.com",), "*.example.com"), (("x.example", NAME), NAME)],
)
def test_a_name_is_covered_exactly_or_by_a_wildcard(names, name):
    leaf = LOWER.sign(*names, key=KEY)
    assert read(pem(leaf, LOWER.certificate), name=name).issued.names == (name,)


@pytest.mark.parametrize(
    ("names", "name"),
    [(("*.example.com",), "a.b.example.com"), (("*.example.com",), "example.com"), (("shop.example.com",), "*.example.com")],
)
def test_a_name_that_is_not_covered_is_told_with_those_that_are(names, name):
    error = refused(pem(LOWER.sign(*names, key=KEY), LOWER.certificate), name=name)
    assert error.code == "name_not_covered"
    assert error.detail.startswith(f"The certificate does not cover {name}: it is for {names[0]}.")


def test_many_names_are_told_in_part():
    leaf = LOWER.sign(*(f"n{number}.example" for number in range(9)), key=KEY)
    assert "n4.example and 4 more." in refused(pem(leaf, LOWER.certificate)).detail


def test_a_name_in_the_subject_alone_does_not_count():
    leaf = LOWER.sign(key=KEY, common_name=NAME)
    error = refused(pem(leaf, LOWER.certificate))
    assert error.code == "name_not_covered"
    assert f"It names {NAME} as its common name only" in error.detail


def test_a_key_of_another_certificate_is_told_with_how_to_compare():
    error = refused(pem(LEAF, LOWER.certificate), new_key())
    assert error.code == "key_mismatch"
    assert "openssl pkey -in KEY -pubout, openssl x509 -in CHAIN -noout -pubkey" in error.detail


def test_of_several_keys_the_one_that_fits_is_taken():
    upload = read(pem(LEAF, LOWER.certificate), key_text(new_key()) + key_text(KEY))
    assert load_key(upload.issued.key).private_numbers() == KEY.private_numbers()


def test_of_two_certificates_for_one_key_the_newer_is_taken():
    newer = LOWER.sign(NAME, key=KEY, days=200)
    upload = read(pem(LEAF, newer, LOWER.certificate))
    assert upload.issued.not_after == newer.not_valid_after_utc.timestamp()


def test_dates():
    expired = LOWER.sign(NAME, key=KEY, since=-50, days=-1)
    error = refused(pem(expired, LOWER.certificate))
    assert error.code == "certificate_expired"
    assert error.detail == (
        f"The certificate has expired on {expired.not_valid_after_utc:%Y-%m-%d}. Upload the one that has taken its place."
    )
    early = refused(pem(LOWER.sign(NAME, key=KEY, since=2), LOWER.certificate))
    assert (early.code, early.retryable) == ("certificate_not_yet_valid", True)
    assert "set this machine's clock" in early.detail


def test_a_self_signed_one_and_a_cas_own_are_refused():
    alone = Authority(NAME, key=KEY)
    assert refused(pem(alone.certificate)).code == "self_signed"
    middle = Authority("Middle", ROOT, key=KEY)
    error = refused(pem(middle.certificate, ROOT.certificate))
    assert (error.code, "no server's" in error.detail) == ("wrong_purpose", True)


def test_one_for_clients_is_refused():
    leaf = LOWER.sign(NAME, key=KEY, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    assert "serverAuth" in refused(pem(leaf, LOWER.certificate)).detail
    for usage in (None, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
        read(pem(LOWER.sign(NAME, key=KEY, usage=usage), LOWER.certificate))


def test_one_that_demands_stapling_is_refused():
    leaf = LOWER.sign(NAME, key=KEY, staple=True)
    assert "must-staple" in refused(pem(leaf, LOWER.certificate)).detail


def test_weakness_and_gaps_are_told():
    weak = LOWER.sign(NAME, key=rsa_key(1024))
    assert refused(pem(weak, LOWER.certificate), rsa_key(1024)).code == "weak_certificate"
    assert refused(pem(LEAF)).code == "incomplete_chain"


def test_what_is_far_too_large_is_not_looked_at():
    assert refused("x" * 70_000).code == "unreadable_certificate"
    assert refused(pem(LEAF, LOWER.certificate), "x" * (KEY_BYTES + 1)).code == "unreadable_key"
    assert "The chain has 33 certificates" in refused(pem(LEAF) * 33).detail


@pytest.mark.filterwarnings("ignore")  # the library warns of what is odd and can be read
@given(st.integers(0, 600), st.integers(0, 255), st.sampled_from((0, 1)))
def test_a_changed_byte_is_never_more_than_a_refusal(place, value, which):
    ders = [bytearray(each.public_bytes(Encoding.DER)) for each in (LEAF, LOWER.certificate)]
    ders[which][place % len(ders[which])] = value
    blocks = (base64.b64encode(bytes(der)).decode() for der in ders)
    text = "".join(f"-----BEGIN CERTIFICATE-----\n{block}\n-----END CERTIFICATE-----\n" for block in blocks)
    try:
        read(text)
    except InvalidCertificate as error:
        assert len(error.detail) < 700  # noqa: PT017
