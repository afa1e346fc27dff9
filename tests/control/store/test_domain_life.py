"""Each step of a domain's life is one transaction, done by one process, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from edgeproxy.control.store import Domain, Lease, Store
from edgeproxy.control.store.domain_config import told
from edgeproxy.control.store.schema import outbox
from edgeproxy.errors import Conflict, NotFound
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, certificate, logged

PENDING, VERIFIED, ACTIVE = DomainState.PENDING_VALIDATION, DomainState.VERIFIED, DomainState.ACTIVE
NAME = "a.example.com"


def made(hostname: str = NAME, workspace: str = "one", **values: Any) -> Domain:
    given = {"state": PENDING, "created_at": NOW, "updated_at": NOW, "method": "cname", "proof": "p", "next_look": NOW}
    return Domain(hostname=hostname, workspace_id=workspace, **(given | values))  # type: ignore[arg-type]


def lease(holder: str = "h1", expires: float = NOW + 30) -> Lease:
    return Lease(name="", machine="m", holder=holder, expires=expires)


async def registered(store: Store, hostname: str = NAME, workspace: str = "one", **values: Any) -> Domain:
    return await store.register_domain(made(hostname, workspace, **values), actor="t", now=NOW)


async def events(store: Store) -> list[tuple[str, str, str]]:
    async with store.database.read() as connection:
        rows = (await connection.execute(select(outbox).order_by(outbox.c.number))).all()
    return [(row.type, row.subject, row.workspace_id) for row in rows]


async def trail(store: Store) -> list[str]:
    return [entry.action for entry in await store.list_audit(100)]


# Registering


async def test_a_registration_is_told_and_noted_with_its_row(store: Store) -> None:
    domain = await registered(store)
    assert await store.get_domain(NAME) == domain
    assert await events(store) == [("domain.registered", NAME, "one")]
    assert await trail(store) == ["domain.added"]
    assert await logged(store) == [("sites", NAME)]


async def test_of_two_registrations_at_once_one_wins_and_the_other_leaves_no_trace(store: Store) -> None:
    both = await asyncio.gather(*(registered(store, workspace=f"w{n}") for n in range(8)), return_exceptions=True)
    lost = [each for each in both if isinstance(each, Conflict)]
    assert [each.code for each in lost] == ["conflict"] * 7
    assert len(await events(store)) == len(await trail(store)) == 1


async def test_a_workspace_has_as_many_domains_as_it_may(store: Store) -> None:
    async def add(name: str, workspace: str) -> Domain:
        return await store.register_domain(made(name, workspace), actor="t", now=NOW, at_most=2)

    both = await asyncio.gather(*(add(f"n{n}.example.com", "one") for n in range(5)), return_exceptions=True)
    assert sum(isinstance(each, Domain) for each in both) == 2
    assert {each.code for each in both if isinstance(each, Conflict)} == {"too_many_domains"}
    await add("other.example.com", "two")


async def test_a_registration_that_was_never_verified_gives_way(store: Store) -> None:
    first = await registered(store)
    assert await store.advance_domain(first, msgspec.structs.replace(first, origin="http://b"), actor="t", now=NOW + 1)
    winner = made(workspace="two", state=DomainState.AWAITING_CUTOVER, verified_at=NOW + 1)
    second = await store.register_domain(winner, actor="t", now=NOW + 1, proven={NAME})
    assert await store.get_domain(NAME) == second
    assert await events(store) == [
        ("domain.registered", NAME, "one"),
        ("domain.removed", NAME, "one"),
        ("domain.registered", NAME, "two"),
        ("domain.verified", NAME, "two"),
    ]
    told = (await store.list_audit(10))[1:]
    assert [(entry.action, entry.detail) for entry in told] == [
        ("domain.removed", "workspace one, which never proved it, gives way to two"),
        ("domain.added", "workspace two, awaiting_cutover"),
        ("domain.state", "awaiting_cutover, proven by TXT record"),
    ]
    assert await store.holders_of(NAME) == []


async def test_one_that_was_verified_meanwhile_does_not(store: Store) -> None:
    seen = await registered(store)
    now = msgspec.structs.replace(seen, state=VERIFIED, verified_at=NOW + 1)
    assert await store.advance_domain(seen, now, actor="t", now=NOW + 1)
    with pytest.raises(Conflict):
        await store.register_domain(made(workspace="two"), actor="t", now=NOW + 2, proven={NAME})
    assert (await store.get_domain(NAME)).workspace_id == "one"  # type: ignore[union-attr]


async def test_one_of_a_name_whose_record_was_not_seen_does_not_either(store: Store) -> None:
    await registered(store)
    with pytest.raises(Conflict):
        await store.register_domain(made(workspace="two"), actor="t", now=NOW + 1, proven={"other.example.com"})
    with pytest.raises(Conflict):
        await store.register_domain(made(workspace="one"), actor="t", now=NOW + 1, proven={NAME})
    assert await events(store) == [("domain.registered", NAME, "one")]


# What becomes of it


async def test_a_change_is_told_noted_and_published_and_counts_as_a_version(store: Store) -> None:
    before = await registered(store)
    after = msgspec.structs.replace(before, state=ACTIVE, active_at=NOW + 5)
    step = await store.advance_domain(
        before, after, emits="domain.active", action="domain.state", detail="d", actor="edge", now=NOW + 5
    )
    assert step is not None
    assert (step.version, step.updated_at) == (1, NOW + 5)
    assert await store.get_domain(NAME) == step
    assert (await events(store))[1:] == [("domain.active", NAME, "one")]
    assert await trail(store) == ["domain.added", "domain.state"]
    assert await logged(store, 1) == [("sites", NAME)]


async def test_a_look_alone_is_no_version_and_nothing_to_publish(store: Store) -> None:
    before = await registered(store)
    after = msgspec.structs.replace(before, looks=1, looked_at=NOW + 1, next_look=NOW + 2)
    assert await store.advance_domain(before, after, actor="edge", now=NOW + 1) == after
    assert await store.get_domain(NAME) == after
    assert len(await logged(store)) == 1


async def test_who_saw_an_older_row_changes_nothing(store: Store) -> None:
    before = await registered(store)
    other = msgspec.structs.replace(before, origin="http://other")
    assert await store.advance_domain(before, other, actor="t", now=NOW + 1)
    late = msgspec.structs.replace(before, state=ACTIVE)
    assert await store.advance_domain(before, late, emits="domain.active", action="x", actor="t", now=NOW + 2) is None
    assert await store.withdraw_domain(before, actor="t", now=NOW, final_at=NOW) is None
    assert len(await events(store)) == 1
    await store.remove_domain(NAME, actor="t", now=NOW + 3)
    again = await store.register_domain(made(created_at=NOW + 4), actor="t", now=NOW + 4)
    assert await store.advance_domain(before, late, actor="t", now=NOW + 5) is None
    assert await store.get_domain(NAME) == again


# Going and coming back


async def test_a_removed_domain_comes_back_with_its_keys(store: Store) -> None:
    domain = await registered(store, state=ACTIVE, verified_at=NOW, active_at=NOW)
    await store.add_certificate(certificate("c1", NAME), NOW)
    assert await store.withdraw_domain(domain, actor="u", now=NOW + 5, final_at=NOW + 50) == domain
    assert await store.get_domain(NAME) is None
    held = await store.holders_of(NAME)
    assert [(each.workspace_id, each.was_active, each.ended_at) for each in held] == [("one", True, NOW + 5)]
    [removal] = await store.removals_of(NAME)
    assert (removal.domain, removal.removed_by) == (domain, "u")
    assert await store.removals_ending(NOW + 49, 10) == []
    back = await store.restore_domain(removal, removal.domain, actor="u", now=NOW + 9)
    assert await store.get_domain(NAME) == back
    assert await store.current_certificate(NAME, NOW) is not None
    assert await store.holders_of(NAME) == []
    assert await store.removals_of(NAME) == []
    with pytest.raises(NotFound, match="Register it again"):
        await store.restore_domain(removal, removal.domain, actor="u", now=NOW + 9)


async def test_it_does_not_come_back_over_another_registration_nor_after_its_time(store: Store) -> None:
    domain = await registered(store)
    await store.withdraw_domain(domain, actor="u", now=NOW + 5, final_at=NOW + 50)
    [removal] = await store.removals_of(NAME)
    other = await registered(store, workspace="two")
    with pytest.raises(Conflict):
        await store.restore_domain(removal, removal.domain, actor="u", now=NOW + 9)
    assert await store.get_domain(NAME) == other
    assert len(await store.removals_of(NAME)) == 1, "a refused undo may be tried again"
    await store.remove_domain(NAME, actor="t", now=NOW + 10)
    with pytest.raises(NotFound):
        await store.restore_domain(removal, removal.domain, actor="u", now=NOW + 50)


async def test_at_the_end_of_its_time_the_keys_are_destroyed_and_the_history_stays(store: Store) -> None:
    domain = await registered(store, state=ACTIVE, verified_at=NOW)
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.withdraw_domain(domain, actor="u", now=NOW + 5, final_at=NOW + 50)
    [removal] = await store.removals_ending(NOW + 50, 10)
    assert await store.end_removal(removal, keep_keys=False, now=NOW + 50)
    assert not await store.end_removal(removal, keep_keys=False, now=NOW + 50)
    assert await store.get_certificate("c1") is None
    assert len(await store.holders_of(NAME)) == 1
    assert [entry.certificate_id for entry in await store.history_of(NAME)] == ["c1"]


async def test_keys_stay_where_the_name_is_registered_again(store: Store) -> None:
    domain = await registered(store, state=ACTIVE, verified_at=NOW)
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.withdraw_domain(domain, actor="u", now=NOW + 5, final_at=NOW + 50)
    await registered(store, workspace="two", must_prove=True)
    [removal] = await store.removals_ending(NOW + 50, 10)
    assert await store.end_removal(removal, keep_keys=False, now=NOW + 50)
    assert await store.get_certificate("c1") is not None


async def test_that_a_name_was_active_is_never_forgotten_and_who_never_proved_it_never_held_it(store: Store) -> None:
    for active_at in (NOW, None):
        domain = await registered(store, state=VERIFIED, verified_at=NOW, active_at=active_at, must_prove=True)
        await store.withdraw_domain(domain, actor="u", now=NOW + 5, final_at=NOW + 50)
    await store.withdraw_domain(await registered(store, workspace="two", must_prove=True), actor="u", now=NOW, final_at=NOW)
    assert [(each.workspace_id, each.was_active) for each in await store.holders_of(NAME)] == [("one", True)]


def test_what_is_told_holds_no_proof_and_says_what_is_wrong() -> None:
    domain = made(
        proof="s3cret", error_code="wrong_target", error_detail="D.", error_fault="customer_dns", metadata='{"a":"b"}'
    )
    found = told(domain)
    assert "s3cret" not in str(found)
    assert found["error"] == {"code": "wrong_target", "detail": "D.", "fault": "customer_dns", "retryable": True}
    assert (found["metadata"], found["state"], found["verified_at"]) == ({"a": "b"}, "pending_validation", None)
    assert found["created_at"].endswith("Z")
