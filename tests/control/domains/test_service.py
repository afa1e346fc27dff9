"""What the APIs can do with domains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edgeproxy.control.domains.records import record
from edgeproxy.control.domains.service import FRESH_SECONDS, AlreadyRegistered, Registered
from edgeproxy.control.store import Domain
from edgeproxy.errors import Conflict, EdgeError, InvalidName, NotFound
from edgeproxy.model import DomainState
from tests.control.domains.living import ELSEWHERE, HERE, NOTHING, TEXT, TEXT_HERE, Said, World
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


async def test_who_registers_at_the_moment_of_a_removal_needs_a_text_record_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.zone.says[NAME] = HERE
    await world.register(NAME, "one")
    unproven = world.domains._unproven

    async def removed_meanwhile(wanted: Any) -> dict[str, str]:
        if await world.store.get_domain(NAME) is not None:
            await world.domains.remove(NAME, actor="t")
        return await unproven(wanted)

    monkeypatch.setattr(world.domains, "_unproven", removed_meanwhile)
    with pytest.raises(Conflict) as caught:
        await world.domains.register(NAME, "two", actor="t")
    assert (caught.value.code, caught.value.retryable) == ("contended", True)
    assert await world.store.get_domain(NAME) is None
    assert (await world.register(NAME, "two")).must_prove


async def test_what_was_seen_of_an_earlier_registration_is_not_shown_to_the_next(world: World) -> None:
    before = await world.register(NAME, "one")
    assert world.domains.verdict(before) is NOTHING
    assert world.domains.verdict(msgspec.structs.replace(before, workspace_id="two", looked_at=None)) is None


async def test_who_brings_a_name_back_is_not_shown_the_proof_of_who_had_it_meanwhile(world: World) -> None:
    def says(domain: Domain) -> Said:
        return Said(records=(record("ownership", "TXT", f"_edgeproxy-verify.{NAME}", domain.proof, required=True),))

    world.zone.says[NAME] = says
    mine = await world.register(NAME, "one")
    assert [each.value for each in world.domains.records(mine)] == [mine.proof]
    await world.domains.remove(NAME, actor="t")
    theirs = await world.register(NAME, "two")
    await world.domains.remove(NAME, actor="t")
    back = await world.domains.undo(NAME, "one", actor="t")
    assert back.looked_at is not None
    assert theirs.proof not in {each.value for each in world.domains.records(back)}


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


async def test_a_name_registered_before_anothers_wildcard_is_not_proven_by_the_wildcards_record(world: World) -> None:
    assert (await world.register("login.client-domain.com", "two")).must_prove is False
    assert (await world.register("shop.client-domain.com", "one")).must_prove is False
    await world.register("*.client-domain.com", "one")
    for label in ("login", "shop"):
        world.zone.says[f"{label}.client-domain.com"] = HERE  # as all names beneath the wildcard's record are
    domain = await world.look("login.client-domain.com")
    assert (domain.state, domain.must_prove, domain.error_code) == (S.PENDING_VALIDATION, True, "proof_needed")
    assert (await world.look("shop.client-domain.com")).state is S.ACTIVE
    world.zone.says["login.client-domain.com"] = TEXT_HERE
    assert (await world.look("login.client-domain.com")).state is S.ACTIVE


async def refused(world: World, workspace: str, name: str = NAME, **more: Any) -> AlreadyRegistered:
    with pytest.raises(AlreadyRegistered) as caught:
        await world.domains.register(name, workspace, actor="t", **more)
    return caught.value


def showing(*proofs: str) -> Callable[[Domain], Said]:
    return lambda domain: TEXT if domain.proof in proofs else NOTHING


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are looked at as often as somebody asks."""
    monkeypatch.setattr("edgeproxy.control.domains.claims.PAUSE_SECONDS", 0.0)


async def test_a_registration_that_was_never_verified_yields_to_a_text_record(world: World, at_once: None) -> None:
    await world.register(NAME, "squatter")
    refusal = await refused(world, "owner")
    [record] = refusal.proofs
    assert (record.type, record.name, record.required) == ("TXT", f"_edgeproxy-verify.{NAME}", True)
    assert f'the TXT record {record.name} to "{record.value}"' in refusal.detail
    assert refusal.retryable
    world.zone.says[NAME] = showing(record.value)
    found = (await world.domains.register(NAME, "owner", actor="t")).domain
    assert (found.workspace_id, found.proof, found.state) == ("owner", record.value, S.AWAITING_CUTOVER)
    assert found.verified_at is not None
    await world.settled()
    assert await world.told() == ["domain.registered", "domain.removed", "domain.registered", "domain.verified"]
    refusal = await refused(world, "squatter")
    assert (refusal.proofs, refusal.retryable) == ((), False), "one that is verified does not yield"


async def test_who_loses_a_name_is_told_why(world: World, at_once: None) -> None:
    await world.register(NAME, "squatter")
    world.zone.says[NAME] = showing((await refused(world, "owner")).proofs[0].value)
    await world.register(NAME, "owner")
    [removed] = [each for each in await world.store.events_after(0, 10) if each.type == "domain.removed"]
    data = msgspec.json.decode(removed.data)
    assert (removed.workspace_id, data["workspace_id"], data["state"]) == ("squatter", "squatter", "removed")
    assert (data["error"]["code"], data["error"]["retryable"]) == ("claimed", False)
    assert "owner" not in data["error"]["detail"].split()


