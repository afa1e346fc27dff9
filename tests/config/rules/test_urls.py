"""Rules of URLs and origins."""

import pytest

from edgeproxy.config.values import RULES


@pytest.mark.parametrize(
    ("key", "value", "normalised"),
    [
        ("origin.url", "https://app.example.com/", "https://app.example.com"),
        ("origin.url", "http://[::1]:3000", "http://[::1]:3000"),
        ("origin.url", "unix:/run/app.sock", "unix:/run/app.sock"),
        ("issuance.directory", "internal", "internal"),
        ("issuance.allow.gate", "http://127.0.0.1:3000/edge/allow?token=1", "http://127.0.0.1:3000/edge/allow?token=1"),
        ("entitlement.url", "https://app.example.com/paid?key=1", "https://app.example.com/paid?key=1"),
        ("api.cors_origins", "HTTPS://App.Example.com:443/", "https://app.example.com"),
        ("api.cors_origins", "http://localhost:5173", "http://localhost:5173"),
        ("api.cors_origins", "http://[::1]:80", "http://[::1]"),
        ("api.cors_origins", "*", "*"),
    ],
)
def test_good_values_come_back_normalised(key: str, value: str, normalised: str) -> None:
    assert RULES[key](value) == normalised


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("api.cors_origins", "a.example", "is not an origin"),
        ("api.cors_origins", "https://a.example/app", "has a path"),
        ("api.cors_origins", "https://a.example:0", "is not an origin"),
        ("api.cors_origins", "https://me:word@a.example", "an origin has no user name"),
        ("api.cors_origins", "https://[x", "is not an origin"),
        ("api.cors_origins", "https://*.example", "is not a valid hostname"),
        ("api.cors_origins", "null", "is not an origin"),
        ("origin.url", "127.0.0.1:3000", "is not a URL"),
        ("origin.url", "http://user:word@app.example", "would show in logs"),
        ("origin.url", "http://app.example/base", 'write "http://app.example"'),
        ("origin.url", "http://app.example:0", "ports are 1 to 65535"),
        ("origin.url", "http://app.example:99999", "ports are 1 to 65535"),
        ("origin.url", "http://[::1", "is not a URL"),
        ("origin.url", "http://app example", "has spaces"),
        ("origin.url", "unix:app.sock", "is not an absolute path"),
        ("issuance.directory", "http://ca.example/dir", "is not https"),
        ("issuance.directory", "letsencrypt", "is not a URL"),
        ("issuance.allow.gate", "ftp://gate", "neither http nor https"),
        ("entitlement.url", "gate", "not a URL"),
        ("issuance.allow.gate", "http://gate/#x", "has a fragment"),
    ],
)
def test_bad_values_say_what_would_be_right(key: str, value: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        RULES[key](value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        RULES["origin.url"]("http://user:hunter2@app.example")
    assert "hunter2" not in str(caught.value)


def test_the_built_in_ca_is_no_fallback() -> None:
    with pytest.raises(ValueError, match="no browser trusts it"):
        RULES["issuance.fallback"]("internal")
