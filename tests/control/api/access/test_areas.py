"""What the scopes of tokens are good for."""

import pytest

from edgeproxy.control.api import app as module
from edgeproxy.control.api.access import secret
from tests.control.api.access.conftest import DOMAINS, TOKENS
from tests.control.api.conftest import problem_of

SSL = "/api/v1/infrastructure/ssl"
OPERATORS = ("operator:read", "operator:write")
ALL = (*OPERATORS, "platform", "tenant", "domain:read")


@pytest.fixture
async def tokens(api):
    await api.add("a.example.com", "acme")
    await api.add("b.example.com", "other")
    more = {"tenant": {"workspace_id": "acme"}, "domain:read": {"domain": "a.example.com"}}
    return {scope: await api.token(scope, **more.get(scope, {})) for scope in ALL}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", f"{DOMAINS}/a.example.com", ALL),
        ("GET", DOMAINS, (*OPERATORS, "platform", "tenant")),
        ("GET", SSL, OPERATORS),
        ("GET", f"{SSL}/a.example.com/history", OPERATORS),
        ("GET", "/api/v1/infrastructure/doctor/localhost?resolvers=nonsense", OPERATORS),
        ("GET", TOKENS, (*OPERATORS, "platform", "tenant")),
        ("GET", "/api/v1/infrastructure/webhooks", OPERATORS),
        ("GET", "/api/v1/infrastructure/events", OPERATORS),
        ("POST", "/api/v1/infrastructure/webhooks", ("operator:write",)),
        ("POST", DOMAINS, ("operator:write",)),
        ("PATCH", f"{DOMAINS}/nobodys.example.com", ("operator:write",)),
        ("DELETE", f"{DOMAINS}/nobodys.example.com", ("operator:write", "platform", "tenant")),
        ("POST", f"{DOMAINS}/nobodys.example.com/verify", ("operator:write", "platform", "tenant")),
        ("POST", f"{DOMAINS}/nobodys.example.com/restore", ("operator:write", "platform", "tenant")),
        ("POST", f"{SSL}/nobodys.example.com", ("operator:write",)),
        ("DELETE", f"{SSL}/nobodys.example.com", ("operator:write",)),
        ("POST", f"{SSL}/nobodys.example.com/revoke", ("operator:write",)),
        ("POST", "/api/v1/infrastructure/ssl-renewals", ("operator:write",)),
        ("POST", "/api/v1/infrastructure/ssl-account/rollover", ("operator:write",)),
        ("DELETE", f"{TOKENS}/{'0' * 16}", ("operator:write", "platform", "tenant")),
        ("POST", TOKENS, ("operator:write", "platform", "tenant")),
    ],
)
async def test_an_endpoint_is_for_its_scopes_alone(api, tokens, method, path, allowed):
    let_in = []
    for scope, token in tokens.items():
        answer = await api.ask(method, path, token)
        if answer.status_code == 403:
            problem_of(answer, 403, "insufficient_scope")
        else:
            let_in.append(scope)
    assert let_in == list(allowed)


async def test_what_controls_the_process_is_there_for_nobody(api, tokens):
    for path in ("/api/v1/admin/status", "/api/v1/admin/stop", "/api/v1/admin/reload", "/metrics", "/healthz", "/docs"):
        for method in ("GET", "POST"):
            problem_of(await api.ask(method, path, tokens["operator:write"]), 404, "not_found")


async def test_every_operation_says_that_it_needs_a_token(api, tokens):
    described = (await api.ask("GET", "/openapi.json", tokens["tenant"])).json()
    assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len(operations) > 10
    assert all(operation["security"] == [{"HTTPBearer": []}] for operation in operations)
    assert len({id(area.router) for area in module.AREAS}) == len(module.AREAS)


async def test_a_tenant_sees_its_own_domains_alone(api, tokens):
    listed = (await api.ask("GET", DOMAINS, tokens["tenant"])).json()["domains"]
    assert [each["domain"] for each in listed] == ["a.example.com"]
    for path in (f"{DOMAINS}/b.example.com", f"{DOMAINS}?workspace_id=other"):
        document = problem_of(await api.ask("GET", path, tokens["tenant"]), 403, "not_your_workspace")
        assert document["detail"] == "Not your workspace"
    problem_of(await api.ask("GET", f"{DOMAINS}/b.example.com", tokens["domain:read"]), 403, "not_your_workspace")
    for scope in ("platform", "operator:read"):
        assert len((await api.ask("GET", DOMAINS, tokens[scope])).json()["domains"]) == 2


