"""What was found out a moment ago."""

import asyncio

import pytest

from edgeproxy.control.domains.verification.memory import Remembered


class World:
    def __init__(self):
        self.now = 100.0
        self.found = 0
        self.go = asyncio.Event()
        self.memory: Remembered[int] = Remembered(2, lambda: self.now)

    async def find(self):
        await self.go.wait()
        self.found += 1
        return self.found, 10.0


async def test_many_who_ask_at_once_cause_one_question():
    world = World()
    waiting = [asyncio.ensure_future(world.memory.get("a", world.find)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    world.go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert await asyncio.gather(*waiting[1:]) == [1] * 4


async def test_it_counts_for_its_time_and_no_longer():
    world = World()
    world.go.set()
    assert await world.memory.get("a", world.find) == 1
    world.now += 9.9
    assert await world.memory.get("a", world.find) == 1
    world.now += 0.1
    assert await world.memory.get("a", world.find) == 2


async def test_only_so_much_is_remembered():
    world = World()
    world.go.set()
    for key in "abc":
        await world.memory.get(key, world.find)
    assert await world.memory.get("c", world.find) == 3
    assert await world.memory.get("a", world.find) == 4


async def test_what_is_under_way_can_be_ended():
    world = World()
    waiting = asyncio.ensure_future(world.memory.get("a", world.find))
    await asyncio.sleep(0)
    await world.memory.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
