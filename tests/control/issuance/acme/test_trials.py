"""Which challenge comes next, and what is said when none is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.acme.challenges import SOLVABLE, AnswerFailed, NotApplicable
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.trials import NOT_OFFERED, Trail, Trials, read_trail
from edgeproxy.errors import Fault, IssuanceError

THREE = ("tls-alpn-01", "http-01", "dns-01")


def refused(problem="connection", challenge="tls-alpn-01", fault=Fault.CUSTOMER_DNS, **more):
    return CaRefused(f"The CA says {problem}.", problem=problem, challenge=challenge, fault=fault, status=400, **more)


def trials(kinds=THREE, trail=None):
    return Trials("a.example", kinds, trail or Trail())


def test_each_is_tried_in_its_turn():
    one = trials()
    seen = []
    while one.next is not None:
        seen.append(one.next)
        assert one.failed(refused(challenge=one.next))
    assert tuple(seen) == THREE


def test_what_was_begun_goes_first_and_what_failed_before_is_left_out():
    one = trials(trail=Trail(kind="http-01", failed={"tls-alpn-01": "It failed.", "gone-01": "x"}))
    assert one.next == "http-01"
    assert one.failed(refused(challenge="http-01"))
    assert one.next == "dns-01"
    assert one.trail() == Trail(kind="dns-01", failed={"tls-alpn-01": "It failed.", "http-01": "The CA says connection."})


def test_a_trail_survives_its_row_and_a_row_of_an_earlier_version_is_understood():
    trail = Trail(kind="dns-01", failed={"http-01": "Weil — ja."})
    assert read_trail(trail.pack()) == trail
    assert read_trail(b"http-01") == Trail(kind="http-01")
    assert read_trail(b"") == read_trail(b"\xff\x00") == Trail()


@pytest.mark.parametrize("problem", ["caa", "rateLimited", "rejectedIdentifier", "serverInternal", "slow"])
def test_a_reason_that_no_challenge_changes_is_not_noted(problem):
    one = trials()
    assert not one.failed(refused(problem))
    assert one.next == "tls-alpn-01"


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        (("http-01", "tls-alpn-01", "dns-01"), "dns-01"),
        (("tls-alpn-01", "http-01"), None),
        (("dns-01", "dns-persist-01", "http-01"), "dns-persist-01"),
    ],
)
def test_a_name_without_an_address_is_only_tried_where_no_address_is_needed(kinds, left):
    one = trials(kinds)
    assert one.failed(refused("dns", kinds[0]))
    assert one.next == left


def test_when_none_is_left_each_is_told_with_its_reason():
    one = trials()
    one.failed(refused(retry_after=5.0))
    one.failed(refused("unauthorized", "http-01"))
    one.failed(NotApplicable("Its owner must set a CNAME."))
    error = one.error()
    assert isinstance(error, CaRefused)
    assert error.detail == (
        "No challenge proves a.example to the CA. tls-alpn-01: The CA says connection. http-01: The CA says unauthorized. "
        "dns-01: Its owner must set a CNAME."
    )
    assert (error.problem, error.challenge, error.fault, error.retry_after) == (
        "unauthorized",
        "http-01",
        Fault.CUSTOMER_DNS,
        5.0,
    )
    assert error.retryable
    assert not error.about_the_ca


def test_a_single_challenge_speaks_for_itself():
    one = trials(("http-01",))
    reason = refused(challenge="http-01")
    one.failed(reason)
    assert one.error() is reason


@pytest.mark.parametrize(
    ("errors", "fault", "kind"),
    [
        ([NotApplicable("", fault=Fault.OPERATOR), NotApplicable("")], Fault.CUSTOMER_DNS, IssuanceError),
        ([NotApplicable(""), AnswerFailed("The key is wrong.")], Fault.OPERATOR, AnswerFailed),
        ([refused(), AnswerFailed("")], Fault.CUSTOMER_DNS, CaRefused),
        ([refused(), refused(NOT_OFFERED, fault=Fault.OPERATOR)], Fault.CUSTOMER_DNS, CaRefused),
        ([refused(NOT_OFFERED, fault=Fault.OPERATOR), NotApplicable("")], Fault.OPERATOR, CaRefused),
    ],
)
def test_what_was_tried_says_whose_fault_it_is(errors, fault, kind):
    one = trials(("tls-alpn-01", "dns-01"))
    for error in errors:
        assert one.failed(error)
    assert one.error().fault is fault
    assert isinstance(one.error(), CaRefused) is (kind is CaRefused)


@given(st.lists(st.sampled_from(SOLVABLE), unique=True, min_size=1), st.data())
def test_it_always_ends_and_every_challenge_has_its_reason(kinds, data):
    one = trials(kinds)
    problems = ["connection", "dns", "unauthorized", NOT_OFFERED]
    steps = 0
    while one.next is not None:
        steps += 1
        kind = one.next
        what = data.draw(st.sampled_from(problems))
        assert one.failed(refused(what, kind))
        assert one.next != kind
    assert steps <= len(kinds)
    error = one.error()
    assert len(kinds) == 1 or all(f"{kind}: " in error.detail for kind in kinds)
