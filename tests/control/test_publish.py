"""The map says what the store says, whatever happens to either."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edgeproxy.control import publish
from edgeproxy.control.publish import Publisher, Settings, site_for
from edgeproxy.control.store import GateRoute, Store
from edgeproxy.control.store.rows import SiteFacts
from edgeproxy.errors import EdgeError, MapError, StateError
from edgeproxy.model import SERVED, DomainState, covers, wildcard_of
from edgeproxy.published import layout, writer
from edgeproxy.published.records import Challenge, Site, Tickets
from edgeproxy.published.writer import MapWriter
from tests.control.store.making import DAY, NOW, certificate, opened
from tests.published.peer import peer

VERIFIED = DomainState.VERIFIED
EDGE = ("edge.example.net", "*.ve.example")
PATTERNS = ("*.customers.example", "exact.example.org")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        yield store


@contextlib.asynccontextmanager
async def publishing(
    store: Store, directory: Path, names: tuple[str, ...] = EDGE, patterns: tuple[str, ...] = PATTERNS
) -> AsyncIterator[Publisher]:
    """A publisher at work, at the store's head."""
    map_writer = MapWriter(directory)
    publisher = Publisher(store, map_writer, names, patterns, clock=lambda: NOW)
    task = asyncio.create_task(publisher.run())
    try:
        async with asyncio.timeout(60):
            await publisher.published(await store.head_change())
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        map_writer.close()


async def up_to_date(publisher: Publisher, store: Store) -> None:
    async with asyncio.timeout(60):
        await publisher.published(await store.head_change())


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def add(store: Store, hostname: str, workspace: str = "one", state: DomainState = VERIFIED) -> None:
    await store.add_domain(hostname, workspace, state=state, actor="test", now=NOW)


def content(directory: Path) -> dict[str, dict[str, Any]]:
    """All that the map holds; nobody may have it open in this process."""
    current = layout.Current(directory / "published" / "current")
    folder = layout.map_folder(directory, layout.epoch_of(current.word()))
    current.close()
    env = lmdb.open(str(folder), map_size=layout.MAP_SIZE, max_readers=layout.MAX_READERS, max_dbs=8, readonly=True)
    found: dict[str, dict[str, Any]] = {}
    for database in layout.DATABASES:
        with env.begin(env.open_db(database.encode(), create=False)) as transaction:
            found[database] = {key.decode(): msgspec.msgpack.decode(value) for key, value in transaction.cursor()}
    env.close()
    return found


# what a site is made from


def facts(hostname: str, **known: Any) -> SiteFacts:
    everything: dict[str, Any] = dict.fromkeys(SiteFacts.__struct_fields__)
    return SiteFacts(**(everything | {"hostname": hostname} | known))


def test_a_name_that_nobody_registered_is_not_served() -> None:
    assert site_for(facts("a.example.com"), Settings()) is None
    assert site_for(facts("a.example.com", own_certificate="c", wildcard_certificate="w"), Settings()) is None


@pytest.mark.parametrize("state", list(DomainState))
def test_a_registered_name_is_served_in_the_states_for_it_and_on_no_other_ground_in_the_others(state: DomainState) -> None:
    known = facts(
        "a.customers.example",
        state=state.value,
        workspace_id="one",
        origin="http://o",
        gate_workspace_id="two",
        gate_origin="",
        fresh_until=9.0,
        own_certificate="c",
    )
    expected = Site(workspace="one", origin="http://o", certificate="c") if state in SERVED else None
    assert site_for(known, Settings(patterns=PATTERNS)) == expected


def test_a_route_from_the_gate_is_served_with_its_freshness() -> None:
    known = facts("a.example.com", gate_workspace_id="two", gate_origin="http://g", fresh_until=9.0, wildcard_certificate="w")
    site = Site(workspace="two", origin="http://g", certificate="w", source="gate", fresh_until=9.0)
    assert site_for(known, Settings()) == site


