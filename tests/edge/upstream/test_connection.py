"""A connection to an origin: how it ends, how long it may take, and what is still read of one that broke."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edgeproxy.config.structs import Timeouts
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.units import Duration
from tests.edge.client2 import Client2, connected, get
from tests.edge.harness import Edge, MapProcess, Script, config_for, fields, listener

GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


class Upload:
    """A request with a large body, sent bit by bit."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.complete = False

    async def send(self, data: bytes) -> None:
        """More of the body."""
        raise NotImplementedError

    async def go_on(self, piece: bytes) -> None:
        """Sends until the answer has come, or its end."""
        async with asyncio.timeout(30):
            while not await self.ended():
                with contextlib.suppress(ConnectionError):
                    await self.send(piece)
                await asyncio.sleep(0.01)

    async def ended(self) -> bool:
        """Whether the answer is complete, or will never be."""
        raise NotImplementedError


class Upload1(Upload):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
        super().__init__()
        self.writer = writer
        writer.write(b"PUT / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: %d\r\n\r\n" % length)
        self._answer = asyncio.ensure_future(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                got += piece
        self.status, found, self.body = fields(got)
        if b"transfer-encoding" in found:
            self.complete = self.body.endswith(b"0\r\n\r\n")
            self.body = b"".join(self.body.split(b"\r\n")[1:-1:2])
        else:
            self.complete = len(self.body) == int(found[b"content-length"])

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> bool:
        return self._answer.done()


class Upload2(Upload):
    def __init__(self, client: Client2, length: int) -> None:
        super().__init__()
        self.client = client
        self.number = client.request([*get(method="PUT"), (b"content-length", b"%d" % length)])

    async def send(self, data: bytes) -> None:
        if self.client.state.local_flow_control_window(self.number) >= len(data):
            self.client.send(self.number, data)

    async def ended(self) -> bool:
        answer = self.client.answers[self.number]
        self.status, self.body, self.complete = answer.status, answer.body, answer.complete
        return answer.complete or answer.reset is not None


@contextlib.asynccontextmanager
async def uploading(edge: Edge, protocol: str, length: int) -> AsyncIterator[Upload]:
    if protocol == "h2":
        async with connected(edge) as client:
            yield Upload2(client, length)
    else:
        reader, writer = await edge.connect("gallery.test")
        yield Upload1(reader, writer, length)
        writer.close()


@pytest.fixture
async def plain(tmp_path: Path, maps: MapProcess) -> AsyncIterator[tuple[Edge, socket.socket]]:
    """A worker, and the bare listening socket of its origin."""
    with listener() as ours:
        ours.setblocking(False)
        edge = Edge(tmp_path, config_for(ours.getsockname()[1]), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            yield edge, ours


def to_origin(edge: Edge) -> OriginConnection:
    """The worker's only connection to its origin."""
    ((found,),) = [pool.open for pool in edge.worker._pools.values()]
    return found


SMALL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
CHUNKED = b"HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n"
LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
UNTIL_CLOSE = b"HTTP/1.0 413 Content Too Large\r\n\r\nbig"


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize(
    ("answer", "in_order", "body"),
    [(SMALL, False, b"big"), (CHUNKED, False, b"big"), (LARGE, False, b"x" * 50_000), (UNTIL_CLOSE, True, b"big")],
    ids=["small", "chunked", "large", "until close"],
)
async def test_an_early_answer_reaches_the_client_though_the_upload_cannot_be_written_any_more(
    plain: tuple[Edge, socket.socket], protocol: str, answer: bytes, in_order: bool, body: bytes
) -> None:
    edge, ours = plain
    async with uploading(edge, protocol, 10_000_000) as upload:
        await close_early(edge, ours, upload, answer, in_order=in_order)
        await upload.go_on(bytes(500))
        assert (upload.status, upload.body, upload.complete) == (413, body, True)
    await until(lambda: not any(pool.open for pool in edge.worker._pools.values()))


async def close_early(edge: Edge, ours: socket.socket, upload: Upload, answer: bytes, *, in_order: bool) -> None:
    """The origin answers and closes; what it has not read of the upload makes that a reset, but for `in_order`. The edge is
    kept from reading before it writes the next time, as happens by chance when both come at once."""
    loop = asyncio.get_running_loop()
    origin, _ = await loop.sock_accept(ours)
    with origin:
        origin.setblocking(False)
        await upload.send(bytes(500))
        got = b""
        while not got.endswith(bytes(500)):
            got += await loop.sock_recv(origin, 65536)
        if not in_order:
            await upload.send(bytes(500))
            while not await loop.run_in_executor(None, readable, origin):
                pass
        to_origin(edge).transport.pause_reading()
        origin.sendall(answer)


def readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("protocol", ["h1", "h2"])
async def test_a_body_that_only_the_reset_has_ended_is_not_complete(plain: tuple[Edge, socket.socket], protocol: str) -> None:
    edge, ours = plain
    async with uploading(edge, protocol, 10_000_000) as upload:
        await close_early(edge, ours, upload, UNTIL_CLOSE, in_order=False)
        await upload.go_on(bytes(500))
        assert (upload.status, upload.body, upload.complete) == (413, b"big", False)


@pytest.mark.parametrize("protocol", ["h1", "h2"])
async def test_an_origin_that_breaks_off_an_upload_without_an_answer_is_a_502(
    plain: tuple[Edge, socket.socket], protocol: str
) -> None:
    edge, ours = plain
    async with uploading(edge, protocol, 10_000_000) as upload:
        await close_early(edge, ours, upload, b"", in_order=False)
        await upload.go_on(bytes(500))
        assert (upload.status, upload.complete) == (502, True)


async def test_a_client_that_takes_a_large_early_answer_slowly_gets_all_of_it(plain: tuple[Edge, socket.socket]) -> None:
    edge, ours = plain
    async with connected(edge, auto=False) as client:
        upload = Upload2(client, 10_000_000)
        client.state.increment_flow_control_window(10_000_000)
        body = b"y" * 90_000
        await close_early(edge, ours, upload, b"HTTP/1.1 413 Too Large\r\nContent-Length: 90000\r\n\r\n" + body, in_order=False)
        answer = client.answers[upload.number]
        while len(answer.content) < 65535:
            await upload.send(bytes(500))
            await asyncio.sleep(0.01)
        assert not answer.complete
        client.acknowledge(upload.number, 65535)
        assert (await client.answer(upload.number)).body == body


def short(**changes: float) -> Timeouts:
    return Timeouts(drain=Duration(1), **{name: Duration(value) for name, value in changes.items()})


async def dripping(script: Script, data: bytes, pause: float, answer: bytes = b"") -> None:
    """An origin that sends these bytes again and again, one at a time."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(answer)
        while True:
            for byte in data:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(pause)

    script.handler = handler


async def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_any_other(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
) -> None:
    script, port = origin
    await dripping(script, b"a", 0.1, b"HTTP/1.1 200 OK\r\nX-Long: ")
    edge = Edge(tmp_path, config_for(port, timeouts=short(origin_response=1)), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        began = time.monotonic()
        status, _, _ = fields(await edge.exchange("gallery.test", GET))
        assert (status, time.monotonic() - began < 20) == (504, True)


async def test_a_body_that_comes_byte_by_byte_may_take_its_time(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
) -> None:
    script, port = origin

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.3)
            writer.write(b"x")

    script.handler = handler
    edge = Edge(tmp_path, config_for(port, timeouts=short(origin_response=1.5)), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        assert fields(await edge.exchange("gallery.test", GET))[2] == b"x" * 10


async def test_interim_heads_that_come_bit_by_bit_are_bounded_together(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
) -> None:
    script, port = origin
    await dripping(script, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", 0)
    edge = Edge(tmp_path, config_for(port), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        answer = await edge.exchange("gallery.test", GET)
        interim, _, last = answer.partition(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert last
        assert 0 < len(interim) <= edge.worker.limits.response_head
