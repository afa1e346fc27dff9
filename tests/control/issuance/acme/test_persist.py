"""The record of dns-persist-01: made, and judged as a CA does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.acme.persist import fault_of, issuers_of, record_name, record_value
from edgeproxy.control.issuance.acme.wire import Challenge

ACCOUNT = "https://ca.example/acct/123"
NOW = 1_800_000_000.0


def judged(record, *, wildcard=False, issuers=("authority.example", "ca.example.net")):
    return fault_of(record, issuers, ACCOUNT, wildcard=wildcard, now=NOW)


def test_the_draft_s_own_examples():
    assert record_name("example.com") == record_name("*.example.com") == "_validation-persist.example.com"
    assert record_value("authority.example", ACCOUNT, wildcard=False) == f"authority.example; accounturi={ACCOUNT}"
    whole = record_value("ca2.example", ACCOUNT, wildcard=True, until=1767225600)
    assert whole == f"ca2.example; accounturi={ACCOUNT}; policy=wildcard; persistUntil=1767225600"


@given(st.sampled_from(["authority.example", "ca.example.net"]), st.booleans(), st.none() | st.integers(2 * 10**9, 10**12))
def test_what_we_show_is_what_a_ca_takes(issuer, wildcard, until):
    assert judged(record_value(issuer, ACCOUNT, wildcard=wildcard, until=until), wildcard=wildcard) is None


@pytest.mark.parametrize(
    "record",
    [
        f"authority.example;accounturi={ACCOUNT}",
        f" authority.example ; AccountURI = {ACCOUNT} ; Policy = WildCard ; unknown=1 ; PERSISTUNTIL=1800000000 ",
        f"ca.example.net; policy=wildcard; accounturi={ACCOUNT}; empty=",
    ],
)
def test_records_that_say_the_same_otherwise_are_good(record):
    assert judged(record) is None


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ("", ""),
        ("v=spf1 -all", ""),
        (f"other.example; accounturi={ACCOUNT}", ""),
        ("authority.example", "its accounturi is another one"),
        (f"authority.example; accounturi={ACCOUNT}4", "its accounturi is another one"),
        (f"authority.example; accounturi={ACCOUNT};", "'' in it is not tag=value"),
        (f"authority.example; accounturi={ACCOUNT}; policy", "'policy' in it is not tag=value"),
        (f"authority.example; accounturi={ACCOUNT}; x=a b", "'x=a b' in it is not tag=value"),
        (f"authority.example; accounturi={ACCOUNT}; accountURI={ACCOUNT}", "it has accountURI twice"),
        (f"authority.example; accounturi={ACCOUNT}; persistUntil=soon", "its persistUntil is not a number of seconds"),
        (f"authority.example; accounturi={ACCOUNT}; persistUntil=1799999999", "its persistUntil is over"),
    ],
)
def test_what_is_wrong_is_told(record, fault):
    assert judged(record) == fault


def test_a_wildcard_needs_its_policy():
    plain = record_value("authority.example", ACCOUNT, wildcard=False)
    assert judged(plain, wildcard=True) == "it has no policy=wildcard"
    assert judged(plain + "; policy=other", wildcard=True) == "it has no policy=wildcard"


@given(st.text(), st.booleans())
def test_no_record_breaks_the_judgement(text, wildcard):
    judged(text, wildcard=wildcard)
    judged("authority.example;" + text, wildcard=wildcard)


@pytest.mark.parametrize(
    ("offered", "identities", "issuers"),
    [
        (("a.example", "b.example"), (), ("a.example", "b.example")),
        ((), ("directory.example",), ("directory.example",)),
        (("A.example",), (), ()),
        (("a.example.",), (), ()),
        (("a.example; policy=wildcard",), (), ()),
        (tuple(f"n{number}.example" for number in range(11)), (), ()),
        ((), (), ()),
    ],
)
def test_issuer_domain_names_are_those_of_the_challenge_if_they_are_well_formed(offered, identities, issuers):
    challenge = Challenge(type="dns-persist-01", url="u", issuer_domain_names=offered)
    assert issuers_of(challenge, identities) == issuers
