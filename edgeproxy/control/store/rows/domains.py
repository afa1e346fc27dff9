"""Domains, who held them, and what their workspaces are entitled to."""

from __future__ import annotations

from typing import Any, Literal

from edgeproxy.control.store.rows.row import Row
from edgeproxy.model import DomainState


class Domain(Row, frozen=True, kw_only=True):
    """A registered hostname, possibly a wildcard ("*.example.com")."""

    hostname: str
    workspace_id: str
    origin: str = ""
    """Empty: the platform's origin."""
    state: DomainState
    created_at: float
    updated_at: float
    verified_at: float | None = None
    """When it first was in a state that is served."""
    method: str = ""
    """How its owner proves it: "cname", "dns" (TXT), "file" or "email". Empty: the operator's word."""
    proof: str = ""
    """What only its owner can put in the DNS or on the web: random, made when it is registered."""
    redirect_to: str = ""
    """The hostname that every request is sent to instead. Empty: it is served."""
    include_www: bool = False
    """Its www, or for a www its apex, was registered with it."""
    maintenance: bool = False
    """Visitors are told to come back later."""
    must_prove: bool = False
    """Only a record in the DNS that nobody else can have set proves it: another workspace held it, it was active before, or it
    is a wildcard."""
    metadata: str = ""
    """The workspace's own strings, as a JSON object. Empty: none."""
    policies: str = ""
    """Its own settings (`edgeproxy.policies`), as a JSON object. Empty: all as the configuration says."""
    error_code: str = ""
    """What is wrong with it now; empty: nothing."""
    error_detail: str = ""
    error_fault: str = ""
    looks: int = 0
    """How often it was looked at since `looking_since`."""
    version: int = 0
    """Another one after each change that the API shows."""
    next_look: float | None = None
    """When it is looked at again; None: never by itself."""
    looking_since: float | None = None
    """When the schedule of looks began."""
    looked_at: float | None = None
    active_at: float | None = None
    """When it first was active."""
    parked_at: float | None = None
    suspended_at: float | None = None


class Holder(Row, frozen=True, kw_only=True):
    """A workspace that held a name, verified, and holds it no longer."""

    hostname: str
    workspace_id: str
    was_active: bool
    ended_at: float


class Removal(Row, frozen=True, kw_only=True):
    """A removed domain that can still be brought back."""

    domain: Domain
    """As it was."""
    removed_at: float
    removed_by: str
    final_at: float
    """From then on it cannot, and its keys are destroyed."""


class DomainChange(Row, frozen=True, kw_only=True):
    """What is to be changed of a domain; None: it stays. Names and meanings are those of `Domain`, but for `policies`, of which
    each member replaces the one of its name (`policies.merged`)."""

    origin: str | None = None
    redirect_to: str | None = None
    maintenance: bool | None = None
    metadata: str | None = None
    policies: dict[str, Any] | None = None


class Workspace(Row, frozen=True, kw_only=True):
    """What a workspace is entitled to, by whoever said so last."""

    workspace_id: str
    paid: bool
    max_domains: int | None = None
    """None: `limits.domains_per_workspace`."""
    source: Literal["platform", "api", "config"]
    """Who says so: the platform, asked at `entitlement.url`; the API; or the configuration, whose list has it or has it not."""
    fresh_until: float
    """Until when an answer of the platform counts; it is kept for when the platform cannot be asked."""
    checked_at: float
    unpaid_since: float | None = None
    """None: it pays."""


class MailProof(Row, frozen=True, kw_only=True):
    """A mail that was sent to prove a domain: what its link and its code are digests of."""

    hostname: str
    workspace_id: str
    addresses: str
    """To whom, with spaces between."""
    link_digest: bytes
    code_digest: bytes
    tries: int = 0
    """Codes that were tried."""
    sends: int = 1
    """Mails of this name within a day."""
    sent_at: float
    expires_at: float
