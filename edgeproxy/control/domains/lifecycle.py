"""The life of a domain: which events lead from which state to which, and what is told of it. Pure.

`TABLE` is all of it. What is not in the table cannot happen: `next_move` raises Conflict. Every move changes what the map
says of a name, or may: which states are served, and with which page, `control.map_content` decides.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Literal

from edgeproxy.errors import Conflict
from edgeproxy.model import DomainState

PENDING, VERIFIED, CUTOVER = DomainState.PENDING_VALIDATION, DomainState.VERIFIED, DomainState.AWAITING_CUTOVER
ISSUING, ACTIVE, ATTENTION = DomainState.ISSUING, DomainState.ACTIVE, DomainState.ATTENTION
SUSPENDED, PARKED, REMOVED = DomainState.SUSPENDED, DomainState.PARKED, DomainState.REMOVED

Said = Literal["verified", "pending", "wrong", "unsure"]
"""What a look at a name's records came to. "unsure": nobody could tell, so nothing follows from it."""


class Event(enum.StrEnum):
    """What befalls a domain."""

    PROVEN = "proven"
    """Its owner has shown that it is theirs, and it leads to this edge."""
    PROVEN_AHEAD = "proven_ahead"
    """It is theirs, but does not lead here yet."""
    ORDERED = "ordered"
    """Its certificate is being obtained."""
    LIVE = "live"
    """A visitor's handshake succeeded, with the right certificate."""
    FAILS = "fails"
    """It no longer leads here, or is no longer served."""
    GIVEN_UP = "given_up"
    """It was looked at for as long as there was hope."""
    WANTED = "wanted"
    """Somebody asks for it again."""
    SUSPENDED = "suspended"
    REINSTATED = "reinstated"
    """Its suspension ends, and it was proven before."""
    REINSTATED_ACTIVE = "reinstated_active"
    """The same, and it was active before: it is served as it was, until somebody has looked."""
    REINSTATED_UNPROVEN = "reinstated_unproven"
    REMOVED = "removed"
    RESTORED = "restored"
    """Its removal is undone, and it was proven before."""
    RESTORED_ACTIVE = "restored_active"
    RESTORED_UNPROVEN = "restored_unproven"
    RESTORED_SUSPENDED = "restored_suspended"


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """What an event leads to."""

    state: DomainState
    emits: str = ""
    """The event that is told, "domain.active"; empty: none."""


_LEAVES = {
    Event.SUSPENDED: Move(SUSPENDED, "domain.suspended"),
    Event.REMOVED: Move(REMOVED, "domain.removed"),
}
"""What can befall a domain in any state but the one that it leads to."""

TABLE: dict[DomainState, dict[Event, Move]] = {
    PENDING: {
        Event.PROVEN: Move(VERIFIED, "domain.verified"),
        Event.PROVEN_AHEAD: Move(CUTOVER, "domain.verified"),
        Event.GIVEN_UP: Move(PARKED, "domain.parked"),
        **_LEAVES,
    },
    VERIFIED: {
        Event.ORDERED: Move(ISSUING),
        Event.PROVEN_AHEAD: Move(CUTOVER),
        **_LEAVES,
    },
    CUTOVER: {
        Event.PROVEN: Move(VERIFIED),
        **_LEAVES,
    },
    ISSUING: {
        Event.LIVE: Move(ACTIVE, "domain.active"),
        Event.PROVEN_AHEAD: Move(CUTOVER),
        **_LEAVES,
    },
    ACTIVE: {
        Event.FAILS: Move(ATTENTION, "domain.attention"),
        **_LEAVES,
    },
    ATTENTION: {
        Event.LIVE: Move(ACTIVE, "domain.active"),
        **_LEAVES,
    },
    SUSPENDED: {
        Event.REINSTATED: Move(VERIFIED),
        Event.REINSTATED_ACTIVE: Move(ATTENTION),
        Event.REINSTATED_UNPROVEN: Move(PENDING),
        Event.REMOVED: _LEAVES[Event.REMOVED],
    },
    PARKED: {
        Event.WANTED: Move(PENDING),
        **_LEAVES,
    },
    REMOVED: {
        Event.RESTORED: Move(VERIFIED, "domain.registered"),
        Event.RESTORED_ACTIVE: Move(ATTENTION, "domain.registered"),
        Event.RESTORED_UNPROVEN: Move(PENDING, "domain.registered"),
        Event.RESTORED_SUSPENDED: Move(SUSPENDED, "domain.registered"),
    },
}


def next_move(state: DomainState, event: Event) -> Move:
    """Where an event leads from a state; raises Conflict where the table does not have it."""
    move = TABLE[state].get(event)
    if move is None:
        raise Conflict(f"A domain that is {state.value} cannot become {event.value}.", code="wrong_state")
    return move


def heard(state: DomainState, said: Said, *, leads_here: bool | None) -> Event | None:
    """What follows for a domain from a look at its records; None: nothing, it is looked at again.

    `leads_here` is whether a visitor who looks the name up arrives at this edge; None: nobody knows. Nothing follows from an
    unsure look: a name is not taken out of service because a resolver is silent. Whether a domain in ATTENTION is well again
    a handshake tells.
    """
    if said == "unsure":
        return None
    if state is PENDING:
        if said != "verified":
            return None
        return Event.PROVEN if leads_here else Event.PROVEN_AHEAD
    if state is CUTOVER:
        return Event.PROVEN if leads_here else None
    if leads_here is not False:
        return None
    if state in (VERIFIED, ISSUING):
        return Event.PROVEN_AHEAD
    return Event.FAILS if state is ACTIVE else None
