"""The migrations make what the schema says, whole or not at all."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography import x509

from edgeproxy.control.store import DomainChange, opening, schema
from edgeproxy.control.store.migrate import migrate
from edgeproxy.errors import StateError
from tests.certificates import self_signed
from tests.control.store.making import anew


def test_the_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "edgeproxy.db"
    migrate(path)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()
    found = opening.look(path, tmp_path)
    assert (found.version, found.readable_from) == (schema.VERSION, schema.READABLE_FROM)
    assert len(found.store_id) == 36


def test_the_version_is_the_number_of_the_newest_migration() -> None:
    scripts = Path(opening.__file__).with_name("migrations") / "versions"
    newest = max(path.name[:4] for path in scripts.glob("[0-9]*.py"))
    assert int(newest) == schema.VERSION
    assert schema.READABLE_FROM <= schema.VERSION


@pytest.mark.parametrize(
    ("script", "digest"),
    [
        ("0001_first.py", "68ebd245abd564e7492618c746c6843c4ced1d3df43457fcdfcbd5e034994d8f"),
        ("0002_lifecycle.py", "83448f8b818268f85f2c6add74859a0b007178e35332129c23f020a74f5f6273"),
        ("0003_issuance.py", "92d255af75da31d76b971e124abdd6d9a67a8f106d9ca93ba9d9d3b3da62498a"),
        ("0004_companions.py", "65638b67c449de09f92eaae96c4d495b307538e9a7f30315deda2dd3ec4250d1"),
        ("0005_domains.py", "6e889f6405146fe7ebb2d79c844fc5addccb17831745d04924a01e9c8480611c"),
        ("0006_idempotency.py", "5ca5b652f080af4c5109852d08ba1c9aeecc9fb5b5d583d1c5558dbe9f260996"),
        ("0007_policies.py", "735946b1dff8f08e8f8b744e64250ca99e0370ffde9da69e9a132422d91e0a28"),
    ],
)
def test_a_migration_that_stores_have_behind_them_is_never_changed(script: str, digest: str) -> None:
    path = Path(opening.__file__).with_name("migrations") / "versions" / script
    said = "some stores have run it as it was: make a new one for what is to change"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, said


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "edgeproxy.db"
    migrate(path)
    before = opening.look(path, tmp_path)
    migrate(path)
    assert opening.look(path, tmp_path) == before


def test_two_stores_have_two_identities(tmp_path: Path) -> None:
    migrate(tmp_path / "a.db")
    migrate(tmp_path / "b.db")
    assert opening.look(tmp_path / "a.db", tmp_path).store_id != opening.look(tmp_path / "b.db", tmp_path).store_id


def test_nobody_else_may_read_the_store(tmp_path: Path) -> None:
    path = tmp_path / "edgeproxy.db"
    migrate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nor_what_lies_beside_it_while_it_is_open(tmp_path: Path) -> None:
    async with anew(tmp_path) as store:
        await store.head_change()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("edgeproxy.db", "edgeproxy.db-wal", "edgeproxy.db-shm"), 0o600)


@pytest.mark.parametrize("step", ["about", "certificates", "the end"])
async def test_a_migration_that_is_killed_leaves_the_store_as_it_was(tmp_path: Path, step: str) -> None:
    path = tmp_path / "edgeproxy.db"
    program = """
