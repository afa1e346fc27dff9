"""Endpoints, what the outbox has for them, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from edgeproxy.control.store import Delivery, Endpoint, Store, Tried, webhooks
from edgeproxy.control.store.domain_config import told
from edgeproxy.control.store.outbox import emitted
from edgeproxy.control.store.schema import endpoints, outbox
from edgeproxy.control.store.webhooks import Secret
from edgeproxy.errors import Conflict, NotFound
from edgeproxy.model import DomainState
from tests.control.store.making import DAY, NOW


def made(one: str, *events: str, source: str = "api", url: str = "") -> Endpoint:
    return Endpoint(
        id=one,
        source=source,  # type: ignore[arg-type]
        url=url or f"https://{one}.example/",
        events=events,
        created_at=NOW,
        created_by="test",
        updated_at=NOW,
    )


async def add(store: Store, one: str, *events: str) -> Endpoint:
    return await store.add_endpoint(made(one, *events), [Secret(f"secret of {one}")], NOW)


async def emit(store: Store, *types: str, subject: str = "a.test", at: float = NOW) -> list[str]:
    async with store.database.write() as write:
        return [await emitted(write, at, type_, subject, "w", {"domain": subject}) for type_ in types]


async def note(store: Store) -> None:
    while await store.note_deliveries(NOW):
        pass


async def types(store: Store, one: str) -> list[str]:
    return [each.event.type for each in await store.to_deliver(one, 100)]


def failed(delivery: Delivery, **more: Any) -> Tried:
    values: dict[str, Any] = {"at": NOW + 1, "delivered": False, "status": 500, "error": "It answered 500."} | more
    return Tried(endpoint_id=delivery.endpoint_id, number=delivery.event.number, **values)


async def test_an_endpoint_gets_what_it_chose_from_its_adding_on(store: Store) -> None:
    await emit(store, "domain.registered")
    await add(store, "all")
    await add(store, "some", "certificate.*", "domain.active")
    ids = await emit(store, "domain.verified", "domain.active", "certificate.issued")
    await note(store)
    assert await types(store, "all") == ["domain.verified", "domain.active", "certificate.issued"]
    assert await types(store, "some") == ["domain.active", "certificate.issued"]
    assert [each.event.id for each in await store.to_deliver("all", 100)] == ids
    assert await store.pending_deliveries() == {"all": 3, "some": 2}
    assert not await store.note_deliveries(NOW)
    assert await types(store, "all") == ["domain.verified", "domain.active", "certificate.issued"]


async def test_more_than_fits_into_one_transaction_is_noted_in_several(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "NOTED_AT_ONCE", 2)
    await add(store, "a")
    await emit(store, *["domain.active"] * 5)
    assert await store.note_deliveries(NOW)
    assert len(await types(store, "a")) == 2
    await note(store)
    assert len(await types(store, "a")) == 5


async def test_above_the_bound_events_wait_in_the_outbox(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PENDING", 3)
    await add(store, "a")
    await emit(store, *["domain.active"] * 5)
    await note(store)
    waiting = await store.to_deliver("a", 100)
    assert len(waiting) == 3
    await store.tried([failed(each, delivered=True, status=200, error="") for each in waiting])
    await note(store)
    assert [each.event.number for each in await store.to_deliver("a", 100)] == [4, 5]


async def test_what_is_under_way_is_left_out_and_the_next_come_first(store: Store) -> None:
    await add(store, "a")
    await emit(store, "domain.registered", "domain.verified", "domain.active")
    await note(store)
    first, second, third = await store.to_deliver("a", 100)
    await store.tried([failed(first, next_try=NOW + 60)])
    assert [each.event.number for each in await store.to_deliver("a", 2)] == [second.event.number, third.event.number]
    left = await store.to_deliver("a", 100, without={second.event.number, third.event.number})
    assert [(each.event.number, each.next_try, each.tries) for each in left] == [(first.event.number, NOW + 60, 1)]


async def test_a_try_that_ended_is_told_in_the_log(store: Store) -> None:
    await add(store, "a")
    await emit(store, "domain.registered", "domain.verified", "domain.active")
    await note(store)
    first, second, third = await store.to_deliver("a", 100)
    await store.tried([failed(first), failed(second, delivered=True, status=204, error=""), failed(third, next_try=NOW + 9)])
    log = await store.deliveries_of("a", 10)
    assert [(each.event.type, each.tries, each.status, each.delivered_at, each.error, each.next_try) for each in log] == [
        ("domain.active", 1, 500, None, "It answered 500.", NOW + 9),
        ("domain.verified", 1, 204, NOW + 1, "", None),
        ("domain.registered", 1, 500, None, "It answered 500.", None),
    ]
    assert [each.event.type for each in await store.deliveries_of("a", 1, log[0].event.number)] == ["domain.verified"]
    assert [each.event.type for each in await store.deliveries_of("a", 9, pending=True)] == ["domain.active"]
    assert [each.event.type for each in await store.deliveries_of("a", 9, failed=True)] == [
        "domain.active",
        "domain.registered",
    ]


async def test_an_endpoint_fails_from_its_first_failure_to_its_next_success(store: Store) -> None:
    await add(store, "a")
    await emit(store, "domain.registered")
    await note(store)
    (one,) = await store.to_deliver("a", 100)
    await store.tried([failed(one, at=NOW + 1), failed(one, at=NOW + 2)])
    assert (await store.endpoint("a")).failing_since == NOW + 1
    await store.tried([failed(one, delivered=True, at=NOW + 3)])
    assert (await store.endpoint("a")).failing_since is None


async def test_one_that_wants_no_more_is_disabled_and_starts_anew_when_enabled(store: Store) -> None:
    await add(store, "a")
    await emit(store, "domain.registered", "domain.verified")
    await note(store)
    first, _ = await store.to_deliver("a", 100)
    await store.tried([failed(first, gone=True, status=410)])
    endpoint = await store.endpoint("a")
    assert endpoint.disabled_at == NOW + 1
    assert "410" in endpoint.disabled_why
    assert await store.to_deliver("a", 100) == []
    (missed,) = await emit(store, "domain.active")
    await note(store)
    assert await store.to_deliver("a", 100) == []
    with pytest.raises(Conflict, match="is disabled"):
        await store.deliver_again("a", missed, NOW)
    enabled = msgspec.structs.replace(endpoint, disabled_at=None, disabled_why="")
    await store.change_endpoint(enabled, actor="test", now=NOW + 5)
    await emit(store, "domain.parked")
    await note(store)
    assert await types(store, "a") == ["domain.parked"]


async def test_secrets_are_sealed_and_come_back_newest_first(store: Store, tmp_path: Path) -> None:
    await add(store, "a")
    assert await store.endpoint_secrets("a") == [Secret("secret of a")]
    both = [Secret("newer"), Secret("secret of a", NOW + DAY)]
    await store.change_endpoint(await store.endpoint("a"), secrets=both, actor="test", now=NOW)
    assert await store.endpoint_secrets("a") == both
    assert "newer" not in repr(both)
    async with store.database.read() as connection:
        assert b"newer" not in (await connection.scalar(select(endpoints.c.sealed_secrets)) or b"")
    assert await store.endpoint_secrets("nobody") == []


async def test_one_that_is_removed_leaves_nothing(store: Store) -> None:
    await add(store, "a")
    await emit(store, "domain.registered")
    await note(store)
    (one,) = await store.to_deliver("a", 100)
    assert (await store.remove_endpoint("a", actor="test", now=NOW)).id == "a"
    await store.tried([failed(one)])
    assert await store.deliveries_of("a", 100) == []
    assert await store.list_endpoints() == []
    assert await store.endpoint_secrets("a") == []
    with pytest.raises(NotFound, match="There is no endpoint 'a'"):
        await store.remove_endpoint("a", actor="test", now=NOW)
    assert store.database.destroyed.is_set()


async def test_there_are_no_more_than_the_bound(store: Store) -> None:
    for number in range(webhooks.ENDPOINTS):
        await add(store, f"e{number}")
    with pytest.raises(Conflict, match="no more than 32"):
        await add(store, "one-more")


async def test_the_configurations_endpoints_keep_their_place_while_they_are_there(store: Store) -> None:
    await add(store, "api")
    await store.adopt_endpoints({"c": made("c", source="config"), "d": made("d", source="config")}, NOW)
    await emit(store, "domain.registered", "domain.active")
    again = made("c", "domain.active", source="config", url="https://other.example/")
    await store.adopt_endpoints({"c": again}, NOW + 9)
    await note(store)
    assert [each.id for each in await store.list_endpoints()] == ["api", "c"]
    assert (await store.endpoint("c")).url == "https://other.example/"
    assert await types(store, "c") == ["domain.active"]
    assert await store.to_deliver("d", 100) == []


async def test_an_event_is_delivered_again_under_its_own_id(store: Store) -> None:
    await add(store, "a", "domain.active")
    before, active = await emit(store, "domain.registered", "domain.active")
    await note(store)
    (one,) = await store.to_deliver("a", 100)
    await store.tried([failed(one, delivered=True, status=200, error="")])
    again = await store.deliver_again("a", active, NOW + 60)
    assert (again.event.id, again.tries, again.next_try, again.delivered_at) == (active, 0, NOW + 60, None)
    other = await store.deliver_again("a", before, NOW + 61)  # one that it did not choose
    assert other.event.type == "domain.registered"
    assert [each.event.id for each in await store.to_deliver("a", 100)] == [active, before]
    with pytest.raises(NotFound, match="There is no event 'msg_unknown'"):
        await store.deliver_again("a", "msg_unknown", NOW)
    with pytest.raises(NotFound, match="There is no endpoint 'b'"):
        await store.deliver_again("b", active, NOW)


async def test_a_time_is_replayed_by_filter_or_only_what_failed(store: Store) -> None:
    await emit(store, "domain.registered", at=NOW - 50)
    await add(store, "a", "domain.*")
    await emit(store, "domain.verified", "certificate.issued", at=NOW)
    await emit(store, "domain.active", at=NOW + 50)
    await note(store)
    first, second = await store.to_deliver("a", 100)
    await store.tried([failed(first, delivered=True), failed(second)])
    assert await store.replay("a", NOW + 99, since=NOW, until=NOW + 99, failed=True) == 1
    assert await types(store, "a") == ["domain.active"]
    assert await store.replay("a", NOW + 99, since=NOW - 99, until=NOW) == 2
    assert sorted(await types(store, "a")) == ["domain.active", "domain.registered", "domain.verified"]
    assert await store.replay("a", NOW + 99, since=0, until=NOW + 99, filters=["domain.registered"]) == 1
    assert await store.replay("a", NOW + 99, since=NOW + 98, until=NOW + 99) == 0


async def test_what_was_replayed_before_its_turn_is_not_noted_twice(store: Store) -> None:
    await add(store, "a")
    (one,) = await emit(store, "domain.active")
    await store.deliver_again("a", one, NOW)
    await note(store)
    assert await store.pending_deliveries() == {"a": 1}


async def test_events_told_in_memory_get_the_workspace_of_their_name(store: Store) -> None:
    for name, workspace in (("a.test", "one"), ("*.b.test", "two")):
        await store.add_domain(name, workspace, state=DomainState.VERIFIED, actor="test", now=NOW)
    found = [("certificate.issued", name, NOW, {"domain": name}) for name in ("a.test", "x.b.test", "c.test")]
    await store.note_events(found)
    events = [each for each in await store.events_after(0, 10) if each.type == "certificate.issued"]
    assert [(each.subject, each.workspace_id) for each in events] == [("a.test", "one"), ("x.b.test", "two"), ("c.test", "")]
    assert [msgspec.json.decode(each.data)["workspace_id"] for each in events] == ["one", "two", None]


async def test_events_told_in_memory_say_of_their_domain_what_its_own_events_say(store: Store) -> None:
    domain = await store.add_domain("a.test", "one", state=DomainState.VERIFIED, actor="test", now=NOW)
    await store.add_domain("*.b.test", "two", state=DomainState.VERIFIED, actor="test", now=NOW)
    error = {"code": "ca_refused", "detail": "No.", "fault": "ca", "retryable": True}
    for name, more in (("a.test", {"error": error}), ("x.b.test", {}), ("c.test", {"error": error})):
        await store.note_events([("certificate.failed", name, NOW, {"domain": name, "serial": "1f", **more})])
    found = [each for each in await store.events_after(0, 10) if each.type == "certificate.failed"]
    one, beneath, nobodys = (msgspec.json.decode(each.data) for each in found)
    assert one == {**told(domain), "serial": "1f", "error": error}
    assert (beneath["domain"], beneath["workspace_id"], beneath["state"]) == ("x.b.test", "two", "verified")
    assert nobodys == {"domain": "c.test", "workspace_id": None, "serial": "1f", "error": error}


async def test_what_was_under_way_when_its_endpoint_was_disabled_is_not_tried_again(store: Store) -> None:
    await add(store, "a")
    await emit(store, "domain.active")
    await note(store)
    (one,) = await store.to_deliver("a", 10)
    endpoint = await store.endpoint("a")
    disabled = msgspec.structs.replace(endpoint, disabled_at=NOW, disabled_why="By hand.")
    await store.change_endpoint(disabled, actor="test", now=NOW)
    await store.tried([failed(one, next_try=NOW + 60)])
    assert await store.pending_deliveries() == {}


async def test_the_outbox_is_read_in_order_by_name_and_from_a_time_on(store: Store) -> None:
    await emit(store, "domain.registered", "domain.active")
    await emit(store, "domain.registered", subject="b.test", at=NOW + 9)
    assert [each.number for each in await store.events_after(1, 10)] == [2, 3]
    assert [each.number for each in await store.events_after(0, 10, subject="a.test")] == [1, 2]
    assert [each.number for each in await store.events_after(0, 10, since=NOW + 1)] == [3]
    assert [each.number for each in await store.last_events(2)] == [2, 3]
    assert [each.number for each in await store.last_events(2, subject="a.test")] == [1, 2]
    assert await store.newest_event() == 3


async def test_whoever_waits_is_told_after_the_commit(store: Store) -> None:
    told = store.database.told
    async with store.database.write() as write:
        await emitted(write, NOW, "domain.active", "a.test", "w", {})
        assert not told.is_set()
    assert told.is_set()
    assert not store.database.told.is_set()


async def test_what_is_old_or_too_much_is_dropped_with_its_deliveries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await add(store, "a")
    await emit(store, *["domain.active"] * 4, at=NOW - 31 * DAY)
    await emit(store, *["domain.active"] * 4)
    await note(store)
    assert await store.clean_outbox(NOW) == 4
    assert [each.number for each in await store.events_after(0, 10)] == [5, 6, 7, 8]
    monkeypatch.setattr(webhooks, "EVENTS", 3)
    assert await store.clean_outbox(NOW) == 1
    assert [each.event.number for each in await store.deliveries_of("a", 10)] == [8, 7, 6]
    await store.tried([failed(each, delivered=True) for each in await store.to_deliver("a", 10)])
    monkeypatch.setattr(webhooks, "LOG", 2)
    assert await store.clean_outbox(NOW) == 0
    assert [each.event.number for each in await store.deliveries_of("a", 10)] == [8, 7]


async def test_numbers_are_never_given_twice(store: Store) -> None:
    await emit(store, "domain.active")
    async with store.database.write() as write:
        await write.connection.execute(outbox.delete())
    await emit(store, "domain.active")
    assert await store.newest_event() == 2


async def test_an_update_of_another_process_is_no_matter(store: Store) -> None:
    """What the endpoint had reached counts, and nothing that this process remembers."""
    await add(store, "a")
    await emit(store, "domain.active", "domain.parked")
    async with store.database.write() as write:
        await write.connection.execute(update(endpoints).values(reached=1))
    await note(store)
    assert await types(store, "a") == ["domain.parked"]
