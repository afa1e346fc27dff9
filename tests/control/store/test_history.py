"""The history of a name's certificates outlives them, within a bound."""

from __future__ import annotations

import msgspec

from edgeproxy.control.store import Store, history
from edgeproxy.control.store.rows.certificates import HistoryEntry
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, certificate

NAME = "a.example.com"


def summary(entries: list[HistoryEntry]) -> list[tuple[str, str, str, str]]:
    return [(entry.certificate_id, entry.added_by, entry.ended_by, entry.ended_why) for entry in entries]


async def test_it_tells_who_when_which_ca_and_serial_and_why_each_ended(store: Store) -> None:
    await store.add_certificate(msgspec.structs.replace(certificate("c1", NAME), serial="abc"), NOW, actor="uid:0")
    await store.add_certificate(certificate("c2", NAME), NOW + 10)
    newest, oldest = await store.history_of(NAME)
    assert (oldest.serial, oldest.issuer, oldest.added_at, oldest.added_by) == ("abc", "internal", NOW, "uid:0")
    assert (oldest.ended_at, oldest.ended_by, oldest.ended_why) == (NOW + 10, "edge", "renewed")
    assert (newest.certificate_id, newest.ended_at) == ("c2", None)


async def test_it_stays_when_the_certificate_and_the_domain_are_gone(store: Store) -> None:
    await store.add_domain(NAME, "ws", state=DomainState.VERIFIED, actor="uid:0", now=NOW)
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.remove_domain(NAME, actor="uid:7", now=NOW + 5, destroy_keys=True)
    assert await store.get_certificate("c1") is None
    assert summary(await store.history_of(NAME)) == [("c1", "edge", "uid:7", "its domain was removed")]


async def test_one_that_counts_again_has_not_ended(store: Store) -> None:
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.add_certificate(certificate("c2", NAME), NOW + 1)
    await store.remove_certificate("c2", NOW + 2, actor="uid:0", why="removed")
    assert summary(await store.history_of(NAME)) == [("c2", "edge", "uid:0", "removed"), ("c1", "edge", "", "")]


async def test_each_name_keeps_its_newest_entries(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(history, "PER_NAME", 3)
    await store.add_certificate(certificate("other", "b.example.com"), NOW)
    for number in range(5):
        await store.add_certificate(certificate(f"c{number}", NAME), NOW + number)
    assert [entry.certificate_id for entry in await store.history_of(NAME, 100)] == ["c4", "c3", "c2"]
    assert len(await store.history_of("b.example.com")) == 1


async def test_there_is_a_bound_on_all_of_it(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(history, "MAX_ENTRIES", 2)
    monkeypatch.setattr("edgeproxy.control.store.base.CLEAN_EVERY", 1)
    for number in range(4):
        await store.add_certificate(certificate(f"c{number}", f"n{number}.example.com"), NOW)
    kept = [bool(await store.history_of(f"n{number}.example.com")) for number in range(4)]
    assert kept == [False, False, True, True]
