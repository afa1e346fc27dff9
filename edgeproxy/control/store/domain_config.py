"""What is told of a domain, by answers and by events alike. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from edgeproxy.control.store.base import fields
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.model import DomainState


def domain_of(row: Any) -> Domain:
    """A row of the table as a struct."""
    return Domain(**(fields(row, "parent") | {"state": DomainState(row.state)}))


def told(domain: Domain) -> dict[str, Any]:
    """The stable part of a domain_config: what events and answers say of a domain alike. Times are ISO 8601, UTC."""
    error = None
    if domain.error_code:
        retryable = domain.next_look is not None
        error = {
            "code": domain.error_code,
            "detail": domain.error_detail,
            "fault": domain.error_fault,
            "retryable": retryable,
        }
    return {
        "domain": domain.hostname,
        "workspace_id": domain.workspace_id,
        "state": domain.state.value,
        "origin": domain.origin,
        "redirect_to": domain.redirect_to or None,
        "include_www": domain.include_www,
        "maintenance": domain.maintenance,
        "metadata": msgspec.json.decode(domain.metadata) if domain.metadata else {},
        "created_at": _moment(domain.created_at),
        "verified_at": _moment(domain.verified_at),
        "error": error,
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
