"""Removing and bringing back an apex and its www."""

from __future__ import annotations

import pytest

from edgeproxy.control.domains.pairing import Pairing
from edgeproxy.control.store import DomainChange
from edgeproxy.errors import NotFound
from edgeproxy.model import DomainState
from tests.control.domains.living import HERE, World

APEX, WWW = "client-domain.com", "www.client-domain.com"


@pytest.fixture
async def pairing(world: World) -> Pairing:
    for name in (APEX, WWW):
        world.zone.says[name] = HERE
    await world.register(APEX, partner=WWW)
    return Pairing(world.config, world.store, world.domains, world.clock)


async def there(world: World) -> list[str]:
    return [each.hostname for each in await world.store.list_domains(10)]


async def test_with_the_name_that_it_redirects_to_it_is_removed_and_comes_back(world: World, pairing: Pairing) -> None:
    assert await pairing.remove(await world.get(APEX), actor="t") == WWW
    assert await there(world) == []
    assert (await world.told())[-2:] == ["domain.removed", "domain.removed"]
    back, other = await pairing.undo(APEX, "", actor="t")
    assert (back.hostname, back.include_www, back.state, other) == (APEX, True, DomainState.ATTENTION, WWW)
    assert (await world.get(WWW)).redirect_to == APEX


async def test_either_name_brings_both_back(world: World, pairing: Pairing) -> None:
    await pairing.remove(await world.get(APEX), actor="t")
    back, other = await pairing.undo(WWW, "one", actor="t")
    assert (back.hostname, other) == (WWW, APEX)
    assert await there(world) == [APEX, WWW]


async def test_the_name_that_redirects_goes_alone_and_comes_back(world: World, pairing: Pairing) -> None:
    assert await pairing.remove(await world.get(WWW), actor="t") == ""
    assert await there(world) == [APEX]
    assert (await world.get(APEX)).include_www is False
    back, other = await pairing.undo(WWW, "", actor="t")
    assert (back.redirect_to, back.include_www, other) == (APEX, True, "")
    assert (await world.get(APEX)).include_www is True, "a pair again"


async def test_a_name_that_does_not_redirect_to_it_any_more_stays(world: World, pairing: Pairing) -> None:
    await world.store.change_domain(WWW, DomainChange(redirect_to=""), actor="t", now=world.clock())
    assert await pairing.remove(await world.get(APEX), actor="t") == ""
    assert await there(world) == [WWW]
    assert (await world.get(WWW)).include_www is False


async def test_what_is_somebody_elses_by_now_does_not_come_back_with_it(world: World, pairing: Pairing) -> None:
    await pairing.remove(await world.get(APEX), actor="t")
    await world.register(WWW, "two")
    back, other = await pairing.undo(APEX, "one", actor="t")
    assert (back.include_www, other) == (False, "")
    assert (await world.get(WWW)).workspace_id == "two"


async def test_what_was_registered_by_itself_meanwhile_is_no_pair(world: World, pairing: Pairing) -> None:
    await pairing.remove(await world.get(APEX), actor="t")
    await world.register(WWW)
    back, other = await pairing.undo(APEX, "one", actor="t")
    assert (back.include_www, other, (await world.get(WWW)).include_www) == (False, "", False)


async def test_two_removals_are_undone_one_by_one(world: World, pairing: Pairing) -> None:
    await pairing.remove(await world.get(WWW), actor="t")
    world.clock.now += 60
    await pairing.remove(await world.get(APEX), actor="t")
    assert (await pairing.undo(APEX, "", actor="t"))[1] == ""
    assert await there(world) == [APEX]


async def test_the_operators_word_goes_with_its_www_for_good(world: World, pairing: Pairing) -> None:
    apex, www = "operators.com", "www.operators.com"
    await world.store.add_domain(apex, "one", partner=www, state=DomainState.VERIFIED, actor="t", now=world.clock())
    assert await pairing.remove(await world.get(apex), actor="t") == www
    assert await there(world) == [APEX, WWW]
    with pytest.raises(NotFound):
        await pairing.undo(apex, "", actor="t")


async def test_a_domain_that_is_none_of_a_pair_goes_and_comes_alone(world: World, pairing: Pairing) -> None:
    name = "gallery.client-domain.com"
    await world.register(name)
    assert await pairing.remove(await world.get(name), actor="t") == ""
    assert (await pairing.undo(name, "", actor="t"))[1] == ""
    assert await there(world) == [APEX, name, WWW]


async def test_a_name_that_is_anothers_by_now_is_not_removed_with_the_registration_before(
    world: World, pairing: Pairing
) -> None:
    name = "gallery.client-domain.com"
    before = await world.register(name)
    await pairing.remove(before, actor="t")
    await world.register(name, "two")
    with pytest.raises(NotFound):
        await pairing.remove(before, actor="t")
    assert (await world.get(name)).workspace_id == "two"
