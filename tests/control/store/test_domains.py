"""Registered domains."""

from __future__ import annotations

import asyncio

import pytest

from edgeproxy.control.store import Domain, DomainChange, Store
from edgeproxy.errors import Conflict, InvalidName, NotFound, Outdated
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, logged

VERIFIED, PENDING = DomainState.VERIFIED, DomainState.PENDING_VALIDATION


async def add(store: Store, hostname: str, workspace: str = "one", state: DomainState = VERIFIED) -> Domain:
    return await store.add_domain(hostname, workspace, state=state, actor="test", now=NOW)


async def test_a_domain_comes_back_as_it_was_added(store: Store) -> None:
    added = await store.add_domain("a.example.com", "one", origin="http://10.0.0.1:80", state=VERIFIED, actor="cli", now=NOW)
    assert await store.get_domain("a.example.com") == added
    assert (added.verified_at, added.created_at, added.updated_at) == (NOW, NOW, NOW)
    assert await store.get_domain("b.example.com") is None


async def test_a_pending_domain_is_not_verified_yet(store: Store) -> None:
    assert (await add(store, "a.example.com", state=PENDING)).verified_at is None
    assert (await store.set_domain_state("a.example.com", VERIFIED, actor="t", now=NOW + 5)).verified_at == NOW + 5
    assert (await store.set_domain_state("a.example.com", DomainState.ACTIVE, actor="t", now=NOW + 9)).verified_at == NOW + 5


async def test_a_name_is_registered_once_whoever_asks(store: Store) -> None:
    await add(store, "a.example.com", "one")
    for workspace in ("one", "two"):
        with pytest.raises(Conflict, match=r"registered already.*domains remove"):
            await add(store, "a.example.com", workspace)
    found = await store.get_domain("a.example.com")
    assert found is not None
    assert found.workspace_id == "one"


