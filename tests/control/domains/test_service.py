"""What the APIs can do with domains."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from edgeproxy.control.domains.records import record
from edgeproxy.control.domains.service import FRESH_SECONDS, AlreadyRegistered, Registered
from edgeproxy.errors import Conflict, EdgeError, InvalidName, NotFound
from edgeproxy.model import DomainState
from tests.control.domains.living import ELSEWHERE, HERE, NOTHING, TEXT, TEXT_HERE, World
from tests.control.store.making import DAY, NOW, certificate

S = DomainState
NAME = "gallery.client-domain.com"

# Registering


async def test_a_registration_waits_for_verification_and_is_not_served(world: World) -> None:
    found = await world.domains.register("Gallery.Client-Domain.com", "one", actor="token t", metadata='{"plan":"pro"}')
    assert (found.domain.hostname, found.domain.state, found.warnings) == (NAME, S.PENDING_VALIDATION, ())
    assert len(found.domain.proof) == 32
    assert (found.domain.method, found.domain.metadata) == ("cname", '{"plan":"pro"}')
    [entry] = await world.store.list_audit(10)
    assert (entry.actor, entry.action, entry.subject) == ("token t", "domain.added", NAME)


async def test_the_operators_word_is_served_at_once(world: World) -> None:
    domain = (await world.domains.register(NAME, "one", actor="uid:0", verify=False)).domain
    assert (domain.state, domain.method, domain.next_look) == (S.VERIFIED, "", None)
    assert await world.told() == ["domain.registered"]


async def test_of_two_registrations_at_once_one_wins(world: World) -> None:
    both = await asyncio.gather(*(world.domains.register(NAME, f"w{n}", actor="t") for n in range(6)), return_exceptions=True)
    assert sum(isinstance(each, Registered) for each in both) == 1
    assert sum(isinstance(each, AlreadyRegistered) for each in both) == 5


async def test_its_own_workspace_is_shown_the_registration_and_no_other(world: World) -> None:
    mine = await world.register(NAME)
    with pytest.raises(AlreadyRegistered) as caught:
        await world.domains.register(NAME, "one", actor="t")
    assert caught.value.domain == mine
    with pytest.raises(AlreadyRegistered) as caught:
        await world.domains.register(NAME, "two", actor="t")
    assert (caught.value.domain, caught.value.code) == (None, "already_registered")


@pytest.mark.parametrize(
    "name",
    [
        "192.0.2.7",
        "[2001:db8::1]",
        "localhost",
        "shop",
        "shop.localhost",
        "printer.local",
        "db.internal",
        "x.test",
        "co.uk",
        "github.io",
        "*.co.uk",
        "ve.ai",
        "gallery.ve.ai",
        "edge.ve.ai",
        "*.ai",
        "1.2.0.192.in-addr.arpa",
        "a..b.com",
        "http://gallery.com/",
        "gallery.com/../x",
        "-a.com",
        "a" * 64 + ".com",
        "",
        "*.*.com",
        "gallery.com\x00",
    ],
)
async def test_what_is_nobodys_is_refused(world: World, name: str) -> None:
    with pytest.raises(InvalidName):
        await world.domains.register(name, "one", actor="t")
    assert await world.told() == []


async def test_a_workspace_has_as_many_domains_as_it_may(world: World) -> None:
    for number in range(2):
        await world.register(f"n{number}.client-domain.com", at_most=2)
    with pytest.raises(Conflict) as caught:
        await world.domains.register("n3.client-domain.com", "one", actor="t", at_most=2)
    assert caught.value.code == "too_many_domains"
    await world.domains.register("n4.client-domain.com", "two", actor="t", at_most=2)
    with pytest.raises(Conflict):
        await world.domains.register("other.com", "two", actor="t", partner="www.other.com", at_most=2)
    assert await world.store.get_domain("other.com") is None, "both or neither"


async def test_a_name_that_looks_like_another_is_registered_with_a_warning(world: World) -> None:
    found = await world.domains.register("pаypal.com", "one", actor="t")  # its second letter is Cyrillic
    assert found.domain.hostname == "xn--pypal-4ve.com"
    [warning] = found.warnings
    assert "Cyrillic and Latin" in warning


async def test_methods_that_there_are(world: World) -> None:
    with pytest.raises(InvalidName) as caught:
        await world.domains.register(NAME, "one", actor="t", method="pigeon")
    assert caught.value.code == "invalid_method"
    await world.register(NAME)
    assert (await world.domains.change_method(NAME, "file", actor="t")).method == "file"
    with pytest.raises(InvalidName):
        await world.domains.change_method(NAME, "", actor="t")


# Nobody takes what is not theirs


async def test_what_another_workspace_held_needs_a_text_record_though_it_leads_here(world: World) -> None:
    world.zone.says[NAME] = HERE
    assert (await world.register(NAME, "one")).state is S.ACTIVE
    await world.domains.remove(NAME, actor="t")
    for workspace in ("two", "one"):
        domain = await world.register(NAME, workspace)
        assert (domain.state, domain.must_prove, domain.method) == (S.PENDING_VALIDATION, True, "dns")
        with pytest.raises(Conflict) as caught:
            await world.domains.change_method(NAME, "cname", actor="t")
        assert caught.value.code == "proof_needed"
        await world.domains.remove(NAME, actor="t")
    world.zone.says[NAME] = TEXT_HERE
    assert (await world.register(NAME, "two")).state is S.ACTIVE


async def test_what_was_seen_of_an_earlier_registration_is_not_shown_to_the_next(world: World) -> None:
    before = await world.register(NAME, "one")
    assert world.domains.verdict(before) is NOTHING
    assert world.domains.verdict(msgspec.structs.replace(before, workspace_id="two", looked_at=None)) is None


async def test_a_record_from_an_earlier_time_proves_nothing_later(world: World) -> None:
    world.zone.says[NAME] = HERE
    first = await world.register(NAME)
    await world.domains.remove(NAME, actor="t")
    second = await world.register(NAME)
    assert first.proof != second.proof
    await world.domains.remove(NAME, actor="t")  # never verified this time: who tried needs no other record
    assert (await world.register(NAME)).proof == second.proof


async def test_workspaces_and_names_have_proofs_of_their_own(world: World) -> None:
    proofs = {
        (await world.domains.register(name, workspace, actor="t")).domain.proof
        for name, workspace in (("a.client.com", "one"), ("b.client.com", "one"), ("c.client.com", "two"))
    }
    assert len(proofs) == 3


async def test_wildcards_need_a_text_record_and_so_do_names_beneath_anothers(world: World) -> None:
    domain = await world.register("*.client-domain.com")
    assert (domain.method, domain.must_prove) == ("dns", True)
    assert (await world.register("own.client-domain.com", "one")).must_prove is False
    assert (await world.register("other.client-domain.com", "two")).must_prove is True


async def test_a_registration_that_was_never_verified_yields_to_a_text_record(world: World) -> None:
    await world.register(NAME, "squatter")
    with pytest.raises(AlreadyRegistered) as caught:
        await world.domains.register(NAME, "owner", actor="t")
    proof = caught.value.proof
    assert proof
    world.zone.says[NAME] = lambda domain: TEXT if domain.proof == proof else NOTHING
    world.clock.now += FRESH_SECONDS + 1
    found = await world.register(NAME, "owner")
    assert (found.workspace_id, found.proof, found.state) == ("owner", proof, S.AWAITING_CUTOVER)
    with pytest.raises(AlreadyRegistered) as caught:
        await world.domains.register(NAME, "squatter", actor="t")
    assert caught.value.proof == "", "one that is verified does not yield"


async def test_who_asks_for_anothers_name_again_and_again_costs_one_look(world: World) -> None:
    await world.register(NAME, "squatter")
    world.zone.asked.clear()
    tries = [world.domains.register(NAME, "owner", actor="t") for _ in range(30)]
    assert all(isinstance(each, AlreadyRegistered) for each in await asyncio.gather(*tries, return_exceptions=True))
    assert len(world.zone.asked) == 1


# Verifying


async def test_verify_looks_afresh_at_once_but_not_all_the_time(world: World) -> None:
    await world.register(NAME)
    checked = await world.domains.verify(NAME)
    assert (checked.domain.state, checked.verdict) == (S.PENDING_VALIDATION, NOTHING)
    assert world.zone.looks(NAME) == 1, "it was looked at just now"
    world.clock.now += FRESH_SECONDS
    world.zone.says[NAME] = HERE
    answers = await asyncio.gather(*(world.domains.verify(NAME) for _ in range(40)))
    assert world.zone.looks(NAME) == 2
    assert {answer.domain.state for answer in answers} == {S.ACTIVE}


async def test_verify_wakes_a_parked_domain(world: World) -> None:
    await world.register(NAME)
    world.clock.now += 8 * DAY
    assert (await world.look(NAME)).state is S.PARKED
    world.clock.now += DAY
    checked = await world.domains.verify(NAME)
    assert (checked.domain.state, checked.domain.looking_since) == (S.PENDING_VALIDATION, world.clock.now)
    assert checked.domain.next_look == world.clock.now + 2


async def test_verify_answers_whatever_the_dns_does(world: World, monkeypatch) -> None:
    monkeypatch.setattr("edgeproxy.control.domains.service.LOOK_SECONDS", 0.05)
    world.zone.hold = asyncio.Event()
    await world.domains.register(NAME, "one", actor="t")
    checked = await world.domains.verify(NAME)
    assert (checked.domain.state, checked.verdict) == (S.PENDING_VALIDATION, None)
    world.zone.says[NAME] = HERE
    world.zone.hold.set()
    await world.reaches(NAME, S.ACTIVE)


async def test_verify_of_the_operators_word_looks_at_nothing(world: World) -> None:
    await world.domains.register(NAME, "one", actor="uid:0", verify=False)
    assert (await world.domains.verify(NAME)).domain.state is S.VERIFIED
    assert world.zone.asked == []


@pytest.mark.parametrize("what", ["verify", "remove", "suspend", "reinstate", "undo"])
async def test_what_is_not_registered_is_not_found(world: World, what: str) -> None:
    with pytest.raises(NotFound):
        await getattr(world.domains, what)("nobody.client-domain.com", actor="t")


# Going and coming back


async def test_a_removal_is_undone_with_all_that_was(world: World) -> None:
    world.zone.says[NAME] = HERE
    await world.register(NAME, origin="https://origin.example", metadata='{"a":"b"}')
    was, final_at = await world.domains.remove(NAME, actor="t")
    assert final_at == NOW + DAY
    assert await world.store.get_domain(NAME) is None
    back = await world.domains.undo(NAME, "one", actor="t")
    assert (back.state, back.origin, back.metadata, back.proof) == (S.ATTENTION, was.origin, was.metadata, was.proof)
    assert back.must_prove is False
    assert (await world.look(NAME)).state is S.ACTIVE
    assert (await world.told())[-3:] == ["domain.removed", "domain.registered", "domain.active"]


async def test_a_removal_is_not_undone_for_another_workspace_nor_too_late(world: World) -> None:
    await world.register(NAME)
    await world.domains.remove(NAME, actor="t")
    with pytest.raises(NotFound) as caught:
        await world.domains.undo(NAME, "two", actor="t")
    assert caught.value.code == "not_removed"
    world.clock.now += DAY
    with pytest.raises(NotFound):
        await world.domains.undo(NAME, "one", actor="t")


async def test_a_suspended_domain_stays_suspended_over_its_removal(world: World) -> None:
    world.zone.says[NAME] = HERE
    await world.register(NAME)
    assert (await world.domains.suspend(NAME, actor="pay")).state is S.SUSPENDED
    await world.domains.remove(NAME, actor="t")
    assert (await world.domains.undo(NAME, actor="t")).state is S.SUSPENDED
    with pytest.raises(Conflict):
        await world.domains.suspend(NAME, actor="pay")
    assert (await world.domains.reinstate(NAME, actor="pay")).state is S.ATTENTION, "it is served as it was before"
    assert (await world.look(NAME)).state is S.ACTIVE


async def test_what_was_never_proven_is_not_served_after_a_suspension(world: World) -> None:
    await world.register(NAME)
    await world.domains.suspend(NAME, actor="pay")
    assert (await world.domains.reinstate(NAME, actor="pay")).state is S.PENDING_VALIDATION


async def test_the_keys_of_a_removed_domain_stay_as_long_as_it_can_come_back(world: World) -> None:
    world.zone.says[NAME] = ELSEWHERE
    await world.register(NAME)
    await world.store.add_certificate(certificate("kept", NAME), NOW)
    await world.domains.remove(NAME, actor="t")
    assert await world.store.get_certificate("kept") is not None


async def test_every_refusal_has_a_code_and_a_sentence(world: World) -> None:
    await world.register(NAME)
    for wrong in (NAME, "co.uk", "x.local", "192.0.2.1"):
        with pytest.raises(EdgeError) as caught:
            await world.domains.register(wrong, "two", actor="t")
        assert caught.value.code in ("already_registered", "reserved_name", "invalid_name")
        assert caught.value.detail.endswith(".")
        assert caught.value.fault.value == "client"


# Records of the CA's challenges


async def test_a_slow_zone_holds_up_nobody_who_is_shown_records(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.control.domains.service.COMPARE_SECONDS", 0.05)
    wanted = record("acme", "CNAME", f"_acme-challenge.{NAME}", "label.acme.ve.ai", required=False)
    world.zone.there[wanted.name] = wanted.value
    assert [each.ok for each in await world.domains.compared([wanted])] == [True]
    world.zone.hold = asyncio.Event()
    assert await world.domains.compared([wanted]) == [wanted]
    world.zone.hold.set()
