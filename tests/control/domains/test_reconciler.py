"""Domains go their way by themselves, over the death of any process."""

from __future__ import annotations

import asyncio

import pytest

from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.lifecycle import Event
from edgeproxy.control.domains.looking import Live
from edgeproxy.control.domains.reconciler import BEGUN, CONFIRM_SECONDS, LATE_SECONDS, LEASE_SECONDS, LEAST, begun_after, moved
from edgeproxy.control.domains.schedule import SLOWEST_PAUSE
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.issuance.scheduler import Queued
from edgeproxy.control.store import Failure
from edgeproxy.errors import Conflict, Fault, IssuanceError
from tests.control.domains.living import ELSEWHERE, HERE, NOTHING, OWN, SILENT, TEXT, TEXT_HERE, Said, World, living
from tests.control.domains.test_lifecycle import S
from tests.control.store.making import DAY, NOW
from tests.control.store.test_domain_life import made

NAME = "gallery.client-domain.com"


async def active(world: World) -> None:
    world.zone.says[NAME] = HERE
    assert (await world.register(NAME)).state is S.ACTIVE
    world.zone.asked.clear()


# The way to being active


async def test_a_name_that_is_set_up_right_is_active_after_one_visit(world: World) -> None:
    world.zone.says[NAME] = HERE
    domain = await world.register(NAME)
    assert (domain.state, domain.error_code) == (S.ACTIVE, "")
    assert domain.verified_at == domain.active_at == NOW
    assert world.signer.issued == [NAME]
    assert world.guest.visited == [NAME]
    assert await world.told() == ["domain.registered", "domain.verified", "domain.active"]
    assert domain.next_look is not None
    assert 3_000 < domain.next_look - NOW <= 3_600


async def test_a_record_that_appears_is_seen_two_seconds_later(world: World) -> None:
    domain = await world.register(NAME)
    assert (domain.state, domain.error_code, domain.error_fault) == (S.PENDING_VALIDATION, "no_record", "customer_dns")
    assert domain.next_look == NOW + 2
    world.zone.says[NAME] = HERE
    async with world.running():
        world.clock.now += 2
        world.reconciler.wake()
        await world.reaches(NAME, S.ACTIVE)


async def test_an_unsure_look_is_not_yet_and_never_no(world: World) -> None:
    world.zone.says[NAME] = SILENT
    domain = await world.register(NAME)
    assert (domain.state, domain.error_code, domain.looks) == (S.PENDING_VALIDATION, "dns_unavailable", 0)
    world.zone.says[NAME] = HERE
    assert (await world.look(NAME)).state is S.ACTIVE
    world.zone.says[NAME] = SILENT
    for _ in range(3):
        domain = await world.look(NAME)
        assert (domain.state, domain.error_code) == (S.ACTIVE, "")


async def test_what_is_proven_before_it_leads_here_spends_no_attempt(world: World) -> None:
    world.zone.says[NAME] = TEXT
    domain = await world.register(NAME, method="dns")
    assert (domain.state, domain.error_code) == (S.AWAITING_CUTOVER, "awaiting_cutover")
    assert world.signer.issued == world.guest.visited == []
    world.zone.says[NAME] = ELSEWHERE
    assert (await world.look(NAME)).state is S.AWAITING_CUTOVER
    world.zone.says[NAME] = HERE
    assert (await world.look(NAME)).state is S.ACTIVE
    assert await world.told() == ["domain.registered", "domain.verified", "domain.active"]


async def test_what_the_dns_proves_has_its_certificate_before_it_leads_here(world: World) -> None:
    world.zone.says[NAME] = TEXT
    world.signer.provable = True
    assert (await world.register(NAME, method="dns")).state is S.AWAITING_CUTOVER
    assert world.signer.issued == [NAME]
    await world.store.save_failure(Failure(name=NAME, count=1, next_try=NOW + DAY, detail="…"), NOW)
    world.zone.says[NAME] = HERE
    assert (await world.look(NAME)).state is S.ACTIVE
    assert await world.store.failure(NAME) is None, "what failed elsewhere does not count here"


async def test_what_fails_ahead_of_the_cutover_leaves_the_domain_as_it_is(world: World) -> None:
    world.zone.says[NAME] = TEXT
    world.signer.provable, world.signer.fails = True, IssuanceError("The CA is away.")
    domain = await world.register(NAME, method="dns")
    assert (domain.state, domain.error_code) == (S.AWAITING_CUTOVER, "awaiting_cutover")


async def test_a_name_that_leaves_again_before_it_is_live_costs_no_further_order(world: World) -> None:
    world.zone.says[NAME] = HERE
    world.signer.fails = IssuanceError("The CA is away.")
    assert (await world.register(NAME)).state is S.ISSUING
    world.zone.says[NAME] = ELSEWHERE
    world.signer.fails = None
    assert (await world.look(NAME)).state is S.AWAITING_CUTOVER
    assert world.signer.issued == []


