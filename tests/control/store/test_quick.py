"""Short transactions, each in one go in a thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy

from edgeproxy.control.store import Store, database
from edgeproxy.control.store.quick import THREADS
from edgeproxy.errors import StateError
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, opened

COUNT = sqlalchemy.text("SELECT count(*) FROM domains")
RENAME = sqlalchemy.text("UPDATE domains SET workspace_id = 'two'")


async def add(store: Store, hostname: str) -> None:
    await store.add_domain(hostname, "one", state=DomainState.VERIFIED, actor="t", now=NOW)


def rename(connection: sqlalchemy.Connection) -> int:
    return connection.execute(RENAME).rowcount


async def workspace(store: Store) -> str:
    found = await store.get_domain("a.example.com")
    assert found is not None
    return found.workspace_id


async def test_its_connections_are_set_up_as_all_others(store: Store) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")

    def ask(connection: sqlalchemy.Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await store.database.look(ask) == ["wal", 2, 1, 5000, 1]


async def test_what_is_looked_at_is_one_state_of_the_store(store: Store) -> None:
    loop, seen, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def ask(connection: sqlalchemy.Connection) -> tuple[object, object]:
        before = connection.execute(COUNT).scalar()
        loop.call_soon_threadsafe(seen.set)
        go.wait(30)
        return before, connection.execute(COUNT).scalar()

    asked = asyncio.create_task(store.database.look(ask))
    await seen.wait()
    await add(store, "a.example.com")
    go.set()
    assert await asked == (0, 0)
    assert await store.database.look(lambda connection: connection.execute(COUNT).scalar()) == 1


async def test_what_is_noted_is_committed_and_of_what_fails_nothing_remains(store: Store) -> None:
    await add(store, "a.example.com")

    def fail(connection: sqlalchemy.Connection) -> None:
        rename(connection)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.database.note(fail)
    assert await workspace(store) == "one"
    assert await store.database.note(rename) == 1
    assert await workspace(store) == "two"


async def test_who_writes_either_way_writes_one_after_the_other(store: Store) -> None:
    await add(store, "a.example.com")
    more = "UPDATE domains SET looks = looks + 1"

    def note(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(more)

    async def write() -> None:
        async with store.database.write() as writing:
            await writing.connection.exec_driver_sql(more)

    await asyncio.gather(*(each for _ in range(20) for each in (store.database.note(note), write())))
    found = await store.get_domain("a.example.com")
    assert found is not None
    assert found.looks == 40


async def test_more_questions_than_threads_wait_their_turn(store: Store) -> None:
    await add(store, "a.example.com")
    assert await asyncio.gather(*(workspace(store) for _ in range(10 * THREADS))) == ["one"] * (10 * THREADS)


async def test_its_errors_are_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    async with opened(tmp_path) as store:
        await add(store, "a.example.com")
        other = sqlite3.connect(tmp_path / "edgeproxy.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked by another process"):
            await store.database.note(rename)
        assert await workspace(store) == "one", "who only looks waits for nobody"
        other.close()
        (tmp_path / "edgeproxy.db").rename(tmp_path / "elsewhere.db")
        with pytest.raises(StateError, match="moved, replaced or deleted"):
            await store.database.note(rename)


async def test_whoever_gives_up_waiting_leaves_the_store_usable_and_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT sum(i) FROM n"
    async with opened(tmp_path) as store:
        asked = [
            asyncio.create_task(store.database.look(lambda connection: connection.exec_driver_sql(slow).scalar()))
            for _ in range(THREADS)
        ]
        await asyncio.sleep(0.01)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
        await add(store, "a.example.com")
        assert await workspace(store) == "one"
    assert {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("store")} == set()
