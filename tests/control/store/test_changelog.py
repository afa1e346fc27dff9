"""The change log, and what the publisher reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event

from edgeproxy.control.store import GateRoute, Store, database
from edgeproxy.errors import Conflict
from edgeproxy.model import DomainState
from edgeproxy.published.records import Certificate
from tests.control.store.making import DAY, NOW, certificate, logged, opened

VERIFIED = DomainState.VERIFIED


async def add(store: Store, hostname: str, workspace: str = "one", state: DomainState = VERIFIED) -> None:
    await store.add_domain(hostname, workspace, state=state, actor="test", now=NOW)


async def test_a_new_store_has_no_changes(store: Store) -> None:
    assert (await store.head_change(), await store.oldest_change(), await store.changes_after(0, 10)) == (0, 0, [])


async def test_numbers_are_given_without_gaps_in_the_order_of_commits(store: Store) -> None:
    await asyncio.gather(*(add(store, f"n{number}.example.com") for number in range(40)))
    entries = await store.changes_after(0, 1000)
    assert [entry.number for entry in entries] == list(range(1, 41))
    assert {entry.key for entry in entries} == {f"n{number}.example.com" for number in range(40)}


async def test_a_follower_that_asks_while_others_write_misses_nothing(store: Store) -> None:
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 60:
            seen.extend(entry.number for entry in await store.changes_after(seen[-1] if seen else 0, 7))

    async with asyncio.timeout(60):
        await asyncio.gather(follow(), *(add(store, f"n{number}.example.com") for number in range(60)))
    assert seen == list(range(1, 61))


async def test_a_transaction_that_fails_logs_nothing_and_uses_no_number(store: Store) -> None:
    await add(store, "a.example.com")

    async def fail() -> None:
        async with store.database.write() as write:
            write.changed("sites", "b.example.com")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(Conflict):
        await add(store, "a.example.com")
    await add(store, "c.example.com")
    assert await logged(store) == [("sites", "a.example.com"), ("sites", "c.example.com")]
    assert await store.head_change() == 2


async def test_whoever_follows_is_woken_by_a_commit_and_only_by_one_that_concerns_the_map(store: Store) -> None:
    await store.delete_order("a.example.com")
    assert not store.changed.is_set()
    await add(store, "a.example.com")
    assert store.changed.is_set()


async def test_the_log_is_cut_behind_what_was_reached(store: Store) -> None:
    for number in range(10):
        await add(store, f"n{number}.example.com")
    await store.prune_changes(9, 3)
    assert await store.oldest_change() == 7
    await store.prune_changes(10, 0)
    assert (await store.oldest_change(), await store.head_change()) == (0, 10)
    await add(store, "more.example.com")
    assert [entry.number for entry in await store.changes_after(10, 10)] == [11]


async def test_the_log_is_bounded_though_nobody_follows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MAX_LOG", 10)
    monkeypatch.setattr(database, "CUT_EVERY", 4)
    for number in range(40):
        await add(store, f"n{number}.example.com")
    assert len(await store.changes_after(0, 1000)) <= 10 + 4


async def test_the_facts_of_a_site_are_all_that_the_store_knows(store: Store) -> None:
    await store.add_domain("a.example.com", "one", origin="http://o", state=DomainState.SUSPENDED, actor="t", now=NOW)
    await store.put_gate_route(GateRoute(hostname="a.example.com", workspace_id="g", origin="http://g", fresh_until=5.0), NOW)
    await store.add_certificate(certificate("old", "a.example.com"), NOW)
    await store.add_certificate(certificate("own", "a.example.com"), NOW)
    await store.add_certificate(certificate("wild", "*.example.com"), NOW)
    facts = {fact.hostname: fact for fact in await store.site_facts(["a.example.com", "b.example.com", "*.example.com"], NOW)}
    known = facts["a.example.com"]
    assert (known.state, known.workspace_id, known.origin) == ("suspended", "one", "http://o")
    assert (known.gate_workspace_id, known.gate_origin, known.fresh_until) == ("g", "http://g", 5.0)
    assert (known.own_certificate, known.wildcard_certificate) == ("own", "wild")
    unknown = facts["b.example.com"]
    assert (unknown.state, unknown.fresh_until, unknown.own_certificate) == (None, None, None)
    assert unknown.wildcard_certificate == "wild"
    assert facts["*.example.com"].own_certificate == "wild"
    assert len(facts) == 3
    (expired,) = await store.site_facts(["a.example.com"], NOW + 90 * DAY)
    assert (expired.own_certificate, expired.wildcard_certificate) == (None, None)


async def test_a_name_is_served_since_its_registration_had_a_certificate_whoever_held_it_before(store: Store) -> None:
    async def since(hostname: str) -> float | None:
        (facts,) = await store.site_facts([hostname], NOW + 9 * DAY)
        return facts.served_since

    assert await since("a.example.com") is None
    await store.add_certificate(certificate("one", "a.example.com"), NOW)
    await store.add_certificate(certificate("two", "a.example.com"), NOW + DAY)  # by which the first ends
    await add(store, "a.example.com")
    assert await since("a.example.com") == NOW  # the first outlived it
    await store.remove_domain("a.example.com", actor="t", now=NOW + 2 * DAY)
    await store.add_domain("a.example.com", "two", state=VERIFIED, actor="t", now=NOW + 3 * DAY)
    assert await since("a.example.com") == NOW + DAY  # the second lasts; how long it has been theirs is another fact
    await store.add_certificate(certificate("three", "a.example.com"), NOW + 4 * DAY)
    assert await since("a.example.com") == NOW + DAY  # renewed, and not new
    await store.add_domain("b.other.net", "two", state=VERIFIED, actor="t", now=NOW + 3 * DAY)
    await store.add_certificate(certificate("wild", "*.other.net"), NOW + 5 * DAY)
    await store.add_certificate(certificate("own", "b.other.net"), NOW + 6 * DAY)
    assert await since("b.other.net") == NOW + 5 * DAY
    (facts,) = await store.site_facts(["b.other.net"], NOW)
    assert (facts.created_at, facts.active_at) == (NOW + 3 * DAY, None)


async def test_names_beneath_a_wildcard_come_from_wherever_a_site_may(store: Store) -> None:
    await add(store, "b.example.com")
    await add(store, "*.example.com")
    await add(store, "deep.b.example.com")
    await store.put_gate_route(GateRoute(hostname="a.example.com", fresh_until=1.0), NOW)
    await store.put_gate_route(GateRoute(hostname="b.example.com", fresh_until=1.0), NOW)
    await store.add_certificate(certificate("c", "c.example.com", "*.example.com", "other.net"), NOW)
    names = ["a.example.com", "b.example.com", "c.example.com"]
    assert await store.names_beneath("example.com", "", 10) == names
    assert await store.names_beneath("example.com", "", 2) == names[:2]
    assert await store.names_beneath("example.com", names[1], 2) == names[2:]
    assert await store.names_beneath(None, "", 10) == sorted([*names, "*.example.com", "deep.b.example.com", "other.net"])
    assert await store.names_beneath(None, "c", 2) == ["c.example.com", "deep.b.example.com"]


async def test_certificates_for_the_map_have_their_names_in_order(store: Store) -> None:
    await store.add_certificate(certificate("c1", "b.example.com", "a.example.com"), NOW)
    added = certificate("c1")
    assert await store.published_certificates(["c1", "none"]) == {
        "c1": Certificate(
            names=("b.example.com", "a.example.com"),
            chain=added.chain,
            sealed_key=added.sealed_key,
            not_before=added.not_before,
            not_after=added.not_after,
        )
    }
    assert await store.keys_of("certificates", "", 10) == ["c1"]


async def test_the_summary_counts_what_there_is(store: Store) -> None:
    await add(store, "a.example.com")
    await add(store, "b.example.com", state=DomainState.PENDING_VALIDATION)
    await store.add_certificate(certificate("due", "a.example.com", renew=NOW - 1, until=NOW + DAY), NOW)
    await store.add_certificate(certificate("expired", "b.example.com", until=NOW - 1), NOW)
    await store.add_certificate(certificate("old", "c.example.com", until=NOW + 5), NOW)
    await store.add_certificate(certificate("valid", "c.example.com"), NOW)
    summary = await store.summary(NOW)
    assert summary.domains == {"verified": 1, "pending_validation": 1}
    assert summary.certificates == {"valid": 1, "due": 1, "expired": 1}
    await store.went_astray("due", NOW - DAY, NOW, NOW + DAY, NOW)
    assert (await store.summary(NOW)).certificates == {"valid": 1, "due": 0, "expired": 1, "parked": 1}
    assert summary.soonest_expiry == NOW + DAY
    assert (summary.gate_routes, summary.orders, summary.failures) == (0, 0, 0)


async def test_no_start_lookup_or_publication_scans_a_table(tmp_path: Path) -> None:
    """With 100,000 domains a scan is what turns milliseconds into seconds."""
    statements: list[tuple[str, Any]] = []
    async with opened(tmp_path) as store:
        event.listen(
            store.database._reading.sync_engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, parameters, _context, _many: statements.append((statement, parameters)),
        )
        await add(store, "a.example.com")
        await store.set_domain_state("a.example.com", DomainState.ACTIVE, actor="t", now=NOW)
        await store.get_domain("a.example.com")
        await store.list_domains(10, "a")
        await store.list_domains(10, "a", workspace_id="one")
        await store.list_domains(10, "a", state=VERIFIED)
        await store.add_certificate(certificate("c1", "a.example.com", "*.example.com"), NOW)
        await store.add_certificate(certificate("c2", "a.example.com"), NOW)
        await store.current_certificate("a.example.com", NOW)
        await store.list_certificates(10, "a")
        await store.certificates_to_renew(NOW, 10)
        await store.remove_expired_certificates(NOW, NOW)
        await store.remove_old_challenges(NOW, NOW)
        await store.put_gate_route(GateRoute(hostname="b.example.com", fresh_until=1.0), NOW)
        await store.delete_gate_route("b.example.com", NOW)
        await store.changes_after(1, 10)
        await store.head_change()
        await store.oldest_change()
        await store.site_facts(["a.example.com"], NOW)
        await store.names_beneath("example.com", "", 10)
        await store.names_beneath(None, "", 10)
        await store.published_certificates(["c1"])
        await store.published_challenges(["c1"])
        await store.prune_changes(10, 5)
        await store.remove_certificate("c1", NOW)
        await store.remove_domain("a.example.com", actor="t", now=NOW)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/edgeproxy.db")
    scans = set()
    with engine.connect() as connection:
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
                steps = [row[3] for row in plan]
                bad = [step for step in steps if step.startswith("SCAN") and not own(step)]
                if bad:
                    scans.add((statement, tuple(bad)))
    engine.dispose()
    assert len(statements) > 60
    assert not scans


def own(step: str) -> bool:
    """Steps over lists that the query brings along or made by itself, a page long; and the look at a bounded table that is
    taken at each 64th put."""
    return any(
        part in step for part in ("VIRTUAL TABLE", "(subquery", "anon_", "CONSTANT ROW", "SCAN names", "gate_routes_by_age")
    )
