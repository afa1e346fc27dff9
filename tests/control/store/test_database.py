"""Transactions, and what the database's errors become."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from edgeproxy.control.store import Store, database
from edgeproxy.control.store.database import translated
from edgeproxy.errors import StateError
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, opened


async def add(store: Store, hostname: str) -> None:
    await store.add_domain(hostname, "one", state=DomainState.VERIFIED, actor="t", now=NOW)


async def test_every_commit_is_on_the_disk_before_it_is_acknowledged(store: Store) -> None:
    async with store.database.read() as connection:
        settings = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def test_a_reader_sees_one_state_of_the_store_while_others_write(store: Store) -> None:
    async with store.database.read() as connection:
        count = sqlalchemy.text("SELECT count(*) FROM domains")
        before = await connection.scalar(count)
        await add(store, "a.example.com")
        assert await connection.scalar(count) == before == 0
    assert await store.count_domains() == 1


async def test_a_store_locked_by_another_process_is_a_passing_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    async with opened(tmp_path) as store:
        await add(store, "a.example.com")
        other = sqlite3.connect(tmp_path / "edgeproxy.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked by another process") as caught:
            await add(store, "b.example.com")
        assert caught.value.retryable
        assert await store.get_domain("a.example.com") is not None
        other.execute("ROLLBACK")
        other.close()
        await add(store, "b.example.com")


async def test_nothing_of_it_runs_on_behind_its_end(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) SELECT sum(i) FROM n"
    async with opened(tmp_path) as store:

        async def ask() -> None:
            async with store.database.read() as connection:
                await connection.exec_driver_sql(slow)

        asked = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0.1)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
    # A thread that has its result only when the loop is closed would raise in vain.
    assert not connecting(before)


async def test_nor_does_a_connection_that_nobody_waits_for_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, may_open = threading.Event(), threading.Event()

    class Slow(database._Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            opening.set()
            may_open.wait(30)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(database, "_Connection", Slow)
    before = set(threading.enumerate())
    slow = database.Database(tmp_path / "edgeproxy.db")
    waiting = asyncio.ensure_future(one_read(slow))
    await asyncio.to_thread(opening.wait, 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asyncio.get_running_loop().call_later(0.2, may_open.set)
    await slow.close()
    assert not connecting(before)


def connecting(before: set[threading.Thread]) -> list[threading.Thread]:
    """The threads of connections that are there now and were not before."""
    return [thread for thread in set(threading.enumerate()) - before if "connection_worker" in thread.name]


async def one_read(store: database.Database) -> None:
    async with store.read():
        pass


async def test_a_full_disk_is_a_passing_error_and_what_was_saved_before_stays(store: Store) -> None:
    def limit(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    await add(store, "a.example.com")
    sqlalchemy.event.listen(store.database._writing.sync_engine, "begin", limit)
    results = [await asyncio.gather(add(store, f"{'x' * 60}{n}.example.com"), return_exceptions=True) for n in range(50)]
    errors = [error for (error,) in results if error is not None]
    with pytest.raises(StateError, match="disk is full") as caught:
        raise errors[-1]
    assert caught.value.retryable
    assert await store.get_domain("a.example.com") is not None
    sqlalchemy.event.remove(store.database._writing.sync_engine, "begin", limit)
    await store.close()


async def test_damage_met_while_running_is_final_and_says_what_to_do(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(300):
            await add(store, f"n{number}.example.com")
    path = tmp_path / "edgeproxy.db"
    async with opened(tmp_path) as store:
        await add(store, "before.example.com")
        content = bytearray(path.read_bytes())
        path.write_bytes(content[:4096] + b"\x55" * (len(content) - 4096))
        with pytest.raises(StateError, match="damaged") as caught:
            await store.list_domains(1000)
        assert not caught.value.retryable
        assert "a backup in its place" in caught.value.detail


@pytest.mark.parametrize("what", ["deleted", "replaced"])
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "edgeproxy.db"
    async with opened(tmp_path) as store:
        await add(store, "a.example.com")
        path.rename(tmp_path / "elsewhere.db")
        if what == "replaced":
            path.write_bytes((tmp_path / "elsewhere.db").read_bytes())
        with pytest.raises(StateError, match="moved, replaced or deleted"):
            await add(store, "b.example.com")


async def test_more_readers_than_connections_wait_their_turn(store: Store) -> None:
    await add(store, "a.example.com")
    found = await asyncio.gather(*(store.get_domain("a.example.com") for _ in range(50)))
    assert all(found)


async def test_a_cancelled_write_leaves_the_store_usable(store: Store) -> None:
    for delay in range(12):
        task = asyncio.create_task(add(store, f"n{delay}.example.com"))
        await asyncio.sleep(delay / 4000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await add(store, "last.example.com")
    hosts = [domain.hostname for domain in await store.list_domains(100)]
    assert "last.example.com" in hosts
    assert await store.head_change() == len(hosts)
    assert [entry.number for entry in await store.changes_after(0, 100)] == list(range(1, len(hosts) + 1))


async def test_a_connection_given_up_in_the_middle_of_its_rows_keeps_no_lock(store: Store) -> None:
    cursors = []

    async def given_up() -> None:
        async with store.database.write() as write:
            raw = (await write.connection.get_raw_connection()).driver_connection
            assert raw is not None
            cursors.append(await raw.execute("UPDATE counters SET value = value RETURNING value"))
            await write.connection.invalidate()  # as SQLAlchemy does where a task is cancelled
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await given_up()
    await add(store, "last.example.com")
    assert cursors


def test_errors_are_told_apart_by_whether_trying_again_may_help() -> None:
    def raised(name: str) -> StateError:
        error = sqlite3.OperationalError("what sqlite says")
        error.sqlite_errorname = name
        with pytest.raises(StateError) as caught, translated(Path("/state/edgeproxy.db")):
            raise error
        return caught.value

    assert not raised("SQLITE_CORRUPT_INDEX").retryable
    assert not raised("SQLITE_NOTADB").retryable
    full = raised("SQLITE_FULL")
    assert full.retryable
    assert full.detail == "The disk is full: /state/edgeproxy.db cannot be written. Make room there, and try again."
    for name, text in (
        ("SQLITE_BUSY_SNAPSHOT", "locked"),
        ("SQLITE_READONLY_DIRECTORY", "read-only"),
        ("SQLITE_IOERR_FSYNC", "disk of the store does not work"),
        ("SQLITE_PROTOCOL", "just now"),
    ):
        error = raised(name)
        assert error.retryable
        assert text in error.detail
        assert error.detail.endswith(" SQLite says: what sqlite says.")
        assert "/state/edgeproxy.db" in error.detail
