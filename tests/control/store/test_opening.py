"""A store that is damaged, lost, strange or too new is refused, and stays as it is."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.control.store import opening, schema
from edgeproxy.errors import Fault, StateError
from edgeproxy.model import DomainState
from edgeproxy.published import layout
from tests.control.store.making import NOW, anew


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


async def refused(directory: Path, match: str) -> StateError:
    """Opens, expects the refusal, and that nothing was written."""
    before = files(directory)
    with pytest.raises(StateError, match=match) as caught:
        async with anew(directory):
            pass
    assert files(directory) == before
    assert caught.value.fault == Fault.OPERATOR
    return caught.value


async def made(directory: Path, domains: int = 0) -> Path:
    """A closed store."""
    async with anew(directory) as store:
        for number in range(domains):
            await store.add_domain(f"n{number}.example.com", "one", state=DomainState.VERIFIED, actor="t", now=NOW)
    return directory / "edgeproxy.db"


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"x", b"SQLite format 2\0" + bytes(4096)])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "edgeproxy.db").write_bytes(content)
    error = await refused(tmp_path, "not a SQLite database")
    assert "a backup in its place" in error.detail
    assert not error.retryable


@pytest.mark.parametrize("damage", ["cut", "root", "page", "header"])
async def test_a_damaged_store_is_refused(tmp_path: Path, damage: str) -> None:
    path = await made(tmp_path, 300)
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            content = content[: len(content) // 2]
        case "root":
            content[100:4096] = os.urandom(3996)
        case "page":
            at = content.index(b"n150.example.com") // 4096 * 4096
            content[at : at + 4096] = os.urandom(4096)
        case "header":
            content[16:100] = b"\xff" * 84
    path.write_bytes(content)
    error = await refused(tmp_path, "The store is damaged")
    said, _, raw = error.detail.partition(" SQLite says: ")
    assert said == (
        f"The store is damaged: {path}. Put a backup in its place; or, to start with an empty store, move it away together "
        f"with its -wal and -shm files and {tmp_path}/published. Nothing was overwritten."
    )
    assert raw
    assert "\n" not in error.detail


async def test_what_is_advised_for_a_damaged_store_leads_to_an_empty_one(tmp_path: Path) -> None:
    path = await made(tmp_path)
    (tmp_path / "published").mkdir()
    layout.create_current(tmp_path / "published" / "current", 1, None)
    path.write_bytes(b"garbage")
    await refused(tmp_path, "published. Nothing was overwritten")
    for trace in (*tmp_path.glob("edgeproxy.db*"), tmp_path / "published"):
        trace.rename(tmp_path / f"{trace.name}.away")
    async with anew(tmp_path) as store:
        assert await store.count_domains() == 0


async def test_a_store_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "edgeproxy.db")
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    await refused(tmp_path, "not a store of this program")


async def test_a_store_that_does_not_tell_its_schema_is_refused(tmp_path: Path) -> None:
    path = await made(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM about WHERE name = 'readable_from'")
    connection.commit()
    connection.close()
    await refused(tmp_path, "which schema")


def newer(path: Path, version: int, readable_from: int) -> None:
    """What a later program leaves behind."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE about SET value = ? WHERE name = 'version'", (str(version),))
    connection.execute("UPDATE about SET value = ? WHERE name = 'readable_from'", (str(readable_from),))
    connection.execute("UPDATE alembic_version SET version_num = ?", (f"{version:04}",))
    connection.execute("ALTER TABLE domains ADD COLUMN colour TEXT NOT NULL DEFAULT ''")
    connection.commit()
    connection.close()


async def test_a_newer_schema_that_this_program_cannot_read_is_refused(tmp_path: Path) -> None:
    path = await made(tmp_path, 1)
    newer(path, schema.VERSION + 5, schema.VERSION + 1)
    error = await refused(tmp_path, f"has schema {schema.VERSION + 5}")
    assert "newer version" in error.detail


async def test_a_newer_schema_that_this_program_can_read_is_used_and_not_migrated(tmp_path: Path) -> None:
    path = await made(tmp_path, 1)
    newer(path, schema.VERSION + 5, schema.VERSION)
    async with anew(tmp_path) as store:
        await store.add_domain("a.example.com", "one", state=DomainState.VERIFIED, actor="t", now=NOW)
        assert await store.get_domain("n0.example.com") is not None
        assert [domain.hostname for domain in await store.list_domains(10)] == ["a.example.com", "n0.example.com"]
        assert len(await store.site_facts(["a.example.com"], NOW)) == 1
    assert opening.look(path, tmp_path).version == schema.VERSION + 5


@pytest.mark.parametrize("left", ["nothing", "an empty file", "an empty database"])
async def test_a_lost_store_is_refused_where_domains_were_published_from_it(tmp_path: Path, left: str) -> None:
    path = await made(tmp_path, 1)
    (tmp_path / "published").mkdir()
    layout.create_current(tmp_path / "published" / "current", 1, None)
    for trace in tmp_path.glob("edgeproxy.db*"):
        trace.unlink()
    if left == "an empty file":
        path.touch()
    elif left == "an empty database":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    await refused(tmp_path, "missing or empty")
    shutil.rmtree(tmp_path / "published")
    async with anew(tmp_path) as store:
        assert await store.count_domains() == 0


async def test_a_store_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # as root, modes stop nobody

    path = await made(tmp_path)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(StateError, match=r"cannot be read: .*: Permission denied"):
        opening.look(path, tmp_path)


async def test_a_folder_in_place_of_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "edgeproxy.db").mkdir()
    await refused(tmp_path, "cannot be read")


async def test_large_stores_are_checked_at_both_ends_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await made(tmp_path, 300)
    monkeypatch.setattr(opening, "_SMALL", 0)
    assert opening.look(path, tmp_path).version == schema.VERSION
    content = bytearray(path.read_bytes())
    at = content.rindex(b"n299.example.com") // 4096 * 4096
    content[at : at + 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(StateError, match="damaged"):
        opening.look(path, tmp_path)


@pytest.mark.parametrize("lost", ["", "edgeproxy.db-shm"])
async def test_after_a_kill_everything_acknowledged_is_there(tmp_path: Path, lost: str) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from tests.control.store.making import *
from edgeproxy.model import DomainState
async def main():
    async with anew(Path(sys.argv[1])) as store:
        n = 0
        while True:
            await store.add_domain(f"n{n}.example.com", "one", state=DomainState.VERIFIED, actor="t", now=NOW)
            print(n, flush=True)
            n += 1
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(25):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    acknowledged = 24 + len(rest.split())
    if lost:
        (tmp_path / lost).unlink()
    async with anew(tmp_path) as store:
        count = await store.count_domains()
        assert acknowledged + 1 <= count <= acknowledged + 2
        assert await store.head_change() == count
        assert [entry.number for entry in await store.changes_after(0, 10_000)] == list(range(1, count + 1))
