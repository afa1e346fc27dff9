"""How often a domain is looked at."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.domains.schedule import EAGER_PAUSE, SLOWEST_PAUSE, next_look, pause
from edgeproxy.model import DomainState

PENDING = DomainState.PENDING_VALIDATION
WEEK, HOUR = 7 * 86_400.0, 3_600.0


def looks(state: DomainState = PENDING, until: float = WEEK + HOUR, name: str = "a.example.com") -> list[float]:
    """The times of all looks at a domain that was registered at 0; the last one is followed by its being given up."""
    at, found = 0.0, [0.0]
    while at < until:
        after = next_look(name, state, 0.0, at, give_up_after=WEEK, steady_pause=HOUR)
        if after is None:
            return found
        at = after
        found.append(at)
    return found


def test_in_the_first_minute_every_two_seconds():
    assert looks()[:31] == [2.0 * n for n in range(31)]


def test_afterwards_less_and_less_and_every_five_minutes_at_least_for_a_week():
    found = looks()
    pauses = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert max(pauses) <= SLOWEST_PAUSE
    assert WEEK <= found[-1] < WEEK + SLOWEST_PAUSE
    assert pauses[200] > pauses[100] > pauses[40] > EAGER_PAUSE
    assert len(found) < 2_600, "nobody's resolver is hammered"


def test_a_domain_that_is_past_its_week_is_given_up_unless_it_was_proven():
    assert next_look("a.test", PENDING, 0.0, WEEK, give_up_after=WEEK, steady_pause=HOUR) is None
    for state in DomainState:
        if state is not PENDING:
            after = next_look("a.test", state, 0.0, WEEK, give_up_after=WEEK, steady_pause=HOUR)
            assert after is not None
            assert WEEK + 0.9 * HOUR <= after <= WEEK + HOUR


def test_an_active_one_is_looked_at_hourly_from_the_beginning():
    after = next_look("a.test", DomainState.ACTIVE, 0.0, 5.0, give_up_after=WEEK, steady_pause=HOUR)
    assert after is not None
    assert 0.9 * HOUR <= after - 5.0 <= HOUR


def test_domains_of_the_same_hour_come_due_at_different_times():
    found = {next_look(f"n{n}.test", DomainState.ACTIVE, 0.0, 0.0, give_up_after=WEEK, steady_pause=HOUR) for n in range(200)}
    assert len(found) > 150


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_the_pause_never_falls_with_the_age(one, other):
    assert pause(min(one, other)) <= pause(max(one, other))


@pytest.mark.parametrize("state", list(DomainState))
def test_a_clock_that_was_set_back_looks_at_once_and_often(state):
    after = next_look("a.test", state, 5_000.0, 100.0, give_up_after=WEEK, steady_pause=HOUR)
    assert after is not None
    assert 100.0 < after <= 100.0 + HOUR
