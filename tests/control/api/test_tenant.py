"""What the tenant API makes of a name, and says of a domain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeproxy.control.api import tenant
from edgeproxy.control.domains.service import Checked
from edgeproxy.control.store import Domain
from edgeproxy.model import DomainState
from tests.control.api.conftest import problem_of


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


# how a domain is to be proven: what both APIs answer to who asks for a way of their own

DOMAINS = "/api/v1/infrastructure/domains"
REGISTER = "/api/domains/register"


async def registered(world, api: str, method: str):
    if api == "tenant":
        asked = {"subdomain": "gallery", "domain": "client.com", "workspaceId": "acme", "method": method}
        return await world.client.post(REGISTER, json=asked)
    body: dict[str, object] = {"domain": "gallery.client.com", "workspace_id": "acme", "verify": True, "method": method}
    return await world.client.post(DOMAINS, json=body)


@pytest.mark.parametrize("api", ["tenant", "operator"])
async def test_who_proves_a_domain_by_a_file_is_told_where_it_goes(world, api):
    answer = (await registered(world, api, "file")).json()
    [required] = [record for record in answer.get("domain_config", answer)["dns_records"] if record["required"]]
    assert (required["purpose"], required["type"]) == ("ownership", "FILE")
    assert required["name"] == f"http://gallery.client.com/.well-known/edgeproxy-verify/{required['value']}"
    assert required["name"] in required["reason"]
    listed = (await world.client.get(f"{DOMAINS}/gallery.client.com/records")).json()["dns_records"]
    assert [record["type"] for record in listed if record["required"]] == ["FILE"]


async def test_who_asks_for_a_mail_where_none_can_be_sent_is_told_why_and_what_else_there_is(world):
    answer = await registered(world, "tenant", "email")
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Proofs by e-mail are not set up here")
    assert "[mail]" in answer.json()["message"]
    assert "cname, dns, file" in answer.json()["message"]
    problem_of(await registered(world, "operator", "email"), 422, "mail_not_set")
    assert "is no method" in (await registered(world, "tenant", "post")).json()["message"]
