"""What CAA records allow: RFC 8659 and RFC 8657, case by case."""

import pytest

from edgeproxy.control.dns.caa import LEVELS, CaaRecord, CaaSet, climb, rule

CA = ("ca.example", "other.ca.example")
BOTH = ("tls-alpn-01", "http-01")
ACCOUNT = "https://ca.example/acct/1"


def caa(*texts, at="a.example"):
    """Records as "issue ca.example", or "128 tag value"."""
    records = []
    for text in texts:
        flags, _, rest = text.partition(" ") if text[0].isdigit() else ("0", "", text)
        tag, _, value = rest.partition(" ")
        records.append(CaaRecord(int(flags), tag, value))
    return CaaSet(at, tuple(records))


def methods(found, name="a.example", ours=CA, account=ACCOUNT):
    return rule(found, name, ours, BOTH, account).methods


@pytest.mark.parametrize(
    "records",
    [
        [],
        ["issue ca.example"],
        ["issue CA.Example"],
        ["ISSUE ca.example"],
        ["issue  ca.example ; "],
        ["issue other.ca.example"],
        ["issue strange.example", "issue ca.example"],
        ["issue ;", "issue ca.example"],
        ["iodef mailto:ops@a.example"],
        ["128 iodef mailto:ops@a.example"],
        ["128 issue ca.example"],
        ["issuewild strange.example"],
        ["tbs unknown"],
        ["issue ca.example; policy=ev"],
        [f"issue ca.example; accounturi={ACCOUNT}"],
        [f"issue ca.example; accounturi={ACCOUNT}; validationmethods=http-01,tls-alpn-01"],
        ["issue ca.example; validationmethods=dns-01", "issue ca.example"],
    ],
)
def test_these_let_our_ca_issue(records):
    assert methods(caa(*records)) == BOTH


@pytest.mark.parametrize(
    "records",
    [
        ["issue ;"],
        ["issue "],
        ["issue strange.example"],
        ["issue notca.example"],
        ["issue %%%%%"],
        ["issue ca.example other.ca.example"],
        ["issue ca.example; what is this"],
        ["128 tbs unknown", "issue ca.example"],
        ["129 tbs unknown"],
        ["issue ca.example; accounturi=https://ca.example/acct/2"],
        [f"issue ca.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}"],
        ["issue ca.example; validationmethods=dns-01"],
        ["issue ca.example; validationmethods=http-01; validationmethods=http-01"],
        ["issue ca.example; validationmethods="],
    ],
)
def test_these_do_not(records):
    assert methods(caa(*records)) == ()


def test_a_wildcard_looks_at_issuewild_first():
    assert methods(caa("issue strange.example", "issuewild ca.example"), "*.a.example") == BOTH
    assert methods(caa("issue ca.example", "issuewild ;"), "*.a.example") == ()
    assert methods(caa("issue ca.example"), "*.a.example") == BOTH
    assert methods(caa("issue ca.example", "issuewild ;"), "a.example") == BOTH


def test_validation_methods_leave_those_that_are_listed():
    assert methods(caa("issue ca.example; validationmethods=dns-01,http-01")) == ("http-01",)
    listed = caa("issue ca.example; validationmethods=http-01", "issue other.ca.example; validationmethods=tls-alpn-01")
    assert methods(listed) == BOTH


def test_an_account_that_is_not_known_yet_is_left_to_the_ca():
    assert methods(caa("issue ca.example; accounturi=https://ca.example/acct/2"), account="") == BOTH


def test_a_ca_that_does_not_say_its_names_decides_by_itself():
    assert methods(caa("issue ;"), ours=()) == BOTH


def test_the_sentence_says_which_record_forbids_and_what_is_to_be_there():
    ruling = rule(caa("issue strange.example", at="example.com"), "shop.example.com", CA, BOTH)
    assert ruling.sentence == (
        'The record example.com CAA 0 issue "strange.example" does not let the CA ca.example issue for shop.example.com. '
        'Add the record example.com CAA 0 issue "ca.example" there, or remove all CAA records of example.com.'
    )
    assert (ruling.name, ruling.wanted) == ("example.com", 'CAA 0 issue "ca.example"')
    assert ruling.present == ('CAA 0 issue "strange.example"',)
    assert rule(caa("issuewild ;"), "*.a.example", CA, BOTH).wanted == 'CAA 0 issuewild "ca.example"'
    assert "Remove that record" in rule(caa("128 tbs x"), "a.example", CA, BOTH).sentence
    other = rule(caa("issue ca.example; validationmethods=dns-01"), "a.example", CA, BOTH).sentence
    assert "only for another account or other challenges" in other
    assert rule(caa(), "a.example", CA, BOTH).sentence == ""


def test_what_a_stranger_wrote_does_not_steer_a_terminal():
    sentence = rule(caa('issue \x1b[2J"\x07' + "x" * 1000), "a.example", CA, BOTH).sentence
    assert sentence.isprintable()
    assert len(sentence) < 600


def test_it_climbs_from_the_name_to_the_root():
    assert climb("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com", "com"]
    assert climb("*.example.com") == ["example.com", "com"]
    assert len(climb("x." * 100 + "com")) == LEVELS
