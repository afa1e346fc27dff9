"""Providers and proxies, by what gives them away."""

import pytest

from edgeproxy.control.domains.verification.providers import PROVIDERS, provider_of, proxy_of


@pytest.mark.parametrize(
    ("servers", "name"),
    [
        (("ada.ns.cloudflare.com", "bob.ns.cloudflare.com"), "Cloudflare"),
        (("NS01.DomainControl.com.",), "GoDaddy"),
        (("ns-1.awsdns-01.org", "ns-2.awsdns-02.co.uk"), "Amazon Route 53"),
        (("ns1-01.azure-dns.com", "ns2-01.azure-dns.net"), "Azure DNS"),
        (("dns1.registrar-servers.com",), "Namecheap"),
    ],
)
def test_name_servers_tell_the_provider(servers, name):
    found = provider_of(servers)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "servers",
    [(), ("ns1.example.com",), ("ada.ns.cloudflare.com", "ns01.domaincontrol.com"), ("notdomaincontrol.com",)],
)
def test_what_is_mixed_or_unknown_is_nobody(servers):
    assert provider_of(servers) is None


def test_the_hint_says_what_is_typed_where():
    cloudflare, amazon = provider_of(["a.ns.cloudflare.com"]), provider_of(["ns-1.awsdns-01.org"])
    assert cloudflare is not None
    assert amazon is not None
    assert cloudflare.hint("gallery").startswith("At Cloudflare: Name: gallery, without the domain.")
    assert cloudflare.hint("@").startswith("At Cloudflare: Name: @.")
    assert "DNS only" in cloudflare.hint("gallery")
    assert amazon.hint("@") == "At Amazon Route 53: Record name: leave it empty."
    assert len({provider.name for provider in PROVIDERS}) == len(PROVIDERS)


@pytest.mark.parametrize(
    ("addresses", "name"),
    [
        (("104.21.5.6", "172.67.1.2", "2606:4700:3030::1"), "Cloudflare"),
        (("192.88.134.7",), "Sucuri"),
        (("45.60.1.1",), "Imperva"),
        (("198.51.100.9",), None),
        (("104.21.5.6", "198.51.100.9"), None),
        ((), None),
        (("nonsense",), None),
    ],
)
def test_addresses_tell_a_proxy(addresses, name):
    found = proxy_of(addresses)
    assert (found.name if found else None) == name
