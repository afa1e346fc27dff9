"""What is told of a domain, by answers and by events alike. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from edgeproxy import policies
from edgeproxy.control.store.base import fields
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.control.store.rows.telling import Beside
from edgeproxy.model import DomainState


def domain_of(row: Any) -> Domain:
    """A row of the table as a struct."""
    return Domain(**(fields(row, "parent") | {"state": DomainState(row.state)}))


def told(domain: Domain, certificate_id: str | None = None, beside: Beside | None = None) -> dict[str, Any]:
    """A domain_config, as events say it: with each field that answers have. `certificate_id` is that of the certificate that
    the domain is served under, and `beside` what its row does not say. Times are ISO 8601, UTC."""
    beside = beside or Beside()
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
        "routing": beside.routing,
        "redirect_to": domain.redirect_to or None,
        "include_www": domain.include_www,
        "maintenance": domain.maintenance,
        "policies": policies.shown(domain.policies),
        "metadata": msgspec.json.decode(domain.metadata) if domain.metadata else {},
        "created_at": _moment(domain.created_at),
        "verified_at": _moment(domain.verified_at),
        "certificate_id": certificate_id,
        "queued": None,
        "dns_records": list(beside.dns_records),
        "error": error,
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
