"""Rules of addresses, networks and names."""

import pytest

from edgeproxy.config.values import RULES


@pytest.mark.parametrize(
    ("key", "value", "normalised"),
    [
        ("listen.https", "0.0.0.0:443", "0.0.0.0:443"),
        ("listen.https", "[0:0::1]:443", "[::1]:443"),
        ("listen.trusted_proxies", "10.1.2.3", "10.1.2.3/32"),
        ("listen.trusted_proxies", "2001:db8::/32", "2001:db8::/32"),
        ("origin.allow", "*.origins.example", "*.origins.example"),
        ("origin.allow", "10.0.0.0/8", "10.0.0.0/8"),
        ("issuance.allow.patterns", "*.Customers.Example", "*.customers.example"),
        ("mail.server", "Mail.Example.com", "mail.example.com"),
        ("mail.server", "::1", "::1"),
        ("mail.server", "localhost", "localhost"),
        ("platform.reserved", "WWW", "www"),
        ("dns.rfc2136.server", "[2001:db8::53]:53", "[2001:db8::53]:53"),
        ("dns.rfc2136.zone", "Acme.Example.", "acme.example"),
        ("verification.visitors_address", "LB.Example.com:8443", "lb.example.com:8443"),
        ("verification.visitors_address", "[0:0::1]:443", "[::1]:443"),
    ],
)
def test_good_values_come_back_normalised(key: str, value: str, normalised: str) -> None:
    assert RULES[key](value) == normalised


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("listen.https", "443", "is not an address with a port"),
        ("origin.allow", "10.0.0.0/40", "is not a network"),
        ("verification.visitors_address", "lb.example.com", "is not an address with a port"),
        ("verification.visitors_address", "lb.example.com:0", "is not a port"),
        ("listen.https", ":443", 'for all of them write "0.0.0.0:443" and "[::]:443"'),
        ("listen.https", "localhost:443", "is not an address with a port"),
        ("listen.https", "::1:443", "is not an address with a port"),
        ("listen.https", "[10.0.0.1]:443", "is not an address with a port"),
        ("listen.https", "0.0.0.0:0", "is not a port"),
        ("listen.https", "0.0.0.0:65536", "is not a port"),
        ("listen.https", "0.0.0.0:٤٤٣", "is not a port"),
        ("listen.trusted_proxies", "10.0.0.1/8", 'write "10.0.0.0/8"'),
        ("listen.trusted_proxies", "everyone", "is not a network"),
        ("api.hostname", "10.0.0.1", "is an IP address"),
        ("api.hostname", "https://api.example", "is not a valid hostname"),
        ("platform.name", "com", "is not a valid hostname"),
        ("platform.addresses", "10.0.0.0/8", "is not an IP address"),
        ("platform.reserved", "a.b", "is not a label"),
        ("issuance.allow.patterns", "*", "is not a valid hostname"),
        ("issuance.allow.patterns", "a.*.example", "is not a valid hostname"),
        ("mail.server", "smtp://mail", "not a valid hostname"),
        ("dns.rfc2136.server", "ns.example.com", 'write one like "192.0.2.53:53"'),
        ("dns.resolvers", "192.0.2.53", 'write one like "192.0.2.53:53"'),
    ],
)
def test_bad_values_say_what_would_be_right(key: str, value: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        RULES[key](value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
