"""Rules of headers, users, mail addresses, challenges and workspaces."""

import pytest

from edgeproxy.config.values import RULES


@pytest.mark.parametrize(
    ("key", "value", "normalised"),
    [
        ("process.user", "edge-proxy", "edge-proxy"),
        ("origin.header", "Workspace-Id", "workspace-id"),
        ("rates.exempt_header", "X-Pass", "x-pass"),
        ("rates.per_network", "100 / s", "100/s"),
        ("rates.per_hostname", "100/s  burst 400", "100/s burst 400"),
        ("entitlement.static", "acme", "acme"),
        ("mail.sender", "Example <edge@example.com>", "Example <edge@example.com>"),
        ("entitlement.static", " acme.co   50 ", "acme.co 50"),
        ("issuance.challenges", "dns-persist-01", "dns-persist-01"),
    ],
)
def test_good_values_come_back_normalised(key: str, value: str, normalised: str) -> None:
    assert RULES[key](value) == normalised


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("process.user", "no such user", "is not the name of a user"),
        ("origin.header", "x-forwarded_for", "means something else"),
        ("origin.header", "work space", "is not a header name"),
        ("rates.exempt_header", "x-forwarded_pass", "is a proxy's word"),
        ("rates.exempt_header", "cookie", 'choose a name of your own, like "edgeproxy-exempt"'),
        ("rates.exempt_header", "a b", 'write one like "edgeproxy-exempt"'),
        ("rates.per_workspace", "100", "is not a rate; write one like"),
        ("rates.per_workspace", "0/s", "is outside what is possible"),
        ("issuance.email", "ops", "is not an e-mail address"),
        ("issuance.challenges", "tls-alpn", "is not a challenge"),
        ("mail.sender", "edge", 'write "edge@example.com"'),
        ("mail.sender", "Edge <edge@>", "is not a sender"),
        ("entitlement.static", "acme many", 'write "spandantest" or "spandantest 50"'),
        ("entitlement.static", "-acme", "is not a workspace"),
        ("entitlement.static", "acme -5", "is not a workspace"),
        ("issuance.challenges", "dns-02", 'some of "tls-alpn-01", "http-01", "dns-01", "dns-persist-01"'),
    ],
)
def test_bad_values_say_what_would_be_right(key: str, value: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        RULES[key](value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
