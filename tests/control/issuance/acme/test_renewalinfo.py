"""When a CA wants a certificate renewed: identifiers and answers."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.renewalinfo import identifier, read_suggestion, refuses_to_replace
from edgeproxy.errors import IssuanceError

KEY = ec.generate_private_key(ec.SECP256R1())


def chain(serial, authority=b"", *, extension=True):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if extension:
        identifier = x509.AuthorityKeyIdentifier(authority or None, None, None)
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_identifier_is_that_of_the_rfcs_example():
    """RFC 9773 section 4.1: a serial number whose first byte is above 0x7f has a zero before it."""
    authority = bytes.fromhex("69885b6b87464041e1b37b847bd0ae2cde01c8d4")
    assert identifier(chain(0x87654321, authority)) == "aYhba4dGQEHhs3uEe9CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize(("serial", "octets"), [(1, "01"), (0x7F, "7f"), (0x80, "0080"), (0x1234, "1234"), (0xFF00, "00ff00")])
def test_a_serial_number_is_written_as_in_der(serial, octets):
    text = identifier(chain(serial, b"k")).partition(".")[2]
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex() == octets


@pytest.mark.parametrize("pem", [chain(5, extension=False), chain(5)])
def test_a_certificate_that_does_not_name_its_authoritys_key_has_no_identifier(pem):
    assert identifier(pem) == ""


def answer(start="2025-01-02T04:00:00Z", end="2025-01-03T04:00:00Z", more=""):
    return f'{{"suggestedWindow": {{"start": "{start}", "end": "{end}"}}{more}}}'.encode()


def test_an_answer_is_read():
    found = read_suggestion(answer(more=', "explanationURL": "https://ca.example/why"'), 21_600.0)
    assert (found.start, found.end) == (1735790400.0, 1735876800.0)
    assert (found.retry_after, found.explanation) == (21_600.0, "https://ca.example/why")
    assert read_suggestion(answer("2025-01-02T05:00:00+01:00"), 0.0).start == found.start
    assert read_suggestion(answer("2025-01-02T04:00:00.000Z"), 0.0).start == found.start


def test_what_an_explanation_brings_with_it_does_not_reach_the_log():
    found = read_suggestion(answer(more=', "explanationURL": "https://ca/\\u001b[31m' + "x" * 900 + '"'), 0.0)
    assert found.explanation.isprintable()
    assert len(found.explanation) <= 200


@pytest.mark.parametrize(
    "body",
    [
        answer("2025-01-03T04:00:00Z", "2025-01-03T04:00:00Z"),
        answer("2025-01-04T04:00:00Z"),
        answer("tomorrow"),
        answer("2025-01-02T04:00:00"),
        answer("1735790400"),
        b"{}",
        b"[]",
        b"",
        b"<html>",
    ],
)
def test_an_answer_that_says_nothing_usable_is_none(body):
    with pytest.raises(IssuanceError):
        read_suggestion(body, 0.0)


@pytest.mark.parametrize(
    ("problem", "status", "it_is"),
    [
        ("alreadyReplaced", 409, True),
        ("malformed", 404, True),
        ("malformed", 400, True),
        ("unauthorized", 403, True),
        ("rateLimited", 429, False),
        ("badNonce", 400, False),
        ("rejectedIdentifier", 400, False),
        ("malformed", 500, False),
    ],
)
def test_a_refusal_to_replace_is_told_from_others(problem, status, it_is):
    assert refuses_to_replace(CaRefused("no", problem=problem, status=status)) is it_is
