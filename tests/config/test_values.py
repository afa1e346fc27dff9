"""The rules for values."""

from typing import get_args, get_origin, get_type_hints

import msgspec
import pytest

from edgeproxy.config import values
from edgeproxy.config.structs import Config
from edgeproxy.units import Duration


@pytest.mark.parametrize(
    ("key", "value", "normalised"),
    [
        ("listen.https", "0.0.0.0:443", "0.0.0.0:443"),
        ("listen.https", "[0:0::1]:443", "[::1]:443"),
        ("listen.trusted_proxies", "10.1.2.3", "10.1.2.3/32"),
        ("listen.trusted_proxies", "2001:db8::/32", "2001:db8::/32"),
        ("process.user", "edge-proxy", "edge-proxy"),
        ("state.key", "AB" * 32, "ab" * 32),
        ("state.key", "file:/etc/state.key", "file:/etc/state.key"),
        ("store.url", "sqlite:////srv/edge.db", "sqlite:////srv/edge.db"),
        ("origin.url", "https://app.example.com/", "https://app.example.com"),
        ("origin.url", "http://[::1]:3000", "http://[::1]:3000"),
        ("origin.url", "unix:/run/app.sock", "unix:/run/app.sock"),
        ("origin.allow", "*.origins.example", "*.origins.example"),
        ("origin.allow", "10.0.0.0/8", "10.0.0.0/8"),
        ("origin.header", "Workspace-Id", "workspace-id"),
        ("issuance.directory", "internal", "internal"),
        ("issuance.allow.patterns", "*.Customers.Example", "*.customers.example"),
        ("issuance.allow.gate", "http://127.0.0.1:3000/edge/allow?token=1", "http://127.0.0.1:3000/edge/allow?token=1"),
        ("entitlement.url", "https://app.example.com/paid?key=1", "https://app.example.com/paid?key=1"),
        ("entitlement.static", "acme", "acme"),
        ("mail.server", "Mail.Example.com", "mail.example.com"),
        ("mail.server", "::1", "::1"),
        ("mail.server", "localhost", "localhost"),
        ("mail.sender", "Example <edge@example.com>", "Example <edge@example.com>"),
        ("entitlement.static", " acme.co   50 ", "acme.co 50"),
        ("platform.reserved", "WWW", "www"),
        ("dns.rfc2136.server", "[2001:db8::53]:53", "[2001:db8::53]:53"),
        ("dns.rfc2136.zone", "Acme.Example.", "acme.example"),
        ("dns.rfc2136.key_name", "Edge-Key.", "edge-key"),
        ("dns.rfc2136.key_secret", "c2VjcmV0\n", "c2VjcmV0"),
        ("issuance.challenges", "dns-persist-01", "dns-persist-01"),
        ("log.access", "/var/log/access.log", "/var/log/access.log"),
        ("api.cors_origins", "HTTPS://App.Example.com:443/", "https://app.example.com"),
        ("api.cors_origins", "http://localhost:5173", "http://localhost:5173"),
        ("api.cors_origins", "http://[::1]:80", "http://[::1]"),
        ("api.cors_origins", "*", "*"),
        ("verification.visitors_address", "LB.Example.com:8443", "lb.example.com:8443"),
        ("verification.visitors_address", "[0:0::1]:443", "[::1]:443"),
    ],
)
def test_good_values_come_back_normalised(key, value, normalised):
    assert values.RULES[key](value) == normalised


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
        ("process.user", "no such user", "is not the name of a user"),
        ("state.directory", "var/lib", "is not an absolute path"),
        ("state.key", "file:state.key", "is not absolute"),
        ("store.url", "mysql://x", "a store is a SQLite file"),
        ("store.url", "sqlite:///:memory:", "a store is a SQLite file"),
        ("admin.socket", "/" + "x" * 120, "may have 107 bytes, this has 121"),
        ("api.hostname", "10.0.0.1", "is an IP address"),
        ("api.hostname", "https://api.example", "is not a valid hostname"),
        ("api.cors_origins", "a.example", "is not an origin"),
        ("api.cors_origins", "https://a.example/app", "has a path"),
        ("api.cors_origins", "https://a.example:0", "is not an origin"),
        ("api.cors_origins", "https://me:word@a.example", "an origin has no user name"),
        ("api.cors_origins", "https://[x", "is not an origin"),
        ("api.cors_origins", "https://*.example", "is not a valid hostname"),
        ("api.cors_origins", "null", "is not an origin"),
        ("platform.name", "com", "is not a valid hostname"),
        ("platform.addresses", "10.0.0.0/8", "is not an IP address"),
        ("platform.reserved", "a.b", "is not a label"),
        ("origin.url", "127.0.0.1:3000", "is not a URL"),
        ("origin.url", "http://user:word@app.example", "would show in logs"),
        ("origin.url", "http://app.example/base", 'write "http://app.example"'),
        ("origin.url", "http://app.example:0", "ports are 1 to 65535"),
        ("origin.url", "http://app.example:99999", "ports are 1 to 65535"),
        ("origin.url", "http://[::1", "is not a URL"),
        ("origin.url", "http://app example", "has spaces"),
        ("origin.url", "unix:app.sock", "is not an absolute path"),
        ("origin.header", "x-forwarded_for", "means something else"),
        ("origin.header", "work space", "is not a header name"),
        ("issuance.directory", "http://ca.example/dir", "is not https"),
        ("issuance.directory", "letsencrypt", "is not a URL"),
        ("issuance.email", "ops", "is not an e-mail address"),
        ("issuance.challenges", "tls-alpn", "is not a challenge"),
        ("issuance.eab.hmac_key", "a+b/c", "is not base64url"),
        ("issuance.allow.patterns", "*", "is not a valid hostname"),
        ("issuance.allow.patterns", "a.*.example", "is not a valid hostname"),
        ("issuance.allow.gate", "ftp://gate", "neither http nor https"),
        ("entitlement.url", "gate", "not a URL"),
        ("mail.server", "smtp://mail", "not a valid hostname"),
        ("mail.sender", "edge", 'write "edge@example.com"'),
        ("mail.sender", "Edge <edge@>", "is not a sender"),
        ("entitlement.static", "acme many", 'write "spandantest" or "spandantest 50"'),
        ("entitlement.static", "-acme", "is not a workspace"),
        ("entitlement.static", "acme -5", "is not a workspace"),
        ("issuance.allow.gate", "http://gate/#x", "has a fragment"),
        ("issuance.challenges", "dns-02", 'some of "tls-alpn-01", "http-01", "dns-01", "dns-persist-01"'),
        ("dns.rfc2136.server", "ns.example.com", 'write one like "192.0.2.53:53"'),
        ("dns.rfc2136.key_name", "a key", "is not the name of a TSIG key"),
        ("dns.rfc2136.key_secret", "not base64", "is not base64; copy it exactly"),
        ("dns.resolvers", "192.0.2.53", 'write one like "192.0.2.53:53"'),
        ("log.access", "access.log", "is no place for a log"),
    ],
)
def test_bad_values_say_what_would_be_right(key, value, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        values.RULES[key](value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def texts(section=Config(), path=()):  # noqa: B008  # never changed
    for name, hint in get_type_hints(type(section)).items():
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from texts(value, (*path, name))
        elif get_origin(hint) is tuple and issubclass(get_args(hint)[0], msgspec.Struct):
            yield from texts(get_args(hint)[0](), (*path, name))
        elif hint is str or get_origin(hint) is tuple:
            yield ".".join((*path, name))


def test_every_text_has_a_rule_but_for_what_only_the_ca_can_judge():
    assert set(texts()) - set(values.RULES) == {"issuance.eab.key_id", "issuance.profile", "issuance.preferred_chain"}
    assert set(values.RULES) <= set(texts())
    assert set(values.MUST_NOT_BE_EMPTY) <= set(values.RULES)


def test_a_password_in_a_url_is_not_repeated():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        values.RULES["origin.url"]("http://user:hunter2@app.example")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["https://ca.example/dir k", "ca.example k aG1hYw", "https://ca.example/dir k a+b/c", "zzz"])
def test_a_fallbacks_external_account_is_never_quoted(text):
    with pytest.raises(ValueError, match="this is not a directory, a key id and an HMAC key") as caught:
        values.RULES["issuance.eab.fallback"](text)
    assert text not in str(caught.value)


def test_the_built_in_ca_is_no_fallback():
    with pytest.raises(ValueError, match="no browser trusts it"):
        values.RULES["issuance.fallback"]("internal")


def test_numbers_and_durations_have_ranges():
    values.in_range("workers.count", 0)
    values.in_range("timeouts.idle", Duration(1))
    for key, value in (
        ("workers.count", -1),
        ("timeouts.idle", Duration(0)),
        ("timeouts.idle", Duration(4e7)),
        ("limits.contexts", 0),
    ):
        with pytest.raises(ValueError, match="outside what is possible"):
            values.in_range(key, value)
