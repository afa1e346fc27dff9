"""Whose request a worker brings."""

import pytest

from edgeproxy.control.api.access.address import client_address, networks, only, request_id

TRUSTED = networks(("10.0.0.0/8", "2001:db8::/32"))


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db9::1", "2001:db9::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1, 10.0.0.1,2001:db8::5", "192.0.2.1"),
        ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ("nonsense, 10.0.0.1", "10.0.0.1"),
        ("192.0.2.66, 192.0.2.1", "192.0.2.1"),
        ("", "local"),
        ("nonsense", "local"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_vouches_for(forwarded, address):
    assert client_address(forwarded, TRUSTED) == address


def test_without_trusted_proxies_it_is_the_peer():
    assert client_address("10.0.0.2, 10.0.0.1", []) == "10.0.0.1"


def test_a_field_that_counts_is_there_once():
    assert only([(b"a", b"1"), (b"b", b"2")], b"b") == b"2"
    assert only([(b"a", b"1")], b"b") is None
    with pytest.raises(ValueError, match="2 times"):
        only([(b"b", b"1"), (b"b", b"1")], b"b")


@pytest.mark.parametrize(
    ("value", "found"), [(b"abc-1", "abc-1"), (b"", None), (b"a b", None), (b"x" * 129, None), (b"\xff", None)]
)
def test_the_workers_request_id_is_kept(value, found):
    assert request_id([(b"x-request-id", value)]) == found
    assert request_id([]) is None
