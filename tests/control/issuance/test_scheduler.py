"""Turns carried out: one flight for each name, nothing lost over restarts, nothing ordered twice, nothing that fails."""

import asyncio
import collections
import contextlib
import functools
import random

import pytest

from edgeproxy.control.issuance import scheduler as module
from edgeproxy.control.issuance.issuer import NotNow
from edgeproxy.control.issuance.scheduler import Queued, described
from edgeproxy.errors import IssuanceError, StateError
from edgeproxy.limits import Limits
from tests.control.issuance.simulated import START, Ca, Clock, Machine, hurried
from tests.control.issuance.test_budget import most_in_any_window
from tests.control.store.making import opened

HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path) as store:
        hurried(store)
        yield store


@pytest.fixture
def ca(store):
    return Ca(store, Clock())


@pytest.fixture
def shared(ca):
    ca.shared = True
    return ca


async def gone(machine, name):
    with pytest.raises(Queued) as caught:
        await machine.visit(name)
    return caught.value


# Two thousand names under 300 orders in three hours


def two_thousand():
    names = [(f"n{n}.big{n}.com", "big") for n in range(1000)]
    names += [(f"n{n}.w{n}.com", f"w{n % 39}") for n in range(1000)]
    random.Random(4).shuffle(names)
    return names


@pytest.mark.slow
async def test_two_thousand_names_at_once_all_get_their_certificate(store, ca):
    restarts, names = 3, two_thousand()
    machine = Machine(store, ca)
    await machine.scheduler.open()
    visits = [asyncio.create_task(machine.visit(*each)) for each in names]
    outcomes = await asyncio.gather(*visits, return_exceptions=True)
    told = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {type(outcome) for outcome in told} <= {Queued}, "whoever cannot be served now is told when, and nothing fails"
    assert 1800 <= len(told) <= 1950
    for _ in range(restarts):
        await machine.pass_time(4 * HOUR)
        await machine.scheduler.close()
        machine = Machine(store, ca)
        await machine.scheduler.open()
        assert machine.scheduler.pending == 2000 - len(ca.orders), "nobody is forgotten"
    first = [name for name, _ in reversed(names) if name not in ca.issued][:20]
    for late in first:
        machine.clock.now = machine.scheduler.state().next_at - 10.0
        before = len(ca.orders)
        visit = asyncio.create_task(machine.visit(late))
        await asyncio.sleep(0.01)
        await machine.pass_time(10.1)
        assert ca.names[before] == late, "whoever waits at the handshake comes first"
        assert (await visit).names == (late,)
    await machine.pass_time(DAY)
    await machine.scheduler.close()
    assert sorted(ca.names) == sorted(name for name, _ in names), "each exactly once"
    times = [at for at, _ in ca.orders]
    assert most_in_any_window(times, 3 * HOUR) <= 300
    assert times[-1] - START < 24 * HOUR
    served = collections.Counter(entry.workspace for _, entry in ca.orders[100:900] if entry.name not in first)
    assert max(served.values()) - min(served.values()) <= 2 + restarts, "one that brought a thousand holds up nobody"
    assert len(served) == 40
    assert await store.list_waiting(9) == []


async def test_after_a_restart_what_was_spent_still_counts(store, ca):
    async with Machine(store, ca) as machine:
        for n in range(100):
            await machine.visit(f"n{n}.d{n}.com")
    async with Machine(store, ca) as machine:
        await gone(machine, "late.example.com")
        assert machine.scheduler.state().left.left == 200
        await machine.pass_time(36.0)
        assert ca.names[100:] == ["late.example.com"]


# One flight


async def test_a_hundred_who_want_the_same_make_one_order(store, ca):
    async with Machine(store, ca) as machine:
        found = await asyncio.gather(*(machine.visit("a.example.com") for _ in range(100)))
        assert len({each.id for each in found}) == 1
        assert ca.names == ["a.example.com"]


async def test_those_who_leave_end_only_their_own_waiting(store, ca):
    held = asyncio.Event()
    ca.before = lambda _flight: held.wait()
    async with Machine(store, ca) as machine:
        visits = [asyncio.create_task(machine.visit("a.example.com")) for _ in range(3)]
        await asyncio.sleep(0.01)
        visits[0].cancel()
        held.set()
        assert (await visits[2]).names == ("a.example.com",)


# Waiting