async def test_of_two_that_register_a_name_at_once_one_gets_it(store: Store) -> None:
    results = await asyncio.gather(*(add(store, "a.example.com", f"w{n}") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Domain) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7


async def test_a_refused_registration_leaves_no_trace(store: Store) -> None:
    await add(store, "a.example.com")
    before = (await store.head_change(), await store.list_audit(10))
    with pytest.raises(Conflict):
        await add(store, "a.example.com")
    assert (await store.head_change(), await store.list_audit(10)) == before


async def test_domains_are_listed_in_pages_by_name_workspace_and_state(store: Store) -> None:
    for number in range(7):
        await add(store, f"n{number}.example.com", f"w{number % 2}", VERIFIED if number < 5 else PENDING)
    first = await store.list_domains(3)
    second = await store.list_domains(3, first[-1].hostname)
    assert [domain.hostname[:2] for domain in first + second] == ["n0", "n1", "n2", "n3", "n4", "n5"]
    assert [domain.hostname[:2] for domain in await store.list_domains(10, workspace_id="w1")] == ["n1", "n3", "n5"]
    assert [domain.hostname[:2] for domain in await store.list_domains(10, state=PENDING)] == ["n5", "n6"]
    assert await store.list_domains(10, after="z") == []
    assert [domain.hostname[:2] for domain in await store.list_domains(10, prefix="n4.")] == ["n4"]
    assert [domain.hostname[:2] for domain in await store.list_domains(2, "n3.example.com", prefix="n")] == ["n4", "n5"]
    assert await store.list_domains(10, prefix="N") == await store.list_domains(10, prefix="m") == []
    assert len(await store.list_domains(0)) == 1
    assert await store.count_domains() == 7
    assert await store.count_domains(workspace_id="w0", state=VERIFIED) == 3


async def test_a_removed_domain_is_gone_and_may_be_registered_anew(store: Store) -> None:
    added = await add(store, "a.example.com", "one")
    assert await store.remove_domain("a.example.com", actor="test", now=NOW) == added
    assert await store.get_domain("a.example.com") is None
    assert (await add(store, "a.example.com", "two")).workspace_id == "two"


async def test_what_is_not_registered_cannot_be_removed_or_moved(store: Store) -> None:
    with pytest.raises(NotFound, match="not registered"):
        await store.remove_domain("a.example.com", actor="test", now=NOW)
    with pytest.raises(NotFound):
        await store.set_domain_state("a.example.com", VERIFIED, actor="test", now=NOW)
    assert await store.head_change() == 0


@pytest.mark.parametrize("before", list(DomainState))
async def test_each_step_concerns_the_map(store: Store, before: DomainState) -> None:
    for number, after in enumerate(DomainState):
        await add(store, f"n{number}.example.com", state=before)
        head = await store.head_change()
        moved = await store.set_domain_state(f"n{number}.example.com", after, actor="test", now=NOW + 1)
        assert await store.get_domain(f"n{number}.example.com") == moved
        assert await logged(store, head) == ([("sites", f"n{number}.example.com")] if before is not after else [])


async def test_a_pair_is_registered_whole_or_not_at_all(store: Store) -> None:
    added = await store.add_domain("b.example", "one", partner="www.b.example", state=VERIFIED, actor="test", now=NOW)
    other = await store.get_domain("www.b.example")
    assert other is not None
    assert (added.include_www, added.redirect_to, other.redirect_to, other.workspace_id) == (True, "", "b.example", "one")
    await add(store, "www.c.example", "two")
    with pytest.raises(Conflict, match=r"^www\.c\.example is registered already"):
        await store.add_domain("c.example", "one", partner="www.c.example", state=VERIFIED, actor="test", now=NOW)
    assert await store.get_domain("c.example") is None


async def test_a_change_is_one_version_more_with_its_entry_and_its_place_in_the_map(store: Store) -> None:
    added = await add(store, "a.example.com")
    head = await store.head_change()
    change = DomainChange(origin="http://o.example", maintenance=True, metadata='{"plan":"gold"}')
    changed = await store.change_domain("a.example.com", change, actor="uid:0", now=NOW + 1)
    assert await store.get_domain("a.example.com") == changed
    assert (changed.origin, changed.maintenance, changed.metadata) == ("http://o.example", True, '{"plan":"gold"}')
    assert (changed.version, changed.updated_at, changed.created_at) == (added.version + 1, NOW + 1, NOW)
    assert await logged(store, head) == [("sites", "a.example.com")]
    entry = (await store.list_audit(10))[-1]
    assert (entry.actor, entry.action) == ("uid:0", "domain.changed")
    assert entry.detail == "origin: none to http://o.example, maintenance: off to on, metadata"


async def test_what_workers_need_not_know_does_not_concern_the_map(store: Store) -> None:
    await add(store, "a.example.com")
    head = await store.head_change()
    changed = await store.change_domain("a.example.com", DomainChange(metadata='{"a":"b"}'), actor="t", now=NOW + 1)
    assert (changed.version, await logged(store, head)) == (1, [])


async def test_a_change_to_what_is_so_already_is_none(store: Store) -> None:
    added = await add(store, "a.example.com")
    before = await store.list_audit(10)
    change = DomainChange(origin="", maintenance=False, redirect_to="")
    assert await store.change_domain("a.example.com", change, actor="t", now=NOW + 1) == added
    assert await store.change_domain("a.example.com", DomainChange(), actor="t", now=NOW + 1) == added
    assert await store.list_audit(10) == before


async def test_of_two_changes_of_one_version_the_second_is_refused(store: Store) -> None:
    await add(store, "a.example.com")
    on, off = DomainChange(maintenance=True), DomainChange(origin="http://o.example")
    await store.change_domain("a.example.com", on, actor="t", now=NOW, versions=(0,))
    with pytest.raises(Outdated, match="changed meanwhile"):
        await store.change_domain("a.example.com", off, actor="t", now=NOW, versions=(0,))
    with pytest.raises(NotFound):
        await store.change_domain("b.example.com", off, actor="t", now=NOW)
    found = await store.get_domain("a.example.com")
    assert found is not None
    assert (found.maintenance, found.origin, found.version) == (True, "", 1)


async def test_each_change_is_in_the_audit_log_with_who_made_it(store: Store) -> None:
    await store.add_domain("a.example.com", "one", state=PENDING, actor="uid 0", now=NOW)
    await add(store, "b.example.com")
    await store.set_domain_state("a.example.com", VERIFIED, actor="lifecycle", now=NOW + 1)
    await store.remove_domain("a.example.com", actor="token t1", now=NOW + 2)
    entries = await store.list_audit(10, subject="a.example.com")
    assert [(entry.at, entry.actor, entry.action) for entry in entries] == [
        (NOW, "uid 0", "domain.added"),
        (NOW + 1, "lifecycle", "domain.state"),
        (NOW + 2, "token t1", "domain.removed"),
    ]
    assert [entry.subject for entry in await store.list_audit(2, entries[0].number)] == ["b.example.com", "a.example.com"]


@pytest.mark.parametrize("name", ["", "x" * 600, "a\0b", "a\nb", "\ud800"])
async def test_a_name_that_the_map_could_not_hold_never_enters_the_store(store: Store, name: str) -> None:
    with pytest.raises(InvalidName):
        await add(store, name)
    assert await store.head_change() == 0
