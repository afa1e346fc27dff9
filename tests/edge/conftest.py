"""Fixtures for the data plane's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgeproxy.edge import tickets
from tests.edge.fakemap import FakeMap
from tests.edge.harness import Edge, MapProcess, Script, config_for


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The data plane runs on uvloop; so do its tests."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def shared_tickets() -> None:
    """Skips where this interpreter does not let ticket keys be set."""
    outcome = tickets.trial()
    if not outcome.works:
        pytest.skip(outcome.sentence)


@pytest.fixture
async def origin() -> AsyncIterator[tuple[Script, int]]:
    """An origin and its port."""
    script = Script()
    async with script.listening() as port:
        yield script, port


@pytest.fixture(scope="session")
def maps() -> Iterator[MapProcess]:
    """Who writes the maps."""
    process = MapProcess()
    yield process
    process.close()


@pytest.fixture
async def edge(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess) -> AsyncIterator[Edge]:
    """A worker with one site, gallery.test of workspace "spandantest"."""
    edge = Edge(tmp_path, config_for(origin[1]), maps)
    edge.add_site("gallery.test", "spandantest")
    async with edge.running():
        yield edge


@pytest.fixture
def script(origin: tuple[Script, int]) -> Script:
    """The origin behind `edge`."""
    return origin[0]


@pytest.fixture
def published() -> FakeMap:
    """A published map without a file."""
    return FakeMap()


@pytest.fixture(params=["h1", "h2"])
def protocol(request: pytest.FixtureRequest) -> str:
    """By which protocol a visitor asks."""
    return str(request.param)
