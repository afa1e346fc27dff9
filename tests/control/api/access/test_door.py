"""Who gets in under api.hostname."""

import msgspec
import pytest

from edgeproxy.control.api.access import guesses, secret
from edgeproxy.control.api.access.rates import AT_ONCE
from edgeproxy.control.api.app import tokens_app
from edgeproxy.control.metrics import Snapshot
from edgeproxy.errors import StateError
from tests.control.api.access.conftest import DOMAINS, TOKENS
from tests.control.api.conftest import problem_of


def counted(api) -> dict[str, int]:
    """What metrics say of requests that the door refused."""
    shown = api.world.context.metrics.render(Snapshot()).decode()
    found = {}
    for line in shown.splitlines():
        name, _, number = line.rpartition(" ")
        if name.startswith("edgeproxy_token") and float(number):
            found[name.removeprefix("edgeproxy_token")] = int(float(number))
    return found


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
    assert counted(api) == {'s_refused_total{reason="missing"}': 5}


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
    reasons = {"unknown": 3, "expired": 1, "revoked": 1}
    assert counted(api) == {f's_refused_total{{reason="{reason}"}}': count for reason, count in reasons.items()}


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


async def test_a_token_that_asks_too_often_is_told_when_to_come_again(api):
    limits = msgspec.structs.replace(api.world.context.config.limits, token_requests=1)
    api.world.context.config = msgspec.structs.replace(api.world.context.config, limits=limits)
    token, other = await api.token("operator:read"), await api.token("operator:read")
    api = with_clock(api)
    answers = [await api.ask("GET", "/nothing", token) for _ in range(AT_ONCE + 1)]
    assert [answer.status_code for answer in answers] == [404] * AT_ONCE + [429]
    document = problem_of(answers[-1], 429, "rate_limited")
    assert "1 requests a second are let in, 30 at once. Try again in 1 s." in document["detail"]
    assert (answers[-1].headers["retry-after"], document["retryable"]) == ("1", True)
    assert (await api.ask("GET", "/nothing", other)).status_code == 404
    answer = await api.ask("GET", "/api/domains/verify/a.example.com", token)
    assert (answer.status_code, answer.json()["status"], answer.headers["retry-after"]) == (429, "error", "1")
    assert counted(api) == {"_requests_limited_total": 2}


async def test_a_page_s_token_may_ask_as_often_as_a_page_does(api):
    await api.add("a.example.com", "acme")
    token = await api.token("domain:read", domain="a.example.com")
    api = with_clock(api)
    answers = [await api.ask("GET", f"{DOMAINS}/a.example.com", token) for _ in range(61)]
    assert [answer.status_code for answer in answers] == [200] * 60 + [429]


async def test_who_guesses_is_not_listened_to_and_costs_no_look_up(api, monkeypatch):
    token, fresh = await api.token("operator:read"), await api.token("operator:read")
    api = with_clock(api)
    assert (await api.ask("GET", DOMAINS, token)).status_code == 200
    looked_up = []
    real = api.world.store.token

    async def noted(token_id):
        looked_up.append(token_id)
        return await real(token_id)

    monkeypatch.setattr(api.world.store, "token", noted)
    for _ in range(guesses.AT_ONCE):
        problem_of(await api.ask("GET", DOMAINS, secret.made()[1]), 401, "invalid_token")
    for text in (secret.made()[1], fresh):
        answer = await api.ask("GET", DOMAINS, text, address="192.0.2.77")
        assert "From your network" in problem_of(answer, 429, "too_many_guesses")["detail"]
        assert answer.headers["retry-after"] == "10"
    assert len(looked_up) == guesses.AT_ONCE
    assert counted(api) == {'s_refused_total{reason="unknown"}': guesses.AT_ONCE, "_guesses_limited_total": 2}
    assert (await api.ask("GET", DOMAINS, token)).status_code == 200, "one that was right before"
    assert (await api.ask("GET", DOMAINS, fresh, address="198.51.100.1")).status_code == 200
    problem_of(await api.ask("GET", DOMAINS, "nonsense"), 401, "invalid_token")


def with_clock(api):
    """The same behind a door whose clock stands still."""

    api.app = tokens_app(api.world.context, api.uses, lambda: 1000.0)
    return api
