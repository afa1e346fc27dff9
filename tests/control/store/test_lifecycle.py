"""Uploaded certificates, revocation, and the destruction of keys."""

from __future__ import annotations

import asyncio
import math
import secrets
import sqlite3
from pathlib import Path

import msgspec
import pytest

from edgeproxy.control.store import CUSTOM, Account, GateRoute, Order, Store, StoredCertificate, replace_at
from edgeproxy.control.store.database import _cut_log
from edgeproxy.errors import NotFound
from edgeproxy.model import DomainState
from tests.control.store.making import DAY, NOW, certificate, logged, opened

NAME = "a.example.com"


def uploaded(one: str, *names: str, until: float = NOW + 90 * DAY, auto_renew: bool = True) -> StoredCertificate:
    made = certificate(one, *names, until=until)
    renew_at = replace_at(made.not_before, until) if auto_renew else math.inf
    return msgspec.structs.replace(made, issuer=CUSTOM, auto_renew=auto_renew, renew_at=renew_at)


async def current(store: Store, now: float = NOW, name: str = NAME) -> str | None:
    found = await store.current_certificate(name, now)
    return None if found is None else found.id


async def test_an_uploaded_certificate_goes_before_the_edges_own_whichever_came_first(store: Store) -> None:
    await store.add_certificate(certificate("own", NAME), NOW)
    await store.add_certificate(uploaded("up", NAME), NOW)
    assert await current(store) == "up"
    head = await store.head_change()
    await store.add_certificate(certificate("own2", NAME), NOW + 1)
    assert await current(store) == "up"
    assert ("sites", NAME) in await logged(store, head)
    own2 = await store.get_certificate("own2")
    assert own2 is not None
    assert own2.superseded_at == NOW + 1
    assert [entry.ended_why for entry in await store.history_of(NAME)] == [
        "an uploaded one goes before it",
        "",
        "one was uploaded",
    ]
    await store.add_certificate(certificate("own3", NAME), NOW + 2)
    await store.add_certificate(uploaded("up2", NAME), NOW + 3)
    assert await current(store) == "up2"


async def test_on_its_last_day_the_edges_own_takes_its_place(store: Store) -> None:
    await store.add_certificate(uploaded("up", NAME), NOW)
    later = NOW + 89 * DAY + 1
    await store.add_certificate(certificate("own", NAME, until=later + 90 * DAY), later)
    assert await current(store, later) == "own"
    assert (await store.history_of(NAME))[1].ended_why == "the edge's own took its place"


async def test_one_that_must_not_be_replaced_goes_before_the_edges_own_to_its_end(store: Store) -> None:
    await store.add_certificate(uploaded("up", NAME, auto_renew=False), NOW)
    await store.add_certificate(certificate("own", NAME, until=NOW + 100 * DAY), NOW + 89 * DAY + 1)
    assert await current(store, NOW + 89.9 * DAY) == "up"
    assert await current(store, NOW + 90 * DAY) == "own"


async def test_another_upload_destroys_the_one_before(store: Store) -> None:
    await store.add_certificate(uploaded("up1", NAME), NOW, actor="uid:0")
    await store.add_certificate(uploaded("other", "b.example.com"), NOW)
    await store.add_certificate(uploaded("up2", NAME), NOW + 1, actor="uid:0")
    assert await store.get_certificate("up1") is None
    assert await store.get_certificate("other") is not None
    ended = (await store.history_of(NAME))[1]
    assert (ended.ended_by, ended.ended_why) == ("uid:0", "another was uploaded")


async def test_the_same_upload_again_only_changes_its_settings(store: Store) -> None:
    await store.add_certificate(uploaded("up", NAME), NOW)
    await store.add_certificate(certificate("own", NAME), NOW + 89.5 * DAY)
    assert await current(store) == "own"
    await store.add_certificate(uploaded("up", NAME, auto_renew=False), NOW + 89.6 * DAY)
    found = await store.get_certificate("up")
    assert found is not None
    assert (found.auto_renew, found.renew_at, found.superseded_at) == (False, math.inf, None)
    assert await current(store) == "up"
    await store.add_certificate(certificate("own2", NAME), NOW + 89.7 * DAY)
    assert await current(store) == "up"


