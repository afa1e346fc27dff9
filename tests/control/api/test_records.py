"""The DNS records of a domain, on a path of their own."""

from edgeproxy.control.domains.records import record
from tests.control.api.access.conftest import Api
from tests.control.api.conftest import problem_of
from tests.control.domains.living import Said

DOMAINS = "/api/v1/infrastructure/domains"
HOST = "gallery.example.com"
FIELDS = {
    "purpose",
    "type",
    "name",
    "host_field",
    "value",
    "ttl",
    "required",
    "seen",
    "ok",
    "reason",
    "zone_line",
    "hint",
}


async def add(world, domain: str = HOST, **more: object) -> None:
    answer = await world.client.post(DOMAINS, json={"domain": domain, "workspace_id": "acme", **more})
    assert answer.status_code == 201, answer.text


async def records(world, domain: str = HOST):
    answer = await world.client.get(f"{DOMAINS}/{domain}/records")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_they_are_told_before_anybody_has_looked(world):
    await add(world, verify=True)
    found = await records(world)
    assert (found["domain"], found["state"]) == (HOST, "pending_validation")
    assert all(set(each) == FIELDS for each in found["dns_records"])
    [required] = [each for each in found["dns_records"] if each["required"]]
    assert (required["purpose"], required["type"], required["name"]) == ("routing", "CNAME", HOST)
    assert (required["host_field"], required["value"]) == ("gallery", "domain.edge.example")
    assert required["zone_line"] == f"{HOST}. 300 IN CNAME domain.edge.example."
    assert (required["seen"], required["ok"], required["reason"]) == ([], None, "")
    assert "acme" in {each["purpose"] for each in found["dns_records"]}


async def test_they_are_those_of_the_domain_with_what_was_seen(world):
    seen = {"seen": ("CNAME old.example.net",), "ok": False, "reason": "It leads elsewhere.", "hint": "Type gallery."}
    made = record("routing", "CNAME", HOST, "domain.edge.example", required=True)
    world.zone.says[HOST] = Said("wrong", "wrong_target", records=(type(made)(**(made.shown() | seen)),), proven=frozenset())
    await add(world, verify=True)
    assert (await world.client.post(f"{DOMAINS}/{HOST}/verify")).status_code == 200
    found = await records(world)
    shown = (await world.client.get(f"{DOMAINS}/{HOST}")).json()
    assert found["dns_records"] == shown["dns_records"]
    assert found["dns_records"][0]["seen"] == ["CNAME old.example.net"]
    assert [found["dns_records"][0][name] for name in ("ok", "reason", "hint")] == [
        False,
        "It leads elsewhere.",
        "Type gallery.",
    ]
    assert found["looked_at"].endswith("Z")
    assert world.zone.looks(HOST) == 1, "to show what was seen is no look"


async def test_the_operators_word_needs_none_of_its_owner(world):
    await add(world)
    found = await records(world)
    assert (found["looked_at"], {each["purpose"] for each in found["dns_records"]}) == (None, {"acme"})


async def test_what_is_not_there_is_not_found(world):
    problem_of(await world.client.get(f"{DOMAINS}/nobody.example.com/records"), 404, "not_registered")
    problem_of(await world.client.get(f"{DOMAINS}/a..b/records"), 422, "invalid_name")


async def test_a_tenant_sees_those_of_its_own_domains_alone(world):
    api = Api(world)
    await add(world)
    mine, other = await api.token("tenant", workspace_id="acme"), await api.token("tenant", workspace_id="other")
    page = await api.token("domain:read", workspace_id="acme", domain=HOST)
    for token in (mine, page):
        assert (await api.ask("GET", f"{DOMAINS}/{HOST}/records", token)).status_code == 200
    problem_of(await api.ask("GET", f"{DOMAINS}/{HOST}/records", other), 403, "not_your_workspace")


async def test_those_of_the_ca_have_what_is_there_now_wherever_a_domain_is_shown(world):
    await add(world, "*.example.com", verify=True)
    assert world.zone.compared == [], "to add a domain does not wait for the DNS"
    name = "_acme-challenge.example.com"
    world.zone.there[name] = "old.example.net"
    tenant = "/api/domains/verify/*.example.com"
    for path in (f"{DOMAINS}/*.example.com/records", f"{DOMAINS}/*.example.com", tenant):
        answer = (await world.client.get(path)).json()
        [found] = [each for each in answer["dns_records"] if each["purpose"] == "acme"]
        assert (path, found["name"], found["seen"], found["ok"]) == (path, name, ["old.example.net"], False)
    world.zone.there[name] = found["value"]
    answer = (await world.client.post(f"{DOMAINS}/*.example.com/verify")).json()
    assert [each["ok"] for each in answer["dns_records"] if each["purpose"] == "acme"] == [True]
    await world.client.get(DOMAINS)
    assert world.zone.compared == [name] * 4, "nor does a listing"
