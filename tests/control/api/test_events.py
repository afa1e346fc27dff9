"""/api/v1/infrastructure/events: pages, and events as they happen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from edgeproxy.config.webhooks import CERTIFICATE_EVENTS
from edgeproxy.control.api import events
from edgeproxy.control.api.shapes import DomainOut
from edgeproxy.control.domains.records import record
from edgeproxy.control.events import Event
from edgeproxy.control.store.outbox import emitted, happened
from tests.control.api.conftest import World, certificate, problem_of
from tests.control.domains.living import HERE, Said

DOMAINS, EVENTS = "/api/v1/infrastructure/domains", "/api/v1/infrastructure/events"


async def emit(world, *types: str, subject: str = "a.test") -> list[str]:
    async with world.store.database.write() as write:
        return [await emitted(write, time.time(), type_, subject, "w", {"domain": subject}) for type_ in types]


async def test_events_are_read_page_by_page(world):
    ids = await emit(world, "domain.registered", "domain.verified", "domain.active")
    first = (await world.client.get(f"{EVENTS}?limit=2")).json()
    assert [each["id"] for each in first["events"]] == ids[:2]
    assert set(first["events"][0]) == {"id", "type", "timestamp", "domain", "workspace_id", "data"}
    assert first["events"][0]["data"] == {"domain": "a.test"}
    second = (await world.client.get(EVENTS, params={"cursor": first["next_cursor"]})).json()
    assert [each["id"] for each in second["events"]] == ids[2:]
    third = (await world.client.get(EVENTS, params={"cursor": second["next_cursor"]})).json()
    assert third == {"events": [], "next_cursor": second["next_cursor"]}


async def test_the_newest_are_asked_for_and_then_what_comes(world):
    ids = await emit(world, "domain.registered", "domain.verified", "domain.active")
    page = (await world.client.get(f"{EVENTS}?last=2")).json()
    assert [each["id"] for each in page["events"]] == ids[1:]
    none = (await world.client.get(f"{EVENTS}?last=0")).json()
    assert none == {"events": [], "next_cursor": page["next_cursor"]}
    waiting = asyncio.ensure_future(world.client.get(EVENTS, params={"cursor": page["next_cursor"], "wait": 20}))
    while not events._waiting:
        await asyncio.sleep(0.01)
    (fourth,) = await emit(world, "domain.parked")
    assert [each["id"] for each in (await waiting).json()["events"]] == [fourth]
    assert not events._waiting


async def test_who_waits_for_one_name_is_not_told_of_others(world):
    page = (await world.client.get(f"{EVENTS}?last=0&domain=b.test")).json()
    waiting = asyncio.ensure_future(
        world.client.get(EVENTS, params={"cursor": page["next_cursor"], "wait": 20, "domain": "B.test."})
    )
    while not events._waiting:
        await asyncio.sleep(0.01)
    await emit(world, "domain.active")
    (ours,) = await emit(world, "domain.active", subject="b.test")
    assert [each["id"] for each in (await waiting).json()["events"]] == [ours]


async def test_waiting_ends_without_an_event(world):
    assert (await world.client.get(f"{EVENTS}?wait=1")).json()["events"] == []


async def test_only_so_many_wait_at_once(world, monkeypatch):
    monkeypatch.setattr(events, "WAITING", 0)
    began = time.monotonic()
    await world.client.get(f"{EVENTS}?wait=25")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("wait=26", "invalid_request"),
        ("last=1001", "invalid_request"),
        ("limit=0", "invalid_request"),
        ("last=1&cursor=MQ", "invalid_request"),
        ("cursor=x", "invalid_cursor"),
        ("domain=a..b", "invalid_name"),
        ("unknown=1", "invalid_request"),
    ],
)
async def test_what_cannot_be_is_refused(world, query, code):
    problem_of(await world.client.get(f"{EVENTS}?{query}"), 422, code)


# what they say of a domain is what the API says of it at that moment

HOST = "gallery.example.com"
FIELDS = set(DomainOut.model_fields)


async def told(world: World, host: str = HOST) -> list[dict[str, Any]]:
    answer = await world.client.get(EVENTS, params={"domain": host, "limit": 100})
    return answer.json()["events"]  # type: ignore[no-any-return]


async def shown(world: World, host: str = HOST) -> dict[str, Any]:
    answer = await world.client.get(f"{DOMAINS}/{host}")
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def compared(data: dict[str, Any]) -> dict[str, Any]:
    """Without what only an answer has: where it waits, and when it is tried again."""
    return {name: data[name] for name in FIELDS - {"queued", "error"}}


async def add(world: World, **more: object) -> dict[str, Any]:
    body = {"domain": HOST, "workspace_id": "acme", "metadata": {"plan": "gold"}} | more
    answer = await world.client.post(DOMAINS, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["domain_config"]  # type: ignore[no-any-return]


async def test_each_event_of_a_domain_is_its_domain_config(world: World) -> None:
    made = record("routing", "CNAME", HOST, "domain.edge.example", required=True)
    seen = type(made)(**(made.shown() | {"seen": ("CNAME old.example.net",), "ok": False, "reason": "It leads elsewhere."}))
    world.zone.says[HOST] = Said("wrong", "wrong_target", records=(seen,), proven=frozenset())
    added = await add(world, verify=True, origin="http://10.0.0.7:8080")
    [registered] = await told(world)
    assert compared(registered["data"]) == compared(added)
    assert registered["data"]["dns_records"], "those that its owner has to set"
    assert {(each["ok"], *each["seen"]) for each in registered["data"]["dns_records"]} == {(None,)}
    await world.client.post(f"{DOMAINS}/{HOST}/verify")
    async with asyncio.timeout(60):
        while (await shown(world))["error"] is None:
            await asyncio.sleep(0.02)
    await world.context.open_plane().domains.suspend(HOST, actor="test")
    *_, suspended = await told(world)
    assert (suspended["type"], compared(suspended["data"])) == ("domain.suspended", compared(await shown(world)))
    assert suspended["data"]["dns_records"][0]["seen"] == ["CNAME old.example.net"], "what was seen last"
    await world.client.delete(f"{DOMAINS}/{HOST}")
    *_, removed = await told(world)
    assert compared(removed["data"]) == compared(suspended["data"]) | {"state": "removed"}
    assert {frozenset(each["data"]) for each in await told(world)} == {frozenset(FIELDS)}


async def test_the_certificate_is_the_one_of_that_moment(world: World) -> None:
    world.zone.says[HOST] = HERE
    await add(world, verify=True)
    async with asyncio.timeout(60):
        while (await shown(world))["state"] != "active":
            await asyncio.sleep(0.02)
    found = {each["type"]: each["data"] for each in await told(world)}
    assert (found["domain.registered"]["certificate_id"], found["domain.verified"]["certificate_id"]) == (None, None)
    assert found["domain.active"]["certificate_id"] == f"id-{HOST}"
    assert compared(found["domain.active"]) == compared(await shown(world))
    assert found["domain.active"]["routing"] == world.context.config.origin.routing
    await world.store.add_certificate(certificate(HOST, id="next"), time.time())
    await world.context.open_plane().domains.suspend(HOST, actor="test")
    assert (await told(world))[-1]["data"]["certificate_id"] == "next"
    again = {each["type"]: each["data"] for each in await told(world)}
    assert again["domain.active"] == found["domain.active"], "what was told stays as it was"


@pytest.mark.parametrize("host", [HOST, "*.example.com"])
async def test_each_event_of_a_certificate_has_the_domain_config_too(world: World, host: str) -> None:
    await add(world, domain=host)
    await world.store.add_certificate(certificate(host, id="c1"), time.time())
    expected = compared(await shown(world, host)) | {"domain": HOST}
    for name in sorted(CERTIFICATE_EVENTS):
        event = Event(name, {"hostname": HOST, "certificate_id": "c1", "serial": "1f"}, kept=True)
        async with world.store.database.write() as write:
            await happened(write, time.time(), event)
        await world.store.note_events([(name, HOST, time.time(), {"domain": HOST, "serial": "1f"})])
    found = [each["data"] for each in await told(world) if each["type"] in CERTIFICATE_EVENTS]
    assert len(found) == 2 * len(CERTIFICATE_EVENTS)
    for data in found:
        assert (compared(data), set(data) - FIELDS) == (expected, {"serial"})
        assert data["dns_records"]
