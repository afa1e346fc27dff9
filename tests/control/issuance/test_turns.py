"""So many at once, and so many for one network."""

import asyncio
import collections

import pytest

from edgeproxy.control.issuance.turns import Turns

FOR_EVER = 60.0


class World:
    def __init__(self):
        self.turns = Turns(4, 2, 3)
        self.inside: collections.Counter[bytes] = collections.Counter()
        self.most: collections.Counter[bytes] = collections.Counter()
        self.most_at_once = 0
        self.go = asyncio.Event()

    async def one(self, network, patience=FOR_EVER):
        async with self.turns.turn(network, patience):
            self.inside[network] += 1
            self.most[network] = max(self.most[network], self.inside[network])
            self.most_at_once = max(self.most_at_once, self.inside.total())
            await self.go.wait()
            await asyncio.sleep(0)
            self.inside[network] -= 1


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_network_has_its_share_and_all_together_the_whole():
    world = World()
    running = [asyncio.create_task(world.one(network)) for network in (b"a",) * 20 + (b"",) * 20 + (b"b",) * 5]
    await settled()
    assert world.inside.total() == 4
    world.go.set()
    await asyncio.gather(*running)
    assert (world.most[b"a"], world.most_at_once) == (2, 4)
    assert world.most[b""] <= 3
    assert not world.turns._shares


async def test_one_network_that_waits_does_not_hold_up_another():
    world = World()
    crowd = [asyncio.create_task(world.one(b"a")) for _ in range(1000)]
    await settled()
    assert world.inside == {b"a": 2}
    other = asyncio.create_task(world.one(b"b"))
    await settled()
    assert world.inside[b"b"] == 1
    world.go.set()
    await asyncio.gather(other, *crowd)


async def test_nobody_waits_longer_than_their_patience_and_what_is_free_again_is_used():
    world = World()
    running = [asyncio.create_task(world.one(b"a")) for _ in range(2)]
    await settled()
    with pytest.raises(TimeoutError):
        await world.one(b"a", 0.01)
    waiting = asyncio.create_task(world.one(b"a"))
    await settled()
    waiting.cancel()
    world.go.set()
    await asyncio.gather(*running)
    await world.one(b"a", 1.0)
    assert not world.turns._shares


async def test_time_inside_is_not_patience():
    turns = Turns(1, 1, 1)
    async with turns.turn(b"a", 0.01):
        await asyncio.sleep(0.05)
