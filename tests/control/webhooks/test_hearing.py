"""Events of certificates get into the outbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from edgeproxy.control import events
from edgeproxy.control.store import Store
from edgeproxy.control.webhooks import hearing
from edgeproxy.control.webhooks.hearing import Hearing
from edgeproxy.errors import StateError
from tests.control.store.making import NOW


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_subscribers", [])


@contextlib.asynccontextmanager
async def running(heard: Hearing) -> AsyncIterator[None]:
    task = asyncio.ensure_future(heard.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_becomes_of_certificates_is_kept(store: Store) -> None:
    heard = Hearing(store, lambda: NOW)
    told = store.database.told
    async with running(heard):
        events.publish("certificate.issued", hostname="a.test", certificate_id="c", not_after=NOW, ca="internal")
        events.publish("ca.unavailable", ca="internal", error="away")
        await asyncio.wait_for(told.wait(), 60)
    (event,) = await store.events_after(0, 10)
    assert (event.type, event.subject, event.at) == ("certificate.issued", "a.test", NOW)
    assert msgspec.json.decode(event.data) == {
        "domain": "a.test",
        "workspace_id": None,
        "certificate_id": "c",
        "not_after": "2027-01-15T08:00:00.000Z",
        "ca": "internal",
    }


async def test_what_waits_at_the_end_is_written(store: Store) -> None:
    heard = Hearing(store, lambda: NOW)
    events.publish("certificate.issued", hostname="a.test")
    await heard.close()
    events.publish("certificate.issued", hostname="b.test")
    assert [each.subject for each in await store.events_after(0, 10)] == ["a.test"]


async def test_more_than_the_queue_has_room_for_is_dropped_and_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "QUEUED", 5)
    monkeypatch.setattr(hearing, "AT_ONCE", 2)
    heard = Hearing(store, lambda: NOW)
    for number in range(8):
        events.publish("certificate.issued", hostname=f"{number}.test")
    assert heard.dropped == 3
    await heard.close()
    assert [each.subject for each in await store.events_after(0, 10)] == [f"{number}.test" for number in range(5)]


async def test_what_could_not_be_written_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Hearing(store, lambda: NOW)
    write = store.note_events

    async def fails(_found: object) -> None:
        raise StateError("No room.")

    monkeypatch.setattr(store, "note_events", fails)
    events.publish("certificate.issued", hostname="a.test")
    with pytest.raises(StateError):
        await heard.run()
    monkeypatch.setattr(store, "note_events", write)
    told = store.database.told
    async with running(heard):
        await asyncio.wait_for(told.wait(), 60)
    assert [each.subject for each in await store.events_after(0, 10)] == ["a.test"]
    await heard.close()
