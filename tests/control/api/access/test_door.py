"""Who gets in under api.hostname."""

import pytest

from edgeproxy.control.api.access import secret
from edgeproxy.errors import StateError
from tests.control.api.access.conftest import DOMAINS, TOKENS
from tests.control.api.conftest import problem_of


async def test_nobody_gets_in_without_a_token(api):
    for method, path in (
        ("GET", DOMAINS),
        ("POST", DOMAINS),
        ("GET", "/nothing"),
        ("GET", "/openapi.json"),
        ("OPTIONS", DOMAINS),
    ):
        answer = await api.ask(method, path, content=b"{not json")
        document = problem_of(answer, 401, "unauthorized")
        assert "edgeproxy tokens create" in document["detail"]
        assert answer.headers["www-authenticate"] == 'Bearer realm="edgeproxy"'
        assert answer.headers["x-request-id"] == document["request_id"] == "worker-1"


@pytest.mark.parametrize("field", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token x"])
async def test_what_is_no_bearer_token_is_none(api, field):
    problem_of(await api.ask("GET", DOMAINS, headers={"authorization": field}), 401, "unauthorized")


async def test_a_token_lets_in_however_the_scheme_is_spelt(api):
    token = await api.token("operator:read")
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
        assert (await api.ask("GET", DOMAINS, headers={"authorization": f"{scheme} {token}"})).status_code == 200


async def test_two_tokens_are_none(api):
    token = await api.token("operator:read")
    headers = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": DOMAINS,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    sent = []

    async def send(message):
        sent.append(message)

    await api.app(scope, None, send)
    assert sent[0]["status"] == 401


async def test_a_token_that_is_wrong_revoked_or_expired_is_told_so(api):
    token = await api.token("operator:read", expires_in=60)
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    for text in (wrong, "edgeproxy_" + "0" * 16 + "_" + "a" * 43, "nonsense"):
        answer = await api.ask("GET", DOMAINS, text)
        assert "not known here" in problem_of(answer, 401, "invalid_token")["detail"]
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await api.ask("GET", DOMAINS, token)).status_code == 200
    real = api.world.context.now
    api.world.context.now = lambda: real() + 60
    assert "expired at" in problem_of(await api.ask("GET", DOMAINS, token), 401, "invalid_token")["detail"]
    api.world.context.now = real
    await api.world.client.delete(f"{TOKENS}/{secret.id_of(token)}")
    assert "was revoked at" in problem_of(await api.ask("GET", DOMAINS, token), 401, "invalid_token")["detail"]


async def test_the_tenant_api_says_it_with_its_own_two_fields(api):
    for path in ("/api/domains/register", "/api/domains"):
        answer = await api.ask("POST", path)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/json")
        assert set(answer.json()) == {"status", "message"}
        assert answer.json()["status"] == "error"
        assert "needs a token" in answer.json()["message"]
    problem_of(await api.ask("GET", "/api/domainsx"), 401, "unauthorized")


async def test_a_use_is_noted(api):
    token = await api.token("operator:read")
    before = api.world.context.now()
    await api.ask("GET", DOMAINS, token)
    await api.ask("GET", DOMAINS, token[:-1])
    await api.uses.flush()
    stored = await api.world.store.token(secret.id_of(token))
    assert before <= stored.used_at <= api.world.context.now()


async def test_while_the_store_does_not_open_it_is_said_so(api):
    token = await api.token("operator:read")
    api.world.context.faults.fails("store", StateError("The store is damaged."), 1.0)
    api.world.context.plane = None
    problem_of(await api.ask("GET", DOMAINS, token), 503, "state_unusable")