async def test_when_it_is_removed_the_edges_own_counts_again(store: Store) -> None:
    await store.add_certificate(certificate("own", NAME), NOW)
    await store.add_certificate(uploaded("up", NAME), NOW)
    await store.remove_certificate("up", NOW + 1)
    assert await current(store) == "own"
    own = await store.get_certificate("own")
    assert own is not None
    assert own.superseded_at is None


async def test_what_was_uploaded_for_a_name_is_found_also_when_it_has_ended(store: Store) -> None:
    await store.add_certificate(uploaded("wild", "*.example.com", until=NOW - 1), NOW)
    await store.add_certificate(uploaded("own", NAME, until=NOW - 1), NOW)
    found = [await store.uploaded_certificate(name) for name in (NAME, "b.example.com", "*.example.com", "c.example.net")]
    assert [one and one.id for one in found] == ["own", "wild", "wild", None]


async def test_a_warning_is_due_once_for_each_number_of_days(store: Store) -> None:
    days = (30, 7, 1, 0)
    await store.add_certificate(uploaded("up", NAME, until=NOW + 31 * DAY), NOW)
    await store.add_certificate(certificate("own", "b.example.com", until=NOW), NOW)
    told = []
    for hour in range(32 * 24):
        for due in await store.uploads_to_warn(days, NOW + hour * 3600, 10):
            left = min(each for each in days if due.not_after <= NOW + hour * 3600 + each * DAY)
            told.append((hour // 24, left))
            await store.set_warned(due.id, left, NOW)
    assert told == [(1, 30), (24, 7), (30, 1), (31, 0)]
    assert [found.id for found in await store.uploads_ending(NOW + 31 * DAY, 10)] == ["up"]
    assert await store.uploads_ending(NOW, 10) == []


async def test_uploads_are_counted_by_what_is_left_of_them(store: Store) -> None:
    for number, days in enumerate((-1, 0.5, 6, 20, 60, 90)):
        await store.add_certificate(uploaded(f"u{number}", f"n{number}.example.com", until=NOW + days * DAY), NOW)
    await store.add_certificate(certificate("own", NAME), NOW)
    counted = {"expired": 1, "1_day": 1, "7_days": 1, "30_days": 1, "longer": 2}
    assert (await store.summary(NOW)).uploaded == counted


async def test_a_revocation_is_noted_before_it_is_asked_for_and_when_it_is_done(store: Store) -> None:
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.begin_revocation("c1", "keyCompromise", actor="uid:0", now=NOW + 1)
    assert [found.id for found in await store.revocations()] == ["c1"]
    assert [found.id for found in await store.certificates_to_renew(NOW + 1, 10)] == ["c1"]
    await store.revoked("c1", "keyCompromise", actor="uid:0", now=NOW + 2)
    assert await store.revocations() == []
    found = await store.get_certificate("c1")
    assert found is not None
    assert (found.revocation, found.revoked_at) == ("keyCompromise", NOW + 2)
    entry = (await store.history_of(NAME))[0]
    assert (entry.ended_by, entry.ended_why) == ("uid:0", "revoked: keyCompromise")
    assert [each.action for each in await store.list_audit(10, subject="c1")] == [
        "certificate.revoking",
        "certificate.revoked",
    ]
    with pytest.raises(NotFound):
        await store.begin_revocation("c2", "superseded", actor="uid:0", now=NOW)


async def test_a_revocation_that_the_ca_refuses_is_taken_back(store: Store) -> None:
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.begin_revocation("c1", "superseded", actor="uid:0", now=NOW)
    await store.abandon_revocation("c1", NOW + 5)
    found = await store.get_certificate("c1")
    assert found is not None
    assert (found.revocation, found.renew_at) == (None, NOW + 5)


async def test_a_revoked_certificate_goes_once_another_has_taken_its_place(store: Store) -> None:
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.begin_revocation("c1", "superseded", actor="uid:0", now=NOW)
    await store.revoked("c1", "superseded", actor="uid:0", now=NOW)
    assert await store.remove_expired_certificates(NOW, NOW) == 0
    await store.add_certificate(certificate("c2", NAME), NOW + 1)
    assert await store.remove_expired_certificates(NOW, NOW + 1) == 1
    assert await store.get_certificate("c1") is None
    assert (await store.history_of(NAME))[1].ended_why == "revoked: superseded"


async def test_a_domains_removal_destroys_what_nothing_else_needs(store: Store) -> None:
    await store.add_domain(NAME, "ws", state=DomainState.VERIFIED, actor="t", now=NOW)
    await store.add_domain("b.example.com", "ws", state=DomainState.VERIFIED, actor="t", now=NOW)
    for one, names in (("old", [NAME]), ("own", [NAME]), ("both", [NAME, "b.example.com"]), ("b", ["b.example.com"])):
        await store.add_certificate(certificate(one, *names), NOW)
    await store.remove_domain(NAME, actor="t", now=NOW, destroy_keys=True)
    assert [found.id for found in await store.list_certificates(10)] == ["b", "both"]


async def test_a_wildcard_that_serves_others_stays(store: Store) -> None:
    await store.add_domain("*.example.com", "ws", state=DomainState.VERIFIED, actor="t", now=NOW)
    await store.put_gate_route(GateRoute(hostname=NAME, fresh_until=NOW), NOW)
    await store.add_certificate(certificate("wild", "*.example.com"), NOW)
    await store.remove_domain("*.example.com", actor="t", now=NOW, destroy_keys=True)
    assert await store.get_certificate("wild") is not None
    await store.delete_gate_route(NAME, NOW)
    await store.add_domain("*.example.com", "ws", state=DomainState.VERIFIED, actor="t", now=NOW)
    await store.remove_domain("*.example.com", actor="t", now=NOW, destroy_keys=True)
    assert await store.get_certificate("wild") is None


async def test_a_name_that_is_served_on_other_grounds_keeps_its_certificate(store: Store) -> None:
    await store.add_domain(NAME, "ws", state=DomainState.VERIFIED, actor="t", now=NOW)
    await store.add_certificate(certificate("own", NAME), NOW)
    await store.remove_domain(NAME, actor="t", now=NOW)
    assert await store.get_certificate("own") is not None


def left_in(directory: Path, secret: bytes) -> list[str]:
    return [path.name for path in directory.iterdir() if path.is_file() and secret in path.read_bytes()]


async def test_a_destroyed_key_is_in_none_of_the_stores_files(tmp_path: Path) -> None:
    key = secrets.token_bytes(6000)  # of several pages
    async with opened(tmp_path) as store:
        await store.add_domain(NAME, "ws", state=DomainState.VERIFIED, actor="t", now=NOW)
        for one in ("c1", "c2", "c3"):
            made = msgspec.structs.replace(certificate(one, NAME), sealed_key=key + one.encode())
            await store.add_certificate(made, NOW)
        await asyncio.to_thread(_cut_log, tmp_path / "edgeproxy.db")
        assert left_in(tmp_path, key[:64]) == ["edgeproxy.db"]
        store.database.destroyed.clear()
        await store.remove_domain(NAME, actor="t", now=NOW, destroy_keys=True)
        assert store.database.destroyed.is_set()
        assert await store.database.scrub()
        assert not store.database.destroyed.is_set()
        for start in range(0, 6000, 500):
            assert left_in(tmp_path, key[start : start + 32]) == []


async def test_a_reader_delays_the_scrubbing_and_no_longer(tmp_path: Path) -> None:
    key = secrets.token_bytes(64)
    async with opened(tmp_path) as store:
        await store.add_certificate(msgspec.structs.replace(certificate("c1", NAME), sealed_key=key), NOW)
        reader = sqlite3.connect(tmp_path / "edgeproxy.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM certificates").fetchone()
        await store.remove_certificate("c1", NOW)
        assert not await store.database.scrub()
        assert store.database.destroyed.is_set()
        assert left_in(tmp_path, key) != []
        reader.close()
        assert await store.database.scrub()
        assert left_in(tmp_path, key) == []


async def test_orders_and_accounts_that_change_their_key_ask_for_scrubbing_too(store: Store) -> None:
    await store.save_order(Order(hostname=NAME, directory="d", step="new", key=b"k", started_at=NOW), NOW)
    store.database.destroyed.clear()
    await store.delete_order("b.example.com")
    assert not store.database.destroyed.is_set()
    await store.delete_order(NAME)
    assert store.database.destroyed.is_set()
    store.database.destroyed.clear()
    await store.save_account(Account(directory="d", key=b"one", next_key=b"two", key_changed_at=NOW), NOW)
    found = await store.account("d")
    assert found is not None
    assert (found.key, found.next_key, found.key_changed_at) == (b"one", b"two", NOW)
    assert store.database.destroyed.is_set()
