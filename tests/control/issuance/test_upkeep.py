"""What happens without a visitor."""

import asyncio
import contextlib
import math
from datetime import timedelta
from typing import Any

import pytest

from edgeproxy.config.issuance import Budget
from edgeproxy.control.issuance import upkeep
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.internal import InternalIssuer
from edgeproxy.control.issuance.renewal import DAY, renew_at, urgency
from edgeproxy.control.issuance.service import Issuance
from edgeproxy.control.issuance.upkeep import Upkeep
from edgeproxy.control.store import Order
from edgeproxy.errors import StateError
from edgeproxy.model import DomainState
from tests.control.issuance.conftest import gated, until
from tests.control.issuance.fakeca import DIRECTORY, HOST, Refuse
from tests.control.store.making import certificate

NAME = "a.example"


def keeper(world, one):
    return Upkeep(one, world.store, one._issuer, world.clock)


async def settled(one):
    async with asyncio.timeout(60):
        while one.pending:
            await asyncio.sleep(0.005)


async def issued(world, one, name=NAME):
    stored = await one.issue(name)
    await settled(one)
    return stored


async def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_not_before(world, service):
    await world.register(NAME)
    one = service()
    first = await issued(world, one)
    world.clock.ahead = 57 * DAY
    await keeper(world, one).renew_due()
    assert (await world.store.current_certificate(NAME)).id == first.id
    world.clock.ahead = 60 * DAY + 60
    await keeper(world, one).renew_due()
    second = await world.store.current_certificate(NAME)
    assert second.id != first.id
    assert second.renew_at > world.clock()
    await keeper(world, one).renew_due()
    assert (await world.store.current_certificate(NAME)).id == second.id


async def test_short_lived_certificates_are_renewed_at_half_their_life(world, service):
    await world.register(NAME)
    config = world.config("internal")
    issuer = InternalIssuer(config, world.store, world.directory, world.clock, leaf_life=timedelta(hours=160))
    one = service(config, issuer=issuer)
    first = await issued(world, one)
    world.clock.ahead = 81 * 3600
    await keeper(world, one).renew_due()
    assert (await world.store.current_certificate(NAME)).id != first.id


async def test_a_name_that_is_no_longer_wanted_is_not_renewed_and_looked_at_daily(world, service):
    await world.register(NAME)
    one = service()
    stored = await issued(world, one)
    await world.store.remove_domain(NAME, actor="test", now=world.clock())
    world.clock.ahead = 61 * DAY
    await keeper(world, one).renew_due()
    kept = await world.store.get_certificate(stored.id)
    assert kept.look_at == pytest.approx(world.clock() + DAY, abs=60)
    await world.register(NAME)
    world.clock.ahead += DAY + 1
    await keeper(world, one).renew_due()
    assert (await world.store.current_certificate(NAME)).id != stored.id


async def test_a_certificate_that_a_wildcard_has_replaced_is_left_to_expire(world, service, meter):
    await world.register("a.cust.example")
    one = service()
    exact = await issued(world, one, "a.cust.example")
    await world.store.remove_domain("a.cust.example", actor="test", now=world.clock())
    await world.register("*.cust.example")
    world.clock.ahead = 61 * DAY
    for _ in range(3):
        await keeper(world, one).renew_due()
        await settled(one)
        await world.store.set_renewal(exact.id, 0.0)
    assert meter.orders == [("internal", "ok")] * 2
    await keeper(world, one).renew_due()
    kept = await world.store.get_certificate(exact.id)
    assert kept.renew_at == math.inf
    assert await world.store.certificates_to_renew(world.clock(), 10) == []


async def test_a_renewal_that_fails_comes_back_with_its_name_and_hides_nobody(world, service, monkeypatch):
    monkeypatch.setattr(upkeep, "PAGE", 1)
    await world.register(NAME, "b.example")
    one = service(world.config())
    first = await issued(world, one)
    other = await issued(world, one, "b.example")
    world.clock.ahead = 61 * DAY
    world.ca.fails = {"tls-alpn-01": "dns"}
    await keeper(world, one).renew_due()
    world.ca.fails = {}
    await keeper(world, one).renew_due()
    renewed = {
        name: (await world.store.current_certificate(name)).id not in (first.id, other.id) for name in (NAME, "b.example")
    }
    assert sorted(renewed.values()) == [False, True]
    failed = next(name for name, done in renewed.items() if not done)
    failure = await world.store.failure(failed)
    assert (await world.store.current_certificate(failed)).look_at == failure.next_try
    world.clock.ahead += 120
    await keeper(world, one).renew_due()
    assert (await world.store.current_certificate(failed)).id not in (first.id, other.id)


