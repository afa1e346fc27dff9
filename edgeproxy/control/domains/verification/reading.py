"""What one view of a name means. Pure."""

from __future__ import annotations

import dataclasses
import enum

from edgeproxy.control.dns.lookup import ALIASES
from edgeproxy.control.domains.verification.seen import Proof, Seen, View
from edgeproxy.control.domains.verification.wanted import Wanted


class Leads(enum.Enum):
    """Where a name leads."""

    HERE = "here"
    PARTLY = "partly"
    """Some of its addresses are ours, and some are not."""
    ELSEWHERE = "elsewhere"
    FOREIGN = "foreign"
    """To another workspace's target."""
    CIRCLE = "circle"
    """Its CNAMEs lead back to themselves, or on for too long."""
    NOWHERE = "nowhere"
    """It has no record."""
    UNSURE = "unsure"
    """The DNS gave no answer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a name leads, by one view."""

    view: View
    leads: Leads
    by: Proof | None = None
    """For HERE."""
    strange: tuple[str, ...] = ()
    """Addresses that are not ours."""


class Text(enum.Enum):
    """What the TXT record says, by one view."""

    PROVEN = "proven"
    DIFFERS = "differs"
    MISSING = "missing"
    UNSURE = "unsure"


def route(view: View, wanted: Wanted, seen: Seen) -> Route | None:
    """Where a view says that the name leads; None where it was not asked."""
    asked = [answer for answer in (view.ipv4, view.ipv6) if answer is not None]
    if not asked:
        return None
    chain, uncertain = view.chain, not all(answer.certain for answer in asked)
    if wanted.own_target and wanted.own_target in chain:
        return Route(view=view, leads=Leads.HERE, by=Proof.WORKSPACE_CNAME)
    if wanted.target and any(alias.endswith(f".{wanted.target}") for alias in chain):
        return Route(view=view, leads=Leads.FOREIGN)
    if wanted.target and wanted.target in chain:
        return Route(view=view, leads=Leads.HERE, by=Proof.CNAME)
    if chain and (len(set(chain)) < len(chain) or wanted.asked in chain or len(chain) >= ALIASES):
        return Route(view=view, leads=Leads.CIRCLE)
    ours = {*wanted.addresses, *seen.ours}
    strange = tuple(address for address in view.addresses if address not in ours)
    if strange and seen.ours_unknown:
        return Route(view=view, leads=Leads.UNSURE)
    if strange:
        partly = len(strange) < len(view.addresses)
        return Route(view=view, leads=Leads.PARTLY if partly else Leads.ELSEWHERE, strange=strange)
    if uncertain:  # an address of which nothing was said may lead elsewhere
        return Route(view=view, leads=Leads.UNSURE)
    if view.addresses:
        return Route(view=view, leads=Leads.HERE, by=Proof.ADDRESS)
    return Route(view=view, leads=Leads.ELSEWHERE if chain else Leads.NOWHERE)


def text(view: View, wanted: Wanted) -> Text | None:
    """What a view says of the TXT record; None where it was not asked. Quotes that people copy with the value are no part
    of it."""
    if view.text is None:
        return None
    if wanted.proof and any(value.strip().strip('"').strip() == wanted.proof for value in view.text.records):
        return Text.PROVEN
    if not view.text.certain:
        return Text.UNSURE
    return Text.DIFFERS if view.text.records else Text.MISSING
