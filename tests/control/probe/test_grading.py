"""Grades: each fault has its own, and the worst one counts."""

import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.control.issuance.certificates import certificate_id
from edgeproxy.control.probe.grading import SEVERITY, Grade, Served, grade
from tests.control.probe.chains import Authority

NAME = "a.example"


@pytest.fixture(scope="module")
def authority():
    return Authority()


def served(leaf, **more):
    return Served(at="127.0.0.1:443", leaf=leaf.public_bytes(Encoding.DER), **({"length": 2} | more))


def test_what_is_right_is_good(authority):
    leaf, _ = authority.sign(NAME)
    found = grade(served(leaf), NAME, time.time(), expected=certificate_id(leaf))
    assert (found.grade, found.names, found.issuer) == (Grade.GOOD, (NAME,), "the one between")
    assert found.certificate_id == certificate_id(leaf)
    assert found.not_after == leaf.not_valid_after_utc.timestamp()
    assert int(found.serial, 16) == leaf.serial_number


def test_a_wildcard_covers_one_label(authority):
    leaf, _ = authority.sign("*.a.example")
    assert grade(served(leaf), "b.a.example", time.time()).grade is Grade.GOOD
    assert grade(served(leaf), "c.b.a.example", time.time()).grade is Grade.WRONG_NAME


@pytest.mark.parametrize(
    ("name", "age", "more", "expected", "told"),
    [
        ("b.example", 1, {}, Grade.WRONG_NAME, "is for b.example"),
        (NAME, 91, {}, Grade.EXPIRED, "has expired on"),
        (
            NAME,
            1,
            {"distrust": "unable to get local issuer", "length": 1},
            Grade.INCOMPLETE,
            "Complete the chain; or, if that is a root of your own, add it to the roots that this machine trusts.",
        ),
        (NAME, 1, {"distrust": "unable to get local issuer"}, Grade.UNTRUSTED, "unable to get local issuer. Visitors"),
        (NAME, 80, {}, Grade.EXPIRING, "has not been renewed"),
        (NAME, 70, {}, Grade.GOOD, "is good until"),
    ],
)
def test_each_fault_has_its_grade(authority, name, age, more, expected, told):
    leaf, _ = authority.sign(name, age=timedelta(days=age))
    found = grade(served(leaf, **more), NAME, time.time())
    assert found.grade is expected
    assert told in found.detail


def test_another_certificate_than_the_stores_is_told(authority):
    leaf, _ = authority.sign(NAME)
    assert grade(served(leaf), NAME, time.time(), expected="0" * 32).grade is Grade.OTHER


def test_no_handshake_and_no_certificate_are_grades_too():
    found = grade(Served(at="127.0.0.1:443", error="connection refused"), NAME, 0.0)
    assert (found.grade, found.certificate_id) == (Grade.UNREACHABLE, "")
    assert found.detail == "There is no TLS handshake for a.example at 127.0.0.1:443: connection refused."
    assert grade(Served(at="127.0.0.1:443", leaf=b"nonsense"), NAME, 0.0).grade is Grade.UNTRUSTED


def test_grades_are_in_the_order_of_their_severity():
    assert SEVERITY[Grade.GOOD] == 0
    assert SEVERITY[Grade.EXPIRED] > SEVERITY[Grade.OTHER]
    assert set(SEVERITY) == set(Grade)