async def test_why_there_is_no_certificate_is_told_and_tried_again(world: World) -> None:
    world.zone.says[NAME] = HERE
    world.signer.fails = IssuanceError("The CA is away.", fault=Fault.CA)
    world.signer.failed = Failure(name=NAME, count=1, next_try=NOW + 60, detail="…")
    domain = await world.register(NAME)
    assert (domain.state, domain.error_code, domain.error_detail) == (S.ISSUING, "issuance_failed", "The CA is away.")
    assert domain.next_look == NOW + 60
    world.signer.failed = Failure(name=NAME, count=1, next_try=NOW + DAY, detail="…")
    assert (await world.look(NAME)).next_look == NOW + SLOWEST_PAUSE, "its records may be the reason"
    world.signer.fails = Queued(NAME, Turn(kind="new", position=3, expected=NOW + 90, reason=""), NOW)
    domain = await world.look(NAME)
    assert (domain.error_code, domain.next_look) == ("queued", NOW + 90)
    world.signer.fails = None
    domain = await world.look(NAME)
    assert (domain.state, domain.error_code) == (S.ACTIVE, "")


async def test_active_is_said_only_after_a_visitor_was_served(world: World) -> None:
    world.zone.says[NAME] = HERE
    world.guest.live[NAME] = Live(False, "There is no handshake.")
    domain = await world.register(NAME)
    assert (domain.state, domain.error_code, domain.error_detail) == (S.ISSUING, "not_served", "There is no handshake.")
    assert "domain.active" not in await world.told()
    world.guest.live.clear()
    assert (await world.look(NAME)).state is S.ACTIVE
    assert world.signer.issued == [NAME, NAME]


# Active, and not any more


async def test_a_name_that_goes_elsewhere_needs_attention_after_a_second_look_and_is_served_on(world: World) -> None:
    await active(world)
    world.zone.says[NAME] = ELSEWHERE
    domain = await world.look(NAME)
    assert (domain.state, domain.error_code) == (S.ACTIVE, "wrong_target")
    assert domain.next_look == NOW + CONFIRM_SECONDS
    domain = await world.look(NAME)
    assert (domain.state, domain.error_code) == (S.ATTENTION, "wrong_target")
    assert domain.next_look == NOW + 2
    world.zone.says[NAME] = HERE
    domain = await world.look(NAME)
    assert (domain.state, domain.error_code) == (S.ACTIVE, "")
    assert (await world.told())[3:] == ["domain.attention", "domain.active"]


async def test_one_wrong_answer_is_forgotten(world: World) -> None:
    await active(world)
    for _ in range(3):
        world.zone.says[NAME] = ELSEWHERE
        await world.look(NAME)
        world.zone.says[NAME] = HERE
        assert (await world.look(NAME)).error_code == ""
    assert "domain.attention" not in await world.told()


async def test_a_name_whose_text_record_stays_but_that_leads_elsewhere_needs_attention(world: World) -> None:
    world.zone.says[NAME] = TEXT_HERE
    assert (await world.register(NAME, method="dns")).state is S.ACTIVE
    world.zone.says[NAME] = TEXT
    await world.look(NAME)
    domain = await world.look(NAME)
    assert (domain.state, domain.error_code) == (S.ATTENTION, "not_pointing_here")


async def test_a_name_that_is_not_served_any_more_needs_attention(world: World) -> None:
    await active(world)
    world.guest.live[NAME] = Live(False, "It has expired.")
    assert (await world.look(NAME)).state is S.ACTIVE
    domain = await world.look(NAME)
    assert (domain.state, domain.error_code) == (S.ATTENTION, "not_served")
    world.zone.says[NAME] = SILENT
    assert (await world.look(NAME)).error_detail == "It has expired."
    world.guest.live.clear()
    world.zone.says[NAME] = HERE
    assert (await world.look(NAME)).state is S.ACTIVE


# Giving up


async def test_what_does_not_verify_in_a_week_is_parked_and_removed_thirty_days_later(world: World) -> None:
    await world.register(NAME)
    world.clock.now = NOW + 7 * DAY
    domain = await world.look(NAME)
    assert (domain.state, domain.parked_at) == (S.PARKED, world.clock.now)
    looks = len(world.zone.asked)
    async with world.running():
        world.clock.now += 30 * DAY
        world.reconciler.wake()
        async with asyncio.timeout(60):
            while await world.store.get_domain(NAME) is not None:
                await asyncio.sleep(0.005)
    assert len(world.zone.asked) == looks
    assert await world.told() == ["domain.registered", "domain.parked", "domain.removed"]
    assert await world.store.holders_of(NAME) == []


