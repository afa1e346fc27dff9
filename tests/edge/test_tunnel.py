"""WebSockets over HTTP/1.1: bytes both ways, and how they end."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import cast

import pytest

from edgeproxy.edge.connection import Connection
from edgeproxy.edge.tunnel import Tunnel, websocket_key
from tests.edge.client1 import Client1, connected, half_closed, request
from tests.edge.harness import Edge, Reader, Script, Writer, to_origin, until

UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: abc")
OPENED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\n"
ASK = request(b"GET /ws", *UPGRADE)


def echoing(script: Script, early: bytes = b"") -> None:
    """The origin opens the WebSocket, says something and then what it hears; `bye` ends it."""

    async def echo(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(OPENED + early)
        while (data := await reader.read(65536)) and data != b"bye":
            writer.write(data)
        script.bodies.append(data)

    script.handler = echo


async def opened(client: Client1) -> bytes:
    """The head of the answer to ASK."""
    client.send(ASK)
    return await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 60)


def front(edge: Edge) -> Tunnel:
    """The only client's."""
    (connection,) = edge.worker.connections
    found = cast(Connection, connection).front
    assert isinstance(found, Tunnel)
    return found


def test_every_key_is_another_one_of_sixteen_bytes() -> None:
    keys = {websocket_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}


async def test_a_websocket_carries_bytes_both_ways(edge: Edge, script: Script) -> None:
    echoing(script, b"early")
    async with connected(edge) as client:
        head = await opened(client)
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\nX-A: b\r\n")
        assert head.count(b"pgrade: websocket\r\n") == 1
        assert await client.reader.readexactly(5) == b"early"
        data = bytes(range(256)) * 2000
        client.send(data)
        assert await asyncio.wait_for(client.reader.readexactly(len(data)), 60) == data
        assert not front(edge).idle
    assert b"upgrade: websocket\r\n" in script.heads[0]
    assert b"Sec-WebSocket-Key: abc\r\n" in script.heads[0]


