"""/api/v1/infrastructure/events: pages, and events as they happen."""

from __future__ import annotations

import asyncio
import time

import pytest

from edgeproxy.control.api import events
from edgeproxy.control.store.outbox import emitted
from tests.control.api.conftest import problem_of

EVENTS = "/api/v1/infrastructure/events"


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
