"""A publisher at work for tests, what it is given, and what it has made of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState
from edgeproxy.published import layout
from edgeproxy.published.writer import MapWriter
from tests.control.store.making import NOW

EDGE = ("edge.example.net", "*.ve.example")
"""The platform's own names."""
PATTERNS = ("*.customers.example", "exact.example.org")


@contextlib.asynccontextmanager
async def publishing(
    store: Store,
    directory: Path,
    names: tuple[str, ...] = EDGE,
    patterns: tuple[str, ...] = PATTERNS,
    *,
    clock: Callable[[], float] = lambda: NOW,
    on_challenges: Callable[[Sequence[str] | None], Awaitable[None]] | None = None,
) -> AsyncIterator[Publisher]:
    """A publisher at work, at the store's head."""
    map_writer = MapWriter(directory)
    publisher = Publisher(store, map_writer, names, patterns, clock=clock, on_challenges=on_challenges)
    task = asyncio.create_task(publisher.run())
    try:
        await up_to_date(publisher, store)
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        map_writer.close()


async def publish_once(
    store: Store, directory: Path, names: tuple[str, ...] = EDGE, patterns: tuple[str, ...] = PATTERNS
) -> None:
    """A publisher that comes, brings the map to the store's head, and goes."""
    async with publishing(store, directory, names, patterns):
        pass


async def up_to_date(publisher: Publisher, store: Store) -> None:
    """Waits until the map has all that the store has."""
    async with asyncio.timeout(60):
        await publisher.published(await store.head_change())


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def add(store: Store, hostname: str, workspace: str = "one", state: DomainState = DomainState.VERIFIED) -> None:
    """A domain that somebody registers."""
    await store.add_domain(hostname, workspace, state=state, actor="test", now=NOW)


def content(directory: Path) -> dict[str, dict[str, Any]]:
    """All that the map holds; nobody may have it open in this process."""
    current = layout.Current(directory / "published" / "current")
    folder = layout.map_folder(directory, layout.epoch_of(current.word()))
    current.close()
    env = lmdb.open(str(folder), map_size=layout.MAP_SIZE, max_readers=layout.MAX_READERS, max_dbs=8, readonly=True)
    found: dict[str, dict[str, Any]] = {}
    for database in layout.DATABASES:
        with env.begin(env.open_db(database.encode(), create=False)) as transaction:
            found[database] = {key.decode(): msgspec.msgpack.decode(value) for key, value in transaction.cursor()}
    env.close()
    return found


def sites(directory: Path) -> set[str]:
    """The names that the map serves, but for the platform's own."""
    return set(content(directory)["sites"]) - set(EDGE)
