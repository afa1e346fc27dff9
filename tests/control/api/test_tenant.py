"""What the tenant API makes of a name, and says of a domain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeproxy.control.api import tenant
from edgeproxy.control.domains.service import Checked
from edgeproxy.control.store import Domain
from edgeproxy.model import DomainState


@pytest.mark.parametrize(
    ("subdomain", "name"),
    [("gallery", "gallery.a.test"), ("", "a.test"), ("@", "a.test"), ("*", "*.a.test"), (" www ", "www.a.test")],
)
def test_a_name_is_made_of_its_two_parts(subdomain: str, name: str):
    assert tenant.name_of(subdomain, " a.test ") == name


def checked(state: DomainState, verdict: str | None = None, *, method: str = "cname") -> Checked:
    verified = None if state in (DomainState.PENDING_VALIDATION, DomainState.PARKED) else 1.0
    domain = Domain(
        hostname="a.test",
        workspace_id="w",
        state=state,
        created_at=0.0,
        updated_at=0.0,
        verified_at=verified,
        method=method,
    )
    return Checked(domain, cast(Any, None if verdict is None else SimpleNamespace(state=verdict)))


@pytest.mark.parametrize(
    ("found", "status", "message"),
    [
        (checked(DomainState.ACTIVE, "verified"), "verified", tenant.VERIFIED),
        (checked(DomainState.VERIFIED, method=""), "verified", tenant.VERIFIED),
        (checked(DomainState.PENDING_VALIDATION), "pending_validation", tenant.REGISTERED),
        (checked(DomainState.PENDING_VALIDATION, "pending"), "pending_validation", tenant.REGISTERED),
        (checked(DomainState.PENDING_VALIDATION, "wrong"), "invalid_cname", "Please ensure CNAME points to edge.test"),
        (checked(DomainState.PENDING_VALIDATION, "unsure"), "error", tenant.UNSURE),
        (checked(DomainState.PARKED, "wrong"), "invalid_cname", "Please ensure CNAME points to edge.test"),
        (checked(DomainState.ATTENTION, "wrong"), "invalid_cname", "Please ensure CNAME points to edge.test"),
        (checked(DomainState.ISSUING, "verified"), "pending_validation", tenant.CERTIFICATE),
        (checked(DomainState.AWAITING_CUTOVER, "verified"), "pending_validation", tenant.CUTOVER),
        (checked(DomainState.SUSPENDED, "verified"), "error", tenant.SUSPENDED),
    ],
)
def test_a_domain_is_verified_only_when_it_is_live(found: Checked, status: str, message: str):
    assert tenant.standing(found, "edge.test") == (status, message)


def test_without_a_target_no_cname_is_asked_for():
    assert tenant.standing(checked(DomainState.PENDING_VALIDATION, "wrong"), "")[1] == "Please check the DNS record"
