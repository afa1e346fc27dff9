"""Which values of [mail] fit together."""

import pytest

from edgeproxy.config.mail import PORTS, Mail, faults

SENDER = "edge@example.com"


def keys(**values: str) -> list[str]:
    return [key for key, _, _ in faults(Mail(**values))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sender": SENDER},
        {"server": "mail.example.com", "sender": SENDER},
        {"server": "mail.example.com", "sender": SENDER, "username": "u", "password": "p"},
        {"server": "mail.example.com", "sender": SENDER, "security": "none"},
        {"server": "127.0.0.1", "sender": SENDER, "security": "none", "username": "u", "password": "p"},
        {"server": "::1", "sender": SENDER, "security": "none", "username": "u", "password": "p"},
        {"server": "localhost", "sender": SENDER, "security": "none", "username": "u", "password": "p"},
    ],
)
def test_these_fit_together(values):
    assert keys(**values) == []


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"server": "mail.example.com"}, "mail.sender"),
        ({"server": "mail.example.com", "sender": SENDER, "username": "u"}, "mail.password"),
        ({"server": "mail.example.com", "sender": SENDER, "password": "p"}, "mail.username"),
        ({"server": "a.example", "sender": SENDER, "username": "u", "password": "p", "security": "none"}, "mail.security"),
        ({"server": "192.0.2.1", "sender": SENDER, "username": "u", "password": "p", "security": "none"}, "mail.security"),
    ],
)
def test_these_do_not_and_each_fault_says_what_would_be_right(values, key):
    assert keys(**values) == [key]
    ((_, text, _),) = faults(Mail(**values))
    assert "write" in text or "set both" in text


def test_the_password_is_in_no_repr_and_each_kind_of_security_has_its_port():
    assert "secret" not in repr(Mail(username="u", password="secret"))
    assert PORTS == {"starttls": 587, "tls": 465, "none": 25}
