"""How slow a client may be, on either side, over either protocol: it has its time, and a byte now and then gains it nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import h2.errors
import pytest

from edgeproxy.edge import pace
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.front2 import Front2
from edgeproxy.limits import Limits
from edgeproxy.units import Size
from tests.edge import client1, client2
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with, patient, until

SHORT = patient(client_body=0.3, write=0.3)
LOOK = 16
"""Seconds after which the streams of a connection are looked at, once their deadlines are short."""
LARGE = 30_000_000


def test_who_brings_bytes_faster_than_they_gain_time_is_never_too_slow() -> None:
    due, byte = 30.0, pace.byte_seconds(256)
    for second in range(1000):
        due = pace.put_off(due, float(second), 256, byte, 30.0)
        assert due > second


def test_who_brings_a_byte_now_and_then_is_soon_too_slow() -> None:
    due, byte = 30.0, pace.byte_seconds(256)
    late = next(now for now in range(1000) if (due := pace.put_off(due, float(now), 1, byte, 30.0)) < now)
    assert late == 31


def test_nobody_saves_time_for_later() -> None:
    assert pace.put_off(30.0, 1.0, 10**9, pace.byte_seconds(256), 30.0) == 31.0


def test_who_brings_nothing_gains_nothing() -> None:
    assert pace.put_off(30.0, 29.0, 0, math.inf, 30.0) == 30.0
    assert not pace.enough(0, math.inf, 30.0)


def test_without_a_rate_any_byte_will_do() -> None:
    assert pace.put_off(30.0, 29.0, 1, pace.byte_seconds(0), 30.0) == 59.0
    assert pace.enough(1, pace.byte_seconds(0), 30.0)


@pytest.mark.parametrize(("taken", "enough"), [(256 * 30, True), (256 * 30 - 1, False), (math.inf, True)])
def test_what_was_taken_is_compared_with_the_time_that_it_took(taken: float, enough: bool) -> None:
    assert pace.enough(taken, pace.byte_seconds(256), 30.0) == enough


def slow(edge: Edge, what: str) -> float:
    """How often a client was too slow with this."""
    return edge.worker.access.snapshot({}).get(f"timeouts_total|{what}", 0)


def idle_at_the_origin(edge: Edge) -> bool:
    """Whether no request holds a connection to the origin."""
    return not any(each.borrower for pool in edge.worker._pools.values() for each in pool.open)


# Uploads


async def test_an_upload_byte_by_byte_holds_no_origin(edge: Edge, script: Script) -> None:
    async with client1.connected(edge) as client:
        client.send(client1.request(b"POST /", b"Content-Length: 1000000"))
        await until(lambda: script.heads)
        edge.worker.timeouts = SHORT
        answer = asyncio.ensure_future(client.answer())
        async with asyncio.timeout(60):
            while not answer.done():
                client.send(b"x")
                await asyncio.sleep(0.05)
        assert answer.result().status == 408
        assert slow(edge, "client_body") == 1
        await until(lambda: idle_at_the_origin(edge))


async def test_an_upload_byte_by_byte_over_http2_holds_no_origin(edge: Edge, script: Script) -> None:
    async with client2.connected(edge) as client:
        number = client.request(client2.get(method="POST"))
        await until(lambda: script.heads)
        edge.worker.timeouts = SHORT
        await edge.elapse(LOOK)
        answer = asyncio.ensure_future(client.answer(number))
        async with asyncio.timeout(60):
            while not client.answers[number].status:
                client.send(number, b"x")
                await asyncio.sleep(0.05)
        assert (await answer).status == 408
        assert slow(edge, "client_body") == 1
        await until(lambda: idle_at_the_origin(edge))


async def test_time_for_which_the_origin_holds_an_upload_up_is_not_the_clients(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    script, port = origin
    go = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        head = await script.read_head(reader)
        transport = cast(asyncio.Transport, writer.transport)
        transport.pause_reading()
        await go.wait()
        transport.resume_reading()
        script.bodies.append(await script.read_body(head, reader))
        writer.write(script.response)

    script.handler = handler
    edge = edge_with(tmp_path, maps, port)
    async with edge.running(), client1.connected(edge) as client:
        client.send(client1.request(b"PUT /", b"Content-Length: 8000000"))
        await until(lambda: script.heads)
        (connection,) = edge.worker.connections
        client.send(bytes(8_000_000))
        await until(lambda: connection.deadline == math.inf)
        go.set()
        assert (await client.answer()).status == 200


async def test_the_streams_of_a_connection_share_what_its_line_can_bring(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], limits=Limits(client_rate=Size(1000)))
    async with edge.running(), client2.connected(edge) as client:
        numbers = [client.request(client2.get(method="POST")) for _ in range(10)]
        (connection,) = cast(list[Connection], list(edge.worker.connections))
        await until(lambda: connection.front)
        front = cast(Front2, connection.front)
        await until(lambda: len(front.streams) == 10 and not any(each.incoming.held for each in front.streams.values()))  # type: ignore[union-attr]
        front.expired()
        streams = list(front.streams.values())
        for stream in streams:
            stream.incoming.due = edge.worker.now + 1  # type: ignore[union-attr]
        for number in numbers:
            client.send(number, bytes(100))
        await until(lambda: all(each.bytes_in == 100 for each in streams))  # type: ignore[union-attr]
        before = [each.incoming.due for each in streams]  # type: ignore[union-attr]
        front.expired()
        # 100 bytes are a tenth of a second alone, and a second for one of ten.
        gained = [each.incoming.due - due for each, due in zip(streams, before, strict=True)]  # type: ignore[union-attr]
        assert gained == pytest.approx([1.0] * 10)


# Answers


async def test_an_answer_taken_byte_by_byte_over_http2_is_given_up(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    async with client2.connected(edge, auto=False) as client:
        client.state.increment_flow_control_window(10_000_000)
        number = client.request(client2.get("/large"), b"")
        answer = client.answers[number]
        await client.until(lambda: len(answer.content) == 65535)
        client.state.increment_flow_control_window(1, number)
        client.flush()
        await client.until(lambda: len(answer.content) == 65536)
        edge.worker.timeouts = SHORT
        await edge.elapse(LOOK)
        async with asyncio.timeout(60):
            while answer.reset is None:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    client.state.increment_flow_control_window(1, number)
                client.flush()
                await asyncio.sleep(0.05)
        assert answer.reset == h2.errors.ErrorCodes.CANCEL
        assert slow(edge, "write") == 1
        await until(lambda: idle_at_the_origin(edge))


@contextlib.asynccontextmanager
async def stalled(edge: Edge) -> AsyncIterator[tuple[ssl.SSLSocket, Connection]]:
    """A client that asked for much and has read nothing yet."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    def ask() -> ssl.SSLSocket:
        plain.settimeout(30)
        plain.connect(("127.0.0.1", edge.port))
        sock = edge.client_context("http/1.1").wrap_socket(plain, server_hostname="gallery.test")
        sock.sendall(client1.request(b"GET /"))
        return sock

    with await asyncio.to_thread(ask) as sock:
        await until(lambda: any(cast(Connection, each).full for each in edge.worker.connections))
        (connection,) = edge.worker.connections
        yield sock, cast(Connection, connection)


