"""A map made from the whole store."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.control import map_making
from edgeproxy.control.map_content import MapContent, Settings
from edgeproxy.control.map_making import make
from edgeproxy.control.store import Store
from edgeproxy.errors import StateError
from edgeproxy.published import writer
from edgeproxy.published.records import Challenge, Tickets
from edgeproxy.published.writer import MapWriter
from tests.control.publishing import EDGE, PATTERNS, add, content, publishing, sites, up_to_date
from tests.control.store.making import NOW, certificate

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