async def test_a_token_makes_lesser_ones_alone(api, tokens):
    async def making(by: str, **body: object) -> str:
        answer = await api.ask("POST", TOKENS, tokens[by], json=body)
        return "made" if answer.status_code == 201 else str(answer.json()["code"])

    assert await making("operator:write", scope="operator:read") == "insufficient_scope"
    assert await making("operator:write", scope="platform") == "made"
    assert await making("platform", scope="platform") == "insufficient_scope"
    assert await making("platform", scope="tenant", workspace_id="acme") == "made"
    assert await making("tenant", scope="tenant", workspace_id="acme") == "insufficient_scope"
    assert await making("tenant", scope="domain:read", domain="a.example.com") == "made"
    assert await making("tenant", scope="domain:read", domain="b.example.com") == "not_your_workspace"


async def test_a_token_sees_and_revokes_lesser_ones_and_itself(api, tokens):
    async def seen(by: str) -> set[str]:
        return {each["scope"] for each in (await api.ask("GET", TOKENS, tokens[by])).json()["tokens"]}

    assert await seen("operator:read") == set(ALL)
    assert await seen("platform") == {"tenant", "domain:read"}
    assert await seen("tenant") == {"domain:read"}

    async def revoked(by: str, scope: str) -> int:
        return int((await api.ask("DELETE", f"{TOKENS}/{secret.id_of(tokens[scope])}", tokens[by])).status_code)

    others = await api.token("domain:read", domain="b.example.com")
    answer = await api.ask("DELETE", f"{TOKENS}/{secret.id_of(others)}", tokens["tenant"])
    problem_of(answer, 403, "not_your_workspace")
    assert await revoked("tenant", "platform") == 404
    assert await revoked("tenant", "domain:read") == 200
    assert await revoked("operator:write", "operator:read") == 404
    assert await revoked("tenant", "tenant") == 200
    assert (await api.ask("GET", DOMAINS, tokens["tenant"])).status_code == 401


async def test_the_audit_log_names_the_token_and_the_client(api, tokens):
    body = {"domain": "c.example.com", "workspace_id": "acme"}
    assert (await api.ask("POST", DOMAINS, tokens["operator:write"], json=body, address="2001:db8::7")).status_code == 201
    (entry,) = await api.world.store.list_audit(10, subject="c.example.com")
    assert entry.actor == f"token:{secret.id_of(tokens['operator:write'])} 2001:db8::7"


async def test_a_token_names_no_private_origin(api, tokens):
    body = {"domain": "c.example.com", "workspace_id": "acme", "origin": "http://127.0.0.1:1"}
    problem_of(await api.ask("POST", DOMAINS, tokens["operator:write"], json=body), 422, "origin_not_allowed")
    assert (await api.world.client.post(DOMAINS, json=body)).status_code == 201


# their own domains: removed, brought back, looked at; not those of others

MINE, PAIR, WILD, THEIRS = "gallery.acme.com", "acme.com", "*.acme.org", "gallery.other.com"


@pytest.fixture
async def owners(api):
    """Of the workspace acme, and of a platform, with domains that each way of registering makes."""
    owners = {"tenant": await api.token("tenant", workspace_id="acme"), "platform": await api.token("platform")}
    for name, workspace, more in (
        (MINE, "acme", {}),
        (PAIR, "acme", {"include_www": True}),
        (WILD, "acme", {}),
        (THEIRS, "other", {}),
    ):
        body = {"domain": name, "workspace_id": workspace, "verify": True, **more}
        assert (await api.world.client.post(DOMAINS, json=body)).status_code == 201
    return owners


async def listed(api, token: str) -> list[str]:
    return [each["domain"] for each in (await api.ask("GET", DOMAINS, token)).json()["domains"]]