async def test_a_visitor_who_failed_a_moment_ago_is_not_followed_by_a_renewal(world, service):
    await world.register(NAME)
    one = service(world.config())
    await issued(world, one)
    world.clock.ahead = 61 * DAY
    world.ca.fails = {"tls-alpn-01": "dns"}
    await keeper(world, one).renew_due()
    orders = len(world.ca.orders)
    await world.store.set_renewal((await world.store.current_certificate(NAME)).id, 0.0)
    await keeper(world, one).renew_due()
    assert len(world.ca.orders) == orders


async def test_the_gate_is_asked_before_a_renewal_and_its_trouble_does_not_stop_one(world, service, gate_answers):
    one = service(gated(world))
    await one.obtain(NAME, "")
    await settled(one)
    first = await world.store.current_certificate(NAME)
    world.clock.ahead = 61 * DAY
    gate_answers.status = 503
    await keeper(world, one).renew_due()
    await settled(one)
    second = await world.store.current_certificate(NAME)
    assert second.id != first.id
    world.clock.ahead += 61 * DAY
    gate_answers.status = 403
    await keeper(world, one).renew_due()
    assert (await world.store.current_certificate(NAME)).id == second.id
    assert await world.store.get_gate_route(NAME) is None


async def unfinished(world, name, url=""):
    from edgeproxy.control.issuance.certificates import key_pem, new_key

    row = Order(
        hostname=name,
        directory=DIRECTORY,
        url=url,
        step="new",
        key=key_pem(new_key("p256")),
        data=b"tls-alpn-01",
        started_at=1.0,
    )
    await world.store.save_order(row, 1.0)


async def test_a_start_continues_what_was_left_unfinished_and_forgets_what_nobody_wants(world, service):
    await world.register(NAME)
    await world.register("pending.example", state=DomainState.PENDING_VALIDATION)
    await unfinished(world, NAME)
    await unfinished(world, "stranger.example", f"{HOST}/order/77")
    await unfinished(world, "pending.example", f"{HOST}/order/78")
    one = service(world.config())
    await keeper(world, one).resume_unfinished()
    await settled(one)
    assert (await world.store.current_certificate(NAME)).names == (NAME,)
    assert [order.name for order in world.ca.orders] == [NAME]
    assert await world.store.list_orders() == []


async def test_a_start_makes_no_order_for_a_name_whose_certificate_was_stored(world, service):
    await world.register(NAME)
    first = service(world.config())
    await issued(world, first)
    await unfinished(world, NAME)
    successor = service(world.config())
    await keeper(world, successor).resume_unfinished()
    await settled(successor)
    assert len(world.ca.orders) == 1
    assert await world.store.list_orders() == []


async def test_a_start_makes_the_account_ready(world, service):
    task = asyncio.create_task(service(world.config()).run())
    async with asyncio.timeout(60):
        while world.ca.asked != ["dir", "nonce", "account"]:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_start_goes_on_where_the_ca_is_away(world, service):
    world.ca.plan("dir", "refuse")
    await world.register(NAME)
    await unfinished(world, NAME)
    one = service(world.config())
    await keeper(world, one).resume_unfinished()
    await settled(one)
    assert (await world.store.list_orders())[0].hostname == NAME


async def test_what_waits_for_the_ca_is_continued_without_a_start_or_a_visitor(world, service, monkeypatch):
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    await world.register(NAME)
    one = service(world.config())
    task = asyncio.create_task(one.run())
    world.ca.plan("new", Refuse("rateLimited", 429, headers={"retry-after": "3600"}))
    assert not (await one.obtain(NAME, "")).ok
    await asyncio.sleep(0.1)
    assert world.ca.count("new") == 1
    world.clock.ahead += 3_700
    async with asyncio.timeout(60):
        while await world.store.current_certificate(NAME) is None:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert len(world.ca.orders) == 1