import os, sys
from pathlib import Path
import sqlalchemy
from sqlalchemy import event
from edgeproxy.control.store.migrate import migrate
def kill(connection, cursor, statement, parameters, context, many):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), 9)
event.listen(sqlalchemy.Engine, "after_cursor_execute", kill)
migrate(Path(sys.argv[1]))
"""
    where = {"about": "CREATE TABLE about", "certificates": "CREATE TABLE certificates", "the end": "INSERT INTO counters"}
    process = subprocess.run([sys.executable, "-c", program, str(path), where[step]], check=False)
    assert process.returncode == -9
    assert opening.look(path, tmp_path).version == 0
    async with anew(tmp_path) as store:
        assert await store.count_domains() == 0


def test_a_store_that_cannot_be_migrated_says_so_and_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "edgeproxy.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE domains (hostname TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="cannot be brought to schema"):
        migrate(path)
    connection = sqlite3.connect(path)
    assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["domains"]
    connection.close()
    assert len(path.read_bytes()) == len(before)


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"):
        migrate(tmp_path / "none" / "edgeproxy.db")


def test_a_full_disk_is_told_in_one_sentence_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_connection: sqlalchemy.Connection) -> None:
        cause = sqlite3.OperationalError("database or disk is full")
        cause.sqlite_errorname = "SQLITE_FULL"
        raise sqlalchemy.exc.OperationalError("INSERT …", {}, cause)

    monkeypatch.setattr("edgeproxy.control.store.migrate._upgrade", full)
    with pytest.raises(StateError) as caught:
        migrate(tmp_path / "edgeproxy.db")
    assert (
        caught.value.detail == f"The disk is full: {tmp_path}/edgeproxy.db cannot be written. Make room there, and try again."
    )


def migrated_to(version: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the store that a former version of the program would have made."""
    with monkeypatch.context() as patch:
        upgrade = alembic.command.upgrade
        patch.setattr(alembic.command, "upgrade", lambda config, _head: upgrade(config, f"{version:04}"))
        patch.setattr(schema, "VERSION", version)
        migrate(path)


async def test_domains_from_before_there_were_policies_have_none(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "edgeproxy.db"
    migrated_to(6, path, monkeypatch)
    insert = (
        "INSERT INTO domains (hostname, parent, workspace_id, origin, state, created_at, updated_at) "
        "VALUES ('a.example.com', 'example.com', 'one', '', 'verified', 1.0, 1.0)"
    )
    connection = sqlite3.connect(path)
    connection.execute(insert)
    connection.commit()
    connection.close()
    migrate(path)
    async with anew(tmp_path) as store:
        before = await store.get_domain("a.example.com")
        assert before is not None
        assert before.policies == ""
        change = DomainChange(policies={"hsts": "1d"})
        assert (await store.change_domain("a.example.com", change, actor="test", now=2.0)).policies == '{"hsts":"1d"}'
        # The version before goes on with this store, and adds domains without knowing of the column.
        connection = sqlite3.connect(path)
        connection.execute(insert.replace("a.example.com", "b.example.com"))
        connection.commit()
        connection.close()
        after = await store.get_domain("b.example.com")
        assert after is not None
        assert after.policies == ""


def test_certificates_of_the_first_schema_get_their_serials_and_a_history(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "edgeproxy.db"
    chain, _ = self_signed("a.example.com")
    migrated_to(1, path, monkeypatch)
    connection = sqlite3.connect(path)
    columns = "(id, chain, sealed_key, not_before, not_after, issuer, added_at, superseded_at)"
    rows = [("c1", chain, b"k", 1.0, 2.0, "internal", 3.0, 4.0), ("c2", b"junk", b"k", 1.0, 2.0, "internal", 5.0, None)]
    connection.executemany(f"INSERT INTO certificates {columns} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    names = "INSERT INTO certificate_names VALUES ('a.example.com', ?, 'example.com', 2.0, ?, 0)"
    connection.executemany(names, [(1, "c1"), (2, "c2")])
    connection.commit()
    connection.close()
    migrate(path)
    connection = sqlite3.connect(path)
    serial = f"{x509.load_pem_x509_certificate(chain).serial_number:x}"
    assert connection.execute("SELECT id, serial, auto_renew FROM certificates ORDER BY id").fetchall() == [
        ("c1", serial, 1),
        ("c2", "", 1),
    ]
    history = "SELECT certificate_id, serial, issuer, added_at, ended_at, ended_why FROM certificate_history ORDER BY number"
    assert connection.execute(history).fetchall() == [
        ("c1", serial, "internal", 3.0, 4.0, "replaced"),
        ("c2", "", "internal", 5.0, None, ""),
    ]
    connection.close()