async def test_whoever_cannot_be_served_is_told_where_the_name_stands_and_it_comes_by_itself(store, ca):
    async with Machine(store, ca, orders=2, burst=2) as machine:
        for n in range(2):
            await machine.visit(f"n{n}.example.com")
        queued = await gone(machine, "late.example.com")
        assert queued.code == "queued"
        assert queued.retryable
        assert queued.turn.position == 1
        assert queued.turn.expected == pytest.approx(START + 3 * HOUR, abs=1)
        assert queued.retry_after == pytest.approx(3 * HOUR, abs=1)
        assert "queued, position about 1, expected at about 2027-01-15 11:00 UTC" in queued.detail
        assert described(queued.turn) in queued.detail
        assert machine.scheduler.turn("late.example.com") == queued.turn
        await machine.idle()
        assert [row.name for row in await store.list_waiting(9)] == ["late.example.com"]
        await machine.pass_time(3 * HOUR)
        assert ca.names[-1] == "late.example.com"
        assert await store.list_waiting(9) == []
        assert machine.scheduler.turn("late.example.com") is None


async def test_of_a_name_that_has_a_certificate_nobody_says_that_it_has_none(store, ca):
    async with Machine(store, ca, orders=1, burst=1) as machine:
        await machine.visit("a.example.com")
        with pytest.raises(Queued) as caught:
            await machine.scheduler.result(machine.wish("b.example.com", kind="renewal", renewal=True), 0.0)
        assert caught.value.detail.startswith("A new certificate for b.example.com is queued, position about 1, expected at")
        assert caught.value.detail.endswith("It is obtained by itself when its turn comes.")


async def test_a_visitor_whose_turn_comes_in_time_is_served(store, ca):
    async with Machine(store, ca, orders=600, burst=1) as machine:  # an order each 18 s
        await machine.visit("a.example.com")
        visit = asyncio.create_task(machine.visit("b.example.com"))
        await asyncio.sleep(0)
        assert not visit.done()
        await machine.pass_time(18.0)
        assert (await visit).names == ("b.example.com",)


async def test_a_name_that_waits_remembers_that_a_visitor_came(store, ca):
    async with Machine(store, ca, orders=1) as machine:
        await machine.visit("first.example.com")
        machine.wish("a.example.com")
        machine.wish("b.example.com", "other")
        await gone(machine, "b.example.com")
    async with Machine(store, ca, orders=1) as machine:
        await machine.pass_time(3 * HOUR)
        assert ca.names[-1] == "b.example.com"


async def test_what_has_to_wait_again_does_not_fail(store, ca):
    tries = []

    def not_yet(flight):
        tries.append(flight.name)
        if len(tries) == 1:
            raise NotNow("the CA says that its rate limit is reached", ca.clock() + HOUR)

    ca.before = not_yet
    async with Machine(store, ca) as machine:
        queued = await gone(machine, "a.example.com")
        assert queued.turn.expected == pytest.approx(START + HOUR, abs=1)
        assert "because the CA says that its rate limit is reached" in queued.detail
        await machine.pass_time(HOUR - 1)
        assert ca.names == []
        await machine.pass_time(2.0)
        assert ca.names == ["a.example.com"]


