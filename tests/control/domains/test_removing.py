"""The end of what was removed."""

from __future__ import annotations

import asyncio

import msgspec

from edgeproxy.config.issuance import Allow
from edgeproxy.control.domains.removing import Removals
from edgeproxy.control.store import CUSTOM
from tests.control.domains.living import ELSEWHERE, World, living
from tests.control.store.making import DAY, NOW, certificate

NAME = "gallery.client-domain.com"


async def removed(world: World) -> Removals:
    world.zone.says[NAME] = ELSEWHERE
    await world.register(NAME)
    await world.store.add_certificate(certificate("own", NAME), NOW)
    uploaded = msgspec.structs.replace(certificate("up", NAME), issuer=CUSTOM)
    await world.store.add_certificate(uploaded, NOW)
    await world.domains.remove(NAME, actor="t")
    return Removals(world.config, world.store, world.clock)


async def test_keys_are_destroyed_when_the_time_is_over_and_not_before(world: World) -> None:
    removals = await removed(world)
    assert await removals.end_due() == 0
    world.clock.now += DAY
    assert await removals.end_due() == 1
    assert await world.store.certificates_of(NAME) == []
    assert await removals.end_due() == 0


async def test_certificates_are_revoked_first_where_that_is_wanted(tmp_path) -> None:
    async with living(tmp_path, revoke_removed=True) as world:
        removals = await removed(world)
        world.clock.now += DAY
        await removals.end_due()
        [left] = await world.store.revocations()
        assert (left.id, left.revocation) == ("own", "cessationOfOperation")
        assert [stored.id for stored in await world.store.certificates_of(NAME)] == ["own"]


async def test_nothing_is_revoked_of_a_name_that_is_registered_again(tmp_path) -> None:
    async with living(tmp_path, revoke_removed=True) as world:
        removals = await removed(world)
        await world.register(NAME, "two")
        world.clock.now += DAY
        await removals.end_due()
        assert await world.store.revocations() == []
        assert len(await world.store.certificates_of(NAME)) == 2


async def test_a_name_that_a_pattern_serves_keeps_its_certificate(world: World) -> None:
    removals = await removed(world)
    allow = Allow(patterns=("*.client-domain.com",))
    issuance = msgspec.structs.replace(world.config.issuance, allow=allow)
    removals._config = msgspec.structs.replace(world.config, issuance=issuance)
    world.clock.now += DAY
    await removals.end_due()
    assert len(await world.store.certificates_of(NAME)) == 2


async def test_the_task_looks_by_itself(world: World) -> None:
    removals = await removed(world)
    world.clock.now += DAY
    task = asyncio.create_task(removals.run())
    try:
        async with asyncio.timeout(60):
            while await world.store.certificates_of(NAME):
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
