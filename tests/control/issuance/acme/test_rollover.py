"""Another key for an account: the CA's word decides which one counts."""

import asyncio
import contextlib

import pytest

from edgeproxy.control.issuance.acme import rollover
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.rollover import InUse
from edgeproxy.errors import Fault, IssuanceError
from tests.control.issuance.acme.conftest import issue
from tests.control.issuance.fakeca import DIRECTORY, Refuse


async def key_of(world):
    row = await world.store.account(DIRECTORY)
    return row.key, row.next_key, row.key_changed_at


async def test_the_account_stays_and_its_key_is_another(world, issuers):
    issuer = issuers()
    await issue(issuer)
    before = await key_of(world)
    url = next(iter(world.ca.accounts.values()))
    await issuer.roll_over()
    after = await key_of(world)
    assert after[0] != before[0]
    assert (before[1:], after[1]) == ((None, None), None)
    assert after[2] == pytest.approx(world.clock(), abs=60)
    assert list(world.ca.accounts.values()) == [url]
    await issue(issuer, "b.example")
    await issue(issuers(), "c.example")
    assert (len(world.ca.accounts), world.ca.count("account")) == (1, 1)


async def test_an_account_is_made_first_where_there_is_none(world, issuers):
    await issuers().roll_over()
    assert len(world.ca.accounts) == 1
    assert world.ca.count("keychange") == 1


async def test_a_change_that_the_ca_never_heard_of_is_finished_by_whoever_comes_next(world, issuers):
    await issue(issuers())
    world.ca.plan("keychange", "refuse")
    issuer = issuers()
    with pytest.raises(CaRefused):
        await issuer.roll_over()
    before = await key_of(world)
    assert before[1] is not None
    await issue(issuers(), "b.example")
    assert await key_of(world) == (before[1], None, pytest.approx(world.clock(), abs=60))
    await issue(issuer, "c.example")
    assert len(world.ca.accounts) == 1


async def test_a_change_whose_answer_got_lost_is_found_out(world, issuers):
    await issue(issuers())
    world.ca.plan("keychange", "lose")
    issuer = issuers()
    with pytest.raises(CaRefused):
        await issuer.roll_over()
    before = await key_of(world)
    await issue(issuer, "b.example")
    assert (await key_of(world))[:2] == (before[1], None)
    assert world.ca.count("keychange") == 1
    assert len(world.ca.accounts) == 1


async def test_while_the_ca_does_not_say_which_key_counts_nothing_is_given_up(world, issuers):
    await issue(issuers())
    world.ca.plan("keychange", "lose")
    issuer = issuers()
    with pytest.raises(CaRefused):
        await issuer.roll_over()
    before = await key_of(world)
    world.ca.plan("account", "refuse")
    with pytest.raises(CaRefused):
        await issue(issuer, "b.example")
    assert await key_of(world) == before
    await issue(issuer, "b.example")


async def test_a_ca_that_refuses_leaves_the_key_as_it_was(world, issuers):
    issuer = issuers()
    await issue(issuer)
    before = await key_of(world)
    world.ca.plan("keychange", Refuse("badPublicKey"))
    with pytest.raises(CaRefused):
        await issuer.roll_over()
    assert await key_of(world) == before
    await issue(issuer, "b.example")
    world.ca.lacks.add("keyChange")
    with pytest.raises(IssuanceError, match="offers no change"):
        await issuers().roll_over()


async def test_a_refusal_of_what_was_begun_before_leaves_the_old_key(world, issuers):
    await issue(issuers())
    before = await key_of(world)
    world.ca.plan("keychange", "refuse")
    with pytest.raises(CaRefused):
        await issuers().roll_over()
    world.ca.plan("keychange", Refuse("malformed"))
    await issue(issuers(), "b.example")
    assert await key_of(world) == before


async def test_a_change_waits_for_orders_and_new_orders_for_it():
    use, steps = InUse(), []

    async def order(name, end):
        async with use.shared():
            steps.append(f"{name} begins")
            await end.wait()
            steps.append(f"{name} ends")

    async def change():
        async with use.alone():
            steps.append("change")

    ends = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(order("one", ends[0])), asyncio.create_task(order("two", ends[0]))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(change()))
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(order("three", ends[1])))
    await asyncio.sleep(0.01)
    with pytest.raises(IssuanceError, match="being changed already") as caught:
        async with use.alone():
            pass
    assert caught.value.fault is Fault.CLIENT
    ends[0].set()
    ends[1].set()
    await asyncio.gather(*tasks)
    assert steps == ["one begins", "two begins", "one ends", "two ends", "change", "three begins", "three ends"]


async def test_a_change_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(rollover, "WAIT_SECONDS", 0.01)
    use = InUse()
    async with use.shared():
        with pytest.raises(IssuanceError, match="try again later"):
            async with use.alone():
                pass
        async with use.shared():
            pass
    async with use.alone():
        pass


async def test_an_order_that_is_under_way_keeps_its_key(world, issuers, seconds):
    issuer = issuers()
    await issue(issuer)
    world.ca.polls_needed = 3
    changing = []

    def begin_change():
        changing.append(asyncio.ensure_future(issuer.roll_over()))

    world.ca.plan("challenge", begin_change)
    await issue(issuer, "b.example")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changing[0], 60)
    assert world.ca.asked.index("keychange") > len(world.ca.asked) - 1 - world.ca.asked[::-1].index("cert")
