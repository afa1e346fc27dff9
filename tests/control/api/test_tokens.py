"""/api/v1/tokens on the admin socket."""

from typing import Any

import pytest

from edgeproxy.control.api.access import secret
from tests.control.api.conftest import problem_of

TOKENS = "/api/v1/tokens"
FIELDS = {
    "id",
    "scope",
    "state",
    "workspace_id",
    "domain",
    "label",
    "created_at",
    "created_by",
    "expires_at",
    "revoked_at",
    "last_used_at",
}


async def made(world, **body: object) -> dict[str, Any]:
    answer = await world.client.post(TOKENS, json={"scope": "platform"} | body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_token_is_told_once_and_stored_as_a_digest(world):
    body = await made(world, label="CI", expires_in=3600)
    assert set(body) == {*FIELDS, "token"}
    stored = await world.store.token(body["id"])
    assert stored.digest == secret.digest(body["token"])
    assert stored.expires_at == pytest.approx(stored.created_at + 3600)
    assert (body["scope"], body["state"], body["label"], body["workspace_id"]) == ("platform", "valid", "CI", None)
    listed = (await world.client.get(TOKENS)).json()
    assert [set(each) for each in listed["tokens"]] == [FIELDS]
    database = b"".join(path.read_bytes() for path in world.directory.glob("edgeproxy.db*"))
    assert stored.digest in database
    assert body["token"].rpartition("_")[2].encode() not in database


async def test_a_tenants_token_is_for_a_workspace(world):
    assert (await made(world, scope="tenant", workspace_id="acme"))["workspace_id"] == "acme"
    for body, what in (
        ({"scope": "tenant"}, "body.workspace_id: is missing"),
        ({"scope": "platform", "workspace_id": "acme"}, "body.workspace_id: does not go with"),
        ({"scope": "operator:write", "domain": "a.example.com"}, "body.domain: goes with"),
        ({"scope": "domain:read"}, "body.domain: is missing"),
        ({"scope": "platform", "expires_in": 59}, "body.expires_in"),
        ({"scope": "platform", "expires_in": 10**12}, "body.expires_in"),
        ({"scope": "everything"}, "body.scope"),
        ({}, "body.scope: is missing"),
    ):
        document = problem_of(await world.client.post(TOKENS, json=body), 422, "invalid_request")
        assert what in document["detail"]
    problem_of(await world.client.post(TOKENS, json={"scope": "tenant", "workspace_id": "no workspace"}), 422, "invalid_name")


async def test_a_token_for_a_page_is_for_a_registered_domain_and_some_minutes(world):
    domains = "/api/v1/infrastructure/domains"
    await world.client.post(domains, json={"domain": "a.example.com", "workspace_id": "acme"})
    body = await made(world, scope="domain:read", domain="A.example.com.")
    assert (body["domain"], body["workspace_id"]) == ("a.example.com", "acme")
    stored = await world.store.token(body["id"])
    assert stored.expires_at == pytest.approx(stored.created_at + 900)
    wanted = {"scope": "domain:read", "domain": "a.example.com"}
    problem_of(await world.client.post(TOKENS, json=wanted | {"expires_in": 3601}), 422, "invalid_request")
    problem_of(await world.client.post(TOKENS, json=wanted | {"workspace_id": "other"}), 422, "invalid_request")
    problem_of(await world.client.post(TOKENS, json=wanted | {"domain": "b.example.com"}), 404, "not_found")
    problem_of(await world.client.post(TOKENS, json=wanted | {"domain": "no name"}), 422, "invalid_name")


async def test_tokens_are_listed_in_pages_and_ended_ones_on_request(world):
    ids = sorted([(await made(world))["id"] for _ in range(4)] + [(await made(world, expires_in=60))["id"]])
    first = (await world.client.get(TOKENS, params={"limit": 3})).json()
    second = (await world.client.get(TOKENS, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [each["id"] for each in first["tokens"] + second["tokens"]] == ids
    assert second["next_cursor"] is None
    real = world.context.now
    world.context.now = lambda: real() + 61
    await world.client.delete(f"{TOKENS}/{ids[0]}")
    assert len((await world.client.get(TOKENS)).json()["tokens"]) in (3, 4)  # 4 where the revoked one is the expired one
    ended = (await world.client.get(TOKENS, params={"ended": "true"})).json()["tokens"]
    assert [each["id"] for each in ended] == ids
    assert ended[0]["state"] == "revoked"
    assert {each["state"] for each in ended[1:]} <= {"valid", "expired"}
    assert (await world.client.get(TOKENS, params={"workspace_id": "w"})).json()["tokens"] == []


async def test_a_token_is_revoked_and_one_that_there_is_not_is_said_so(world):
    token_id = (await made(world))["id"]
    revoked = (await world.client.delete(f"{TOKENS}/{token_id}")).json()
    assert (revoked["state"], revoked["id"]) == ("revoked", token_id)
    assert revoked["revoked_at"].endswith("Z")
    assert (await world.client.delete(f"{TOKENS}/{token_id}")).json() == revoked
    document = problem_of(await world.client.delete(f"{TOKENS}/{'0' * 16}"), 404, "not_found")
    assert "A list of tokens has their ids" in document["detail"]
    actions = [entry.action for entry in await world.store.list_audit(10, subject=token_id)]
    assert actions == ["token.created", "token.revoked"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"scope": 5}',
        b'{"scope": ["platform"]}',
        b'{"scope": "platform", "label": "\\ud800"}',
        b'{"scope": "platform", "label": 7}',
        b'{"scope": "platform", "label": "' + b"x" * 101 + b'"}',
        b'{"scope": "platform", "expires_in": "60"}',
        b'{"scope": "platform", "expires_in": 60.5}',
        b'{"scope": "platform", "expires_in": true}',
        b'{"scope": "platform", "expires_in": -1}',
        b'{"scope": "platform", "colour": "red"}',
        b'{"scope": "tenant", "workspace_id": "../x"}',
        b'{"scope": "tenant", "workspace_id": "\\u0000"}',
        b'{"scope": "domain:read", "domain": "a%2eexample.com"}',
        b'{"scope": "domain:read", "domain": "' + b"a." * 150 + b'"}',
        b'\xff{"scope": "platform"}',
    ],
)
async def test_whatever_is_wrong_with_a_request_is_told_in_a_problem_document(world, body):
    answer = await world.client.post(TOKENS, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["fault"] == "client"


@pytest.mark.parametrize("path", ["x", "%00", "%ff", "..%2f", "a" * 5000, "%F0%9F%92%A9", "0" * 16])
async def test_an_id_that_there_is_not_is_not_found_however_odd(world, path):
    problem_of(await world.client.delete(f"{TOKENS}/{path}"), 404, "not_found")


@pytest.mark.parametrize(
    "query", ["cursor=%ff", "cursor=x", "limit=0", "limit=x", "ended=perhaps", "colour=red", "workspace_id=" + "w" * 64]
)
async def test_a_listing_with_a_query_that_does_not_fit_is_refused(world, query):
    answer = await world.client.get(f"{TOKENS}?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