async def test_a_failure_is_told_to_all_and_the_next_wish_is_a_new_try(store, ca):
    def fails(_flight):
        raise IssuanceError("It did not work.")

    ca.before = fails
    async with Machine(store, ca) as machine:
        outcomes = await asyncio.gather(*(machine.visit("a.example.com") for _ in range(3)), return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {"It did not work."}
        ca.before = None
        assert (await machine.visit("a.example.com")).names == ("a.example.com",)


async def test_what_nobody_foresaw_ends_the_flight_and_no_other(store, ca, capsys):
    def breaks(flight):
        if flight.name == "a.example.com":
            raise ZeroDivisionError("secret inside")

    ca.before = breaks
    async with Machine(store, ca) as machine:
        with pytest.raises(IssuanceError, match="its log tells what"):
            await machine.visit("a.example.com")
        assert (await machine.visit("b.example.com")).names == ("b.example.com",)
    assert "ZeroDivisionError" in capsys.readouterr().out


# Several machines


async def test_two_machines_on_one_store_make_one_order_for_each_name(store, shared):
    names = [f"n{n}.d{n}.com" for n in range(20)]
    shared.before = lambda _flight: asyncio.sleep(0.01)
    async with Machine(store, shared, "m1") as one, Machine(store, shared, "m2") as other:
        visits = [asyncio.create_task(machine.visit(name)) for name in names for machine in (one, other) for _ in range(3)]
        async with asyncio.timeout(60):
            while not all(visit.done() for visit in visits):
                await asyncio.sleep(0.01)
                shared.clock.now += 0.5
                one.scheduler.look()
                other.scheduler.look()
        assert [visit.exception() for visit in visits] == [None] * len(visits)
    assert sorted(shared.names) == sorted(names)


def never_answers(ca):
    """The event that somebody asks such a CA for a certificate."""
    asked = asyncio.Event()

    async def before(_flight):
        asked.set()
        await asyncio.Event().wait()

    ca.before = before
    return asked


async def test_another_machine_takes_over_when_the_lease_has_ended(store, shared):
    asked = never_answers(shared)
    async with Machine(store, shared, "m1") as dead, Machine(store, shared, "m2") as other:
        visit = asyncio.create_task(dead.visit("a.example.com"))
        await asked.wait()
        shared.before = None
        machine = asyncio.create_task(other.visit("a.example.com"))
        await other.pass_time(50.0)
        assert not machine.done()
        assert shared.names == [], "the first one may still be at it"
        await other.pass_time(15.0)
        assert (await machine).names == ("a.example.com",)
        await dead.scheduler.keep()
        await dead.pass_time(5.0)
        assert (await visit).names == ("a.example.com",), "the first one finds that it is there"
    assert shared.names == ["a.example.com"]


async def test_the_next_process_of_the_same_machine_takes_over_at_once(store, shared):
    asked = never_answers(shared)
    dead = Machine(store, shared, "m1")
    await dead.scheduler.open()
    visit = asyncio.create_task(dead.visit("a.example.com"))
    await asked.wait()
    shared.before = None
    async with Machine(store, shared, "m1") as successor:
        assert (await successor.visit("a.example.com")).names == ("a.example.com",)
    await dead.scheduler.close()
    with pytest.raises(IssuanceError, match="being stopped"):
        await visit


async def test_leases_are_prolonged_while_the_work_goes_on(store, shared):
    held = asyncio.Event()
    shared.before = lambda _flight: held.wait()
    async with Machine(store, shared, "m1") as one, Machine(store, shared, "m2") as other:
        visit = asyncio.create_task(one.visit("a.example.com"))
        while await store.order_for("a.example.com") is None:
            await asyncio.sleep(0.005)
        for _ in range(10):
            shared.clock.now += 20.0
            await one.scheduler.keep()
        other_visit = asyncio.create_task(other.visit("a.example.com"))
        await other.pass_time(10.0)
        held.set()
        assert (await visit).names == ("a.example.com",)
        await other.pass_time(5.0)
        assert (await other_visit).names == ("a.example.com",)
    assert shared.names == ["a.example.com"]


async def test_two_machines_together_stay_within_the_limit(store, shared):
    async with (
        Machine(store, shared, "m1", orders=10, burst=10) as one,
        Machine(store, shared, "m2", orders=10, burst=10) as other,
    ):
        visits = [
            machine.visit(f"{number}.{number}{place}.com") for number in range(10) for place, machine in enumerate((one, other))
        ]
        await asyncio.gather(*visits, return_exceptions=True)
        for _ in range(40):
            await one.pass_time(HOUR / 4)
            await other.pass_time(HOUR / 4)
    assert most_in_any_window([at for at, _ in shared.orders], 3 * HOUR) <= 10
    assert len(shared.orders) == 20


# Bounds, ends and trouble


async def test_too_many_names_of_one_workspace_are_turned_away_and_others_find_a_place(store, ca):
    async with Machine(store, ca, orders=1, limits=Limits(pending_issuances=3)) as machine:
        await machine.visit("first.example.com")
        await machine.idle()
        flights = [machine.wish(f"n{n}.example.com", "big") for n in range(3)]
        assert machine.scheduler.wish("more.example.com", "new", "big") is None
        assert "limits.pending_issuances" in machine.scheduler.too_many().detail
        machine.wish("other.example.net", "small")
        with pytest.raises(IssuanceError, match=r"limits\.pending_issuances"):
            await machine.scheduler.result(flights[2], 30.0)
        await machine.idle()
        rows = [row.name for row in await store.list_waiting(9)]
        assert rows == ["n0.example.com", "n1.example.com", "other.example.net"]
    async with Machine(store, ca, orders=1, limits=Limits(pending_issuances=1)) as machine:
        await machine.idle()
        assert machine.scheduler.pending == 1
        await machine.scheduler.keep()
        await machine.idle()
        assert len(await store.list_waiting(9)) == 1


async def test_a_slow_ca_has_only_so_many_at_once_and_renewals_do_not_hold_up_visitors(store, ca):
    held = asyncio.Event()
    ca.before = lambda flight: None if flight.name == "visitor.example.com" else held.wait()
    async with Machine(store, ca, certificates=0) as machine:
        flights = [machine.wish(f"r{n}.example.com", kind="renewal") for n in range(50)]
        assert machine.scheduler.state().working == module.ROOM["renewal"]
        assert (await machine.visit("visitor.example.com")).names == ("visitor.example.com",)
        held.set()
        await asyncio.gather(*(machine.scheduler.result(flight, 30.0) for flight in flights))
        assert len(ca.orders) == 51


async def test_closing_tells_those_who_wait_and_keeps_their_rows(store, ca):
    asked = never_answers(ca)
    machine = Machine(store, ca, orders=600, burst=1)
    await machine.scheduler.open()
    visits = [asyncio.create_task(machine.visit(f"n{n}.d{n}.com")) for n in range(2)]
    await asked.wait()  # the order of the first has begun
    await machine.scheduler.close()
    for visit in visits:
        with pytest.raises(IssuanceError, match="being stopped"):
            await visit
    assert [row.name for row in await store.list_waiting(9)] == ["n1.d1.com"]
    assert machine.scheduler.pending == 0
    machine.scheduler.look()


async def test_a_store_that_fails_leaves_the_certificate_and_is_tried_again(store, ca, monkeypatch):
    async def full(*_arguments, **_more):
        raise StateError("The disk is full.", retryable=True)

    async with Machine(store, ca, orders=1) as machine:
        monkeypatch.setattr(store, "finish", full)
        assert (await machine.visit("a.example.com")).names == ("a.example.com",)
        monkeypatch.setattr(store, "save_waiting", full)
        await gone(machine, "b.example.com")
        await machine.idle()
        monkeypatch.undo()
        assert await store.list_waiting(9) == []
        await machine.scheduler.keep()
        await machine.idle()
        assert [row.name for row in await store.list_waiting(9)] == ["b.example.com"]


async def test_a_store_that_cannot_be_read_at_first_is_read_later(store, ca, monkeypatch):
    async def full(*_arguments, **_more):
        raise StateError("The disk is full.", retryable=True)

    machine = Machine(store, ca)
    monkeypatch.setattr(store, "list_waiting", full)
    with pytest.raises(StateError):
        await machine.scheduler.open()
    monkeypatch.undo()
    async with machine:
        assert (await machine.visit("a.example.com")).names == ("a.example.com",)


async def test_an_order_that_is_under_way_already_is_continued_however_little_is_left(store, ca):
    async with Machine(store, ca, orders=1) as machine:
        await machine.visit("first.example.com")
        machine.wish("a.example.com")
        assert machine.scheduler.turn("a.example.com") is not None
        ca.issued["a.example.com"] = ca.issued["first.example.com"]
        machine.wish("a.example.com", begun=True)
        await machine.idle()
        assert machine.scheduler.pending == 0


async def test_it_keeps_its_rounds(store, ca, monkeypatch):
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.03)
    async with Machine(store, ca) as machine:
        rounds = 0
        prune = machine.ledger.prune

        async def counted():
            nonlocal rounds
            rounds += 1
            await prune()

        monkeypatch.setattr(machine.ledger, "prune", counted)
        running = asyncio.create_task(machine.scheduler.run())
        async with asyncio.timeout(60):
            while rounds < 2:
                await asyncio.sleep(0.01)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


