"""The worker's life: draining, losing its supervisor, a map that goes away, reports."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from edgeproxy.edge import worker
from edgeproxy.link.messages import Drain, Greeting, Refresh, Report
from edgeproxy.published.records import Site
from tests.edge.harness import Edge, Script, fields, patient

REQUEST = b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def slow(script: Script, go: asyncio.Event) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await go.wait()
        writer.write(script.response)

    script.handler = handler


@pytest.fixture
def graceful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections have more time for their last request than a slow machine takes."""
    monkeypatch.setattr(worker, "IDLE_GRACE", 60.0)


async def test_draining_ends_what_is_idle_and_finishes_what_is_not(edge: Edge, script: Script, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "IDLE_GRACE", 0.3)
    go = asyncio.Event()
    await slow(script, go)
    idle_reader, idle_writer = await edge.connect("gallery.test")
    busy_reader, busy_writer = await edge.connect("gallery.test")
    busy_writer.write(REQUEST)
    await until(lambda: script.heads)
    edge.channel.send(Drain())
    assert await asyncio.wait_for(idle_reader.read(), 60) == b""
    go.set()
    answer = await asyncio.wait_for(busy_reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in answer
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.close()
    idle_writer.close()
    busy_writer.close()


@pytest.mark.usefixtures("graceful")
async def test_a_visitor_who_was_accepted_before_the_drain_is_served(edge: Edge):
    reader, writer = await edge.connect("gallery.test")
    edge.channel.send(Drain())
    await until(lambda: edge.worker.draining)
    writer.write(REQUEST)
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()


@pytest.mark.usefixtures("graceful")
async def test_visitors_whose_handshake_has_not_begun_before_the_drain_are_served(edge: Edge):
    answers = [asyncio.ensure_future(edge.exchange("gallery.test", GET)) for _ in range(20)]
    await until(lambda: edge.worker.reception._column.connections > 0)
    accepted = edge.worker.reception._column.connections
    edge.worker.drain()
    served = [
        answer for answer in await asyncio.gather(*answers, return_exceptions=True) if isinstance(answer, bytes) and answer
    ]
    assert len(served) >= accepted
    for answer in served:
        assert fields(answer)[0] == 200


@pytest.mark.usefixtures("graceful")
async def test_a_visitor_on_port_80_who_was_accepted_before_the_drain_is_answered(edge: Edge):
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
    await until(lambda: edge.worker.connections)
    edge.worker.drain()
    writer.write(b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 308")
    writer.close()


@pytest.mark.usefixtures("graceful")
async def test_a_kept_connection_is_told_of_the_drain_with_its_next_answer(edge: Edge):
    reader, writer = await edge.connect("gallery.test")
    writer.write(REQUEST)
    assert (await asyncio.wait_for(reader.readuntil(b"hello"), 60)).startswith(b"HTTP/1.1 200 OK")
    edge.worker.drain()
    writer.write(REQUEST)
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()


async def test_what_does_not_end_in_time_is_cut(edge: Edge, script: Script):
    edge.worker.timeouts = patient(drain=0.5)
    await slow(script, asyncio.Event())
    reader, writer = await edge.connect("gallery.test")
    writer.write(REQUEST)
    await until(lambda: script.heads)
    edge.channel.send(Drain())
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_a_worker_without_a_supervisor_drains(edge: Edge):
    edge.channel.close()
    await until(lambda: edge.worker.draining)


async def test_the_controller_is_greeted_and_told_each_second(edge: Edge):
    await edge.exchange("gallery.test", GET)
    await until(lambda: any(isinstance(m, Report) and m.counters.get("requests_total|2xx|h1") for m in edge.asked))
    assert isinstance(edge.asked[0], Greeting)
    report = next(m for m in reversed(edge.asked) if isinstance(m, Report))
    assert report.counters["handshakes_total|full"] == 1
    assert report.counters["map_lookups_total|miss"] == 1


async def test_a_route_from_the_gate_past_its_time_is_served_and_asked_for_again_once(edge: Edge):
    edge.add_certificate("gated", "gate.test")
    edge.publish(("sites", "gate.test", Site(workspace="w", certificate="gated", source="gate", fresh_until=1.0)))
    raw = GET.replace(b"gallery", b"gate")
    for _ in range(3):
        assert fields(await edge.exchange("gate.test", raw))[0] == 200
    await until(lambda: any(isinstance(m, Refresh) for m in edge.asked))
    assert [m.hostname for m in edge.asked if isinstance(m, Refresh)] == ["gate.test"]


async def test_a_map_that_is_made_anew_is_found(edge: Edge, script: Script):
    assert fields(await edge.exchange("gallery.test", GET))[0] == 200
    edge.replace_map(("sites", "gallery.test", Site(workspace="moved", certificate="cert-gallery.test")))
    await until(lambda: edge.worker.reader.site("gallery.test") == Site(workspace="moved", certificate="cert-gallery.test"))
    async with asyncio.timeout(60):
        while b"workspace-id: moved" not in (script.heads[-1] if script.heads else b""):
            await edge.exchange("gallery.test", GET)


async def test_request_ids_are_unique(edge: Edge):
    assert len({edge.worker.next_request_id() for _ in range(1000)}) == 1000


async def test_of_many_connections_each_has_its_turn(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    class Late:
        deadline = write_deadline = -1.0

        def expired(self) -> None:
            ended.append(self)
            del edge.worker.connections[self]  # type: ignore[arg-type]

    ended: list[Late] = []
    many = [Late() for _ in range(5)]
    monkeypatch.setattr(worker, "SWEEP_MOST", 2)
    monkeypatch.setattr(worker, "SWEEP_SLICE", 1e9)  # the worker's own sweeps do not come between
    for late in many:
        edge.worker.connections[late] = None  # type: ignore[index]
    for most in (2, 4, 5):
        await edge.worker._expire(0.0)
        assert ended == many[:most]  # the oldest first


@pytest.mark.parametrize(("setting", "value", "least"), [("SWEEP_SLICE", -1.0, 10), ("SWEEP_ENDED", 1, 5)])
async def test_many_that_end_together_do_not_keep_others_waiting(
    edge: Edge, setting: str, value: float, least: int, monkeypatch: pytest.MonkeyPatch
):
    class Slow:
        deadline = write_deadline = -1.0
        expirations = 0

        def expired(self) -> None:
            Slow.expirations += 1
            gone = list(edge.worker.connections)[-1]
            del edge.worker.connections[gone]  # each takes another one along

    monkeypatch.setattr(worker, "SWEEP_SECONDS", 3600.0)
    swept = edge.worker.now
    await until(lambda: edge.worker.now > swept)  # the last of the worker's own, which would come between
    monkeypatch.setattr(worker, setting, value)
    for _ in range(10):
        edge.worker.connections[Slow()] = None  # type: ignore[index]
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        edge.worker.loop.call_soon(turn)

    turn()
    await edge.worker._expire(0.0)
    edge.worker.connections.clear()
    assert Slow.expirations == 5  # nobody who had ended meanwhile
    assert turns >= least
