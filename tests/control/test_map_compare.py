"""The map is put right where it differs from the store, though nothing changes there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.control import map_compare, publish
from edgeproxy.control.map_compare import Comparison
from edgeproxy.control.map_content import MapContent, Settings
from edgeproxy.control.store import Store
from edgeproxy.published import layout
from edgeproxy.published.records import Challenge, Site
from edgeproxy.published.writer import MapWriter
from tests.control.publishing import EDGE, PATTERNS, add, content, publish_once, publishing, until
from tests.control.store.making import NOW, certificate
from tests.published.peer import peer


async def test_a_round_puts_everything_right_a_few_records_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_compare, "COMPARED", 2)
    for number in range(3):
        await add(store, f"n{number}.example.com")
        await store.add_certificate(certificate(f"c{number}", f"n{number}.example.com"), NOW)
    await store.put_challenge("http:a/t", Challenge(hostname="a"), NOW)
    await publish_once(store, tmp_path)
    right = content(tmp_path)
    map_writer = MapWriter(tmp_path)
    map_writer.reopen()
    reached = map_writer.change()
    assert reached is not None
    comparison = Comparison(MapContent(store, Settings(EDGE, PATTERNS), lambda: NOW), map_writer)
    for _ in range(2):  # and round again
        wrong = [("sites", name, Site(workspace="wrong")) for name in ("n0.example.com", *EDGE)]
        map_writer.apply(wrong, [("sites", "n2.example.com"), ("certificates", "c2")], reached)
        # Three names in two steps, and the end of them, with the platform's own; the same of certificates.
        for _ in range(3 + 3):
            await comparison.step(reached)
    assert map_writer.change() == reached
    map_writer.close()
    assert content(tmp_path) == right


async def test_damage_where_nothing_changes_is_found_and_cured(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(400):
        await add(store, f"n{number:03}.example.com")
    await publish_once(store, tmp_path)
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
    await publish_once(store, tmp_path)
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
    now = NOW
    monkeypatch.setattr(publish, "CLEAN_EVERY", 0.0)
    monkeypatch.setattr(publish, "CHECK_EVERY", 0.01)
    await add(store, "a.example.com")
    await store.add_certificate(certificate("wild", "*.example.com"), NOW)
    await store.add_certificate(certificate("own", "a.example.com", until=NOW + 10), NOW)
    async with publishing(store, tmp_path, clock=lambda: now):
        with peer(tmp_path) as reader:
            assert reader.ask("reader.site('a.example.com').certificate") == "'own'"
            now = NOW + 11
            await until(lambda: reader.ask("reader.site('a.example.com').certificate") == "'wild'")