async def test_what_was_proven_is_never_given_up(world: World) -> None:
    world.zone.says[NAME] = TEXT
    await world.register(NAME, method="dns")
    world.zone.says[NAME] = NOTHING
    world.clock.now = NOW + 90 * DAY
    domain = await world.look(NAME)
    assert domain.state is S.AWAITING_CUTOVER
    assert domain.next_look is not None
    assert domain.next_look <= world.clock.now + 3_600


async def test_the_operators_word_is_left_alone(world: World) -> None:
    domain = (await world.domains.register(NAME, "one", actor="uid:0", verify=False)).domain
    assert await world.look(NAME) == domain
    assert world.zone.asked == []
    assert domain.next_look is None


# What a record proves


async def test_with_prove_a_name_that_pointed_here_before_needs_a_record_of_its_owner(tmp_path) -> None:
    async with living(tmp_path, preset="prove") as world:
        world.zone.says[NAME] = HERE
        domain = await world.register(NAME)
        assert (domain.state, domain.must_prove, domain.error_code) == (S.PENDING_VALIDATION, True, "proof_needed")
        world.zone.says[NAME] = ELSEWHERE
        await world.look(NAME)
        assert world.zone.asked[-1].must_prove, "the records that are shown are those that are needed"
        world.zone.says[NAME] = HERE
        assert (await world.look(NAME)).state is S.PENDING_VALIDATION
        world.zone.says[NAME] = OWN
        assert (await world.look(NAME)).state is S.ACTIVE


async def test_with_prove_another_method_is_no_way_around(tmp_path) -> None:
    async with living(tmp_path, preset="prove") as world:
        world.zone.says[NAME] = Said("pending", "no_file", "There is no file.", proven=frozenset(("cname",)))
        assert (await world.register(NAME, method="file")).must_prove
        with pytest.raises(Conflict) as caught:
            await world.domains.change_method(NAME, "cname", actor="t")
        assert caught.value.code == "proof_needed"
        world.zone.says[NAME] = HERE
        assert (await world.look(NAME)).state is S.PENDING_VALIDATION


async def test_with_prove_one_that_did_not_needs_none(tmp_path) -> None:
    async with living(tmp_path, preset="prove") as world:
        world.zone.says[NAME] = SILENT
        await world.register(NAME)
        world.zone.says[NAME] = NOTHING
        await world.look(NAME)
        world.zone.says[NAME] = HERE
        assert (await world.look(NAME)).state is S.ACTIVE


# Processes


async def test_what_a_dead_process_left_is_gone_on_with(world: World) -> None:
    world.zone.says[NAME] = HERE
    world.zone.hold = asyncio.Event()
    await world.domains.register(NAME, "one", actor="t")
    await world.until(lambda: world.zone.asked)
    await world.reconciler.close()  # as a process that dies: its lease stays
    world.zone.hold = None
    async with world.running(world.another()):
        await world.reaches(NAME, S.ACTIVE)


async def test_another_machine_leaves_a_domain_alone_until_its_lease_is_over(world: World) -> None:
    world.zone.says[NAME] = HERE
    world.zone.hold = asyncio.Event()
    await world.domains.register(NAME, "one", actor="t")
    await world.until(lambda: world.zone.asked)
    other = world.another()
    other._machine = "elsewhere"
    async with world.running(other):
        world.clock.now += LEASE_SECONDS - 1
        other.wake()
        await asyncio.sleep(0.1)
        assert len(world.zone.asked) == 1
        world.clock.now += 2
        other.wake()
        await world.until(lambda: len(world.zone.asked) == 2)
        world.zone.hold.set()
        await world.reaches(NAME, S.ACTIVE)
    assert (await world.told()).count("domain.verified") == 1, "two at work do each step once"


async def test_many_who_want_one_name_looked_at_share_one_look(world: World) -> None:
    await world.register(NAME)
    world.zone.asked.clear()
    visits = [world.reconciler.visit(NAME) for _ in range(50)]
    assert len({id(visit) for visit in visits}) == 1
    await world.settled()
    assert world.zone.looks(NAME) == 1
    assert world.zone.urgent


async def test_an_error_that_nobody_foresaw_rests_one_domain_and_none_of_the_others(world: World, capsys) -> None:
    world.zone.says[NAME] = ZeroDivisionError()
    world.zone.says["other.client-domain.com"] = HERE
    async with world.running():
        await world.domains.register(NAME, "one", actor="t")
        await world.domains.register("other.client-domain.com", "one", actor="t")
        await world.reaches("other.client-domain.com", S.ACTIVE)
        await world.settled()
        assert world.zone.looks(NAME) == 1, "it does not go round and round"
        world.zone.says[NAME] = HERE
        world.clock.now += LEASE_SECONDS + 1
        world.reconciler.wake()
        await world.reaches(NAME, S.ACTIVE)