async def test_renewals_that_wait_for_their_turn_hide_nobody(world, service, monkeypatch):
    monkeypatch.setattr(upkeep, "PAGE", 2)
    names = [f"n{number}.d{number}.example" for number in range(5)]
    await world.register(*names)
    one = service(world.config())
    for name in names:
        await issued(world, one, name)
    world.clock.ahead = 61 * DAY
    few = service(world.config(budget=Budget(orders=1)))
    for _ in range(3):
        await keeper(world, few).renew_due()
        await until(lambda: few.queue().working == 0)
    assert few.queue().waiting["renewal"] == 4
    assert [few.turn(name) is not None for name in names].count(True) == 4
    assert len(world.ca.orders) == 6
    for name in names:
        if (entry := few._scheduler._queue.get(name)) is not None:
            assert entry.ask.renewal
            stored = await world.store.current_certificate(name)
            wanted = urgency(stored.not_before, stored.not_after, 0.0, world.clock())
            assert entry.urgency == wanted, "what is visited most, or expires first, goes first"


async def test_of_many_that_wait_for_a_ca_that_is_away_only_some_are_tried_in_one_look_and_others_in_the_next(world, service):
    class Desk:
        def __init__(self):
            self.tried = []

        async def resume(self, name):
            self.tried.append(name)
            await asyncio.sleep(0)
            raise CaRefused("It is away.", problem="unreachable")

    names = [f"n{number:02}.example" for number in range(30)]
    for name in names:
        await unfinished(world, name)
    desk = Desk()
    one = keeper(world, service(world.config()))
    one._desk = desk
    for _ in range(5):
        await one.resume_unfinished()
    assert len(desk.tried) <= 5 * upkeep.RESUMED_AT_ONCE
    assert set(desk.tried) == set(names), "nobody's turn never comes"


async def test_a_start_leaves_a_name_alone_whose_next_try_is_later(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    await one.obtain(NAME, "")
    world.ca.fails = {}
    await unfinished(world, NAME)
    orders = len(world.ca.orders)
    successor = service(world.config())
    await keeper(world, successor).resume_unfinished()
    await settled(successor)
    assert len(world.ca.orders) == orders
    assert len(await world.store.list_orders()) == 1


async def test_a_store_that_fails_does_not_end_the_upkeep(world, service, monkeypatch):
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    await world.register(NAME)
    one = service()
    await issued(world, one)
    world.clock.ahead = 61 * DAY
    looks = 0
    original = world.store.certificates_to_renew

    async def failing(*arguments):
        nonlocal looks
        looks += 1
        if looks < 3:
            raise StateError("The disk is full.", retryable=True)
        return await original(*arguments)

    monkeypatch.setattr(world.store, "certificates_to_renew", failing)
    task = asyncio.create_task(one.run())
    async with asyncio.timeout(60):
        while (await world.store.current_certificate(NAME)).renew_at < world.clock():
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert isinstance(one, Issuance)


async def test_certificates_of_one_burst_are_renewed_hour_by_hour_and_not_in_one(world):
    """By a clock that is only set forward: what the store finds due, and what the upkeep does of it."""
    made = world.clock()
    for number in range(60):
        life, name = 90 * DAY, f"shop{number}.example"
        at = renew_at(made, made + life, name)
        await world.store.add_certificate(certificate(name, name, until=made + life, renew=at), made)
    renewed: list[int] = []

    class Noting:
        async def renew(self, name, urgency=0.0):
            renewed[-1] += 1
            stored = await world.store.current_certificate(name)
            await world.store.set_renewal(stored.id, math.inf)
            return stored

        async def failure(self, name):
            return None

    desk: Any = Noting()
    issuer: Any = None
    keep = Upkeep(desk, world.store, issuer, world.clock)
    for hour in range(58 * 24, 60 * 24 + 1, 4):
        world.clock.ahead = hour * 3_600.0
        renewed.append(0)
        await keep.renew_due()
    assert sum(renewed) == 60
    busy = [count for count in renewed if count]
    assert len(busy) >= 10, "1.8 days, 2 % of the life, looked at every four hours"
    assert max(renewed) <= 2.5 * 60 / 12
