"""What the publisher and the metrics read of the whole store."""

from __future__ import annotations

from typing import Literal

from edgeproxy.control.store.rows.row import Row

Database = Literal["sites", "certificates", "challenges", "tickets"]


class LogEntry(Row, frozen=True, kw_only=True):
    """That a key of the published map may have another value now."""

    number: int
    database: Database
    key: str


class Summary(Row, frozen=True, kw_only=True):
    """Counts for status and metrics."""

    domains: dict[str, int]
    """By state; only states that occur."""
    certificates: dict[str, int]
    """"valid", "due" (to be renewed, still valid), "expired" and, where there are any, "parked" (due, but its name points
    elsewhere); without those that a newer one has superseded."""
    soonest_expiry: float | None
    """Of the certificates that are still valid."""
    gate_routes: int
    orders: int
    failures: int
    uploaded: dict[str, int] = {}  # noqa: RUF012 - msgspec makes each row its own
    """Uploaded certificates in use, by what is left of them: "expired", "1_day", "7_days", "30_days", "longer"."""


class SiteFacts(Row, frozen=True, kw_only=True):
    """All that the store knows towards the site of a hostname. Flat: a million of them are made for a new map."""

    hostname: str
    state: str | None
    """Of its registration, a DomainState; None: not registered."""
    workspace_id: str | None
    origin: str | None
    method: str | None
    redirect_to: str | None
    """Empty, too, where its workspace has no such domain (any more)."""
    maintenance: bool | None
    policies: str | None
    gate_workspace_id: str | None
    gate_origin: str | None
    fresh_until: float | None
    """Of its route from the gate; None: there is none."""
    own_certificate: str | None
    """The newest certificate still valid that names the hostname itself."""
    wildcard_certificate: str | None
    """The same for its wildcard."""
    created_at: float | None = None
    active_at: float | None = None
    served_since: float | None = None
    """When the first certificate was added that its registration had, its own or its wildcard's."""