async def test_hundreds_of_due_domains_are_worked_through_with_bounded_concurrency(world: World, monkeypatch) -> None:
    monkeypatch.setattr("edgeproxy.control.domains.reconciler.LOOKS", 16)
    monkeypatch.setattr("edgeproxy.control.domains.reconciler.ROUND_SECONDS", 0.01)
    for number in range(200):
        await world.store.register_domain(made(f"n{number}.client-domain.com", next_look=NOW - number), actor="t", now=NOW)
    async with world.running():
        await world.until(lambda: len({domain.hostname for domain in world.zone.asked}) == 200)
    assert world.zone.most <= 16
    assert len(world.zone.asked) == 200


async def test_of_three_hundred_due_domains_a_round_begins_some_and_their_looks_are_noted_together(
    world: World, monkeypatch
) -> None:
    monkeypatch.setattr("edgeproxy.control.domains.reconciler.ROUND_SECONDS", 0.01)
    monkeypatch.setattr("edgeproxy.control.domains.reconciler.BEGUN", 50)
    names = [f"n{number}.client-domain.com" for number in range(300)]
    for name in names:
        await world.store.register_domain(made(name, next_look=NOW), actor="t", now=NOW)
    taken, commits = [], []
    claim, write = world.store.claim_due_domains, world.store.note_looks

    async def claimed(*given, **more):
        found = await claim(*given, **more)
        taken.append(len(found))
        return found

    async def counted(notes, *rest):
        commits.append(len(notes))
        return await write(notes, *rest)

    monkeypatch.setattr(world.store, "claim_due_domains", claimed)
    monkeypatch.setattr(world.store, "note_looks", counted)
    async with world.running():
        await world.until(lambda: sum(commits) >= 300)
        await world.settled()
    assert max(taken) <= 50
    assert sum(commits) == 300, "what was seen, and the lease's end with it"
    assert len(commits) <= 100
    assert [(await world.get(name)).looks for name in names] == [1] * 300


def test_a_busy_loop_begins_fewer_looks_and_one_that_has_time_again_more() -> None:
    late, begun = 2 * LATE_SECONDS, [BEGUN]
    for seconds in [late] * 8 + [0.0] * 2 * BEGUN:
        begun.append(begun_after(begun[-1], seconds))
    assert begun[1] == BEGUN // 2
    assert min(begun) == begun[8] == LEAST
    assert begun[9] == LEAST + 1
    assert begun[-1] == BEGUN


async def test_a_clock_that_is_set_back_puts_off_nothing(world: World) -> None:
    world.clock.now = NOW + 30 * DAY
    async with world.running():
        await world.register(NAME)
        world.zone.says[NAME] = HERE
        world.clock.now = NOW
        world.reconciler.wake()
        await world.reaches(NAME, S.ACTIVE)


async def test_what_somebody_changed_meanwhile_counts(world: World) -> None:
    world.zone.says[NAME] = HERE
    world.zone.hold = asyncio.Event()
    await world.domains.register(NAME, "one", actor="t")
    await world.until(lambda: world.zone.asked)
    await world.domains.suspend(NAME, actor="t")
    world.zone.hold.set()
    await world.settled()
    assert (await world.get(NAME)).state is S.SUSPENDED
    assert world.signer.issued == []


# Pure


def test_an_event_brings_the_times_of_its_state() -> None:
    domain = made(NAME)
    proven = moved(domain, Event.PROVEN, NOW + 5)
    assert (proven.state, proven.verified_at) == (S.VERIFIED, NOW + 5)
    live = moved(moved(proven, Event.ORDERED, NOW + 6), Event.LIVE, NOW + 7)
    assert (live.verified_at, live.active_at) == (NOW + 5, NOW + 7)
    suspended = moved(live, Event.SUSPENDED, NOW + 8)
    assert (suspended.suspended_at, suspended.next_look) == (NOW + 8, None)
    back = moved(suspended, Event.REINSTATED, NOW + 9)
    assert (back.state, back.suspended_at, back.next_look, back.active_at) == (S.VERIFIED, None, NOW + 9, NOW + 7)
    parked = moved(domain, Event.GIVEN_UP, NOW + 9, forget_after=30.0)
    assert (parked.parked_at, parked.next_look) == (NOW + 9, NOW + 39)
    with pytest.raises(Conflict):
        moved(domain, Event.LIVE, NOW)


async def test_points_unknown_counts_as_here_only_where_nothing_says_what_here_is(world: World) -> None:
    assert world.reconciler.leads_here(SILENT) is None
    assert world.reconciler.leads_here(ELSEWHERE) is False
    assert SILENT.points is Points.UNKNOWN
