"""The map says what the store says, whatever happens to either."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from edgeproxy.control import publish
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import DomainChange, GateRoute, Store
from edgeproxy.errors import MapError, StateError
from edgeproxy.model import DomainState
from edgeproxy.published.records import Challenge, Tickets
from edgeproxy.published.writer import MapWriter
from tests.control.publishing import add, content, publish_once, publishing, sites, until, up_to_date
from tests.control.store.making import DAY, NOW, certificate, opened
from tests.published.peer import peer


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


@pytest.mark.parametrize(("registered", "target"), [("b.example.com", "b.example.com"), ("*.b.example.com", "x.b.example.com")])
async def test_who_redirects_to_a_name_does_so_as_long_as_it_is_its_workspaces(
    store: Store, tmp_path: Path, registered: str, target: str
) -> None:
    await add(store, registered)
    await add(store, "a.example.com")
    async with publishing(store, tmp_path) as publisher:
        with peer(tmp_path) as reader:
            await store.change_domain("a.example.com", DomainChange(redirect_to=target), actor="test", now=NOW)
            await up_to_date(publisher, store)
            assert f"redirect_to='{target}'" in reader.ask("reader.site('a.example.com')")
            await store.remove_domain(registered, actor="test", now=NOW)
            await up_to_date(publisher, store)
            assert "redirect_to=''" in reader.ask("reader.site('a.example.com')")
            assert "a.example.com" in reader.ask("[c.key for c in reader.changes()]")
            await add(store, registered, "another")
            await up_to_date(publisher, store)
            assert "redirect_to=''" in reader.ask("reader.site('a.example.com')")
            await store.remove_domain(registered, actor="test", now=NOW)
            await add(store, registered)
            await up_to_date(publisher, store)
            assert f"redirect_to='{target}'" in reader.ask("reader.site('a.example.com')")


async def test_a_domain_added_or_removed_is_seen_by_another_process_within_a_tenth_of_a_second(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "CHECK_EVERY", 3600.0)  # by being told, and not because it looks now and then
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
    assert min(seconds) < 0.1, seconds  # whatever else the machine did meanwhile; without end none of it would have come


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

    async with publishing(store, tmp_path, on_challenges=follow) as publisher:
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


async def test_who_follows_challenges_is_told_of_all_when_the_log_did_not_go_back_far_enough(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    async def follow(keys: Any) -> None:
        told.append(keys)

    waiting = asyncio.Event()
    asked = store.changes_after

    async def cut_first(after: int, limit: int) -> Any:
        if waiting.is_set():
            await store.prune_changes(await store.head_change(), 0)
        return await asked(after, limit)

    monkeypatch.setattr(store, "changes_after", cut_first)
    async with publishing(store, tmp_path, on_challenges=follow) as publisher:
        told.clear()
        waiting.set()
        await store.put_challenge("dns:label/value", Challenge(hostname="a.example.com"), NOW)
        await up_to_date(publisher, store)
        assert None in told


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
    await publish_once(store, tmp_path)
    assert sites(tmp_path) == {"b.example.com", "c.example.com"}
    assert (tmp_path / "published" / "1-1").exists()
    assert not (tmp_path / "published" / "1-2").exists()


def said(logs: list[Any]) -> list[tuple[str, str]]:
    return [(line["log_level"], line["event"]) for line in logs]


async def test_a_first_map_is_nothing_to_warn_of_and_a_lost_one_is(store: Store, tmp_path: Path) -> None:
    await add(store, "a.example.com")
    with capture_logs() as logs:
        await publish_once(store, tmp_path)
    assert said(logs) == [("info", "the published map is being made"), ("info", "the published map is made")]
    (tmp_path / "published" / "current").unlink()
    with capture_logs() as logs:
        await publish_once(store, tmp_path)
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
    await publish_once(store, tmp_path, ("old.example.net", "*.ve.example"), ("*.customers.example", "exact.example.org"))
    found = content(tmp_path)["sites"]
    assert {name: site[3] for name, site in found.items()} == {
        "old.example.net": "edge",
        "*.ve.example": "edge",
        "a.customers.example": "pattern",
        "exact.example.org": "pattern",
    }
    await publish_once(store, tmp_path, ("new.example.net", "*.ve.example"), ("*.others.example",))
    found = content(tmp_path)["sites"]
    assert {name: (site[0], site[3]) for name, site in found.items()} == {
        "old.example.net": ("one", "registered"),
        "new.example.net": ("", "edge"),
        "*.ve.example": ("", "edge"),
        "a.others.example": ("", "pattern"),
    }
    assert not (tmp_path / "published" / "1-2").exists()


async def test_nobody_is_told_that_all_is_published_before_other_settings_are(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, "old.example.net")
    await publish_once(store, tmp_path, ("edge.example.net",))
    applying, go_on = threading.Event(), threading.Event()
    apply = MapWriter.apply

    def late(*arguments: Any, **named: Any) -> None:
        applying.set()
        go_on.wait(60)
        apply(*arguments, **named)

    monkeypatch.setattr(MapWriter, "apply", late)
    map_writer = MapWriter(tmp_path)
    publisher = Publisher(store, map_writer, ("new.example.net",))
    task = asyncio.create_task(publisher.run())
    try:
        await until(applying.is_set)
        told = asyncio.create_task(up_to_date(publisher, store))
        await asyncio.sleep(0.05)
        assert not told.done()
        go_on.set()
        await told
    finally:
        go_on.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        map_writer.close()
    assert "new.example.net" in content(tmp_path)["sites"]


async def test_a_pattern_added_to_the_settings_finds_the_wildcard_certificate_that_is_there(
    store: Store, tmp_path: Path
) -> None:
    await store.add_certificate(certificate("wild", "*.customers.example"), NOW)
    await publish_once(store, tmp_path, (), ())
    assert content(tmp_path)["sites"] == {}
    await publish_once(store, tmp_path, (), ("*.customers.example",))
    assert content(tmp_path)["sites"]["*.customers.example"][2:4] == ["wild", "pattern"]


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
    await publish_once(store, tmp_path)
    assert not (tmp_path / "published" / "1-2").exists()


# trouble


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
        await publish_once(store, tmp_path, ("edge.example.net",), ())
        stored = {domain.hostname for domain in await store.list_domains(10_000)}
    assert set(announced) <= stored
    assert set(content(tmp_path)["sites"]) == stored | {"edge.example.net"}
    assert sorted(path.name for path in (tmp_path / "published").iterdir()) == ["1-1", "current"]
