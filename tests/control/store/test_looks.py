"""Who looks at domains, and what of a look is noted where nothing came of it."""

from __future__ import annotations

import asyncio

import msgspec

from edgeproxy.control.store import Domain, Lease, Note, Store
from edgeproxy.control.store.looks import NOTED, lease_name
from edgeproxy.model import DomainState
from tests.control.store.making import NOW
from tests.control.store.test_domain_life import NAME, lease, registered

# Who looks


async def test_due_domains_are_taken_by_one_process_the_longest_due_first(store: Store) -> None:
    for number in range(6):
        await registered(store, f"n{number}.example.com", next_look=NOW - number)
    await registered(store, "later.example.com", next_look=NOW + 10)
    await registered(store, "never.example.com", next_look=None)
    taken = await asyncio.gather(store.claim_due_domains(lease("h1"), NOW, 3), store.claim_due_domains(lease("h2"), NOW, 10))
    names = [[domain.hostname for domain in each] for each in taken]
    assert names[0] == ["n5.example.com", "n4.example.com", "n3.example.com"]
    assert names[1] == ["n2.example.com", "n1.example.com", "n0.example.com"]
    assert await store.claim_due_domains(lease("h3"), NOW, 10) == []
    assert await store.next_due_domain(NOW) == NOW + 10


async def test_what_a_dead_process_had_taken_is_due_again_when_its_lease_is_over(store: Store) -> None:
    await registered(store)
    assert await store.claim_due_domains(lease("dead"), NOW, 10)
    assert await store.claim_domain(NAME, lease("h2"), NOW + 29) is None
    assert await store.claim_domain(NAME, lease("h2", NOW + 60), NOW + 31) is not None
    assert await store.claim_due_domains(lease("h3"), NOW + 31, 10) == []


async def test_the_same_process_may_take_what_it_has_and_gives_back_only_its_own(store: Store) -> None:
    await registered(store)
    assert await store.claim_domain(NAME, lease("h1"), NOW) is not None
    assert await store.claim_domain(NAME, lease("h1"), NOW) is not None
    await store.release_domain(NAME, "h2")
    assert await store.claim_domain(NAME, lease("h2"), NOW) is None
    await store.release_domain(NAME, "h1")
    assert await store.claim_domain(NAME, lease("h2"), NOW) is not None
    assert await store.claim_domain("other.example.com", lease("h2"), NOW) is None


async def test_leases_of_looks_do_not_hinder_issuance(store: Store) -> None:
    await registered(store)
    await store.claim_due_domains(lease(), NOW, 1)
    assert (await store.claim(Lease(name=NAME, machine="m", holder="i", expires=NOW + 9), NOW)).refused == ""
    assert await store.prolong_leases("h1", NOW + 90) == {lease_name(NAME)}


async def test_a_clock_that_was_ahead_puts_off_no_look_for_ever(store: Store) -> None:
    await registered(store, looked_at=NOW + 9_000, next_look=NOW + 9_100)
    await registered(store, "never.example.com", looked_at=NOW + 9_000, next_look=None)
    await registered(store, "right.example.com", looked_at=NOW - 5, next_look=NOW + 100)
    assert await store.recall_looks(NOW) == 1
    assert [domain.hostname for domain in await store.claim_due_domains(lease(), NOW, 9)] == [NAME]


async def test_those_that_were_just_registered_do_not_stand_behind_all_others(store: Store) -> None:
    for number in range(6):
        await registered(store, f"old{number}.example.com", next_look=NOW - 90 + number, looking_since=NOW - 9_000)
    for number in range(6):
        await registered(store, f"new{number}.example.com", next_look=NOW - 9 + number, looking_since=NOW - 20)
    taken = [
        [domain.hostname.partition(".")[0] for domain in await store.claim_due_domains(lease(), NOW, 5, young=NOW - 60)]
        for _ in range(4)
    ]
    assert taken == [
        ["new0", "new1", "new2", "old0", "old1"],
        ["new3", "new4", "new5", "old2", "old3"],
        ["old4", "old5"],
        [],
    ]


# What is noted


def looked(before: Domain, **values: object) -> Domain:
    return msgspec.structs.replace(before, looks=before.looks + 1, looked_at=NOW + 1, next_look=NOW + 3, **values)


async def test_the_notes_of_many_looks_are_one_transaction_and_end_their_leases(store: Store) -> None:
    names = [f"n{number}.example.com" for number in range(5)]
    seen = [await registered(store, name) for name in names]
    assert len(await store.claim_due_domains(lease(), NOW, 9)) == 5
    notes = [Note(each.hostname, each, looked(each), release=True) for each in seen]
    found = await store.note_looks(notes, "h1", NOW + 1)
    assert found == [note.after for note in notes]
    assert [await store.get_domain(name) for name in names] == found
    assert len(await store.claim_due_domains(lease("h2"), NOW + 3, 9)) == 5, "nobody has them any more"


async def test_a_note_that_does_not_end_the_lease_leaves_it(store: Store) -> None:
    seen = await registered(store)
    await store.claim_domain(NAME, lease(), NOW)
    await store.note_looks([Note(NAME, seen, looked(seen))], "h1", NOW + 1)
    assert await store.claim_domain(NAME, lease("h2"), NOW + 2) is None
    assert await store.note_looks([Note(NAME, release=True)], "h1", NOW + 1) == [None]
    assert await store.claim_domain(NAME, lease("h2"), NOW + 2) is not None


async def test_what_is_shown_otherwise_gets_another_version_and_a_mere_look_does_not(store: Store) -> None:
    seen = await registered(store)
    wrong = {"error_code": "no_record", "error_detail": "There is none.", "error_fault": "customer_dns", "must_prove": True}
    [found] = await store.note_looks([Note(NAME, seen, looked(seen, **wrong))], "h1", NOW + 1)
    assert found is not None
    assert (found.version, found.updated_at, found.error_code) == (seen.version + 1, NOW + 1, "no_record")
    assert await store.get_domain(NAME) == found
    [again] = await store.note_looks([Note(NAME, found, looked(found))], "h1", NOW + 2)
    assert again is not None
    assert (again.version, again.updated_at, again.looks) == (found.version, NOW + 1, 2)


async def test_a_row_that_is_another_by_now_stays_and_keeps_no_other_note_from_being_written(store: Store) -> None:
    seen, other = await registered(store), await registered(store, "b.example.com")
    active = msgspec.structs.replace(seen, state=DomainState.VERIFIED, verified_at=NOW)
    now_it_is = await store.advance_domain(seen, active, actor="t", now=NOW)
    notes = [Note(each.hostname, each, looked(each)) for each in (seen, other)]
    assert await store.note_looks(notes, "h1", NOW + 1) == [None, notes[1].after]
    assert await store.get_domain(NAME) == now_it_is


async def test_what_workers_or_webhooks_are_told_of_cannot_be_noted(store: Store) -> None:
    seen = await registered(store)
    moved = looked(seen, state=DomainState.ACTIVE, origin="http://192.0.2.1", verified_at=NOW)
    await store.note_looks([Note(NAME, seen, moved)], "h1", NOW + 1)
    found = await store.get_domain(NAME)
    assert found is not None
    assert (found.state, found.origin, found.verified_at) == (seen.state, "", None)
    assert not {"state", "origin", "workspace_id", "redirect_to", "maintenance"} & set(NOTED)