# A clock that is set


@pytest.mark.parametrize("ahead", [HOUR, 366 * DAY])
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_was_ahead_holds_up_nobody_once_it_is_set_back(store, ca, ahead, restarts):
    start = functools.partial(Machine, store, ca, orders=10, burst=2, certificates=3)
    async with contextlib.AsyncExitStack() as stack:
        machine = await stack.enter_async_context(start())
        ca.clock.now += ahead
        for n in range(2):
            await machine.visit(f"n{n}.example.com")
        await gone(machine, "paced.example.net")
        ca.before = lambda flight: refuse(flight, ca.clock.now + 2 * HOUR)
        await machine.pass_time(HOUR / 2)
        ca.before = None
        await machine.idle()
        ca.clock.now -= ahead + HOUR / 2
        if restarts:
            await machine.scheduler.close()
            machine = await stack.enter_async_context(start())
        machine.scheduler.look()
        await machine.pass_time(4 * HOUR)
        assert ca.names == ["n0.example.com", "n1.example.com", "paced.example.net"]
        await machine.visit("n2.example.com")
        await gone(machine, "n3.example.com")  # what was spent still counts


def refuse(flight, until):
    raise NotNow(f"the CA said not before for {flight.name}", until)


async def test_what_the_ca_put_off_while_the_clock_was_ahead_ends_with_it(store, ca):
    async with Machine(store, ca) as machine:
        ca.clock.now += 366 * DAY
        machine.scheduler.look()
        machine.ledger.budget.block("account", "", ca.clock.now + HOUR, "too many")
        await gone(machine, "a.example.com")
        ca.clock.now -= 366 * DAY
        machine.scheduler.look()
        await machine.pass_time(HOUR + 1)
        assert ca.names == ["a.example.com"]
