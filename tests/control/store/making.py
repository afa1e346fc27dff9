"""Stores for tests."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from edgeproxy.config.structs import Config
from edgeproxy.control.store import Companion, Store, StoredCertificate
from edgeproxy.keys import store_path
from edgeproxy.limits import Limits
from edgeproxy.published import layout
from edgeproxy.published.seal import Sealer

NOW = 1_800_000_000.0
DAY = 86400.0


def config(**limits: int) -> Config:
    return Config(limits=Limits(**limits))  # type: ignore[arg-type]


@functools.cache
def _migrated() -> bytes:
    """The file of an empty store, made by the migrations: once, for they cost a test thirty times what copying does."""
    with tempfile.TemporaryDirectory() as directory:
        from edgeproxy.control.store.migrate import migrate  # Alembic, which not all that open stores are to load

        path = Path(directory, "template.db")
        migrate(path)
        return path.read_bytes()


def put(directory: Path, settings: Config | None = None) -> None:
    """Puts an empty store, with an id of its own, where one would be made. Nothing is done where there are traces of one."""
    path = store_path(settings or Config(), directory)
    if path.exists() or (layout.published_directory(directory) / "current").exists():
        return
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_migrated())
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("UPDATE about SET value = ? WHERE name = 'store_id'", (str(uuid.uuid4()),))
    connection.commit()
    connection.close()


@contextlib.asynccontextmanager
async def opened(directory: Path, settings: Config | None = None) -> AsyncIterator[Store]:
    """A store, closed at the end."""
    put(directory, settings)
    async with anew(directory, settings) as store:
        yield store


@contextlib.asynccontextmanager
async def anew(directory: Path, settings: Config | None = None) -> AsyncIterator[Store]:
    """A store that is made or migrated where that is due, as the program does it; closed at the end."""
    sealer, account_sealer = Sealer(b"s" * 32), Sealer(b"a" * 32)
    store = await Store.open(settings or Config(), directory, sealer, account_sealer=account_sealer)
    try:
        yield store
    finally:
        await store.close()


def certificate(one: str, *names: str, until: float = NOW + 90 * DAY, renew: float = NOW + 60 * DAY) -> StoredCertificate:
    """A certificate row that nobody looks into."""
    return StoredCertificate(
        id=one,
        names=names,
        chain=b"chain of " + one.encode(),
        sealed_key=b"key of " + one.encode(),
        not_before=NOW - DAY,
        not_after=until,
        renew_at=renew,
        issuer="internal",
    )


def made_companion(one: str, *, chain: bytes = b"rsa chain", sealed_key: bytes = b"rsa key") -> Companion:
    """What stands beside a certificate; nobody looks into it."""
    return Companion(
        id=one,
        chain=chain,
        sealed_key=sealed_key,
        not_before=NOW - DAY,
        not_after=NOW + 90 * DAY,
        serial=f"5e{one.encode().hex()}",
        issuer="internal",
        key_type="rsa2048",
    )


async def logged(store: Store, after: int = 0) -> list[tuple[str, str]]:
    """(database, key) of the change log behind a number."""
    return [(entry.database, entry.key) for entry in await store.changes_after(after, 10_000)]