def test_a_name_admitted_by_pattern_is_in_the_map_once_it_has_its_own_certificate() -> None:
    rules = Settings(patterns=PATTERNS)
    assert site_for(facts("a.customers.example", wildcard_certificate="w"), rules) is None
    assert site_for(facts("a.customers.example", own_certificate="c"), rules) == Site(certificate="c", source="pattern")
    assert site_for(facts("exact.example.org", own_certificate="c"), rules) == Site(certificate="c", source="pattern")
    assert site_for(facts("a.b.customers.example", own_certificate="c"), rules) is None


def test_nobodys_registration_takes_over_a_name_of_the_platform() -> None:
    known = facts("edge.example.net", state="active", workspace_id="thief", origin="http://t", own_certificate="c")
    assert site_for(known, Settings(edge_names=EDGE)) == Site(certificate="c", source="edge")


# following


async def test_what_is_added_is_in_the_map_and_what_is_removed_is_not(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path) as publisher:
        with peer(tmp_path) as reader:
            assert "'edge'" in reader.ask("reader.site('edge.example.net')")
            assert "'edge'" in reader.ask("reader.site('*.ve.example')")
            await add(store, "a.example.com", "one")
            await add(store, "pending.example.com", state=DomainState.PENDING_VALIDATION)
            await up_to_date(publisher, store)
            assert "'one'" in reader.ask("reader.site('a.example.com')")
            assert reader.ask("reader.site('pending.example.com')") == "None"
            assert reader.ask("[c.key for c in reader.changes()]") == "['a.example.com']"
            await store.remove_domain("a.example.com", actor="test", now=NOW)
            await up_to_date(publisher, store)
            assert reader.ask("reader.site('a.example.com')") == "None"


async def test_a_domain_added_or_removed_is_seen_by_another_process_within_a_tenth_of_a_second(
    store: Store, tmp_path: Path
) -> None:
    seconds = []
    async with publishing(store, tmp_path):
        with peer(tmp_path) as reader:
            for number in range(10):
                for present in (True, False):
                    reader.send(f"seen('n{number}.example.com', {present}, 60)")
                    await asyncio.sleep(0.02)
                    began = time.time()
                    if present:
                        await add(store, f"n{number}.example.com")
                    else:
                        await store.remove_domain(f"n{number}.example.com", actor="t", now=NOW)
                    seconds.append(float(await asyncio.to_thread(reader.receive)) - began)
    assert statistics.median(seconds) < 0.1, seconds


async def test_a_certificate_comes_with_its_sites_in_one_commit(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path) as publisher:
        await add(store, "a.example.com")
        with peer(tmp_path) as reader:
            number = await store.add_certificate(certificate("c1", "a.example.com"), NOW)
            await publisher.published(number)
            assert reader.ask("reader.site('a.example.com').certificate") == "'c1'"
            assert reader.ask("reader.certificate('c1').sealed_key") == "b'key of c1'"
            await publisher.published(await store.remove_certificate("c1", NOW))
            assert reader.ask("(reader.site('a.example.com').certificate, reader.certificate('c1'))") == "('', None)"


async def test_a_wildcard_certificate_reaches_every_name_beneath_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "BATCH", 3)
    names = [f"n{number}.example.com" for number in range(10)]
    async with publishing(store, tmp_path, ("edge.example.com",)) as publisher:
        for name in names:
            await add(store, name)
        await add(store, "*.example.com")
        await store.put_gate_route(GateRoute(hostname="gate.example.com", fresh_until=1.0), NOW)
        await store.add_certificate(certificate("own", names[0]), NOW)
        await publisher.published(await store.add_certificate(certificate("wild", "*.example.com"), NOW))
        with peer(tmp_path) as reader:
            asked = [*names, "*.example.com", "gate.example.com", "edge.example.com"]
            found = reader.ask(f"[reader.site(name).certificate for name in {asked!r}]")
            assert found == str(["own", *["wild"] * 12])
            await publisher.published(await store.remove_certificate("wild", NOW))
            assert reader.ask(f"[reader.site(name).certificate for name in {asked!r}]") == str(["own", *[""] * 12])


