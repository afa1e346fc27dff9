"""What tokens of workspaces and platforms do with their domains: remove, bring back, look. Not with those of others."""

from __future__ import annotations

import pytest

from edgeproxy.control.api.access import secret
from tests.control.api.access.conftest import DOMAINS
from tests.control.api.conftest import problem_of

MINE, PAIR, WILD, THEIRS = "gallery.acme.com", "acme.com", "*.acme.org", "gallery.other.com"


@pytest.fixture
async def tokens(api):
    """Of the workspace acme, and of a platform, with domains that each way of registering makes."""
    tokens = {"tenant": await api.token("tenant", workspace_id="acme"), "platform": await api.token("platform")}
    for name, workspace, more in (
        (MINE, "acme", {}),
        (PAIR, "acme", {"include_www": True}),
        (WILD, "acme", {}),
        (THEIRS, "other", {}),
    ):
        body = {"domain": name, "workspace_id": workspace, "verify": True, **more}
        assert (await api.world.client.post(DOMAINS, json=body)).status_code == 201
    return tokens


async def listed(api, token: str) -> list[str]:
    return [each["domain"] for each in (await api.ask("GET", DOMAINS, token)).json()["domains"]]


@pytest.mark.parametrize("scope", ["tenant", "platform"])
async def test_a_token_removes_its_own_and_brings_it_back(api, tokens, scope):
    for name, also in ((MINE, []), (PAIR, ["www.acme.com"]), (WILD, [])):
        answer = await api.ask("DELETE", f"{DOMAINS}/{name}", tokens[scope])
        assert answer.status_code == 200, answer.text
        removed = answer.json()
        assert (removed["domain_config"]["state"], removed["also"], removed["published"]) == ("removed", also, True)
        [entry] = [each for each in await api.world.store.list_audit(10, subject=name) if each.action == "domain.removed"]
        assert entry.actor == f"token:{secret.id_of(tokens[scope])} 192.0.2.1"
    assert set(await listed(api, tokens[scope])) <= {THEIRS}
    for name, also in ((MINE, []), (PAIR, ["www.acme.com"]), (WILD, [])):
        answer = await api.ask("POST", f"{DOMAINS}/{name}/restore", tokens[scope])
        assert (answer.status_code, answer.json()["also"]) == (200, also)
    assert set(await listed(api, tokens["tenant"])) == {MINE, PAIR, "www.acme.com", WILD}


async def test_of_its_own_it_removes_what_the_operator_added(api, tokens):
    await api.add("shop.acme.com", "acme")
    assert (await api.ask("DELETE", f"{DOMAINS}/shop.acme.com", tokens["tenant"])).status_code == 200
    assert api.world.site("shop.acme.com") is None


async def test_what_is_anothers_stays_as_it_is(api, tokens):
    before = await api.world.store.get_domain(THEIRS)
    for method, path, body in (("DELETE", THEIRS, None), ("POST", f"{THEIRS}/verify", {"method": "dns"})):
        answer = await api.ask(method, f"{DOMAINS}/{path}", tokens["tenant"], json=body)
        assert problem_of(answer, 403, "not_your_workspace")["detail"] == "Not your workspace"
    now = await api.world.store.get_domain(THEIRS)  # looked at meanwhile
    assert (now.workspace_id, now.method, now.created_at) == (before.workspace_id, before.method, before.created_at)


async def test_what_another_removed_stays_so(api, tokens):
    assert (await api.world.client.delete(f"{DOMAINS}/{THEIRS}")).status_code == 200
    for body in (None, {"workspace_id": "other"}):
        answer = await api.ask("POST", f"{DOMAINS}/{THEIRS}/restore", tokens["tenant"], json=body)
        assert problem_of(answer, 403, "not_your_workspace")["detail"] == "Not your workspace"
    assert await api.world.store.get_domain(THEIRS) is None
    assert (await api.ask("POST", f"{DOMAINS}/{THEIRS}/restore", tokens["platform"])).status_code == 200


async def test_it_looks_at_its_own_and_changes_how_that_is_proven(api, tokens):
    answer = await api.ask("POST", f"{DOMAINS}/{MINE}/verify", tokens["tenant"], json={"method": "dns"})
    assert answer.status_code == 200, answer.text
    [required] = [record for record in answer.json()["dns_records"] if record["required"]]
    assert (required["type"], required["name"]) == ("TXT", f"_edgeproxy-verify.{MINE}")


async def test_where_its_requests_go_stays_the_operators_word(api, tokens):
    for body in ({"origin": "http://192.0.2.7"}, {"redirect_to": PAIR}, {"maintenance": True}, {"metadata": {"plan": "gold"}}):
        for scope in tokens:
            problem_of(await api.ask("PATCH", f"{DOMAINS}/{MINE}", tokens[scope], json=body), 403, "insufficient_scope")


async def test_nothing_comes_back_beyond_what_the_workspace_is_entitled_to(api, tokens):
    for name in (MINE, WILD):
        assert (await api.ask("DELETE", f"{DOMAINS}/{name}", tokens["tenant"])).status_code == 200
    body = {"paid": True, "max_domains": 3}
    assert (await api.world.client.put("/api/v1/infrastructure/workspaces/acme", json=body)).status_code == 200
    assert (await api.ask("POST", f"{DOMAINS}/{MINE}/restore", tokens["tenant"])).status_code == 200
    for scope in tokens:
        problem_of(await api.ask("POST", f"{DOMAINS}/{WILD}/restore", tokens[scope]), 409, "too_many_domains")
    assert (await api.world.client.post(f"{DOMAINS}/{WILD}/restore")).status_code == 200, "the operator's word"
