"""A map made from the whole store, at first and whenever it is not that store's or is lost."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.control import map_making
from edgeproxy.control.map_content import MapContent, Settings
from edgeproxy.control.map_making import make
from edgeproxy.control.store import Store
from edgeproxy.errors import StateError
from edgeproxy.published import layout, writer
from edgeproxy.published.records import Challenge, Tickets
from edgeproxy.published.writer import MapWriter
from tests.control.publishing import EDGE, PATTERNS, add, content, publish_once, publishing, sites, up_to_date
from tests.control.store.making import NOW, certificate, opened
from tests.published.peer import peer

SETTINGS = Settings(EDGE, PATTERNS)


async def test_everything_is_in_it_and_its_sites_are_counted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_making, "BATCH", 2)
    for number in range(5):
        await add(store, f"n{number}.example.com")
        await store.add_certificate(certificate(f"c{number}", f"n{number}.example.com"), NOW)
        await store.put_challenge(f"http:n{number}/t", Challenge(hostname=f"n{number}"), NOW)
    await store.save_tickets(Tickets(secrets=(b"s",), starts=(3600,)), NOW)
    map_writer = MapWriter(tmp_path)
    assert await make(map_writer, MapContent(store, SETTINGS, lambda: NOW), 7, store.id) == 5 + len(EDGE)
    assert (map_writer.change(), map_writer.store_id()) == (7, store.id)
    map_writer.close()
    found = content(tmp_path)
    assert set(found["sites"]) == {*EDGE, *(f"n{number}.example.com" for number in range(5))}
    assert set(found["certificates"]) == {f"c{number}" for number in range(5)}
    assert set(found["challenges"]) == {f"http:n{number}/t" for number in range(5)}
    assert set(found["tickets"]) == {"current"}


async def test_a_store_that_fails_meanwhile_leaves_the_map_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = MapContent(store, SETTINGS, lambda: NOW)
    map_writer = MapWriter(tmp_path)
    await make(map_writer, asked, 0, store.id)

    async def locked(*_: Any) -> Any:
        raise StateError("The store is locked by another process.", retryable=True)

    await add(store, "a.example.com")
    monkeypatch.setattr(store, "keys_of", locked)
    with pytest.raises(StateError):
        await make(map_writer, asked, 1, store.id)
    assert map_writer.change() == 0
    map_writer.close()
    assert sites(tmp_path) == set()
    assert sorted(path.name for path in (tmp_path / "published").iterdir()) == ["1-1", "current"]


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
    assert sites(tmp_path) == {"a.example.com", "z.example.com", *(f"n{number:02}.example.com" for number in range(1, 20))}


async def test_a_map_from_another_store_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with opened(tmp_path / "a") as store:
        await add(store, "a.example.com")
        await publish_once(store, tmp_path / "a")
    async with opened(tmp_path / "b") as store:
        for name in ("b.example.com", "c.example.com", "d.example.com"):
            await add(store, name)
        shutil.copytree(tmp_path / "a" / "published", tmp_path / "b" / "published")
        await publish_once(store, tmp_path / "b")
    assert sites(tmp_path / "b") == {
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
        await publish_once(store, tmp_path)
    (tmp_path / "edgeproxy.db").write_bytes(backup)
    async with opened(tmp_path) as store, publishing(store, tmp_path):
        pass
    assert sites(tmp_path) == {"a.example.com"}


@pytest.mark.parametrize("keep", [0, 2])
async def test_a_map_further_behind_than_the_log_is_made_anew(store: Store, tmp_path: Path, keep: int) -> None:
    async with publishing(store, tmp_path):
        await add(store, "a.example.com")
    await store.remove_domain("a.example.com", actor="t", now=NOW)
    for number in range(5):
        await add(store, f"n{number}.example.com")
    await store.prune_changes(await store.head_change(), keep)
    await publish_once(store, tmp_path)
    found = sites(tmp_path)
    assert found == {f"n{number}.example.com" for number in range(5)}
    assert (tmp_path / "published" / "1-2").exists()


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
    await publish_once(store, tmp_path)
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    data.write_bytes(b"?" * data.stat().st_size)
    await publish_once(store, tmp_path)
    assert "a.example.com" in content(tmp_path)["sites"]
