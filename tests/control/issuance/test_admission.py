"""The gate's word: what it admits, routes, and removes."""

import pytest
import structlog

from edgeproxy.control.issuance import admission
from edgeproxy.control.issuance.admission import Outcome
from edgeproxy.control.store import GateRoute
from tests.control.issuance.conftest import gated

NAME = "a.example"


async def test_a_yes_of_the_gate_routes_and_issues(world, service, gate_answers, meter):
    gate_answers.body = b'{"workspace_id": "spandantest", "origin": "https://8.8.8.8"}'
    gate_answers.headers = {"cache-control": "max-age=60"}
    one = service(gated(world))
    assert await one.obtain(NAME, "192.0.2.1") == Outcome(True)
    route = await world.store.get_gate_route(NAME)
    assert (route.workspace_id, route.origin) == ("spandantest", "https://8.8.8.8")
    assert route.fresh_until == pytest.approx(world.clock() + 60, abs=5)
    assert meter.gates == ["allowed"]


async def test_a_no_of_the_gate_denies_for_its_own_lifetime(world, service, gate_answers, meter):
    gate_answers.status, gate_answers.headers = 404, {"cache-control": "max-age=17"}
    one = service(gated(world))
    for _ in range(1000):
        outcome = await one.obtain(NAME, "")
        assert (outcome.ok, outcome.denied) == (False, True)
        assert 0 < outcome.remember <= 17
    assert one._admissions._gate.asked == 1
    assert meter.orders == []


async def test_a_gate_in_trouble_says_not_now(world, service, gate_answers):
    gate_answers.status = 500
    outcome = await service(gated(world)).obtain(NAME, "")
    assert (outcome.ok, outcome.denied) == (False, False)
    assert outcome.detail == "The gate at gate.example answered 500."
    assert 0 < outcome.remember <= 10


async def test_a_gate_in_trouble_does_not_touch_names_that_have_their_certificate(world, service, gate_answers):
    one = service(gated(world))
    await one.obtain(NAME, "")
    gate_answers.status = 500
    world.clock.ahead = 3600
    assert await one.obtain(NAME, "") == Outcome(True)


async def test_refreshing_takes_over_what_the_gate_says_now(world, service, gate_answers):
    one = service(gated(world))
    gate_answers.body = b'{"workspace_id": "one"}'
    await one.obtain(NAME, "")
    gate_answers.body = b'{"workspace_id": "two"}'
    await one.refresh_gate(NAME)
    assert (await world.store.get_gate_route(NAME)).workspace_id == "two"


async def test_refreshing_removes_a_route_only_by_a_no(world, service, gate_answers):
    one = service(gated(world))
    await one.obtain(NAME, "")
    gate_answers.status = 503
    await one.refresh_gate(NAME)
    assert await world.store.get_gate_route(NAME) is not None
    gate_answers.status = 410
    world.clock.ahead = 60
    await one.refresh_gate(NAME)
    assert await world.store.get_gate_route(NAME) is None


async def test_refreshing_what_is_no_route_asks_nobody(world, service):
    one = service(gated(world))
    await one.refresh_gate("stranger.example")
    await one.refresh_gate("not a name")
    assert one._admissions._gate.asked == 0
    await service().refresh_gate(NAME)


async def test_the_same_answer_from_memory_is_not_written_again(world, service):
    one = service(gated(world))
    await one.obtain(NAME, "")
    before = await world.store.head_change()
    await world.store.remove_certificate((await world.store.current_certificate(NAME)).id, world.clock())
    removed = await world.store.head_change()
    await one.obtain(NAME, "")
    changes = await world.store.changes_after(removed, 100)
    assert [change.database for change in changes] == ["certificates", "sites"]
    assert before < removed


async def test_a_gate_that_was_taken_out_of_the_configuration_leaves_its_routes_denied(world, service):
    route = GateRoute(hostname=NAME, fresh_until=world.clock() + 60)
    await world.store.put_gate_route(route, world.clock())
    assert (await service().obtain(NAME, "")).denied


async def test_a_gate_in_trouble_is_told_of_now_and_then_however_many_names_are_asked_for(
    world, service, gate_answers, monkeypatch
):
    monkeypatch.setattr(admission, "SAY_AGAIN_SECONDS", 3600)
    gate_answers.status = 500
    one = service(gated(world))
    with structlog.testing.capture_logs() as logged:
        for number in range(20):
            assert not (await one.obtain(f"n{number}.example", "192.0.2.1")).ok
        world.clock.ahead += 3700
        await one.obtain("last.example", "192.0.2.1")
    told = [(line["hostname"], line["answers"]) for line in logged if "no usable answer" in line["event"]]
    assert told == [("n0.example", 1), ("last.example", 20)]
