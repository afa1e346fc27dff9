"""What was committed comes into the file beside those who write."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from edgeproxy.control.store import Store, checkpoints
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, opened


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)


async def add(store: Store, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await store.add_domain(f"a{number}.example.com", "one", state=DomainState.VERIFIED, actor="t", now=NOW)


def in_the_file(path: Path) -> int:
    """Domains that the file has without its log, as it stands on the disk; -1 while it is being written."""
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    connection = sqlite3.connect(f"file:{copy}?immutable=1", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM domains").fetchone()[0])
    except sqlite3.DatabaseError:
        return -1
    finally:
        connection.close()


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_what_was_committed_is_copied_once_it_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as store:
        await add(store, 3)
        assert in_the_file(tmp_path / "edgeproxy.db") == 0
        monkeypatch.setattr(checkpoints, "ENOUGH", 1)
        await add(store, 1, 3)
        await until(lambda: in_the_file(tmp_path / "edgeproxy.db") == 4)


async def test_who_writes_does_not_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "ENOUGH", 1)
    begun, go = threading.Event(), threading.Event()
    sync = os.fdatasync

    def slow(file: int) -> None:
        begun.set()
        go.wait(60)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    async with opened(tmp_path) as store:
        await add(store, 1)
        await until(begun.is_set)
        async with asyncio.timeout(60):
            await add(store, 5, 1)
        assert not go.is_set()
        go.set()


@pytest.mark.parametrize(("long", "held"), [(1, [False, False, True]), (checkpoints.LONG, [False])])
async def test_writers_wait_for_the_last_pages_of_a_long_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: int, held: list[bool]
) -> None:
    monkeypatch.setattr(checkpoints, "ENOUGH", 1)
    monkeypatch.setattr(checkpoints, "LONG", long)
    seen: list[bool] = []
    async with opened(tmp_path) as store:
        checkpoint, sync = store.database._checkpoints, os.fdatasync

        def seeing(file: int) -> None:
            seen.append(checkpoint._writing.locked())
            sync(file)

        monkeypatch.setattr(os, "fdatasync", seeing)
        await add(store, 1)
        await until(lambda: checkpoint._task is None and checkpoint._timer is None)
        assert seen == held


async def test_a_disk_that_fails_is_told_once_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "ENOUGH", 1)
    told: list[str] = []
    monkeypatch.setattr(checkpoints.log, "warning", lambda text, **_: told.append(text))
    tries = 0

    def fail(_: int) -> None:
        nonlocal tries
        tries += 1
        raise OSError(5, "Input/output error")

    sync = os.fdatasync
    async with opened(tmp_path) as store:
        monkeypatch.setattr(os, "fdatasync", fail)
        await add(store, 1)
        await until(lambda: tries == 1)
        await add(store, 1, 1)
        await until(lambda: tries >= 2)
        assert told == ["the store's log cannot be copied into its file"]
        monkeypatch.setattr(os, "fdatasync", sync)
        await add(store, 1, 2)
        await until(lambda: in_the_file(tmp_path / "edgeproxy.db") == 3)


async def test_its_thread_ends_with_the_store_and_all_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "ENOUGH", 1)
    async with opened(tmp_path) as store:
        await add(store, 4)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("store_")]
    assert not (tmp_path / "edgeproxy.db-wal").exists()
    assert in_the_file(tmp_path / "edgeproxy.db") == 4