async def test_the_record_of_one_workspace_proves_nothing_for_another(world: World, at_once: None) -> None:
    await world.register(NAME, "squatter")
    proof = (await refused(world, "owner")).proofs[0].value
    world.zone.says[NAME] = showing(proof)
    thief = await refused(world, "thief")
    assert thief.proofs[0].value != proof
    assert (await world.get(NAME)).workspace_id == "squatter"


async def test_of_two_workspaces_that_both_show_their_records_one_has_the_name_for_good(world: World, at_once: None) -> None:
    await world.register(NAME, "squatter")
    claimants = [f"w{number}" for number in range(6)]
    world.zone.says[NAME] = showing(*[(await refused(world, each)).proofs[0].value for each in claimants])
    tries = [world.domains.register(NAME, each, actor="t") for each in claimants]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    [winner] = [each.domain.workspace_id for each in answers if isinstance(each, Registered)]
    assert [each.proofs for each in answers if isinstance(each, AlreadyRegistered)] == [()] * 5
    for each in claimants:
        assert (await refused(world, each)).proofs == ()
    assert (await world.get(NAME)).workspace_id == winner
    assert (await world.told()).count("domain.removed") == 1


async def test_a_name_that_is_verified_while_another_claims_it_is_not_taken(world: World, at_once: None) -> None:
    await world.register(NAME, "owner")
    proof = (await refused(world, "thief")).proofs[0].value
    world.zone.says[NAME] = lambda domain: TEXT_HERE if domain.proof == proof else HERE
    world.zone.hold = asyncio.Event()
    world.zone.asked.clear()
    claim = asyncio.create_task(world.domains.register(NAME, "thief", actor="t"))
    await world.until(lambda: any(each.workspace_id == "thief" for each in world.zone.asked))
    seen = await world.get(NAME)
    verified = msgspec.structs.replace(seen, state=S.VERIFIED, verified_at=NOW)
    assert await world.store.advance_domain(seen, verified, actor="t", now=NOW)
    world.zone.hold.set()
    with pytest.raises(AlreadyRegistered) as caught:
        await claim
    assert caught.value.proofs == ()
    assert (await world.get(NAME)).workspace_id == "owner"


async def test_changing_what_was_never_proven_does_not_keep_it_from_who_proves_it(world: World, at_once: None) -> None:
    await world.register(NAME, "squatter")
    world.zone.says[NAME] = showing((await refused(world, "owner")).proofs[0].value)
    world.zone.hold = asyncio.Event()
    world.zone.asked.clear()
    claim = asyncio.create_task(world.domains.register(NAME, "owner", actor="t"))
    await world.until(lambda: any(each.workspace_id == "owner" for each in world.zone.asked))
    await world.domains.change_method(NAME, "file", actor="t")
    await world.store.remove_domain(NAME, actor="t", now=NOW)
    await world.domains.register(NAME, "squatter", actor="t")
    world.zone.hold.set()
    assert (await claim).domain.workspace_id == "owner"
    await world.settled()
    assert (await world.get(NAME)).workspace_id == "owner"


async def test_of_a_pair_each_name_has_to_be_proven(world: World, at_once: None) -> None:
    apex, www = "client-domain.com", "www.client-domain.com"
    await world.register(apex, "squatter", partner=www)
    refusal = await refused(world, "owner", apex, partner=www)
    assert [each.name for each in refusal.proofs] == [f"_edgeproxy-verify.{apex}", f"_edgeproxy-verify.{www}"]
    world.zone.says[apex] = showing(refusal.proofs[0].value)
    refusal = await refused(world, "owner", apex, partner=www)
    assert [each.name for each in refusal.proofs] == [f"_edgeproxy-verify.{www}"]
    assert (await world.get(apex)).workspace_id == "squatter", "both or neither"
    world.zone.says[www] = showing(refusal.proofs[0].value)
    await world.register(apex, "owner", partner=www)
    assert {(await world.get(each)).workspace_id for each in (apex, www)} == {"owner"}


async def test_what_the_workspace_may_not_have_is_not_taken_from_another(world: World, at_once: None) -> None:
    await world.register(NAME, "squatter")
    world.zone.says[NAME] = showing((await refused(world, "owner")).proofs[0].value)
    with pytest.raises(Conflict) as caught:
        await world.domains.register(NAME, "owner", actor="t", at_most=0)
    assert caught.value.code == "too_many_domains"
    assert (await world.get(NAME)).workspace_id == "squatter"


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


@pytest.mark.parametrize("seen", [HERE, NOTHING])
async def test_a_removal_is_not_undone_after_another_workspace_held_the_name(world: World, seen: Said) -> None:
    world.zone.says[NAME] = seen
    await world.register(NAME, "one")
    await world.domains.remove(NAME, actor="t")
    world.clock.now += 1
    world.zone.says[NAME] = TEXT_HERE
    assert (await world.register(NAME, "two")).state is S.ACTIVE
    await world.domains.remove(NAME, actor="t")
    world.zone.says[NAME] = HERE  # what the other one's customer left
    with pytest.raises(Conflict) as caught:
        await world.domains.undo(NAME, "one", actor="t")
    assert caught.value.code == "held_meanwhile"
    assert await world.store.get_domain(NAME) is None
    assert (await world.domains.undo(NAME, "two", actor="t")).workspace_id == "two"


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
