"""Stores for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from edgeproxy.config.structs import Config
from edgeproxy.control.store import Companion, Store, StoredCertificate
from edgeproxy.limits import Limits
from edgeproxy.published.seal import Sealer

NOW = 1_800_000_000.0
DAY = 86400.0


def config(**limits: int) -> Config:
    return Config(limits=Limits(**limits))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def opened(directory: Path, settings: Config | None = None) -> AsyncIterator[Store]:
    """A store, closed at the end."""
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
