"""A real store and publisher for the tests of issuance."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.gate import Gate
from edgeproxy.control.issuance.service import Issuance as Service
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from tests.control.issuance.fakeca import DIRECTORY, FakeCa, answer
from tests.control.store.making import put

MAP_KEY = b"m" * 32


class Clock:
    """Unix time that moves with the real one and can be moved ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclasses.dataclass
class World:
    """What issuance works with."""

    directory: Path
    store: Store
    publisher: Publisher
    clock: Clock
    ca: FakeCa
    sealer: Sealer = dataclasses.field(default_factory=lambda: Sealer(MAP_KEY))

    def config(self, directory: str = DIRECTORY, allow: dict[str, Any] | None = None, **issuance: Any) -> Config:
        settings: dict[str, Any] = {"directory": directory, "agree_terms": True} | issuance
        return Config(state=State(directory=str(self.directory)), issuance=Issuance(allow=Allow(**(allow or {})), **settings))

    async def register(self, *names: str, state: DomainState = DomainState.VERIFIED) -> None:
        for name in names:
            await self.store.add_domain(name, "ws", state=state, actor="test", now=self.clock())

    async def challenges(self) -> list[str]:
        return await self.store.keys_of("challenges", "", 100)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock()
    put(tmp_path)
    store = await Store.open(Config(), tmp_path, Sealer(b"s" * 32), account_sealer=Sealer(b"a" * 32))
    writer = MapWriter(tmp_path)
    publisher = Publisher(store, writer, ())
    publishing = asyncio.create_task(publisher.run())
    try:
        yield World(tmp_path, store, publisher, clock, FakeCa(clock))
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        writer.close()
        await store.close()


def changed(config: Config, **sections: Any) -> Config:
    """The configuration with other sections."""
    return msgspec.structs.replace(config, **sections)


class Meter:
    def __init__(self):
        self.orders, self.seconds, self.gates = [], [], []
        self.limited = 0

    def acme_order(self, ca, result):
        self.orders.append((ca, result))

    def issued(self, seconds):
        self.seconds.append(seconds)

    def gate(self, result):
        self.gates.append(result)

    def new_name_limited(self):
        self.limited += 1


class GateAnswers(httpx2.AsyncBaseTransport):
    def __init__(self):
        self.status, self.body, self.headers = 200, b"", {}

    async def handle_async_request(self, _request):
        return answer(self.status, self.headers, self.body)


@pytest.fixture
def meter():
    return Meter()


@pytest.fixture
def gate_answers():
    return GateAnswers()


@pytest.fixture
async def service(world, meter, gate_answers):
    """Makes services over one store, as processes after one another would."""
    made = []

    def make(config=None, **options):
        config = config or world.config("internal")
        issuer = None
        if config.issuance.directory == DIRECTORY:
            parts = world.store, world.publisher, world.sealer, world.clock
            issuer = AcmeIssuer(config, *parts, network=world.ca, monotonic=world.clock)
        gate = None
        if config.issuance.allow.gate:
            gate = Gate(config, world.clock, gate_answers)
        options = {"issuer": issuer, "gate": gate, "meter": meter} | options
        made.append(Service(config, world.store, world.publisher, world.sealer, world.clock, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def gated(world, **settings):
    return world.config("internal", allow={"gate": "http://gate.example/"}, **settings)


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)
