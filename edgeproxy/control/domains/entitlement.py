"""Which workspaces may have domains of their own, and what follows for the domains of one that stops paying. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control.asking import Answer, NoAnswer, lifetime
from edgeproxy.control.domains.lifecycle import Event
from edgeproxy.control.store.rows.domains import Domain, Workspace
from edgeproxy.model import DomainState

UNPAID = "Custom domains require a paid subscription"
"""What the customer is told."""

MOST_DOMAINS = 10**9
"""Domains that an answer may allow."""

STALE_SECONDS = 3600.0
"""So long after its end nothing follows from an answer that nobody pays: the platform may say otherwise by now, and cannot be
asked."""

Source = Literal["api", "config", "platform", "default"]
"""Who says so. "default": nobody does, so that all may, or `entitlement.on_error` counts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a workspace."""

    paid: bool
    max_domains: int
    source: Source
    trouble: str = ""
    """Why the platform could not be asked, in a sentence. Empty: it was, or did not have to be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """An answer of the platform."""

    paid: bool
    max_domains: int | None
    lifetime: float
    """Seconds for which it counts."""


class _Body(msgspec.Struct, frozen=True):
    paid: bool
    max_domains: int | None = None


def read_answer(answer: Answer, ttl: float) -> Said:
    """What the platform says. Raises NoAnswer for anything but a 200 with {"paid": …}: a wrong URL that answers 404 must not
    suspend everybody."""
    if answer.status != 200:
        raise NoAnswer(f"The platform answered {answer.status} when it was asked whether a workspace pays; 200 is an answer.")
    try:
        body = msgspec.json.decode(answer.body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        text = f'The platform\'s answer is not {{"paid": true or false, "max_domains": a number}}: {error}.'
        raise NoAnswer(text[:400]) from None
    if body.max_domains is not None and not 0 <= body.max_domains <= MOST_DOMAINS:
        raise NoAnswer(f"The platform's answer has a max_domains that is none: 0 to {MOST_DOMAINS} is one.")
    return Said(body.paid, body.max_domains, lifetime(answer.headers, ttl))


def listed(static: Sequence[str]) -> Mapping[str, int | None]:
    """The workspaces of `entitlement.static`, and how many domains each may have; None: it does not say."""
    parts = [text.partition(" ") for text in static]
    return {workspace: int(number) if number else None for workspace, _, number in parts}


def without_asking(workspace_id: str, row: Workspace | None, config: Config) -> Standing | None:
    """How it stands with a workspace where that can be said without the platform; None: it is to be asked.

    The API's word goes before the configuration's list, and that before the platform.
    """
    most = config.limits.domains_per_workspace
    if row is not None and row.source == "api":
        return Standing(row.paid, most if row.max_domains is None else row.max_domains, "api")
    static = listed(config.entitlement.static)
    if workspace_id in static:
        number = static[workspace_id]
        return Standing(True, most if number is None else number, "config")
    if config.entitlement.url:
        return None
    return Standing(False, most, "config") if static else Standing(True, most, "default")


def counts(row: Workspace | None, now: float) -> bool:
    """Whether the platform's last answer still counts. One by a clock that was ahead does not."""
    return row is not None and row.source == "platform" and row.checked_at <= now < row.fresh_until


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """When what follows, in seconds."""

    grace: float
    remove_after: float


def follows(workspace: Workspace | None, domain: Domain, now: float, terms: Terms) -> Event | None:
    """What befalls a domain because of what was last said of its workspace; None: nothing now.

    A workspace of which nothing was said counts as one that pays.
    """
    suspended = domain.state is DomainState.SUSPENDED
    since = None if workspace is None else workspace.unpaid_since
    if workspace is None or since is None or now < since + terms.grace:
        if not suspended:
            return None
        if domain.active_at is not None:
            return Event.REINSTATED_ACTIVE
        return Event.REINSTATED_UNPROVEN if domain.verified_at is None else Event.REINSTATED
    if workspace.source == "platform" and now > workspace.fresh_until + STALE_SECONDS:
        return None
    if not suspended:
        return Event.SUSPENDED
    over = domain.suspended_at is not None and now >= domain.suspended_at + terms.remove_after
    return Event.REMOVED if over else None
