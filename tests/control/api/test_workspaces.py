"""/api/v1/infrastructure/workspaces, and what it means for registering."""

from typing import Any

from edgeproxy.model import DomainState
from tests.control.api.conftest import problem_of

WORKSPACES = "/api/v1/infrastructure/workspaces"
DOMAINS = "/api/v1/infrastructure/domains"


async def said(world, workspace: str = "acme", **body: object) -> dict[str, Any]:
    answer = await world.client.put(f"{WORKSPACES}/{workspace}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_without_any_configuration_every_workspace_may(world):
    answer = await world.client.get(f"{WORKSPACES}/acme")
    assert answer.json() == {
        "workspace_id": "acme",
        "paid": True,
        "max_domains": 1000,
        "domains": 0,
        "source": "default",
        "trouble": None,
        "checked_at": None,
        "unpaid_since": None,
        "suspended_from": None,
    }


async def test_what_is_set_counts_until_it_is_taken_back(world):
    view = await said(world, paid=False)
    assert (view["paid"], view["source"]) == (False, "api")
    assert view["suspended_from"] > view["unpaid_since"] == view["checked_at"]
    body = {"domain": "a.example.com", "workspace_id": "acme", "verify": True}
    document = problem_of(await world.client.post(DOMAINS, json=body), 403, "payment_required")
    assert document["detail"].startswith("Custom domains require a paid subscription")
    assert await world.store.get_domain("a.example.com") is None
    assert (await world.client.post(DOMAINS, json=body | {"verify": False})).status_code == 201, "the operator's own word"

    assert (await said(world, paid=True, max_domains=2))["max_domains"] == 2
    assert (await world.client.post(DOMAINS, json=body | {"domain": "b.example.com"})).status_code == 201
    more = await world.client.post(DOMAINS, json=body | {"domain": "c.example.com"})
    await said(world, paid=True, max_domains=3)
    both = body | {"domain": "example.net", "include_www": True}
    problem_of(await world.client.post(DOMAINS, json=both), 409, "too_many_domains")
    assert await world.store.get_domain("example.net") is None, "half a pair is none"
    document = problem_of(more, 409, "too_many_domains")
    assert "may have 2 domains at most" in document["detail"]
    view = (await world.client.delete(f"{WORKSPACES}/acme")).json()
    assert (view["source"], view["max_domains"], view["domains"]) == ("default", 1000, 2)
    problem_of(await world.client.delete(f"{WORKSPACES}/acme"), 404, "not_found")
    assert [each.actor for each in await world.store.list_audit(10, subject="acme")] == ["unknown"] * 4


async def test_workspaces_are_listed_in_pages_as_each_is_shown(world):
    for host, workspace in (("a.example.com", "acme"), ("b.example.com", "acme"), ("c.example.com", "zoo")):
        assert (await world.client.post(DOMAINS, json={"domain": host, "workspace_id": workspace})).status_code == 201
    await said(world, "middle", paid=False)
    await said(world, paid=True, max_domains=2)
    first = (await world.client.get(WORKSPACES, params={"limit": 2})).json()
    assert [(each["workspace_id"], each["domains"], each["source"]) for each in first["workspaces"]] == [
        ("acme", 2, "api"),
        ("middle", 0, "api"),
    ]
    rest = (await world.client.get(WORKSPACES, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert (rest["workspaces"], rest["next_cursor"]) == ([(await world.client.get(f"{WORKSPACES}/zoo")).json()], None)
    assert first["workspaces"][1] == (await world.client.get(f"{WORKSPACES}/middle")).json()
    problem_of(await world.client.get(WORKSPACES, params={"limit": 0}), 422, "invalid_request")
    problem_of(await world.client.get(WORKSPACES, params={"paid": "true"}), 422, "invalid_request")


async def test_domains_of_who_pays_again_are_served_when_this_answers(world):
    body = {"domain": "a.example.com", "workspace_id": "acme"}
    assert (await world.client.post(DOMAINS, json=body)).status_code == 201
    await said(world, paid=False)
    entitlements = world.context.plane.entitlements
    entitlements._clock = lambda: world.context.now() + entitlements.terms.grace + 1
    await entitlements.apply()
    domain = await world.store.get_domain("a.example.com")
    assert domain.state is DomainState.SUSPENDED
    await said(world, paid=True)
    assert (await world.client.get(f"{DOMAINS}/a.example.com")).json()["state"] == "verified"
    assert world.site("a.example.com").workspace == "acme"


async def test_what_cannot_be_is_refused(world):
    for body in ({}, {"paid": "yes"}, {"paid": 1}, {"paid": True, "max_domains": -1}, {"paid": True, "max": 1}):
        problem_of(await world.client.put(f"{WORKSPACES}/acme", json=body), 422, "invalid_request")
    problem_of(await world.client.put(f"{WORKSPACES}/acme", json={"paid": True, "max_domains": 10**10}), 422, "invalid_request")
    for method in ("GET", "PUT", "DELETE"):
        for one in ("-x", "a%20b", "x" * 200, "%C3%A4"):
            answer = await world.client.request(method, f"{WORKSPACES}/{one}", json={"paid": True} if method == "PUT" else None)
            problem_of(answer, 422, "invalid_name")
