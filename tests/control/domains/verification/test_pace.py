"""How often one server is asked."""

import asyncio

from edgeproxy.control.domains.verification.pace import Pace, Paces, Silences


def test_after_a_burst_turns_come_at_the_rate():
    pace = Pace(rate=10, burst=3, at_once=1)
    assert [round(pace.reserve(100.0), 3) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    assert pace.reserve(100.6) == 0.0
    assert [round(pace.reserve(200.0), 3) for _ in range(4)] == [0, 0, 0, 0.1]


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
