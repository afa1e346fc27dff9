"""How often one server is asked."""

import asyncio

from edgeproxy.control.domains.verification.pace import Pace, Paces


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