@pytest.mark.parametrize("scope", ["tenant", "platform"])
async def test_a_token_removes_its_own_and_brings_it_back(api, owners, scope):
    for name, also in ((MINE, []), (PAIR, ["www.acme.com"]), (WILD, [])):
        answer = await api.ask("DELETE", f"{DOMAINS}/{name}", owners[scope])
        assert answer.status_code == 200, answer.text
        removed = answer.json()
        assert (removed["domain_config"]["state"], removed["also"], removed["published"]) == ("removed", also, True)
        [entry] = [each for each in await api.world.store.list_audit(10, subject=name) if each.action == "domain.removed"]
        assert entry.actor == f"token:{secret.id_of(owners[scope])} 192.0.2.1"
    assert set(await listed(api, owners[scope])) <= {THEIRS}
    for name, also in ((MINE, []), (PAIR, ["www.acme.com"]), (WILD, [])):
        answer = await api.ask("POST", f"{DOMAINS}/{name}/restore", owners[scope])
        assert (answer.status_code, answer.json()["also"]) == (200, also)
    assert set(await listed(api, owners["tenant"])) == {MINE, PAIR, "www.acme.com", WILD}


async def test_of_its_own_it_removes_what_the_operator_added(api, owners):
    await api.add("shop.acme.com", "acme")
    assert (await api.ask("DELETE", f"{DOMAINS}/shop.acme.com", owners["tenant"])).status_code == 200
    assert api.world.site("shop.acme.com") is None


async def test_what_is_anothers_stays_as_it_is(api, owners):
    before = await api.world.store.get_domain(THEIRS)
    for method, path, body in (("DELETE", THEIRS, None), ("POST", f"{THEIRS}/verify", {"method": "dns"})):
        answer = await api.ask(method, f"{DOMAINS}/{path}", owners["tenant"], json=body)
        assert problem_of(answer, 403, "not_your_workspace")["detail"] == "Not your workspace"
    now = await api.world.store.get_domain(THEIRS)  # looked at meanwhile
    assert (now.workspace_id, now.method, now.created_at) == (before.workspace_id, before.method, before.created_at)


async def test_what_another_removed_stays_so(api, owners):
    assert (await api.world.client.delete(f"{DOMAINS}/{THEIRS}")).status_code == 200
    for body in (None, {"workspace_id": "other"}):
        answer = await api.ask("POST", f"{DOMAINS}/{THEIRS}/restore", owners["tenant"], json=body)
        assert problem_of(answer, 403, "not_your_workspace")["detail"] == "Not your workspace"
    assert await api.world.store.get_domain(THEIRS) is None
    assert (await api.ask("POST", f"{DOMAINS}/{THEIRS}/restore", owners["platform"])).status_code == 200


async def test_it_looks_at_its_own_and_changes_how_that_is_proven(api, owners):
    answer = await api.ask("POST", f"{DOMAINS}/{MINE}/verify", owners["tenant"], json={"method": "dns"})
    assert answer.status_code == 200, answer.text
    [required] = [record for record in answer.json()["dns_records"] if record["required"]]
    assert (required["type"], required["name"]) == ("TXT", f"_edgeproxy-verify.{MINE}")


async def test_where_its_requests_go_stays_the_operators_word(api, owners):
    for body in ({"origin": "http://192.0.2.7"}, {"redirect_to": PAIR}, {"maintenance": True}, {"metadata": {"plan": "gold"}}):
        for scope in owners:
            problem_of(await api.ask("PATCH", f"{DOMAINS}/{MINE}", owners[scope], json=body), 403, "insufficient_scope")


async def test_nothing_comes_back_beyond_what_the_workspace_is_entitled_to(api, owners):
    for name in (MINE, WILD):
        assert (await api.ask("DELETE", f"{DOMAINS}/{name}", owners["tenant"])).status_code == 200
    body = {"paid": True, "max_domains": 3}
    assert (await api.world.client.put("/api/v1/infrastructure/workspaces/acme", json=body)).status_code == 200
    assert (await api.ask("POST", f"{DOMAINS}/{MINE}/restore", owners["tenant"])).status_code == 200
    for scope in owners:
        problem_of(await api.ask("POST", f"{DOMAINS}/{WILD}/restore", owners[scope]), 409, "too_many_domains")
    assert (await api.world.client.post(f"{DOMAINS}/{WILD}/restore")).status_code == 200, "the operator's word"
