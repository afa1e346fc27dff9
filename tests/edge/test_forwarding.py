"""What the edge says of a client, and whom it believes."""

from __future__ import annotations

import ipaddress

import pytest

from edgeproxy.edge import forwarding

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.1.2.3", True), ("11.1.2.3", False), ("2001:db8::1", True), ("::ffff:10.0.0.1", True), ("x", False)],
)
def test_trust_is_by_network(address: str, trusted: bool):
    assert forwarding.is_trusted(address, TRUSTED) is trusted
    assert not forwarding.is_trusted(address, [])


def test_lines_for_a_stranger():
    assert forwarding.lines("1.2.3.4", b"a.test:8443", b"1.1") == (
        b"x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: a.test:8443\r\n"
        b'forwarded: for=1.2.3.4;host="a.test:8443";proto=https\r\nvia: 1.1 edgeproxy\r\n'
    )
    assert b'forwarded: for="[2001:db8::1]";host=a.test;' in forwarding.lines("2001:db8::1", b"a.test", b"2")


def test_a_trusted_proxy_is_believed_and_extended():
    sent = [
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-proto", b"http"),
        (b"forwarded", b"for=6.6.6.6"),
        (b"x-request-id", b"abc-1"),
        (b"x-forwarded-port", b"80"),
    ]
    lines, request_id = forwarding.trusted_lines("10.0.0.1", b"a.test", b"1.1", sent)
    assert b"x-forwarded-for: 6.6.6.6, 10.0.0.1\r\n" in lines
    assert b"forwarded: for=6.6.6.6, for=10.0.0.1;host=a.test;proto=https\r\n" in lines
    assert b"x-forwarded-proto: http\r\n" in lines
    assert b"x-forwarded-port: 80\r\n" in lines
    assert b"x-forwarded-host: a.test\r\n" in lines
    assert request_id == b"abc-1"


def test_a_request_id_that_is_none_is_not_taken():
    assert forwarding.trusted_lines("10.0.0.1", b"a", b"1.1", [(b"x-request-id", b"a b")])[1] is None
    assert forwarding.trusted_lines("10.0.0.1", b"a", b"1.1", [(b"x-request-id", b"a"), (b"x-request-id", b"b")])[1] is None