def take(sock: ssl.SSLSocket, amount: int) -> None:
    while amount > 0:
        amount -= len(sock.recv(min(amount, 16384)))


@pytest.mark.parametrize(("rate", "kept"), [(1, True), (0, True), (1024 * 1024, False)])
async def test_who_takes_an_answer_slowly_but_steadily_gets_it_and_who_is_slower_does_not(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], rate: int, kept: bool
) -> None:
    origin[0].response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE)
    edge = edge_with(tmp_path, maps, origin[1], limits=Limits(client_rate=Size(rate)))
    async with edge.running(), stalled(edge) as (sock, connection):
        connection.write_deadline = 0.0
        await until(lambda: connection.write_deadline > edge.worker.now)  # looked at once: from now on it is measured
        assert connection.full
        await asyncio.to_thread(take, sock, 500_000)  # 17 KB for each second of the half minute that it counts as
        if connection.full:  # the kernel may hold more than that
            connection.write_deadline = 0.0
            await until(lambda: connection.closing or connection.write_deadline > edge.worker.now)
            assert connection.closing != kept
            assert slow(edge, "write") == (not kept)
            connection.write_deadline = 0.0
            await until(lambda: connection.closing)  # it has taken nothing since
            assert slow(edge, "write") == 1
            await until(lambda: not edge.worker.connections)
            await until(lambda: idle_at_the_origin(edge))
