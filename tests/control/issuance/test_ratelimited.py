"""Which limit a CA means, in Boulder's own sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.budget import Ask
from edgeproxy.control.issuance.ratelimited import LONGEST_PAUSE, UNKNOWN_PAUSE, pause, scope_of

DOCS = "see https://letsencrypt.org/docs/rate-limits/"


@pytest.mark.parametrize(
    ("said", "scope"),
    [
        (
            f"too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01 00:00:00 UTC: {DOCS}",
            "account",
        ),
        ('too many certificates (50) already issued for "example.com" in the last 168h0m0s, retry after 2026-01-01', "domain"),
        ("too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s", "name"),
        ("too many certificates (5) already issued for this exact set of domains in the last 168h0m0s: a.example.com", "name"),
        ('too many failed authorizations (5) for "a.example.com" in the last 1h0m0s', "name"),
        ("too many failed authorizations recently", "name"),
        ("Certificate issuance for a.example.com is paused", "name"),
        ('too many certificates already issued for "EXAMPLE.COM"', "domain"),
        ("Service busy; retry later.", "account"),
        ("too many requests for notexample.com", "account"),
        ("too many requests for example.com.evil.net", "account"),
        ("", "account"),
    ],
)
def test_what_is_limited_is_read_from_the_cas_words(said, scope):
    subjects = {"account": "", "domain": "example.com", "name": "a.example.com"}
    assert scope_of(said, Ask("a.example.com", "example.com", "new")) == (scope, subjects[scope])


def test_a_registered_domain_that_is_the_name_itself_is_limited_as_one():
    said = 'too many certificates (50) already issued for "example.com" in the last 168h0m0s'
    assert scope_of(said, Ask("example.com", "example.com", "new")) == ("domain", "example.com")


def test_a_wildcard_is_known_in_the_cas_words():
    said = 'too many requests for "*.example.com"'
    assert scope_of(said, Ask("*.example.com", "", "new")) == ("name", "*.example.com")


def test_how_long_to_wait_is_said_by_the_field_then_by_the_words():
    said = "too many new orders, retry after 1970-01-01 01:00:00 UTC: see …"
    assert pause(said, 120.0, 0.0) == 120.0
    assert pause(said, 0.0, 1000.0) == 2600.0
    assert pause("retry after 1970-01-01T01:00:00Z", 0.0, 1000.0) == 2600.0
    assert pause("too many new orders", 0.0, 0.0) == UNKNOWN_PAUSE


def test_a_date_that_is_none_or_too_far_or_past_is_not_believed():
    assert pause("retry after 2026-99-99 00:00:00", 0.0, 0.0) == UNKNOWN_PAUSE
    assert pause("retry after 2999-01-01 00:00:00", 0.0, 0.0) == LONGEST_PAUSE
    assert pause("retry after 1970-01-01 00:00:00", 0.0, 1000.0) == 1.0


@given(st.text(max_size=300), st.floats(0, 1e9))
def test_whatever_a_ca_says_is_understood_somehow(said, now):
    assert scope_of(said, Ask("a.example.com", "example.com", "new"))[0] in ("account", "domain", "name")
    assert 0 < pause(said, 0.0, now) <= LONGEST_PAUSE
