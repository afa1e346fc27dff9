"""Idempotency-Key, at both APIs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx2
import pytest

from edgeproxy.control.api.app import admin_app
from edgeproxy.errors import MapError
from tests.control.api.access.conftest import Api
from tests.control.api.conftest import problem_of

DOMAINS = "/api/v1/infrastructure/domains"
WEBHOOKS = "/api/v1/infrastructure/webhooks"
REGISTER = "/api/domains/register"
BODY = {"domain": "gallery.example.com", "workspace_id": "acme"}
TENANTS = {"subdomain": "gallery", "domain": "client-domain.com", "workspaceId": "acme"}


async def post(client, path: str = DOMAINS, body: object = None, key: str = '"k1"', **more: object):
    headers = {"idempotency-key": key, **more}
    return await client.post(path, json=BODY if body is None else body, headers=headers)


async def registered(world) -> list[str]:
    return [event.subject for event in await world.store.events_after(0, 100) if event.type == "domain.registered"]


def same(answer, first) -> None:
    assert (answer.status_code, answer.content) == (first.status_code, first.content)
    for name in ("etag", "content-type"):
        assert answer.headers.get(name) == first.headers.get(name)
    assert answer.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert answer.headers["x-request-id"] != first.headers["x-request-id"]


async def test_the_same_request_is_answered_as_before_and_done_once(world):
    first = await post(world.client)
    assert first.status_code == 201, first.text
    same(await post(world.client), first)
    same(await post(world.client, key="k1"), first)  # as people write it
    assert await registered(world) == ["gallery.example.com"]
    problem_of(await post(world.client, key='"k2"'), 409, "conflict")


async def test_the_answer_outlives_the_process(world):
    first = await post(world.client)
    transport = httpx2.ASGITransport(admin_app(world.context))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge", timeout=60) as client:
        same(await post(client), first)


@pytest.mark.parametrize("other", ["body", "path", "query", "if-match", "method"])
async def test_another_request_with_the_key_is_refused(world, other):
    assert (await post(world.client)).status_code == 201
    headers = {"idempotency-key": "k1"} | ({"if-match": '"1"'} if other == "if-match" else {})
    path = {"path": f"{DOMAINS}/gallery.example.com/verify", "query": f"{DOMAINS}?a=b"}.get(other, DOMAINS)
    body = BODY | ({"origin": "http://10.0.0.9:80"} if other == "body" else {})
    method = "PATCH" if other == "method" else "POST"
    answer = await world.client.request(method, path, json=body, headers=headers)
    problem = problem_of(answer, 422, "idempotency_key_reused")
    assert problem["fault"] == "client"


async def test_while_the_first_is_at_work_the_second_is_refused_and_then_answered(world):
    await world.client.post(DOMAINS, json=BODY)
    path = "/api/v1/infrastructure/ssl/gallery.example.com"
    world.issuance.go.clear()
    first = asyncio.create_task(post(world.client, path, {}))
    await asyncio.wait_for(world.issuance.told.wait(), 60)
    assert problem_of(await post(world.client, path, {}), 409, "idempotency_key_in_use")["retryable"] is True
    problem_of(await post(world.client, path, {"auto_renew": False}), 422, "idempotency_key_reused")
    world.issuance.go.set()
    answered = await first
    assert answered.status_code < 300, answered.text
    same(await post(world.client, path, {}), answered)
    assert len(world.issuance.forced) == 1


async def test_of_many_at_once_one_is_done(world):
    answers = await asyncio.gather(*(post(world.client) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert await registered(world) == ["gallery.example.com"]


async def test_what_was_refused_may_be_sent_again(world):
    await world.client.post(DOMAINS, json=BODY)
    problem_of(await post(world.client), 409, "conflict")
    transport = httpx2.ASGITransport(admin_app(world.context))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge", timeout=60) as next_process:
        problem_of(await post(next_process), 409, "conflict")
    assert (await world.client.delete(f"{DOMAINS}/gallery.example.com")).status_code == 200
    assert (await post(world.client)).status_code == 201


async def test_what_failed_unforeseen_may_be_sent_again(world, monkeypatch):
    # to write the traceback for people takes seconds
    monkeypatch.setattr("edgeproxy.control.api.guard.log", SimpleNamespace(error=lambda *_, **__: None))
    await world.client.post(DOMAINS, json=BODY)
    path = "/api/v1/infrastructure/ssl/gallery.example.com"
    world.issuance.error = RuntimeError("nobody foresaw this")
    assert (await post(world.client, path, {})).status_code == 500
    world.issuance.error = None
    assert (await post(world.client, path, {})).status_code < 300


async def test_a_request_that_is_given_up_gives_its_key_free(world):
    await world.client.post(DOMAINS, json=BODY)
    path = "/api/v1/infrastructure/ssl/gallery.example.com"
    world.issuance.go.clear()
    first = asyncio.create_task(post(world.client, path, {}))
    await asyncio.wait_for(world.issuance.told.wait(), 60)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    world.issuance.go.set()
    assert (await post(world.client, path, {})).status_code < 300


async def test_a_change_is_answered_as_before_with_its_etag(world):
    await world.client.post(DOMAINS, json=BODY)
    path, headers = f"{DOMAINS}/gallery.example.com", {"idempotency-key": "k1"}
    first = await world.client.patch(path, json={"maintenance": True}, headers=headers)
    assert first.status_code == 200
    await world.client.patch(path, json={"maintenance": False})
    same(await world.client.patch(path, json={"maintenance": True}, headers=headers), first)
    assert (await world.client.get(path)).json()["maintenance"] is False


async def test_a_stream_is_given_once(world):
    await world.client.post(DOMAINS, json=BODY)
    path = "/api/v1/infrastructure/ssl/gallery.example.com"
    for number in (1, 2):
        answer = await post(world.client, path, {}, accept="application/x-ndjson")
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        assert "idempotent-replayed" not in answer.headers
        assert len(world.issuance.forced) == number


async def test_a_long_answer_is_given_once(world, monkeypatch):
    monkeypatch.setattr("edgeproxy.control.api.idempotency.ANSWER_BYTES", 10)
    first = await post(world.client)
    assert first.json()["domain_config"]["domain"] == "gallery.example.com"
    problem_of(await post(world.client), 409, "conflict")


async def test_a_secret_of_an_answer_is_told_again_and_stored_nowhere_in_clear(world):
    body = {"url": "https://127.0.0.1:9/hook", "events": ["domain.active"]}
    first = await post(world.client, WEBHOOKS, body)
    assert first.status_code == 201, first.text
    same(await post(world.client, WEBHOOKS, body), first)
    await world.store.database.scrub()
    stored = b"".join(path.read_bytes() for path in world.directory.glob("edgeproxy.db*"))
    assert first.json()["secret"].encode() not in stored


async def test_a_token_is_not_kept_so_that_a_key_is_refused_there(world):
    answer = await post(world.client, "/api/v1/tokens", {"scope": "platform"})
    assert "stored nowhere" in problem_of(answer, 422, "no_idempotency_key_here")["detail"]
    assert (await world.client.get("/api/v1/tokens")).json()["tokens"] == []


@pytest.mark.parametrize("keys", [["a" * 256], ["a b"], ["k\xe9"], ["a", "a"], [""]])
async def test_what_is_no_key_is_refused(world, keys):
    headers = [(b"idempotency-key", key.encode("latin-1")) for key in keys]
    answer = await world.client.post(DOMAINS, json=BODY, headers=headers)
    problem_of(answer, 400, "invalid_idempotency_key")
    assert await registered(world) == []


async def test_where_nothing_is_done_twice_a_key_means_nothing(world):
    await world.client.post(DOMAINS, json=BODY)
    for _ in range(2):
        answer = await world.client.get(DOMAINS, headers={"idempotency-key": "a b"})
        assert answer.status_code == 200
        assert "idempotent-replayed" not in answer.headers


async def test_tenants_have_keys_of_their_own_and_their_apis_shapes(world):
    api = Api(world)
    one, other = await api.token("tenant", workspace_id="acme"), await api.token("platform")
    headers = {"idempotency-key": "k1"}
    first = await api.ask("POST", REGISTER, one, json=TENANTS, headers=headers)
    assert first.status_code == 200, first.text
    again = await api.ask("POST", REGISTER, one, json=TENANTS, headers=headers, address="192.0.2.77")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    another = await api.ask("POST", REGISTER, one, json=TENANTS | {"subdomain": "b"}, headers=headers)
    assert another.status_code == 400
    assert set(another.json()) == {"status", "message"}
    theirs = await api.ask("POST", REGISTER, other, json=TENANTS, headers=headers)
    assert (theirs.status_code, theirs.json()["message"]) == (409, "Domain already registered")


async def test_whoever_has_no_token_learns_nothing_of_a_key(world):
    api = Api(world)
    token = await api.token("tenant", workspace_id="acme")
    headers = {"idempotency-key": "k1"}
    assert (await api.ask("POST", REGISTER, token, json=TENANTS, headers=headers)).status_code == 200
    assert (await api.ask("POST", REGISTER, json=TENANTS, headers=headers)).status_code == 401
    await world.client.delete(f"/api/v1/tokens/{token.split('_')[1]}")
    assert (await api.ask("POST", REGISTER, token, json=TENANTS, headers=headers)).status_code == 401


async def test_a_store_that_fails_leaves_the_answer_as_it_is(world, monkeypatch):
    async def fails(*_: object, **__: object) -> None:
        raise MapError("no room")

    monkeypatch.setattr(world.store, "end_use", fails)
    assert (await post(world.client)).status_code == 201
    monkeypatch.setattr(world.store, "begin_use", fails)
    problem_of(await post(world.client, key="k3"), 503, "map_unavailable")


async def test_the_field_is_described_where_it_counts(world):
    document = (await world.client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names = [each["name"] for each in operation.get("parameters", ())]
            wanted = method in ("post", "patch") and path.startswith(("/api/v1/infrastructure/", REGISTER))
            assert names.count("Idempotency-Key") == wanted, (method, path)
