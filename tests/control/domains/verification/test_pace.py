"""How often one server is asked."""

import asyncio

import pytest

from edgeproxy.control.domains.verification.pace import Pace, Paces, Rank, Silences, rank


def test_after_a_burst_turns_come_at_the_rate():
    pace = Pace(rate=10, burst=3, at_once=1)

    def taken(now):
        delay = pace.delay(now)
        pace.take(now)
        return round(delay, 3)

    assert [taken(100.0) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    assert taken(100.6) == 0.0
    assert [taken(200.0) for _ in range(4)] == [0, 0, 0, 0.1]


async def test_turns_under_way_are_bounded():
    pace = Pace(rate=1e6, burst=100, at_once=2)
    held, most = 0, 0

    async def one():
        nonlocal held, most
        async with pace.turn():
            held += 1
            most = max(most, held)
            await asyncio.sleep(0)
            held -= 1

    await asyncio.gather(*(one() for _ in range(20)))
    assert most == 2


async def asking(pace, what, order):
    rank.set(what)
    async with pace.turn():
        order.append(what)
        await asyncio.sleep(0)


async def test_who_waits_for_an_answer_goes_before_what_is_due():
    for pace in (Pace(rate=100, burst=1, at_once=1), Pace(rate=1e6, burst=100, at_once=1)):
        order: list[Rank] = []
        wanted = [Rank.DUE, Rank.DUE, Rank.DUE, Rank.YOUNG, Rank.YOUNG, Rank.WAITED_FOR]
        async with pace.turn():
            tasks = [asyncio.create_task(asking(pace, what, order)) for what in wanted]
            await asyncio.sleep(0)  # all of them are in line, however long that took
        await asyncio.gather(*tasks)
        assert order == sorted(wanted)


@pytest.mark.parametrize("late", [False, True])
async def test_who_gives_up_waiting_costs_nobody_a_turn(late):
    taken = []

    class Counted(Pace):
        def take(self, now):
            taken.append(now)
            super().take(now)

    pace = Counted(rate=20, burst=1, at_once=1)
    order: list[Rank] = []
    first = asyncio.create_task(asking(pace, Rank.DUE, order))
    given_up = [asyncio.create_task(asking(pace, Rank.WAITED_FOR, order)) for _ in range(200)]
    await first
    if late:  # it has come to its turn, and does not know yet
        while not any(future.done() for *_, future in pace._line) and pace._places:
            await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    await asyncio.gather(*(asyncio.create_task(asking(pace, Rank.YOUNG, order)) for _ in range(2)))
    assert order[-2:] == [Rank.YOUNG] * 2
    assert len(taken) <= 4  # three, and one that may just have come; not one for each who gave up
    assert pace._places == 1


def test_paces_of_servers_that_nobody_asks_any_more_are_forgotten():
    paces = Paces(2, rate=1, burst=1, at_once=1)
    one, two = paces.of("a"), paces.of("b")
    assert paces.of("a") is one
    paces.of("c")
    assert paces.of("a") is one
    assert paces.of("b") is not two


def test_a_server_that_says_nothing_is_left_alone_for_a_while():
    silences = Silences(2, strikes=2, seconds=10)
    silences.note("a", 100.0, answered=False)
    assert not silences.holds("a", 100.0)
    silences.note("a", 101.0, answered=False)
    assert silences.holds("a", 110.9)
    assert not silences.holds("a", 111.0)
    silences.note("a", 111.0, answered=True)
    silences.note("a", 112.0, answered=False)
    assert not silences.holds("a", 112.0)
    assert not silences.holds("b", 112.0)


def test_only_so_many_silent_servers_are_remembered():
    silences = Silences(2, strikes=1, seconds=10)
    for server in "abc":
        silences.note(server, 100.0, answered=False)
    assert [silences.holds(server, 100.0) for server in "abc"] == [False, True, True]
