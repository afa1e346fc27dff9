"""What a worker leaves to the cyclic collector: nothing, however its visitors and origins come and end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import pytest

import edgeproxy
from edgeproxy.edge.collector import CONNECTIONS, CONTEXTS, LOOK_SECONDS, NEVER, ROUTES, YOUNG, Collector
from tests.edge import client1, client2
from tests.edge.client1 import request
from tests.edge.client2 import get
from tests.edge.harness import Edge, Reader, Script, Writer, refused, until

PROGRAM = str(Path(edgeproxy.__file__).parent)


@contextlib.contextmanager
def collected() -> Iterator[list[object]]:
    """What the collector finds of the program's own that came to be meanwhile."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    found: list[object] = []
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [each for each in gc.garbage if ours(each)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.set_threshold(*thresholds)
        gc.enable()


def ours(thing: object) -> bool:
    """Whether it is an object of the program's, or a frame of its code."""
    code = getattr(thing, "__code__", None) or getattr(thing, "gi_code", None) or getattr(thing, "cr_code", None)
    if isinstance(thing, TracebackType):
        code = thing.tb_frame.f_code
    elif isinstance(thing, FrameType):
        code = thing.f_code
    if isinstance(code, CodeType):
        return code.co_filename.startswith(PROGRAM)
    return type(thing).__module__.partition(".")[0] == "edgeproxy"


Doing = Callable[[Edge, Script], Awaitable[None]]


async def kept(edge: Edge, script: Script) -> None:
    async with client1.connected(edge) as client:
        for _ in range(3):
            assert (await client.get()).status == 200
        assert (await client.get(host=b"nobody.test")).status in {404, 421}
        client.send(request(b"HEAD /"))


async def uploads(edge: Edge, script: Script) -> None:
    async with client1.connected(edge) as client:
        client.send(request(b"POST /", b"Content-Length: 5", body=b"hello"))
        assert (await client.answer()).status == 200
        chunked = b"5\r\nhello\r\n0\r\n\r\n"
        client.send(request(b"POST /", b"Transfer-Encoding: chunked", body=chunked))
        assert (await client.answer()).status == 200
        script.response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
        assert (await client.get()).body == b"hello"


async def http2(edge: Edge, script: Script) -> None:
    async with client2.connected(edge) as client:
        numbers = [client.request(get(), b"") for _ in range(3)]
        numbers.append(client.request(get(method="POST"), b"hello"))
        for number in numbers:
            assert (await client.answer(number)).status == 200
        open_one = client.request(get(method="POST"))
        client.state.reset_stream(open_one)
        client.flush()
        last = client.request(get(), b"")
        assert (await client.answer(last)).status == 200


async def websocket(edge: Edge, script: Script) -> None:
    async def echo(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        writer.write(await reader.readexactly(5))

    script.handler = echo
    async with client1.connected(edge) as client:
        client.send(request(b"GET /ws", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: abc"))
        await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 60)
        client.send(b"hello")
        assert await asyncio.wait_for(client.reader.readexactly(5), 60) == b"hello"


async def refusals(edge: Edge, script: Script) -> None:
    assert await refused(edge, "nobody.example")
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(said)
        if said:
            await asyncio.wait_for(reader.read(), 60)
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
    writer.write(b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 308 ")
    writer.close()
    async with client1.connected(edge) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: gallery.test\r\nBad Header: x\r\n\r\n")
        assert (await client.answer()).status == 400


async def aborts(edge: Edge, script: Script) -> None:
    """Clients that reset their connection: in the handshake, while they wait for an answer, while they send."""

    async def silent(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await reader.read()

    script.handler = silent

    def reset(*said: bytes) -> None:
        with contextlib.closing(socket.create_connection(("127.0.0.1", edge.port), 30)) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if said:
                context = edge.client_context("http/1.1")
                with context.wrap_socket(plain, server_hostname="gallery.test") as client:
                    heads = len(script.heads)
                    client.sendall(b"".join(said))
                    while len(script.heads) == heads:
                        pass
            else:
                plain.sendall(b"\x16\x03\x01\x02\x00\x01")

    await asyncio.to_thread(reset)
    await asyncio.to_thread(reset, request(b"GET /"))
    await asyncio.to_thread(reset, request(b"POST /", b"Content-Length: 100", body=b"hello"))


async def timeouts(edge: Edge, script: Script) -> None:
    """Clients that say nothing, half a head and half a body, and an origin that does not answer."""

    async def silent(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await reader.read()

    script.handler = silent
    said = b"", b"GET / HTT", request(b"POST /", b"Content-Length: 100", body=b"hello"), request(b"GET /")
    clients = [await edge.connect("gallery.test") for _ in said]
    plain = await asyncio.open_connection("127.0.0.1", edge.port)
    for (_, writer), text in zip(clients, said, strict=True):
        writer.write(text)
    await until(lambda: script.heads and len(edge.worker.connections) == len(said) + 1)
    await edge.elapse(10_000)
    assert b" 504 " in await asyncio.wait_for(clients[-1][0].readline(), 60)
    for _, writer in (*clients, plain):
        writer.transport.abort()


async def origins(edge: Edge, script: Script) -> None:
    """Origins that close at once, that say something else than HTTP, that end too early, that are not there."""
    for said in (b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"):

        async def handler(reader: Reader, writer: Writer, said: bytes = said) -> None:
            await script.read_head(reader)
            writer.write(said)

        script.handler = handler
        async with client1.connected(edge) as client:
            client.send(request(b"GET /"))
            assert (await client.answer()).status in {200, 502}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        edge.add_site("away.test", "w", origin=f"http://127.0.0.1:{unused.getsockname()[1]}")
    async with client1.connected(edge, "away.test") as client:
        assert (await client.get(host=b"away.test")).status == 502


@pytest.mark.parametrize("doing", [kept, uploads, http2, websocket, refusals, aborts, timeouts, origins])
async def test_nothing_is_left_to_the_collector(edge: Edge, script: Script, doing: Doing) -> None:
    async with client1.connected(edge) as client:
        assert (await client.get()).status == 200
    await until(lambda: not edge.worker.connections)
    with collected() as found:
        await doing(edge, script)
        await until(lambda: not edge.worker.connections and edge.worker.reception.empty)
        for pool in edge.worker._pools.values():
            pool.close()
        await until(lambda: not any(pool.open or pool._connecting for pool in edge.worker._pools.values()))
        await asyncio.sleep(0.05)
    assert found == []


async def test_what_the_collector_would_find_is_seen() -> None:
    with collected() as found:
        one = Collector()
        one.itself = one  # type: ignore[attr-defined]
        del one
    assert [type(each) for each in found] == [Collector]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of Python's collector."""
    asked: list[Any] = []
    monkeypatch.setattr(gc, "collect", lambda: asked.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: asked.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: asked.append(numbers))
    return asked


def test_only_what_is_new_is_looked_at_by_itself(looks: list[Any]) -> None:
    Collector().begin(0.0)
    assert looks == ["collect", "freeze", (YOUNG, NEVER, NEVER)]


def test_everything_is_looked_at_now_and_then_where_that_is_little(looks: list[Any]) -> None:
    found = Collector()
    found.begin(1000.0)
    looks.clear()
    found.beat(1000.0 + LOOK_SECONDS / 2, 0, 0, 0)
    later = 1000.0 + LOOK_SECONDS
    found.beat(later, CONNECTIONS + 1, 0, 0)
    found.beat(later, 0, ROUTES + 1, 0)
    found.beat(later, 0, 0, CONTEXTS + 1)
    assert looks == []
    found.beat(later, CONNECTIONS, ROUTES, CONTEXTS)
    found.beat(later + 1, 0, 0, 0)
    assert looks == ["collect"]
