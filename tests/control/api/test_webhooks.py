"""/api/v1/infrastructure/webhooks on the admin socket."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from edgeproxy.config.webhooks import secret_bytes
from edgeproxy.control.faults import Faults
from edgeproxy.control.store import Endpoint
from edgeproxy.control.store.outbox import emitted
from edgeproxy.control.webhooks import outcome
from edgeproxy.control.webhooks.delivery import endpoint_id
from tests.control.api.conftest import problem_of
from tests.control.webhooks.receiver import SECRET, receiving, says

HOOKS = "/api/v1/infrastructure/webhooks"
OTHER = "whsec_" + "b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldA=="
FIELDS = {
    "id",
    "url",
    "events",
    "label",
    "source",
    "enabled",
    "disabled_why",
    "failing_since",
    "pending",
    "created_at",
    "created_by",
}


async def added(world, **body: object) -> dict[str, Any]:
    answer = await world.client.post(HOOKS, json={"url": "https://a.example/hooks"} | body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture
async def delivering(world):
    """What delivers, at work."""
    task = asyncio.ensure_future(world.context.plane.webhooks.run(Faults()))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def emit(world, type_: str = "domain.active", at: float | None = None) -> str:
    async with world.store.database.write() as write:
        return await emitted(write, at or time.time(), type_, "a.test", "w", {"domain": "a.test"})


async def note(world) -> None:
    while await world.store.note_deliveries(time.time()):
        pass


async def configured(world, url: str = "http://127.0.0.1:1/") -> str:
    """An endpoint of the configuration."""
    one = endpoint_id(url)
    endpoint = Endpoint(id=one, source="config", url=url, created_at=1, created_by="configuration", updated_at=1)
    await world.store.adopt_endpoints({one: endpoint}, time.time())
    return one


async def test_an_endpoint_is_added_with_a_secret_that_is_told_once(world):
    answer = await added(world, events=["domain.*", "domain.*", "certificate.issued"], label="platform")
    assert len(secret_bytes(answer["secret"])) == 32
    webhook = answer["webhook"]
    assert set(webhook) == FIELDS
    assert (webhook["events"], webhook["label"], webhook["source"]) == (["domain.*", "certificate.issued"], "platform", "api")
    assert (webhook["enabled"], webhook["pending"], webhook["failing_since"]) == (True, 0, None)
    assert (await world.client.get(f"{HOOKS}/{webhook['id']}")).json() == webhook
    assert (await world.client.get(HOOKS)).json() == {"webhooks": [webhook]}
    assert [each.text for each in await world.store.endpoint_secrets(webhook["id"])] == [answer["secret"]]


async def test_a_secret_may_be_ones_own(world):
    assert (await added(world, secret=SECRET))["secret"] == SECRET


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"url": "http://a.example/"}, "invalid_url"),
        ({"url": "https://10.0.0.1/"}, "invalid_url"),
        ({"url": "https://a.example/" + "x" * 2048}, "invalid_request"),
        ({"url": "https://a.example/\u0000"}, "invalid_url"),
        ({"url": 5}, "invalid_request"),
        ({"url": "https://a.example/", "events": ["domain.gone"]}, "invalid_request"),
        ({"url": "https://a.example/", "events": "domain.*"}, "invalid_request"),
        ({"url": "https://a.example/", "events": ["*"] * 51}, "invalid_request"),
        ({"url": "https://a.example/", "label": "a\nb"}, "invalid_request"),
        ({"url": "https://a.example/", "label": "a" * 101}, "invalid_request"),
        ({"url": "https://a.example/", "secret": "hunter2"}, "invalid_request"),
        ({"url": "https://a.example/", "unknown": 1}, "invalid_request"),
    ],
)
async def test_what_cannot_be_is_refused(world, body, code):
    document = problem_of(await world.client.post(HOOKS, json=body), 422, code)
    assert "hunter2" not in str(document)
    assert await world.store.list_endpoints() == []


async def test_an_endpoint_is_changed_in_what_is_given(world):
    one = (await added(world))["webhook"]["id"]
    answer = await world.client.patch(f"{HOOKS}/{one}", json={"label": "new", "events": ["domain.*"]})
    assert answer.status_code == 200, answer.text
    webhook = answer.json()["webhook"]
    assert (webhook["label"], webhook["events"], webhook["url"]) == ("new", ["domain.*"], "https://a.example/hooks")
    assert answer.json()["secret"] is None
    answer = await world.client.patch(f"{HOOKS}/{one}", json={"url": "http://127.0.0.1:9/", "events": []})
    assert (answer.json()["webhook"]["url"], answer.json()["webhook"]["events"]) == ("http://127.0.0.1:9/", [])
    problem_of(await world.client.patch(f"{HOOKS}/{one}", json={"url": "https://192.168.0.1/"}), 422, "invalid_url")


async def test_with_a_new_secret_the_one_before_signs_for_a_while(world):
    first = await added(world, secret=SECRET)
    one = first["webhook"]["id"]
    assert (await world.client.patch(f"{HOOKS}/{one}", json={"secret": OTHER})).json()["secret"] == OTHER
    newer, older = await world.store.endpoint_secrets(one)
    assert (newer.text, newer.until, older.text) == (OTHER, None, SECRET)
    assert older.until == pytest.approx(time.time() + 86_400, abs=60)
    made = (await world.client.patch(f"{HOOKS}/{one}", json={"secret": ""})).json()["secret"]
    assert [each.text for each in await world.store.endpoint_secrets(one)] == [made, OTHER]


async def test_one_that_is_disabled_gets_nothing_until_it_is_enabled(world):
    one = (await added(world))["webhook"]["id"]
    webhook = (await world.client.patch(f"{HOOKS}/{one}", json={"enabled": False})).json()["webhook"]
    assert (webhook["enabled"], webhook["disabled_why"]) == (False, "The operator disabled it.")
    event = await emit(world)
    problem_of(await world.client.post(f"{HOOKS}/{one}/deliveries/{event}/redeliver"), 409, "conflict")
    webhook = (await world.client.patch(f"{HOOKS}/{one}", json={"enabled": True})).json()["webhook"]
    assert (webhook["enabled"], webhook["disabled_why"]) == (True, None)
    await note(world)
    assert (await world.client.get(f"{HOOKS}/{one}/deliveries")).json() == {"deliveries": [], "next_cursor": None}


async def test_one_that_is_removed_is_gone(world):
    one = (await added(world))["webhook"]["id"]
    answer = await world.client.delete(f"{HOOKS}/{one}")
    assert (answer.status_code, answer.json()["webhook"]["id"]) == (200, one)
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", "/deliveries/msg_x/redeliver"),
    ):
        body = {"label": "x"} if method == "PATCH" else None
        document = problem_of(await world.client.request(method, f"{HOOKS}/{one}{path}", json=body), 404, "not_found")
        assert "`edgeproxy webhooks list`" in document["detail"]
    problem_of(await world.client.post(f"{HOOKS}/{one}/replay", json={"since": "2026-01-01T00:00:00Z"}), 404, "not_found")


async def test_what_is_in_the_configuration_is_changed_there(world):
    one = await configured(world)
    for answer in (
        await world.client.delete(f"{HOOKS}/{one}"),
        await world.client.patch(f"{HOOKS}/{one}", json={"label": "x"}),
        await world.client.patch(f"{HOOKS}/{one}", json={"enabled": True, "secret": ""}),
    ):
        document = problem_of(answer, 409, "in_configuration")
        assert "`edgeproxy reload`" in document["detail"]
    answer = await world.client.patch(f"{HOOKS}/{one}", json={"enabled": False})
    assert answer.json()["webhook"]["enabled"] is False


async def test_a_test_is_sent_at_once_and_tells_how_it_ended(world):
    async with receiving() as receiver:
        answer = await added(world, url=receiver.url, events=["domain.removed"])
        one = answer["webhook"]["id"]
        tested = (await world.client.post(f"{HOOKS}/{one}/test")).json()
        receiver.usual = says(403, b"who are you?")
        refused = (await world.client.post(f"{HOOKS}/{one}/test")).json()
    assert (tested["delivered"], tested["status"], tested["error"]) == (True, 204, None)
    assert receiver.got[0].id == tested["event_id"]
    assert receiver.got[0].verified(answer["secret"])
    assert (refused["delivered"], refused["status"], refused["error"]) == (False, 403, "It answered 403: who are you?")


@pytest.mark.usefixtures("delivering")
async def test_deliveries_are_listed_by_page_and_state_and_made_again(world, monkeypatch):
    monkeypatch.setattr(outcome, "SCHEDULE", (3600.0,) * 9)  # nothing is tried again by itself
    async with receiving() as receiver:
        one = (await added(world, url=receiver.url))["webhook"]["id"]
        receiver.answers = [says(500)]
        ids = [await emit(world)]
        await receiver.has(1)
        ids += [await emit(world, "domain.parked"), await emit(world, "domain.removed")]
        await receiver.has(3)
        while len((await world.client.get(f"{HOOKS}/{one}/deliveries?state=failed")).json()["deliveries"]) < 1:
            await asyncio.sleep(0.01)
        page = (await world.client.get(f"{HOOKS}/{one}/deliveries?limit=2")).json()
        assert [each["type"] for each in page["deliveries"]] == ["domain.removed", "domain.parked"]
        rest = (await world.client.get(f"{HOOKS}/{one}/deliveries?cursor={page['next_cursor']}")).json()
        (failed,) = rest["deliveries"]
        assert rest["next_cursor"] is None
        assert (failed["event_id"], failed["state"], failed["tries"], failed["status"]) == (ids[0], "pending", 1, 500)
        assert failed["next_try_at"] is not None
        while (await world.client.get(f"{HOOKS}/{one}")).json()["pending"] > 1:
            await asyncio.sleep(0.01)
        answer = await world.client.post(f"{HOOKS}/{one}/deliveries/{ids[0]}/redeliver")
        assert (answer.status_code, answer.json()["event_id"], answer.json()["state"]) == (202, ids[0], "pending")
        await receiver.has(4)
        while (await world.client.get(f"{HOOKS}/{one}")).json()["pending"]:
            await asyncio.sleep(0.01)
        again = await world.client.post(
            f"{HOOKS}/{one}/replay", json={"since": "2026-01-01T00:00:00Z", "events": ["domain.parked"]}
        )
        assert (answer.status_code, again.json()) == (202, {"events": 1})
        await receiver.has(5)
    assert [got.id for got in receiver.got] == [ids[0], *receiver_order(receiver.got[1:3]), ids[0], ids[1]]


def receiver_order(got) -> list[str]:
    """Two that were under way at once come in any order."""
    return [each.id for each in got]


async def test_no_event_is_delivered_again_that_there_is_not(world):
    one = (await added(world))["webhook"]["id"]
    problem_of(await world.client.post(f"{HOOKS}/{one}/deliveries/msg_x/redeliver"), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": 5},
        {"since": "2026-01-01T00:00:00Z", "events": ["x"]},
    ],
)
async def test_a_time_that_is_none_is_refused(world, body):
    one = (await added(world))["webhook"]["id"]
    problem_of(await world.client.post(f"{HOOKS}/{one}/replay", json=body), 422, "invalid_request")


WRONG: list[Any] = [None, 5, -1, 1e300, True, [], {}, ["x"], "", "\ud800", "\0", "a" * 100_000, "%2e%2e/..", "пример.рф", "‮"]


@pytest.mark.parametrize("field", ["url", "events", "label", "secret", "enabled", "unknown"])
async def test_no_value_of_a_field_is_an_error_of_the_edge(world, field):
    one = (await added(world))["webhook"]["id"]
    for value in (*WRONG, [WRONG], {"a": WRONG}):
        content = json.dumps({"url": "https://a.example/", field: value})
        for method, path in (("POST", HOOKS), ("PATCH", f"{HOOKS}/{one}"), ("POST", f"{HOOKS}/{one}/replay")):
            answer = await world.client.request(method, path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code < 500, (method, value, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("one", ["%2e%2e", "..%2f..", "%00", "%ff", "x" * 5_000, "ep_%ed%a0%80"])
async def test_no_id_is_an_error_of_the_edge(world, one):
    for method, path in (
        ("GET", one),
        ("PATCH", one),
        ("DELETE", one),
        ("POST", f"{one}/test"),
        ("GET", f"{one}/deliveries"),
        ("POST", f"ep_x/deliveries/{one}/redeliver"),
        ("POST", f"{one}/replay"),
    ):
        answer = await world.client.request(method, f"{HOOKS}/{path}", json={"since": "2026-01-01T00:00:00Z"})
        assert 400 <= answer.status_code < 500, (method, path, answer.text)


@pytest.mark.parametrize("cursor", ["x", "!!!", "LTE", "4pyT"])
async def test_a_cursor_that_no_page_gave_is_refused(world, cursor):
    one = (await added(world))["webhook"]["id"]
    problem_of(await world.client.get(f"{HOOKS}/{one}/deliveries?cursor={cursor}"), 422, "invalid_cursor")
