"""The table of a domain's life, and what follows from looks."""

from __future__ import annotations

import itertools

import pytest

from edgeproxy.control.domains.lifecycle import TABLE, Event, Said, heard, next_move
from edgeproxy.errors import Conflict
from edgeproxy.model import SERVED, DomainState

S, E = DomainState, Event

TOLD = {
    "domain.registered",
    "domain.verified",
    "domain.active",
    "domain.attention",
    "domain.suspended",
    "domain.parked",
    "domain.removed",
}


def test_every_state_has_its_row_and_can_be_reached():
    assert set(TABLE) == set(S)
    reached = {move.state for row in TABLE.values() for move in row.values()}
    assert reached == set(S)


def test_every_event_has_its_place():
    assert {event for row in TABLE.values() for event in row} == set(E)


def test_only_events_of_the_contract_are_told():
    assert {move.emits for row in TABLE.values() for move in row.values()} - {""} == TOLD


def test_the_way_of_a_domain_that_is_set_up_right():
    state, told = S.PENDING_VALIDATION, []
    for event in (E.PROVEN, E.ORDERED, E.LIVE):
        move = next_move(state, event)
        state = move.state
        told += [move.emits] if move.emits else []
    assert state is S.ACTIVE
    assert told == ["domain.verified", "domain.active"]


def test_a_domain_that_is_proven_before_it_leads_here_is_told_verified_once():
    state, told = S.PENDING_VALIDATION, []
    for event in (E.PROVEN_AHEAD, E.PROVEN, E.ORDERED, E.PROVEN_AHEAD, E.PROVEN, E.ORDERED, E.LIVE):
        move = next_move(state, event)
        state = move.state
        told.append(move.emits)
    assert state is S.ACTIVE
    assert [name for name in told if name] == ["domain.verified", "domain.active"]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_what_is_not_in_the_table_is_a_conflict_and_nothing_leads_to_itself(state, event):
    if event in TABLE[state]:
        assert next_move(state, event).state is not state
    else:
        with pytest.raises(Conflict, match=state.value) as caught:
            next_move(state, event)
        assert caught.value.code == "wrong_state"


def test_no_state_is_a_dead_end_and_all_can_be_removed():
    for state in S:
        assert TABLE[state]
        assert state is S.REMOVED or TABLE[state][E.REMOVED].state is S.REMOVED


def test_nothing_is_served_before_it_is_proven():
    proof = {E.PROVEN, E.REINSTATED, E.REINSTATED_ACTIVE, E.RESTORED, E.RESTORED_ACTIVE}
    for state, row in TABLE.items():
        for event, move in row.items():
            if state not in SERVED and move.state in SERVED:
                assert event in proof


def test_a_look_that_is_unsure_changes_nothing():
    for state, leads_here in itertools.product(S, (True, False, None)):
        assert heard(state, "unsure", leads_here=leads_here) is None


@pytest.mark.parametrize(
    ("state", "said", "leads_here", "event"),
    [
        (S.PENDING_VALIDATION, "verified", True, E.PROVEN),
        (S.PENDING_VALIDATION, "verified", False, E.PROVEN_AHEAD),
        (S.PENDING_VALIDATION, "pending", True, None),
        (S.PENDING_VALIDATION, "wrong", False, None),
        (S.AWAITING_CUTOVER, "pending", True, E.PROVEN),
        (S.AWAITING_CUTOVER, "verified", False, None),
        (S.VERIFIED, "verified", True, None),
        (S.VERIFIED, "wrong", False, E.PROVEN_AHEAD),
        (S.ISSUING, "wrong", False, E.PROVEN_AHEAD),
        (S.ACTIVE, "verified", True, None),
        (S.ACTIVE, "pending", True, None),
        (S.ACTIVE, "wrong", False, E.FAILS),
        (S.PENDING_VALIDATION, "verified", None, E.PROVEN_AHEAD),
        (S.AWAITING_CUTOVER, "verified", None, None),
        (S.ISSUING, "pending", None, None),
        (S.ACTIVE, "wrong", None, None),
        (S.ATTENTION, "verified", True, None),
        (S.SUSPENDED, "verified", True, None),
        (S.PARKED, "verified", True, None),
    ],
)
def test_what_follows_from_a_look(state: DomainState, said: Said, leads_here: bool | None, event: Event | None):
    assert heard(state, said, leads_here=leads_here) is event


@pytest.mark.parametrize(
    ("state", "said", "leads_here"), list(itertools.product(S, ("verified", "pending", "wrong"), (True, False, None)))
)
def test_what_follows_from_a_look_is_always_in_the_table(state: DomainState, said: Said, leads_here: bool | None):
    event = heard(state, said, leads_here=leads_here)
    assert event is None or event in TABLE[state]
