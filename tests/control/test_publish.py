"""The map says what the store says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from edgeproxy.config.structs import Config
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from tests.published.peer import peer

NOW = 1_800_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(Config(), tmp_path, Sealer(b"s" * 32), account_sealer=Sealer(b"a" * 32))
    yield store
    await store.close()


@contextlib.asynccontextmanager
async def publishing(store: Store, directory: Path, *names: str) -> AsyncIterator[Publisher]:
    """A publisher at work."""
    writer = MapWriter(directory)
    publisher = Publisher(store, writer, names)
    async with anyio.create_task_group() as group:
        group.start_soon(publisher.run)
        await publisher.published(await store.head_change())
        yield publisher
        group.cancel_scope.cancel()
    writer.close()


async def test_a_domain_that_is_added_is_in_the_map_and_one_removed_is_not(store: Store, tmp_path: Path) -> None:
    async with publishing(store, tmp_path, "edge.example.net") as publisher:
        with peer(tmp_path) as reader:
            assert "'edge'" in reader.ask("reader.site('edge.example.net')")
            await store.add_domain("a.example.com", "one", state=DomainState.VERIFIED, actor="test", now=NOW)
            await publisher.published(await store.head_change())
            assert "'one'" in reader.ask("reader.site('a.example.com')")
            assert reader.ask("[c.key for c in reader.changes()]") == "['a.example.com']"
            await store.remove_domain("a.example.com", actor="test", now=NOW)
            await publisher.published(await store.head_change())
            assert reader.ask("reader.site('a.example.com')") == "None"
