"""What is left in the kernel of a connection that broke: read to its end, at the reader's pace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from edgeproxy.edge.upstream.remains import Remains
from tests.edge.client2 import Client2, connected, get
from tests.edge.harness import Edge, MapProcess, Reader, Writer, config_for, fields, listener, to_origin, until


class Remaining(asyncio.BufferedProtocol):
    """Reads 1000 bytes at once; goes over to the remains when its connection breaks, and pauses at `pause_at` bytes."""

    def __init__(self, pause_at: int = -1) -> None:
        self.buffer = bytearray(1000)
        self.pause_at = pause_at
        self.got = b""
        self.ended = 0
        self.within = False
        self.broken: Exception | None = None
        self.remains: Remains | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.buffer[:nbytes]
        self.pause()

    def pause(self) -> None:
        if len(self.got) == self.pause_at and self.remains is not None:
            self.remains.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = exc
        loop = asyncio.get_running_loop()
        self.remains = Remains(loop, self.transport, lambda: self.get_buffer(-1), self.buffer_updated, self.end)
        self.pause()

    def end(self) -> None:
        assert not self.within
        self.ended += 1


async def broken(said: bytes, pause_at: int = -1) -> Remaining:
    """A reader whose peer said this and reset the connection, which the reader has learnt by writing."""
    loop = asyncio.get_running_loop()
    with listener() as ours:
        reader = Remaining(pause_at)
        transport, _ = await loop.create_connection(lambda: reader, *ours.getsockname())
        transport.pause_reading()
        peer, _ = await asyncio.to_thread(ours.accept)
        with peer:
            transport.write(b"unread")
            await asyncio.to_thread(peer.recv, 1, socket.MSG_PEEK)
            peer.sendall(said)
        async with asyncio.timeout(60):
            while reader.remains is None:
                transport.write(b"more")
                await asyncio.sleep(0.01)
    return reader


async def test_everything_is_read_that_came_before_the_end() -> None:
    reader = await broken(b"x" * 20_500)
    await until(lambda: reader.ended)
    assert (reader.got, reader.ended) == (b"x" * 20_500, 1)
    assert isinstance(reader.broken, ConnectionError)
    assert reader.remains is not None
    assert reader.remains.is_closing()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader.remains._descriptor)


@pytest.mark.parametrize("pause_at", [0, 1000, 2500])
async def test_the_pace_is_the_readers(pause_at: int) -> None:
    reader = await broken(b"x" * 2500, pause_at)
    assert reader.remains is not None
    await until(lambda: len(reader.got) == pause_at)
    await asyncio.sleep(0.1)
    assert (len(reader.got), reader.ended) == (pause_at, 0)
    reader.remains.resume_reading()
    reader.remains.resume_reading()
    await until(lambda: reader.ended)
    assert (len(reader.got), reader.ended) == (2500, 1)


async def test_what_is_written_is_dropped() -> None:
    reader = await broken(b"x")
    remains = reader.remains
    assert remains is not None
    remains.write(b"y")
    remains.set_write_buffer_limits(high=1)
    assert remains.get_write_buffer_size() == 0
    await until(lambda: reader.ended)


async def test_the_rest_may_be_thrown_away() -> None:
    reader = await broken(b"x" * 2500, 1000)
    remains = reader.remains
    assert remains is not None
    await until(lambda: reader.got)
    remains.resume_reading()
    reader.within = True
    remains.abort()
    remains.close()
    reader.within = False
    await until(lambda: reader.ended)
    await asyncio.sleep(0.05)
    assert (reader.ended, len(reader.got)) == (1, 1000)


async def test_without_a_descriptor_there_are_none() -> None:
    class Gone:
        def get_extra_info(self, _name: str) -> socket.socket:
            sock = socket.socket()
            sock.close()
            return sock

    with pytest.raises(OSError, match="Bad file descriptor"):
        Remains(asyncio.get_running_loop(), cast(asyncio.BaseTransport, Gone()), memoryview, int, list)  # type: ignore[arg-type]


# In the worker


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
        async with asyncio.timeout(60):
            while not await self.ended():
                with contextlib.suppress(ConnectionError):
                    await self.send(piece)
                await asyncio.sleep(0.01)

    async def ended(self) -> bool:
        """Whether the answer is complete, or will never be."""
        raise NotImplementedError


class Upload1(Upload):
    def __init__(self, reader: Reader, writer: Writer, length: int) -> None:
        super().__init__()
        self.writer = writer
        writer.write(b"PUT / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: %d\r\n\r\n" % length)
        self._answer = asyncio.ensure_future(self._read(reader))

    async def _read(self, reader: Reader) -> None:
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
