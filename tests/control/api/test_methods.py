"""How a domain is to be proven: what both APIs answer to who asks for a way of their own."""

import pytest

from tests.control.api.conftest import problem_of

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
