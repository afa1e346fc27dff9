"""PEM as people have it."""

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.upload.pem import BLOCKS, blocks, certificates, private_keys
from edgeproxy.errors import Fault, InvalidCertificate
from tests.authorities import Authority, key_text, new_key, pem, rsa_key
from tests.integration.servers import require

CA = Authority("Root")
CHAIN = pem(CA.certificate)
KEY = new_key()


def refused(call, *arguments) -> InvalidCertificate:
    with pytest.raises(InvalidCertificate) as caught:
        call(*arguments)
    assert caught.value.fault is Fault.CLIENT
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        f"Bag Attributes\n    friendlyName: x\nsubject=CN = Root\n{CHAIN}\nand some more words: -----\n",
        CHAIN.replace("\n", "\r\n"),
        CHAIN.replace("\n", "\r"),
        "\ufeff" + CHAIN,
        "\n".join(f"   {line}  " for line in CHAIN.splitlines()),
        CHAIN.replace("\n", "\\n"),
        CHAIN.replace("\n", "\\r\\n"),
        CHAIN.replace("BEGIN CERT", "BEGIN X509 CERT").replace("END CERT", "END X509 CERT"),
        CHAIN.replace("-----\n", "-----").replace("\n-----END", "-----END"),
        key_text(KEY) + CHAIN,
    ],
    ids=["bag", "crlf", "cr", "bom", "indented", "escaped", "escaped-crlf", "x509", "one-line", "with-key"],
)
def test_a_certificate_is_found_whatever_is_around_it(text):
    assert certificates(text) == [CA.certificate]


def test_a_trusted_certificate_is_one_too():
    require("openssl")
    done = subprocess.run(
        ["openssl", "x509", "-trustout", "-addtrust", "serverAuth"], input=CHAIN, capture_output=True, text=True, check=True
    )
    assert "TRUSTED" in done.stdout
    assert certificates(done.stdout) == [CA.certificate]


@pytest.mark.parametrize("key", [KEY, new_key(ec.SECP384R1()), rsa_key(2048)], ids=["p256", "p384", "rsa"])
@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_keys_of_every_form_are_read(key, form):
    (found,) = private_keys("some words\n" + key_text(key, form).replace("\n", "\r\n") + CHAIN)
    assert found.private_numbers() == key.private_numbers()


def test_a_key_as_openssl_writes_it_with_its_curve_before_it():
    require("openssl")
    done = subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey"], capture_output=True, text=True, check=True)
    assert "EC PARAMETERS" in done.stdout
    assert len(private_keys(done.stdout)) == 1


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_an_encrypted_key_is_refused_with_the_line_that_decrypts_it(form):
    error = refused(private_keys, key_text(KEY, form, b"hunter2"))
    assert error.code == "encrypted_key"
    assert error.detail.endswith("Decrypt it and upload the result: openssl pkey -in KEY -out KEY.decrypted")


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_that_line_works(form, tmp_path):
    require("openssl")
    (tmp_path / "KEY").write_text(key_text(KEY, form, b"hunter2"))
    command = ["openssl", "pkey", "-in", "KEY", "-out", "KEY.decrypted", "-passin", "pass:hunter2"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (found,) = private_keys((tmp_path / "KEY.decrypted").read_text())
    assert found.private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it must be PEM"),
        ("hello", "openssl x509 -inform der"),
        (CHAIN.replace("CERTIFICATE", "PKCS7"), "openssl pkcs7 -print_certs"),
        (CHAIN.replace("CERTIFICATE", "CERTIFICATE REQUEST"), "the certificate that the CA made of it"),
        (key_text(KEY), "what was sent is a private key. Was the key given in place of the chain?"),
        (CHAIN[:-30], "a block has no"),
        (CHAIN[:200] + CHAIN, "a block has no"),
        ("-----BEGIN CERTIF", "the first line of a block is cut off"),
        (CHAIN.replace("M", "!", 1), "a block is not base64"),
        (f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'x' * 200).decode()}\n-----END CERTIFICATE-----", "Certificate 1"),
        (CHAIN + CHAIN[:300] + CHAIN[340:], "Certificate 2 of the chain cannot be read"),
    ],
)
def test_a_chain_that_cannot_be_read_says_why(text, says):
    error = refused(certificates, text)
    assert error.code == "unreadable_certificate"
    assert says in error.detail
    assert "?." not in error.detail


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "unreadable_key", "it must be PEM"),
        (CHAIN, "unreadable_key", "Was the chain given in place of the key?"),
        (key_text(KEY).replace("PRIVATE", "PUBLIC"), "unreadable_key", "is a public key"),
        (key_text(KEY, "OpenSSH"), "unreadable_key", "is a key for SSH"),
        (key_text(KEY)[:-20], "unreadable_key", "is damaged"),
        (key_text(KEY)[:60] + key_text(KEY)[80:], "unreadable_key", "openssl pkey -in KEY -noout -check"),
        (key_text(ed25519.Ed25519PrivateKey.generate()), "weak_certificate", "an Edwards curve"),
        (key_text(dsa.generate_private_key(1024)), "weak_certificate", "neither RSA nor ECDSA"),
    ],
)
def test_a_key_that_cannot_be_used_says_why_and_nothing_of_itself(text, code, says):
    error = refused(private_keys, text)
    assert error.code == code
    assert says in error.detail
    body = "".join(line for line in text.splitlines() if "-----" not in line)
    assert not any(body[place : place + 8] in error.detail for place in range(0, max(0, len(body) - 8), 8))


def test_more_blocks_than_anybody_needs_are_not_looked_at():
    assert len(blocks(CHAIN * (BLOCKS + 5), "chain")) == BLOCKS


@given(st.text(alphabet=st.sampled_from("-BEGINDCRTFKYP 5\n\\nMA=:"), max_size=300) | st.text(max_size=100))
def test_whatever_is_sent_is_read_or_refused(text):
    for call in (certificates, private_keys):
        try:
            call(text)
        except InvalidCertificate as error:
            assert error.detail.endswith((".", "pem", "?"))  # noqa: PT017
