"""A domain that keeps its visitors waiting: from a worker's requests to a message that somebody gets."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeproxy.config.monitoring import Alerts as Limits
from edgeproxy.control.alerts.book import OVER_SECONDS
from edgeproxy.control.alerts.conditions import WINDOW
from edgeproxy.control.alerts.notifying import Notifier
from edgeproxy.control.alerts.reading import reader
from edgeproxy.control.alerts.watch import Alerts
from edgeproxy.control.desk import Desk
from edgeproxy.control.faults import Faults
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.store import Store
from edgeproxy.link.messages import LinkEnd
from edgeproxy.units import Duration
from tests.control.store.making import opened
from tests.control.webhooks.receiver import Receiver, receiving
from tests.edge.harness import Edge, MapProcess, Script, edge_with

pytest.importorskip("apprise")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HOST = "gallery.test"
SLOW, QUICK = 10, 10


class World:
    """A worker, the desk that it reports to, and who is told."""

    def __init__(self, edge: Edge, store: Store, people: Receiver, limits: Limits) -> None:
        self.edge, self.store, self.people, self.limits = edge, store, people, limits
        self.metrics = Metrics("1", 10, latency_window=limits.latency_window)
        self.desk = Desk(self.metrics, waiting=10, now=time.time, why_closed=lambda: "")
        self.ahead = 0.0
        self.anew()

    def anew(self) -> None:
        """Another process looks."""
        quiet = SimpleNamespace(waiting={})
        issuance: Any = SimpleNamespace(queue=lambda: quiet, authorities=list, ca_trouble=lambda: None)
        read = reader(self.metrics, issuance)
        self.alerts = Alerts(self.limits, self.store, Notifier(self.limits.notify), read, lambda: time.time() + self.ahead)

    async def visit(self, requests: int, path: str) -> None:
        """Sends so many on one connection, one after the other."""
        lines = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n"
        last = f"{lines}Connection: close\r\n\r\n"
        answer = await self.edge.exchange(HOST, (f"{lines}\r\n" * (requests - 1) + last).encode())
        assert answer.count(b"HTTP/1.1 200") == requests

    async def counted(self, requests: int) -> None:
        """Waits until the worker has told of so many."""
        async with asyncio.timeout(60):
            while sum(each.requests for each in self.metrics.latency.waiting(time.monotonic())) < requests:
                await asyncio.sleep(0.02)

    async def look(self) -> list[dict[str, Any]]:
        """What people are told at one look."""
        before = len(self.people.got)
        await self.alerts.look(Faults())
        return [got.payload for got in self.people.got[before:]]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """A worker runs on uvloop."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    script = Script()
    script.handler = functools.partial(slowly, script)
    maps = MapProcess()
    for folder in ("map", "store"):
        (tmp_path / folder).mkdir()
    try:
        async with receiving() as people, script.listening() as port, opened(tmp_path / "store") as store:
            limits = Limits(
                notify=(f"json://127.0.0.1:{people.port}/",),
                latency=Duration(0.2),
                latency_requests=SLOW + QUICK,
                latency_window=Duration(3600),
            )
            edge = edge_with(tmp_path / "map", maps, port, alerts=limits)
            async with edge.running():
                world = World(edge, store, people, limits)
                ours, theirs = socket.socketpair()
                await world.desk.attach(0, ours)
                edge.channel.send(LinkEnd(worker=0), [theirs])
                yield world
                world.desk.close()
    finally:
        maps.close()


async def slowly(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An origin that takes its time over /slow."""
    while head := await script.read_head(reader):
        if b"/slow" in head:
            await asyncio.sleep(0.25)
        writer.write(script.response)


async def test_a_slow_domain_is_told_once_with_its_origin_and_once_when_it_is_over(world: World) -> None:
    await asyncio.gather(*(world.visit(1, "/slow") for _ in range(SLOW)))
    await world.counted(SLOW)
    assert await world.look() == []  # too few to say anything
    await world.visit(QUICK, "/")
    await world.counted(SLOW + QUICK)
    (told,) = await world.look()
    assert told["title"].endswith(": gallery.test answers slowly")
    assert f"Of {SLOW + QUICK} requests within 1h one in twenty waited" in told["message"]
    assert "What to do: " in told["message"]
    assert await world.look() == []
    world.anew()
    assert await world.look() == []
    # Quick ones until less than one in twenty is slow.
    for _ in range(10):
        await world.visit(60, "/")
    await world.counted(SLOW + QUICK + 600)
    assert await world.look() == []
    world.ahead = max(WINDOW, OVER_SECONDS) + 1  # it must have been well for a while, and the process there for a window
    (over,) = await world.look()
    assert over["title"].endswith(": Over: gallery.test answers slowly")
    assert over["type"] == "success"
    world.anew()
    assert await world.look() == []