async def test_no_site_ever_names_a_certificate_that_is_not_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates: set[str] = set()
    named: dict[str, str] = {}
    whole = MapWriter.apply

    def watched(self: MapWriter, puts: Any, deletes: Any, change: int, **more: Any) -> Any:
        puts, deletes = list(puts), list(deletes)
        for database, key, record in puts:
            if database == "certificates":
                certificates.add(key)
            elif database == "sites":
                named[key] = record.certificate
        for database, key in deletes:
            if database == "certificates":
                certificates.discard(key)
            elif database == "sites":
                named.pop(key, None)
        assert set(named.values()) <= certificates | {""}
        return whole(self, puts, deletes, change, **more)

    monkeypatch.setattr(MapWriter, "apply", watched)
    async with publishing(store, tmp_path) as publisher:
        await up_to_date(publisher, store)  # the first map is not made by `apply`
        await add(store, "a.example.com")
        await add(store, "b.example.com")
        await store.add_certificate(certificate("own", "a.example.com"), NOW)
        await store.add_certificate(certificate("wild", "*.example.com", "b.example.com"), NOW)
        await up_to_date(publisher, store)
        await store.remove_certificate("own", NOW)
        await store.remove_certificate("wild", NOW)
        await up_to_date(publisher, store)
    assert named == {"a.example.com": "", "b.example.com": ""}


async def test_challenges_and_tickets_come_and_go(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path) as publisher:
        with peer(tmp_path) as reader:
            await publisher.published(await store.put_challenge("http:a/t", Challenge(hostname="a", token="t"), NOW))
            await publisher.published(await store.save_tickets(Tickets(secrets=(b"s",), starts=(3600,)), NOW))
            assert reader.ask("(reader.challenge('http:a/t').token, reader.tickets().starts)") == "('t', (3600,))"
            await publisher.published(await store.delete_challenge("http:a/t", NOW))
            assert reader.ask("reader.challenge('http:a/t')") == "None"


async def test_who_follows_challenges_is_told_of_all_at_first_and_then_of_those_that_changed(
    store: Store, tmp_path: Path
) -> None:
    told: list[Any] = []
    failing = False

    async def follow(keys: Any) -> None:
        if failing:
            raise StateError("The disk is away.")
        told.append(keys)

    map_writer = MapWriter(tmp_path)
    publisher = Publisher(store, map_writer, EDGE, PATTERNS, on_challenges=follow)
    task = asyncio.create_task(publisher.run())
    try:
        await until(lambda: publisher.reached >= 0)
        assert set(told) == {None}
        told.clear()
        await add(store, "a.example.com")
        await up_to_date(publisher, store)
        assert told == []
        await store.put_challenge("dns:label/value", Challenge(hostname="a.example.com"), NOW)
        await up_to_date(publisher, store)
        assert told == [["dns:label/value"]]
        # Before it has followed, nobody is told that the change is out.
        failing = True
        number = await store.delete_challenge("dns:label/value", NOW)
        await until(lambda: publisher.error is not None)
        assert publisher.reached < number
        failing = False
        await up_to_date(publisher, store)
        assert told[1:] == [["dns:label/value"]]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        map_writer.close()


