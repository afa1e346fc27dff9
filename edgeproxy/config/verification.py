"""How customers' domains are verified, and what becomes of those that are not."""

from __future__ import annotations

from typing import Literal

from edgeproxy.config.section import Section
from edgeproxy.units import Duration


class Verification(Section, frozen=True):
    """How customers' domains are verified, looked after and removed. Not those that were added on the operator's word."""

    preset: Literal["accept", "prove"] = "accept"
    """What a name proves that pointed here before it was registered. "accept": whose it is, unless somebody else had it here
    before. "prove": nothing; its owner sets a TXT record, or a CNAME to the workspace's own target, `<token>.{cname_target}`,
    for which you make the DNS record `*.{cname_target}` once. Take that where customers of your platform cannot be trusted not
    to register each other's names."""

    give_up_after: Duration = Duration(7 * 86400)
    """How long a domain is looked at that does not verify: every 2 s in the first minute, then less and less, at least every
    5 minutes. Then it is parked, until somebody asks for it."""

    look_again: Duration = Duration(3600)
    """How often an active domain is looked at: its records, and whether visitors get its certificate."""

    forget_after: Duration = Duration(30 * 86400)
    """A parked domain that was never verified is removed after this time."""

    undo: Duration = Duration(86400)
    """How long a removed domain can be brought back. It is refused at once; its keys are destroyed after this time."""

    revoke_removed: bool = False
    """Whether the certificates of removed domains are revoked then, before their keys are destroyed."""

    visitors_address: str = ""
    """Where visitors arrive, "ADDRESS:PORT" or "NAME:PORT": a load balancer before this edge, for instance. A domain is
    called active once a handshake there brought its certificate. Empty: this machine's own listener."""

    localhost: bool = False
    """Whether names under .localhost can be registered like customers' domains, as in `edgeproxy demo`. They lead everybody to
    their own machine, so that nobody can own one: taken only where `listen` has loopback addresses alone and
    `issuance.directory` is "internal"."""
