"""Who may have domains, and what follows when somebody stops paying."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.entitlement import Entitlement
from edgeproxy.config.structs import Config
from edgeproxy.control.asking import Answer, NoAnswer
from edgeproxy.control.domains.entitlement import (
    STALE_SECONDS,
    Said,
    Standing,
    Terms,
    counts,
    follows,
    read_answer,
    without_asking,
)
from edgeproxy.control.domains.lifecycle import Event
from edgeproxy.control.domains.reconciler import moved
from edgeproxy.control.store import Domain, Workspace
from edgeproxy.limits import Limits
from edgeproxy.model import DomainState
from tests.control.store.making import DAY, NOW

TERMS = Terms(grace=7 * DAY, remove_after=30 * DAY)


def workspace(paid: bool = True, **more: object) -> Workspace:
    wanted = {
        "workspace_id": "acme",
        "paid": paid,
        "source": "platform",
        "fresh_until": NOW + 300,
        "checked_at": NOW,
        "unpaid_since": None if paid else NOW - 8 * DAY,
    }
    return Workspace(**(wanted | more))  # type: ignore[arg-type]


def domain(state: DomainState = DomainState.ACTIVE, **more: object) -> Domain:
    wanted = {"hostname": "a.example.com", "workspace_id": "acme", "state": state, "created_at": 0.0, "updated_at": 0.0}
    return Domain(**(wanted | {"verified_at": 1.0} | more))  # type: ignore[arg-type]


def suspended(since: float = NOW - DAY, **more: object) -> Domain:
    return domain(DomainState.SUSPENDED, suspended_at=since, **more)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"paid": true}', Said(True, None, 300.0)),
        (b'{"paid": false, "max_domains": 3, "plan": "free"}', Said(False, 3, 300.0)),
        (b'{"paid": true, "max_domains": 0}', Said(True, 0, 300.0)),
    ],
)
def test_an_answer_says_whether_and_how_many(body, said):
    assert read_answer(Answer(200, {}, body), 300.0) == said
    assert read_answer(Answer(200, {"cache-control": "max-age=9"}, body), 300.0).lifetime == 9.0


@pytest.mark.parametrize("status", [204, 302, 401, 403, 404, 429, 500])
def test_only_a_200_is_an_answer(status):
    with pytest.raises(NoAnswer, match=f"answered {status}"):
        read_answer(Answer(status, {}, b'{"paid": false}'), 300.0)


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"[]", b"{}", b'{"paid": 1}', b'{"paid": "yes"}', b'{"paid": null}', b'{"paid": true, "max_domains": -1}']
    + [b'{"paid": true, "max_domains": 1.5}', b'{"paid": true, "max_domains": 10000000000}', b"\xff\xfe", b'{"paid": true'],
)
def test_what_is_no_answer_is_trouble_and_nobodys_word(body):
    with pytest.raises(NoAnswer, match=r"\.\Z"):
        read_answer(Answer(200, {}, body), 300.0)


@given(st.binary(max_size=200))
def test_whatever_is_sent_it_is_an_answer_or_trouble(body):
    trouble = ""
    try:
        read_answer(Answer(200, {}, body), 300.0)
    except NoAnswer as error:
        trouble = str(error)
    assert len(trouble) <= 400


def test_the_api_goes_before_the_list_and_the_list_before_the_platform():
    def standing(row=None, who="acme", **settings):
        config = Config(entitlement=Entitlement(**settings), limits=Limits(domains_per_workspace=10))
        return without_asking(who, row, config)

    url, static = {"url": "http://a.example/"}, {"static": ("acme 3", "other")}
    assert standing() == Standing(True, 10, "default")
    assert standing(**url) is None
    assert standing(**url, **static) == Standing(True, 3, "config")
    assert standing(**static, who="other") == Standing(True, 10, "config")
    assert standing(**static, who="nobody") == Standing(False, 10, "config")
    assert standing(**url, **static, who="nobody") is None
    assert standing(workspace(), **url) is None, "what the platform said once is not known without asking"
    for settings in ({}, url, static):
        assert standing(workspace(False, source="api"), **settings) == Standing(False, 10, "api")
        assert standing(workspace(source="api", max_domains=0), **settings) == Standing(True, 0, "api")


def test_an_answer_counts_for_its_lifetime_and_not_before_it_came():
    assert not counts(None, NOW)
    assert [counts(workspace(), NOW + after) for after in (-1, 0, 299, 300)] == [False, True, True, False]
    assert not counts(workspace(source="config"), NOW)


def test_domains_are_suspended_after_the_grace_and_removed_long_after_that():
    unpaid = workspace(False, unpaid_since=NOW, source="api")
    assert follows(unpaid, domain(), NOW + 7 * DAY - 1, TERMS) is None
    for state in set(DomainState) - {DomainState.SUSPENDED, DomainState.REMOVED}:
        assert follows(unpaid, domain(state), NOW + 7 * DAY, TERMS) is Event.SUSPENDED
    late = suspended(NOW + 20 * DAY)  # the edge did not run for a while
    assert follows(unpaid, late, NOW + 50 * DAY - 1, TERMS) is None
    assert follows(unpaid, late, NOW + 50 * DAY, TERMS) is Event.REMOVED


def test_who_pays_again_has_everything_back_whenever():
    for paying in (workspace(), None, workspace(False, unpaid_since=NOW - DAY)):
        assert follows(paying, suspended(NOW - 400 * DAY), NOW, TERMS) is Event.REINSTATED
        assert follows(paying, suspended(active_at=1.0), NOW, TERMS) is Event.REINSTATED_ACTIVE
        assert follows(paying, suspended(verified_at=None), NOW, TERMS) is Event.REINSTATED_UNPROVEN
        assert follows(paying, domain(), NOW, TERMS) is None


def test_nothing_follows_from_an_old_answer():
    at = NOW + 300 + STALE_SECONDS
    for one in (domain(), suspended(NOW - 400 * DAY)):
        assert follows(workspace(False), one, at, TERMS) is not None
        assert follows(workspace(False), one, at + 1, TERMS) is None
        assert follows(workspace(False, source="api"), one, at + 1, TERMS) is not None


@given(
    st.sampled_from(DomainState),
    st.none() | st.floats(-100, 100),
    st.none() | st.floats(-100, 100),
    st.floats(-100, 100),
    st.sampled_from(["platform", "api", "config"]),
)
def test_what_follows_is_possible_and_never_hits_who_pays(state, unpaid, stopped, now, source):
    if state is DomainState.REMOVED:
        return
    one = domain(state, suspended_at=stopped)
    row = workspace(unpaid is None, unpaid_since=unpaid, source=source, fresh_until=200.0)
    event = follows(row, one, now, Terms(5.0, 10.0))
    if unpaid is None or now < unpaid + 5:
        assert event in (None, Event.REINSTATED)
    if event not in (None, Event.REMOVED):
        after = moved(one, event, now)
        assert follows(row, after, now, Terms(5.0, 10.0)) is None, "it is done once"