async def test_what_a_client_says_before_the_websocket_is_open_goes_through_it(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def late(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await go.wait()
        writer.write(OPENED)
        writer.write((await reader.readexactly(5)).upper())

    script.handler = late
    async with connected(edge) as client:
        client.send(ASK + b"early")
        await until(lambda: script.heads)
        go.set()
        assert (await client.ended()).endswith(b"\r\n\r\nEARLY")


async def test_a_refused_websocket_is_an_ordinary_answer(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    async with connected(edge) as client:
        for _ in range(2):
            client.send(ASK)
            answer = await client.answer()
            assert (answer.status, answer.body, answer.field(b"connection")) == (403, b"no", None)


# The end


async def test_an_origin_that_closes_ends_the_websocket_behind_its_last_words(edge: Edge, script: Script) -> None:
    async def last_words(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(OPENED + b"x" * 300_000)

    script.handler = last_words
    async with connected(edge) as client:
        await opened(client)
        assert await client.ended() == b"x" * 300_000
    await until(lambda: edge.worker.access.snapshot({}).get("requests_total|1xx|ws") == 1)


async def test_a_client_that_leaves_ends_the_websocket_at_the_origin(edge: Edge, script: Script) -> None:
    echoing(script)
    async with connected(edge) as client:
        await opened(client)
        client.transport.abort()
        await until(lambda: script.bodies == [b""])
    assert edge.worker.access.snapshot({}).get("requests_total|1xx|ws") == 1


@pytest.mark.parametrize("early", [True, False])
async def test_a_client_that_ends_its_side_has_left(edge: Edge, script: Script, early: bool) -> None:
    go = asyncio.Event()

    async def hello(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        if early:  # before the WebSocket is open
            await go.wait()
        writer.write(OPENED + b"hello")
        script.bodies.append(await reader.read())

    script.handler = hello
    answer = asyncio.ensure_future(half_closed(edge, ASK, until_said=b"" if early else b"hello"))
    await until(lambda: script.heads)
    await asyncio.sleep(0.1)
    go.set()
    assert (await answer).startswith(b"HTTP/1.1 101 ")
    await until(lambda: script.bodies == [b""])


async def test_a_websocket_outlives_draining_as_long_as_that_may_take(edge: Edge, script: Script) -> None:
    echoing(script)
    async with connected(edge) as client:
        await opened(client)
        front(edge).drain()
        client.send(b"still")
        assert await asyncio.wait_for(client.reader.readexactly(5), 60) == b"still"
        client.send(b"bye")
        assert await client.ended() == b""


async def test_what_a_websocket_carried_is_counted_once(edge: Edge, script: Script) -> None:
    told: list[tuple[object, ...]] = []
    edge.worker.record = lambda over: told.append((over.status, over.tunnel, over.bytes_in, over.bytes_out, over.error))
    echoing(script, b"early")
    async with connected(edge) as client:
        await opened(client)
        client.send(b"12345678")
        await asyncio.wait_for(client.reader.readexactly(13), 60)
        client.send(b"bye")
        await client.ended()
    assert told == [(101, True, 11, 13, "")]


# Time


async def test_a_quiet_websocket_outlives_the_time_that_an_answer_may_take(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def late(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        await go.wait()
        writer.write(b"late")
        await reader.read()

    script.handler = late
    async with connected(edge) as client:
        await opened(client)
        timeouts = edge.worker.timeouts
        for _ in range(2):
            await edge.elapse(max(timeouts.origin_response, timeouts.idle, timeouts.client_body, timeouts.write) + 1)
        go.set()
        assert await asyncio.wait_for(client.reader.readexactly(4), 60) == b"late"


async def test_a_websocket_on_which_nobody_says_anything_is_ended(edge: Edge, script: Script) -> None:
    echoing(script)
    async with connected(edge) as client:
        await opened(client)
        for _ in range(4):  # what either side says counts
            await edge.elapse(edge.worker.timeouts.tunnel_idle / 2)
            client.send(b"x")
            assert await asyncio.wait_for(client.reader.readexactly(1), 60) == b"x"
        await edge.elapse(edge.worker.timeouts.tunnel_idle + 1)
        assert await client.ended() == b""
        await until(lambda: script.bodies == [b""])


# Who takes nothing


async def test_a_client_that_does_not_read_stalls_the_origin(edge: Edge, script: Script) -> None:
    sent = 0

    async def endless(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await script.read_head(reader)
        writer.write(OPENED)
        while True:
            writer.write(bytes(50_000))
            await writer.drain()
            sent += 50_000

    script.handler = endless
    async with connected(edge) as client:
        await opened(client)
        client.transport.pause_reading()
        last = await settled(lambda: sent)
        (connection,) = edge.worker.connections
        assert connection.transport.get_write_buffer_size() < 256 * 1024
        client.transport.resume_reading()
        async with asyncio.timeout(60):
            while sent == last:
                await client.reader.read(65536)
        client.transport.abort()


async def test_an_origin_that_does_not_read_stalls_the_client(edge: Edge, script: Script) -> None:
    go = asyncio.Event()
    size = 20_000_000

    async def slow(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(OPENED)
        transport = cast(asyncio.Transport, writer.transport)
        transport.pause_reading()
        await go.wait()
        transport.resume_reading()
        script.bodies.append(await reader.readexactly(size))

    script.handler = slow
    async with connected(edge) as client:
        await opened(client)
        client.send(bytes(size))
        (connection,) = edge.worker.connections
        await until(lambda: not cast(Connection, connection)._reading)
        assert to_origin(edge).transport.get_write_buffer_size() < 256 * 1024
        go.set()
        assert await client.ended() == b""
    assert script.bodies == [bytes(size)]


async def settled(value: Callable[[], int]) -> int:
    """Waits until a number stands still that is not 0."""

    last = -1
    async with asyncio.timeout(60):
        while (now := value()) != last or not now:
            last = now
            await asyncio.sleep(0.3)
    return last
