"""Providers that hide records, by their addresses."""

import ipaddress
import itertools

import pytest

from edgeproxy.control.domains.verification.proxies import PROXIES, proxy_of


@pytest.mark.parametrize(
    ("addresses", "name"),
    [
        ("104.21.5.6 172.67.1.2 2606:4700:3030::1", "Cloudflare"),
        ("104.16.0.0 104.27.255.255 172.71.255.255 188.114.97.3 2a06:98c7::1 131.0.75.255", "Cloudflare"),
        ("13.225.78.10 18.66.1.1 52.85.0.1 54.192.0.1 99.84.0.1 108.138.0.1 143.204.0.1 3.165.1.1", "Amazon CloudFront"),
        ("2600:9000:2156:9e00::1 2600:9000:3fff::1", "Amazon CloudFront"),
        ("151.101.1.195 199.232.1.1 146.75.127.255 2a04:4e42::81", "Fastly"),
        ("192.88.134.7 185.93.231.255 192.124.249.3 2a02:fe87::1", "Sucuri"),
        ("45.60.1.1 107.154.0.1 131.125.255.255 2a02:e987::1", "Imperva"),
    ],
)
def test_addresses_tell_a_proxy(addresses, name):
    for each in addresses.split():
        found = proxy_of([each])
        assert (each, found and found.name) == (each, name)
    found = proxy_of(addresses.split())
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "addresses",
    [
        (),
        ("198.51.100.9",),
        ("104.21.5.6", "198.51.100.9"),
        ("104.21.5.6", "45.60.1.1"),
        ("nonsense",),
        ("104.28.0.0",),  # after the last of 104.24.0.0/14
        ("146.75.128.0",),
        ("2600:9000:a000::1",),  # another of Amazon's services
    ],
)
def test_other_addresses_are_no_proxys(addresses):
    assert proxy_of(addresses) is None


def test_no_list_has_lost_a_network():
    known = {proxy.name: len(proxy.networks) for proxy in PROXIES}
    assert known == {"Cloudflare": 22, "Amazon CloudFront": 67, "Fastly": 21, "Sucuri": 6, "Imperva": 12}


def test_the_networks_are_public_and_nobody_elses():
    networks = [ipaddress.ip_network(each) for proxy in PROXIES for each in proxy.networks]
    assert [each for each in networks if not each.is_global] == []
    pairs = itertools.combinations(networks, 2)
    assert [(one, other) for one, other in pairs if one.version == other.version and one.overlaps(other)] == []


def test_each_says_how_it_is_switched_off_for_a_name():
    assert [proxy.name for proxy in PROXIES if "{host}" not in proxy.cure] == []
