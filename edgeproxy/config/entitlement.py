"""Which workspaces may have domains of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from edgeproxy.config.section import Section
from edgeproxy.units import Duration


class Entitlement(Section, frozen=True):
    """Which workspaces may have domains of their own, because they pay for it. Where neither `url` nor `static` is set all may,
    but those of which the API says otherwise: PUT /api/v1/infrastructure/workspaces/{id}, which goes before everything here."""

    url: str = ""
    """A URL that is asked: GET {url}?workspace_id=W, answered 200 with {"paid": true or false, "max_domains": 5}. Any other
    answer is trouble, and nobody's word. `max_domains` may be left out: `limits.domains_per_workspace`. Empty: nobody is
    asked."""

    timeout: Duration = Duration(2)
    """How long it may take."""

    ttl: Duration = Duration(300)
    """How long an answer counts that has no Cache-Control. Answers are kept in the store."""

    on_error: Literal["deny", "allow"] = "deny"
    """Whether a workspace of which nothing is known yet may register a domain while `url` cannot be asked. One that is known
    keeps what it has: trouble suspends nobody."""

    static: tuple[str, ...] = ()
    """Workspaces that may, whatever `url` says: "spandantest", or "spandantest 50" with how many domains. Without `url` they
    are the only ones."""

    grace: Duration = Duration(7 * 86400)
    """How long the domains of a workspace that no longer pays are still served. Then they are suspended, and served again as
    soon as it pays."""

    remove_after: Duration = Duration(30 * 86400)
    """How long after its suspension a domain is removed for good, with its keys."""


def faults(entitlement: Entitlement) -> Iterator[tuple[str, str]]:
    """Values that do not fit together: key, what is wrong and what would be right. Pure."""
    workspaces = [text.partition(" ")[0] for text in entitlement.static]
    if len(set(workspaces)) < len(workspaces):
        yield "entitlement.static", "a workspace is there twice; write each once"
