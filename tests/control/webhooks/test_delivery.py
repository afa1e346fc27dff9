"""The outbox gets to real receivers: all of it, signed, whoever of them is slow, away or broken."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from edgeproxy.config.structs import Config
from edgeproxy.config.webhooks import Endpoint as Configured
from edgeproxy.config.webhooks import Webhooks
from edgeproxy.control import events
from edgeproxy.control.faults import Faults
from edgeproxy.control.store import Delivery, Endpoint, Event, Store
from edgeproxy.control.store.outbox import emitted
from edgeproxy.control.store.webhooks import Secret
from edgeproxy.control.webhooks import delivery, message, outcome
from edgeproxy.control.webhooks.delivery import Webhooks as Deliverer
from edgeproxy.control.webhooks.delivery import configured, endpoint_id
from edgeproxy.control.webhooks.sending import CONNECTIONS
from edgeproxy.errors import StateError
from tests.control.store.making import opened
from tests.control.webhooks.receiver import SECRET, Receiver, after, receiving, says
from tests.ports import free_port

OTHER = "whsec_" + "b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldA=="


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_subscribers", [])


def config(*urls: str) -> Config:
    endpoints = tuple(Configured(url=url, secret=SECRET) for url in urls)
    return Config(webhooks=Webhooks(allow=("127.0.0.0/8",), endpoints=endpoints))


class Running:
    def __init__(self, store: Store, settings: Config) -> None:
        self.store = store
        self.faults = Faults()
        self.webhooks = Deliverer(settings, store, time.time, lambda: 0.0)

    async def fault(self, part: str, there: bool = True) -> str:
        """Waits until a part fails, or works again; why it fails."""
        async with asyncio.timeout(60):
            while (self.faults.of(part) is not None) is not there:
                await asyncio.sleep(0.01)
        error = self.faults.of(part)
        return "" if error is None else error.detail

    async def log(self, one: str, count: int) -> list[Delivery]:
        """Waits until so many deliveries of an endpoint are over; all of them."""
        async with asyncio.timeout(60):
            while True:
                found = await self.store.deliveries_of(one, 1000)
                if sum(each.next_try is None for each in found) >= count:
                    return found
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(store: Store, settings: Config | None = None) -> AsyncIterator[Running]:
    run = Running(store, settings or config())
    task = asyncio.ensure_future(run.webhooks.run(run.faults))
    try:
        yield run
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await run.webhooks.close()


async def add(store: Store, one: str, url: str, *filters: str, secrets: Sequence[Secret] = (Secret(SECRET),)) -> Endpoint:
    now = time.time()
    endpoint = Endpoint(id=one, source="api", url=url, events=filters, created_at=now, created_by="test", updated_at=now)
    return await store.add_endpoint(endpoint, secrets, now)


async def emit(store: Store, *types: str) -> list[str]:
    async with store.database.write() as write:
        return [await emitted(write, time.time(), type_, "a.test", "w", {"domain": "a.test"}) for type_ in types]


async def test_events_are_delivered_at_once_signed_and_filtered(store: Store) -> None:
    async with receiving() as receiver, running(store):
        await add(store, "e", receiver.url, "domain.*")
        ids = await emit(store, "domain.registered", "domain.active")
        events.publish("certificate.issued", hostname="a.test")
        await receiver.has(2)
        (last,) = await emit(store, "domain.parked")
        await receiver.has(3)
    assert [got.id for got in receiver.got][-1] == last
    assert {got.id: got.payload["type"] for got in receiver.got} == {
        ids[0]: "domain.registered",
        ids[1]: "domain.active",
        last: "domain.parked",
    }
    assert all(got.verified() for got in receiver.got)
    assert not receiver.got[0].verified(OTHER)
    assert receiver.got[0].payload["data"] == {"domain": "a.test"}
    assert abs(time.time() - int(receiver.got[0].headers["webhook-timestamp"])) < 120


async def test_what_becomes_of_certificates_is_delivered(store: Store) -> None:
    async with receiving() as receiver, running(store, config(receiver.url)):
        while not await store.list_endpoints():
            await asyncio.sleep(0.01)
        events.publish("certificate.renewed", hostname="a.test", certificate_id="c")
        await receiver.has(1)
    assert receiver.got[0].payload["type"] == "certificate.renewed"
    assert receiver.got[0].verified()


async def test_while_secrets_change_both_sign(store: Store) -> None:
    async with receiving() as receiver, running(store):
        secrets = [Secret(OTHER), Secret(SECRET, time.time() + 60), Secret("whsec_" + "A" * 32, time.time() - 1)]
        await add(store, "e", receiver.url, secrets=secrets)
        await emit(store, "domain.active")
        await receiver.has(1)
    (got,) = receiver.got
    assert got.verified()
    assert got.verified(OTHER)
    assert got.headers["webhook-signature"].count("v1,") == 2


async def test_what_failed_is_tried_again_under_the_same_id(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "SCHEDULE", (0.05, 0.1, 0.2))
    async with receiving() as receiver, running(store) as run:
        receiver.answers = [says(500), says(302, location=receiver.url)]
        await add(store, "e", receiver.url)
        (one,) = await emit(store, "domain.active")
        (entry,) = await run.log("e", 1)
    assert [got.id for got in receiver.got] == [one] * 3
    assert len({got.body for got in receiver.got}) == 1
    assert (entry.tries, entry.status, entry.error) == (3, 204, "")
    assert run.webhooks.results == {"failed": 2, "delivered": 1}


async def test_what_fails_for_good_is_given_up_and_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "SCHEDULE", (0.01, 0.02))
    url = f"http://127.0.0.1:{free_port()}/"
    async with running(store) as run:
        await add(store, "e", url)
        await emit(store, "domain.active")
        (entry,) = await run.log("e", 1)
        detail = await run.fault("webhook e")
    assert (entry.tries, entry.delivered_at) == (3, None)
    assert entry.error == "It cannot be reached: connection refused."
    assert detail.startswith(f"Events cannot be delivered to {url}: It cannot be reached: connection refused.")


async def test_a_fault_is_over_when_something_was_delivered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "SCHEDULE", (0.01,) * 30)
    async with receiving() as receiver, running(store) as run:
        receiver.usual = says(500)
        await add(store, "e", receiver.url)
        await emit(store, "domain.active")
        await run.fault("webhook e")
        receiver.usual = says(200)
        await run.fault("webhook e", there=False)
        assert (await store.endpoint("e")).failing_since is None


async def test_a_slow_receiver_holds_up_nobody_else(store: Store) -> None:
    go = asyncio.Event()
    async with receiving() as slow, receiving() as quick, running(store):
        slow.usual = after(go, says(204))
        await add(store, "slow", slow.url)
        await add(store, "quick", quick.url)
        await emit(store, *["domain.active"] * 50)
        await quick.has(50)
        assert len(slow.got) <= CONNECTIONS
        go.set()
        await slow.has(50)
    assert slow.most <= CONNECTIONS
    assert len({got.id for got in slow.got}) == 50


async def test_410_disables_and_is_told(store: Store) -> None:
    async with receiving() as receiver, running(store) as run:
        receiver.usual = says(410)
        await add(store, "e", receiver.url)
        await emit(store, "domain.active")
        assert "answered 410" in await run.fault("webhook e")
        assert (await store.endpoint("e")).disabled_by_receiver
        await store.remove_endpoint("e", actor="test", now=time.time())
        await run.fault("webhook e", there=False)
    assert len(receiver.got) == 1


async def test_a_delivery_asked_for_again_keeps_its_id(store: Store) -> None:
    async with receiving() as receiver, running(store) as run:
        await add(store, "e", receiver.url)
        (one,) = await emit(store, "domain.active")
        await run.log("e", 1)
        await store.deliver_again("e", one, time.time())
        await receiver.has(2)
        await run.log("e", 1)
    assert [got.id for got in receiver.got] == [one, one]


async def test_a_url_that_changes_counts_at_once_and_nothing_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "SCHEDULE", (0.01,) * 9)
    never = asyncio.Event()
    async with receiving() as before, receiving() as now, running(store) as run:
        before.usual = after(never, says(204))
        endpoint = await add(store, "e", before.url)
        ids = await emit(store, *["domain.active"] * 10)
        await before.has(CONNECTIONS)
        changed = Endpoint(**{name: getattr(endpoint, name) for name in endpoint.__struct_fields__} | {"url": now.url})
        await store.change_endpoint(changed, actor="test", now=time.time())
        await run.log("e", 10)
    assert {got.id for got in now.got} == set(ids)


async def test_what_was_under_way_when_it_all_ended_is_sent_by_the_next_process(tmp_path: Path) -> None:
    never = asyncio.Event()
    async with receiving() as receiver:
        receiver.usual = after(never, says(204))
        async with opened(tmp_path) as store, running(store):
            await add(store, "e", receiver.url)
            ids = await emit(store, *["domain.active"] * 10)
            await receiver.has(CONNECTIONS)
        receiver.usual = says(204)
        receiver.got.clear()
        async with opened(tmp_path) as store, running(store) as run:
            await run.log("e", 10)
    assert {got.id for got in receiver.got} == set(ids)


async def test_tries_whose_end_could_not_be_stored_are_stored_by_the_next_call(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver:
        await add(store, "e", receiver.url)
        run = Running(store, config())
        tried = store.tried

        async def fails(_ended: object) -> None:
            raise StateError("No room.")

        monkeypatch.setattr(store, "tried", fails)
        await emit(store, "domain.active")
        with pytest.raises(ExceptionGroup) as group:
            await asyncio.wait_for(run.webhooks.run(run.faults), 60)
        assert group.group_contains(StateError)
        monkeypatch.setattr(store, "tried", tried)
        task = asyncio.ensure_future(run.webhooks.run(run.faults))
        await run.log("e", 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await run.webhooks.close()
    assert len(receiver.got) == 1


async def test_one_delivery_that_cannot_be_made_ends_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    body = message.body

    def breaks(event: Event) -> bytes:
        if event.type == "domain.parked":
            raise ZeroDivisionError
        return body(event)

    monkeypatch.setattr(message, "body", breaks)
    async with receiving() as receiver, running(store):
        await add(store, "e", receiver.url)
        await emit(store, "domain.parked", "domain.active")
        await receiver.has(1)
    assert receiver.got[0].payload["type"] == "domain.active"


async def test_a_test_delivery_is_sent_once_and_told(store: Store) -> None:
    async with receiving() as receiver, running(store) as run:
        endpoint = await add(store, "e", receiver.url, "domain.removed")
        one, sent = await run.webhooks.test(endpoint)
        receiver.usual = says(503, b"later")
        _, failed = await run.webhooks.test(endpoint)
    assert sent.delivered
    assert failed.error == "It answered 503: later"
    assert receiver.got[0].id == one
    assert receiver.got[0].payload["type"] == "webhook.test"
    assert receiver.got[0].verified()
    assert await store.deliveries_of("e", 9) == []


async def test_old_events_are_dropped_while_it_runs(store: Store) -> None:
    async with store.database.write() as write:
        await emitted(write, 1.0, "domain.active", "a.test", "w", {})
    async with running(store):
        async with asyncio.timeout(60):
            while await store.newest_event():
                await asyncio.sleep(0.01)


async def test_a_secret_that_does_not_open_is_a_failure_of_its_endpoint_alone(store: Store) -> None:
    async with receiving() as receiver, running(store) as run:
        await add(store, "bad", receiver.url)
        async with store.database.write() as write:
            await write.connection.exec_driver_sql("UPDATE endpoints SET sealed_secrets = x'00'")
        await add(store, "good", receiver.url)
        await emit(store, "domain.active")
        await run.log("good", 1)
        async with asyncio.timeout(60):
            while not (entry := (await store.deliveries_of("bad", 1))[0]).tries:
                await asyncio.sleep(0.01)
    assert entry.error
    assert entry.next_try is not None


def test_the_configurations_endpoints_have_lasting_ids() -> None:
    found = configured(config("https://a.example/", "https://b.example/"), 5.0)
    assert list(found) == [endpoint_id("https://a.example/"), endpoint_id("https://b.example/")]
    assert endpoint_id("https://a.example/") == "cfg_" + endpoint_id("https://a.example/")[4:]
    assert all(each.source == "config" for each in found.values())


def test_there_is_a_thread_for_each_place() -> None:
    assert delivery.LOOKUPS == 64 * CONNECTIONS


async def test_a_receiver_that_is_away_gets_everything_when_it_is_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "SCHEDULE", (0.05,) * 1000)
    receiver = Receiver()
    port = free_port()
    async with running(store):
        await add(store, "e", f"http://127.0.0.1:{port}/")
        ids = await emit(store, *["domain.active"] * 20)
        await asyncio.sleep(0.3)
        server = await asyncio.start_server(receiver.accept, "127.0.0.1", port)
        async with asyncio.timeout(60):
            while {got.id for got in receiver.got} != set(ids):
                await asyncio.sleep(0.02)
    server.close()
    await receiver.end()
    await server.wait_closed()