async def test_who_follows_challenges_is_told_of_all_when_the_log_did_not_go_back_far_enough(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    async def follow(keys: Any) -> None:
        told.append(keys)

    map_writer = MapWriter(tmp_path)
    publisher = Publisher(store, map_writer, EDGE, PATTERNS, on_challenges=follow)
    waiting = asyncio.Event()
    asked = store.changes_after

    async def cut_first(after: int, limit: int) -> Any:
        if waiting.is_set():
            await store.prune_changes(await store.head_change(), 0)
        return await asked(after, limit)

    monkeypatch.setattr(store, "changes_after", cut_first)
    task = asyncio.create_task(publisher.run())
    try:
        await until(lambda: publisher.reached >= 0)
        told.clear()
        waiting.set()
        await store.put_challenge("dns:label/value", Challenge(hostname="a.example.com"), NOW)
        await up_to_date(publisher, store)
        assert None in told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        map_writer.close()


async def test_whoever_waits_for_a_number_goes_on_when_it_is_reached_and_not_before(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path) as publisher:
        await asyncio.wait_for(publisher.published(0), 60)
        future = [asyncio.create_task(publisher.published(number)) for number in (3, 1, 2, 99)]
        cancelled = asyncio.create_task(publisher.published(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        for number in range(3):
            await add(store, f"n{number}.example.com")
        await asyncio.wait_for(asyncio.gather(*future[:3]), 60)
        assert publisher.reached == 3
        assert not future[3].done()
        future[3].cancel()
        await asyncio.gather(future[3], return_exceptions=True)


async def test_many_changes_share_commits(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path) as publisher:
        with peer(tmp_path) as reader:
            await asyncio.gather(*(add(store, f"n{number}.example.com") for number in range(300)))
            await up_to_date(publisher, store)
            assert reader.ask("len(reader.changes())") == "300"


# starting again


async def test_a_start_catches_up_with_what_happened_meanwhile_and_rebuilds_nothing(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path):
        await add(store, "a.example.com")
        await add(store, "b.example.com")
    await store.remove_domain("a.example.com", actor="t", now=NOW)
    await add(store, "c.example.com")
    async with publishing(store, tmp_path):
        pass
    assert {name for name in content(tmp_path)["sites"] if name.endswith(".com")} == {"b.example.com", "c.example.com"}
    assert (tmp_path / "published" / "1-1").exists()
    assert not (tmp_path / "published" / "1-2").exists()


def said(logs: list[Any]) -> list[tuple[str, str]]:
    return [(line["log_level"], line["event"]) for line in logs]


async def test_a_first_map_is_nothing_to_warn_of_and_a_lost_one_is(store: Store, tmp_path: Path) -> None:
    await add(store, "a.example.com")
    with capture_logs() as logs:
        async with publishing(store, tmp_path):
            pass
    assert said(logs) == [("info", "the published map is being made"), ("info", "the published map is made")]
    (tmp_path / "published" / "current").unlink()
    with capture_logs() as logs:
        async with publishing(store, tmp_path):
            pass
    assert said(logs) == [("warning", "the published map is being made anew"), ("info", "the published map is made anew")]


async def test_a_map_that_vanishes_from_under_its_publisher_is_warned_of(store: Store, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with publishing(store, tmp_path) as publisher:
            shutil.rmtree(tmp_path / "published")
            await until(lambda: ("info", "the published map is made anew") in said(logs))
            await up_to_date(publisher, store)
    assert ("warning", "the published map is being made anew") in said(logs)


async def test_a_start_under_other_settings_changes_only_what_they_concern(store: Store, tmp_path: Path) -> None:
    await add(store, "old.example.net")
    for number, name in enumerate(("a.customers.example", "exact.example.org", "a.others.example", "new.example.net")):
        await store.add_certificate(certificate(f"c{number}", name), NOW)
    async with publishing(store, tmp_path, ("old.example.net", "*.ve.example"), ("*.customers.example", "exact.example.org")):
        pass
    found = content(tmp_path)["sites"]
    assert {name: site[3] for name, site in found.items()} == {
        "old.example.net": "edge",
        "*.ve.example": "edge",
        "a.customers.example": "pattern",
        "exact.example.org": "pattern",
    }
    async with publishing(store, tmp_path, ("new.example.net", "*.ve.example"), ("*.others.example",)):
        pass
    found = content(tmp_path)["sites"]
    assert {name: (site[0], site[3]) for name, site in found.items()} == {
        "old.example.net": ("one", "registered"),
        "new.example.net": ("", "edge"),
        "*.ve.example": ("", "edge"),
        "a.others.example": ("", "pattern"),
    }
    assert not (tmp_path / "published" / "1-2").exists()


async def test_a_pattern_added_to_the_settings_finds_the_wildcard_certificate_that_is_there(
    store: Store, tmp_path: Path
) -> None:
    await store.add_certificate(certificate("wild", "*.customers.example"), NOW)
    async with publishing(store, tmp_path, (), ()):
        pass
    assert content(tmp_path)["sites"] == {}
    async with publishing(store, tmp_path, (), ("*.customers.example",)):
        pass
    assert content(tmp_path)["sites"]["*.customers.example"][2:4] == ["wild", "pattern"]


async def test_a_map_from_another_store_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with opened(tmp_path / "a") as store:
        await add(store, "a.example.com")
        async with publishing(store, tmp_path / "a"):
            pass
    async with opened(tmp_path / "b") as store:
        for name in ("b.example.com", "c.example.com", "d.example.com"):
            await add(store, name)
        shutil.copytree(tmp_path / "a" / "published", tmp_path / "b" / "published")
        async with publishing(store, tmp_path / "b"):
            pass
    assert {name for name in content(tmp_path / "b")["sites"] if name.endswith(".com")} == {
        "b.example.com",
        "c.example.com",
        "d.example.com",
    }


async def test_a_map_that_is_ahead_of_a_restored_store_is_made_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add(store, "a.example.com")
    backup = (tmp_path / "edgeproxy.db").read_bytes()
    async with opened(tmp_path) as store:
        await add(store, "b.example.com")
        async with publishing(store, tmp_path):
            pass
    (tmp_path / "edgeproxy.db").write_bytes(backup)
    async with opened(tmp_path) as store, publishing(store, tmp_path):
        pass
    assert {name for name in content(tmp_path)["sites"] if name.endswith(".com")} == {"a.example.com"}


@pytest.mark.parametrize("keep", [0, 2])
async def test_a_map_further_behind_than_the_log_is_made_anew(store: Store, tmp_path: Path, keep: int) -> None:
    async with publishing(store, tmp_path):
        await add(store, "a.example.com")
    await store.remove_domain("a.example.com", actor="t", now=NOW)
    for number in range(5):
        await add(store, f"n{number}.example.com")
    await store.prune_changes(await store.head_change(), keep)
    async with publishing(store, tmp_path):
        pass
    found = {name for name in content(tmp_path)["sites"] if name.endswith(".com")}
    assert found == {f"n{number}.example.com" for number in range(5)}
    assert (tmp_path / "published" / "1-2").exists()


async def test_the_log_stays_short_and_never_loses_what_the_map_lacks(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "KEEP_CHANGES", 20)
    monkeypatch.setattr(publish, "BATCH", 10)
    async with publishing(store, tmp_path) as publisher:
        for number in range(120):
            await add(store, f"n{number}.example.com")
        await up_to_date(publisher, store)
        async with asyncio.timeout(60):
            while len(entries := await store.changes_after(0, 1000)) > 40:
                await asyncio.sleep(0.01)
        assert len(entries) >= 20
        assert entries[-1].number == 120
    async with publishing(store, tmp_path):
        pass
    assert not (tmp_path / "published" / "1-2").exists()


# trouble


@pytest.mark.parametrize("lost", ["published", "published/current", "published/1-1", "published/1-1/data.mdb"])
async def test_a_map_deleted_while_running_is_made_anew_and_found_by_readers(store: Store, tmp_path: Path, lost: str) -> None:
    await add(store, "a.example.com")
    async with publishing(store, tmp_path) as publisher:
        with peer(tmp_path) as reader:
            path = tmp_path / lost
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            assert "'one'" in reader.ask("reader.site('a.example.com')")
            async with asyncio.timeout(60):
                while reader.ask("reader.check_current()") != "True":
                    await asyncio.sleep(0.02)
            await add(store, "b.example.com", "two")
            await up_to_date(publisher, store)
            assert "'two'" in reader.ask("reader.site('b.example.com')")
            assert "'one'" in reader.ask("reader.site('a.example.com')")


async def test_a_map_damaged_while_stopped_is_made_anew(store: Store, tmp_path: Path) -> None:
    await add(store, "a.example.com")
    async with publishing(store, tmp_path):
        pass
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    data.write_bytes(b"?" * data.stat().st_size)
    async with publishing(store, tmp_path):
        pass
    assert "a.example.com" in content(tmp_path)["sites"]


async def test_damage_where_nothing_changes_is_found_and_cured(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(400):
        await add(store, f"n{number:03}.example.com")
    async with publishing(store, tmp_path):
        pass
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    damaged = bytearray(data.read_bytes())
    at = damaged.index(b"n200.example.com") // 4096 * 4096
    damaged[at : at + 4096] = bytes(4096)
    data.write_bytes(damaged)
    monkeypatch.setattr(publish, "CLEAN_EVERY", 0.0)
    monkeypatch.setattr(publish, "CHECK_EVERY", 0.01)
    async with publishing(store, tmp_path):
        await until(lambda: (tmp_path / "published" / "1-2").exists())
        with peer(tmp_path, opened=False) as reader:
            await until(lambda: "'one'" in reader.ask("opened() or reader.site('n200.example.com')"))


async def test_what_differs_from_the_store_is_put_right_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, "a.example.com")
    await add(store, "b.example.com")
    async with publishing(store, tmp_path):
        pass
    other = MapWriter(tmp_path)
    other.apply([("sites", "a.example.com", Site(workspace="wrong"))], [("sites", "b.example.com")], 2)
    other.close()
    monkeypatch.setattr(publish, "CLEAN_EVERY", 0.0)
    async with publishing(store, tmp_path):
        with peer(tmp_path) as reader:
            await until(lambda: reader.ask("[reader.site(n + '.example.com') is not None for n in 'ab']") == "[True, True]")
            assert "'one'" in reader.ask("reader.site('a.example.com')")


async def test_when_a_certificate_expires_a_valid_wildcard_takes_its_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "CLEAN_EVERY", 0.0)
    monkeypatch.setattr(publish, "CHECK_EVERY", 0.01)
    await add(store, "a.example.com")
    await store.add_certificate(certificate("wild", "*.example.com"), NOW)
    await store.add_certificate(certificate("own", "a.example.com", until=NOW + 10), NOW)
    async with publishing(store, tmp_path) as publisher:
        with peer(tmp_path) as reader:
            assert reader.ask("reader.site('a.example.com').certificate") == "'own'"
            publisher._clock = lambda: NOW + 11
            await until(lambda: reader.ask("reader.site('a.example.com').certificate") == "'wild'")


async def test_a_map_that_cannot_be_written_is_tried_again_and_what_was_missed_follows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "RETRY", (0.01,))
    async with publishing(store, tmp_path) as publisher:
        whole = MapWriter.apply

        def full(*_: Any, **__: Any) -> Any:
            raise MapError("The published map cannot be written: no space left on device.")

        monkeypatch.setattr(MapWriter, "apply", full)
        await add(store, "a.example.com")
        await until(lambda: publisher.error is not None)
        assert publisher.reached == 0
        monkeypatch.setattr(MapWriter, "apply", whole)
        await up_to_date(publisher, store)
        await until(lambda: publisher.error is None)
    assert "a.example.com" in content(tmp_path)["sites"]
    assert not (tmp_path / "published" / "1-2").exists()


async def test_a_store_that_fails_is_asked_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "RETRY", (0.01,))
    async with publishing(store, tmp_path) as publisher:
        whole = store.changes_after

        async def locked(*_: Any) -> Any:
            raise StateError("The store is locked by another process.", retryable=True)

        monkeypatch.setattr(store, "changes_after", locked)
        await add(store, "a.example.com")
        await until(lambda: publisher.error is not None)
        monkeypatch.setattr(store, "changes_after", whole)
        await up_to_date(publisher, store)


async def test_an_error_of_the_program_itself_is_not_swallowed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(store, MapWriter(tmp_path), ())

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(store, "head_change", broken)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(publisher.run(), 60)


async def test_what_changes_while_a_map_is_made_anew_is_in_it_afterwards(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await add(store, f"n{number:02}.example.com")
    whole = writer.Rebuild.put
    rounds = itertools.count()

    def slow(self: Any, puts: Any) -> None:
        whole(self, puts)
        if next(rounds) == 1:
            asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(60)

    async def meanwhile() -> None:
        await store.remove_domain("n00.example.com", actor="t", now=NOW)
        await add(store, "a.example.com")
        await add(store, "z.example.com")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(writer.Rebuild, "put", slow)
    async with publishing(store, tmp_path) as publisher:
        await up_to_date(publisher, store)
    found = {name for name in content(tmp_path)["sites"] if name.endswith("example.com")}
    assert found == {"a.example.com", "z.example.com", *(f"n{number:02}.example.com" for number in range(1, 20))}


async def test_what_nobody_needs_is_removed_in_time(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "FIRST_HOUSEKEEPING", 0.0)
    await store.add_certificate(certificate("old", "a.example.com", until=NOW - 2 * DAY), NOW)
    await store.add_certificate(certificate("new", "a.example.com"), NOW)
    await store.put_challenge("alpn:left", Challenge(hostname="left"), NOW - 2 * DAY)
    await store.put_challenge("alpn:pending", Challenge(hostname="pending"), NOW)
    async with publishing(store, tmp_path) as publisher:
        async with asyncio.timeout(60):
            while await store.keys_of("challenges", "", 10) != ["alpn:pending"]:
                await asyncio.sleep(0.01)
        await up_to_date(publisher, store)
    found = content(tmp_path)
    assert set(found["certificates"]) == {"new"}
    assert set(found["challenges"]) == {"alpn:pending"}


PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.control.store.making import *
from edgeproxy.control.publish import Publisher
from edgeproxy.model import DomainState
from edgeproxy.published.writer import MapWriter
import structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
async def main():
    directory = Path(sys.argv[1])
    async with opened(directory) as store:
        publisher = Publisher(store, MapWriter(directory), ["edge.example.net"])
        task = asyncio.create_task(publisher.run())
        n = await store.count_domains()
        while True:
            name = f"n{n}.example.com"
            await store.add_domain(name, "one", state=DomainState.VERIFIED, actor="t", now=NOW)
            await publisher.published(await store.head_change())
            print(name, flush=True)
            n += 1
asyncio.run(main())
"""


async def test_a_controller_killed_at_any_moment_goes_on_where_it_was(tmp_path: Path) -> None:
    announced: list[str] = []
    for round_ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        announced.append(process.stdout.readline().strip())
        await asyncio.sleep(0.02 * round_)
        process.send_signal(signal.SIGKILL)
        announced += process.communicate()[0].split()
    assert set(announced) <= content(tmp_path)["sites"].keys()
    async with opened(tmp_path) as store:
        async with publishing(store, tmp_path, ("edge.example.net",), ()):
            pass
        stored = {domain.hostname for domain in await store.list_domains(10_000)}
    assert set(announced) <= stored
    assert set(content(tmp_path)["sites"]) == stored | {"edge.example.net"}
    assert sorted(path.name for path in (tmp_path / "published").iterdir()) == ["1-1", "current"]


# in general

NAMES = (
    "a.example.com",
    "b.example.com",
    "*.example.com",
    "a.customers.example",
    "edge.example.net",
    "x.ve.example",
    "*.ve.example",
)
STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(NAMES), st.sampled_from(list(DomainState))),
    st.tuples(st.just("state"), st.sampled_from(NAMES), st.sampled_from(list(DomainState))),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("certificate"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2), st.sampled_from([-DAY, DAY])),
    st.tuples(st.just("uncertificate"), st.integers(0, 8), st.none()),
    st.tuples(st.just("gate"), st.sampled_from(NAMES), st.sampled_from(["", "g"])),
    st.tuples(st.just("ungate"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("challenge"), st.sampled_from("xy"), st.none()),
    st.tuples(st.just("unchallenge"), st.sampled_from("xy"), st.none()),
    st.tuples(st.just("restart"), st.booleans(), st.booleans()),
    st.tuples(st.just("wait"), st.none(), st.none()),
)


async def perform(store: Store, action: str, what: Any, how: Any, count: int) -> None:
    """One operation on the store; what it refuses it refuses."""
    with contextlib.suppress(EdgeError):
        match action:
            case "add":
                await add(store, what, f"w{count}", how)
            case "state":
                await store.set_domain_state(what, how, actor="t", now=NOW)
            case "remove":
                await store.remove_domain(what, actor="t", now=NOW)
            case "certificate":
                await store.add_certificate(certificate(f"c{count}", *what, until=NOW + how), NOW)
            case "uncertificate":
                await store.remove_certificate(f"c{what}", NOW)
            case "gate":
                await store.put_gate_route(GateRoute(hostname=what, workspace_id=how, fresh_until=float(count)), NOW)
            case "ungate":
                await store.delete_gate_route(what, NOW)
            case "challenge":
                await store.put_challenge(what, Challenge(hostname=str(count)), NOW)
            case "unchallenge":
                await store.delete_challenge(what, NOW)


async def expected(store: Store, names: tuple[str, ...], patterns: tuple[str, ...]) -> dict[str, tuple[str, str, str, float]]:
    """The sites that should be, worked out from the store's listings in the plainest way: (workspace, certificate, source,
    fresh_until)."""
    domains = {domain.hostname: domain for domain in await store.list_domains(1000)}
    routes = {route.hostname: route for route in await store.list_gate_routes(1000)}
    certificates = [one for one in await store.list_certificates(1000) if one.not_after > NOW]
    certificates.sort(key=lambda one: int(one.id[1:]))

    def best(hostname: str) -> str:
        own = [one.id for one in certificates if hostname in one.names]
        wild = [one.id for one in certificates if wildcard_of(hostname) in one.names]
        return (own or wild or [""])[-1]

    sites: dict[str, tuple[str, str, str, float]] = {}
    for hostname in {*NAMES, *names}:
        if hostname in names:
            sites[hostname] = ("", best(hostname), "edge", 0.0)
        elif hostname in domains:
            if domains[hostname].state in SERVED:
                sites[hostname] = (domains[hostname].workspace_id, best(hostname), "registered", 0.0)
        elif hostname in routes:
            route = routes[hostname]
            sites[hostname] = (route.workspace_id, best(hostname), "gate", route.fresh_until)
        elif any(covers(pattern, hostname) for pattern in patterns) and any(hostname in one.names for one in certificates):
            sites[hostname] = ("", best(hostname), "pattern", 0.0)
    return sites


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEP, max_size=25))
def test_whatever_is_done_to_the_store_the_map_says_what_the_store_says(
    steps: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("state")

    async def play() -> None:
        names: tuple[str, ...] = EDGE
        patterns: tuple[str, ...] = PATTERNS
        async with opened(directory) as store, contextlib.AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(publishing(store, directory, names, patterns))
            for count, (action, what, how) in enumerate(steps):
                if action == "restart":
                    await stack.aclose()
                    names, patterns = EDGE if what else ("b.example.com",), PATTERNS if how else ("*.example.com",)
                    publisher = await stack.enter_async_context(publishing(store, directory, names, patterns))
                elif action == "wait":
                    await up_to_date(publisher, store)
                else:
                    await perform(store, action, what, how, count)
            await up_to_date(publisher, store)
            await stack.aclose()
            found = content(directory)
            sites = {name: (site[0], site[2], site[3], site[4]) for name, site in found["sites"].items()}
            assert sites == await expected(store, names, patterns)
            assert set(found["certificates"]) == {one.id for one in await store.list_certificates(1000)}
            assert set(found["challenges"]) == set(await store.keys_of("challenges", "", 1000))

    asyncio.run(play())
