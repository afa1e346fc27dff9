"""Where an origin is, and where it may not be."""

from __future__ import annotations

import ipaddress

import pytest

from edgeproxy.edge.upstream.target import Target, address_allowed, for_workspace, parse_target
from edgeproxy.errors import InvalidName


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("http://127.0.0.1:3000", Target("127.0.0.1", 3000, False), "127.0.0.1:3000"),
        ("http://app", Target("app", 80, False), "app"),
        ("https://Origin.Example/", Target("origin.example", 443, True), "origin.example"),
        ("https://origin.example:8443", Target("origin.example", 8443, True), "origin.example:8443"),
        ("http://[::1]:80", Target("::1", 80, False), "[::1]"),
        ("unix:/run/app.sock", Target("", 0, False, "/run/app.sock"), "localhost"),
    ],
)
def test_urls_of_origins(url: str, target: Target, authority: str):
    assert parse_target(url) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a.example",
        "http://",
        "http://user@a.example",
        "http://a.example/path",
        "http://a.example?x",
        "http://a.example:x",
        "unix:relative",
    ],
)
def test_what_is_no_origin_says_why(url: str):
    with pytest.raises(InvalidName):
        parse_target(url)


def test_a_unix_socket_is_the_operators_alone():
    with pytest.raises(InvalidName):
        parse_target("unix:/run/edgeproxy/admin.sock", restricted=True)


def test_routing_by_subdomain_changes_the_host_alone():
    assert for_workspace(parse_target("https://app.example:1"), "Acme") == Target("acme.app.example", 1, True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "100.64.0.1",
        "::127.0.0.1",
        "fec0::1",
        "64:ff9b::a00:1",
    ],
)
def test_private_addresses_need_permission(address: str):
    assert not address_allowed(address, [])


def test_permission_is_by_network():
    assert address_allowed("10.0.0.1", [ipaddress.ip_network("10.0.0.0/8")])
    assert address_allowed("93.184.216.34", [])
    assert address_allowed("64:ff9b::5db8:d822", [])
