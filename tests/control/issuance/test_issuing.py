"""What is stored, counted and remembered of an issuance."""

import asyncio

import pytest

from edgeproxy.config.issuance import Budget
from edgeproxy.control import events
from edgeproxy.control.issuance import issuer as port
from edgeproxy.control.issuance.admission import Outcome
from edgeproxy.control.issuance.issuing import CA_TROUBLE_SECONDS, FAILURE_SECONDS
from edgeproxy.errors import Fault, IssuanceError, MapError, StateError
from tests.control.issuance.conftest import until
from tests.control.issuance.fakeca import DIRECTORY, Refuse

NAME = "a.example"

# What is remembered


async def test_a_failure_is_remembered_across_processes_with_growing_pauses(world, service, meter):
    await world.register(NAME)
    world.ca.fails = {"tls-alpn-01": "connection", "http-01": "connection"}
    config = world.config(budget=Budget(failures=0))
    one = service(config)
    pauses = []
    for _ in range(5):
        outcome = await one.obtain(NAME, "")
        assert (outcome.ok, outcome.denied) == (False, False)
        assert "could not connect to a.example" in outcome.detail
        failure = await world.store.failure(NAME)
        assert failure.fault == "customer_dns"
        pauses.append(failure.next_try - world.clock())
        orders = len(world.ca.orders)
        again = await service(config).obtain(NAME, "")
        assert again.detail == outcome.detail
        assert 0 < again.remember <= FAILURE_SECONDS
        assert len(world.ca.orders) == orders, "nothing was tried"
        world.clock.ahead += pauses[-1] + 1
    for pause, least in zip(pauses, [60, 600, 6000, 86400, 86400], strict=True):
        assert least - 2 <= pause <= least * 1.1
    assert meter.orders == [("ca.example", "failed")] * 5


async def test_success_forgets_the_failures(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    await one.obtain(NAME, "")
    world.ca.fails = {}
    world.clock.ahead += 100
    assert await one.obtain(NAME, "") == Outcome(True)
    await until(lambda: not one.pending)
    assert await world.store.failure(NAME) is None


async def test_a_ca_in_trouble_is_asked_again_soon_however_often_it_failed(world, service):
    await world.register(NAME)
    told: list[events.Event] = []
    end = events.subscribe(told.append)
    one = service(world.config())
    for _ in range(3):
        world.ca.plan("dir", "refuse")
        outcome = await one.obtain(NAME, "")
        assert "cannot be reached" in outcome.detail
        failure = await world.store.failure(NAME)
        assert failure.fault == "ca"
        assert failure.next_try - world.clock() <= CA_TROUBLE_SECONDS
        world.clock.ahead += CA_TROUBLE_SECONDS + 1
    trouble = one.ca_trouble()
    assert (trouble.host, trouble.detail) == ("ca.example", outcome.detail)
    assert trouble.last - trouble.since > CA_TROUBLE_SECONDS * 2
    assert await one.obtain(NAME, "") == Outcome(True)
    await until(lambda: one.ca_trouble() is None)
    end()
    assert [event.name for event in told] == ["certificate.failed", "certificate.issued"], "the same trouble is told once"


async def test_a_ca_that_refuses_one_name_is_in_no_trouble(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    await one.obtain(NAME, "")
    assert one.ca_trouble() is None


async def test_a_retry_after_is_kept(world, service):
    await world.register(NAME)
    world.ca.plan("new", Refuse("malformed", 400, headers={"retry-after": "7200"}))
    await service(world.config()).obtain(NAME, "")
    assert (await world.store.failure(NAME)).next_try - world.clock() == pytest.approx(7200, abs=5)


async def test_what_failed_before_a_domain_was_registered_again_does_not_count(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    await one.obtain(NAME, "")
    world.ca.fails = {}
    await world.store.remove_domain(NAME, actor="test", now=world.clock())
    world.clock.ahead += 1
    await world.register(NAME)
    assert await one.obtain(NAME, "") == Outcome(True)


async def test_an_operators_mistake_is_forgotten_by_the_next_process(world, service):
    await world.register(NAME)
    world.ca.meta = {"termsOfService": "https://ca.example/terms"}
    one = service(world.config(agree_terms=False))
    for _ in range(3):
        assert "issuance.agree_terms" in (await one.obtain(NAME, "")).detail
    assert world.ca.asked == ["dir"]
    assert await service(world.config()).obtain(NAME, "") == Outcome(True)


async def test_a_certificate_that_was_stored_already_is_no_trouble(world, service):
    """The process ended between storing the certificate and forgetting the order."""
    await world.register(NAME)
    first = service(world.config())
    stored = await first.issue(NAME)
    await until(lambda: not first.pending)
    key = world.sealer.open(stored.sealed_key, b"key:" + stored.id.encode())
    from edgeproxy.control.store import Order

    row = Order(hostname=NAME, directory=DIRECTORY, url="https://ca.example/order/0", step="validated", key=key, started_at=1.0)
    await world.store.save_order(row, 1.0)
    again = await service(world.config()).issue(NAME, force=True)
    assert again.id == stored.id
    assert len(world.ca.orders) == 1


# Trouble of our own


async def test_a_store_that_fails_is_told_and_nothing_remembered_of_the_name(world, service, monkeypatch):
    await world.register(NAME)
    one = service()

    async def full(*_arguments, **_more):
        raise StateError("The disk is full.", retryable=True)

    monkeypatch.setattr(world.store, "add_certificate", full)
    outcome = await one.obtain(NAME, "")
    assert (outcome.ok, outcome.denied, outcome.detail) == (False, False, "The disk is full.")
    assert await world.store.failure(NAME) is None
    with pytest.raises(IssuanceError) as caught:
        await one.issue(NAME)
    assert caught.value.fault is Fault.OPERATOR


async def test_a_map_that_does_not_follow_ends_the_waiting(world, service, monkeypatch):
    await world.register(NAME)
    monkeypatch.setattr(port, "PUBLISH_TIME", 0.01)

    async def never(_number):
        await asyncio.Event().wait()

    monkeypatch.setattr(world.publisher, "published", never)
    outcome = await service().obtain(NAME, "")
    assert "does not follow the store" in outcome.detail
    monkeypatch.undo()
    monkeypatch.setattr(port, "PUBLISH_TIME", 0.01)
    monkeypatch.setattr(world.publisher, "published", never)
    with pytest.raises(MapError):
        await service().obtain(NAME, "")


async def test_what_nobody_foresaw_is_logged_and_told_without_its_inside(world, service, capsys):
    await world.register(NAME)

    class Broken:
        directory, wildcards = "internal", True

        async def issue(self, _name, _progress):
            raise ZeroDivisionError("secret inside")

        async def settled(self, _name):
            return None

        async def close(self):
            return None

    outcome = await service(issuer=Broken()).obtain(NAME, "")
    assert outcome.detail == "Something went wrong in the edge; its log tells what."
    assert "ZeroDivisionError" in capsys.readouterr().out
