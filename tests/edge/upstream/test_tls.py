"""TLS towards an origin: what it said last, whoever is slow, and how its connection ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.tls import TlsTransport
from edgeproxy.limits import RELAY_BUFFER
from tests.edge.client2 import connected, get
from tests.edge.harness import Edge, MapProcess, Script, config_for, edge_with, fields, self_signed

GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"
Talk = Callable[[ssl.SSLSocket], None]


class TlsOrigin:
    """An origin by TLS, with blocking sockets: each connection is what `talk` says, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        chain, key = self_signed("localhost")
        self.pem = folder / "origin.pem"
        self.pem.write_bytes(chain + key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.pem)
        self.talk: Talk = lambda _sock: None
        self.plain: Callable[[socket.socket], None] | None = None
        """What a connection is instead, before TLS."""
        self.served = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(plain,)))
            self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Nagle's algorithm would leave the last record to a reset
        with plain, contextlib.suppress(OSError):
            if self.plain is not None:
                self.plain(plain)
            else:
                with self.context.wrap_socket(plain, server_side=True) as sock:
                    self.talk(sock)
        self.served += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def origin_by_tls(tmp_path: Path) -> Iterator[TlsOrigin]:
    origin = TlsOrigin(tmp_path)
    yield origin
    origin.close()


@pytest.fixture
async def edge(tmp_path: Path, maps: MapProcess, origin_by_tls: TlsOrigin) -> AsyncIterator[Edge]:
    origin = Origin(url=f"https://localhost:{origin_by_tls.port}", ca_bundle=str(origin_by_tls.pem))
    edge = Edge(tmp_path, config_for(1, origin=origin), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        yield edge


def saying(*said: bytes, orderly: bool) -> Talk:
    """Answers each request with the next of these, then closes; `orderly`: with close_notify."""

    def talk(sock: ssl.SSLSocket) -> None:
        for answer in said:
            got = b""
            while not got.endswith(b"\r\n\r\n"):
                got += sock.recv(65536)
            sock.sendall(answer)
        if orderly:
            with contextlib.suppress(OSError):
                sock.unwrap()

    return talk


def answer(body: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *lines, b"", body))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_connection_serves_one_request_after_the_other(edge: Edge, origin_by_tls: TlsOrigin) -> None:
    origin_by_tls.talk = saying(answer(b"one"), answer(b"x" * 100_000), answer(b"three"), orderly=True)
    async with connected(edge) as client:
        assert [(await client.get(get())).body for _ in range(3)] == [b"one", b"x" * 100_000, b"three"]
    await until(lambda: origin_by_tls.served == 1)


@pytest.mark.parametrize("orderly", [True, False])
@pytest.mark.parametrize("size", [100_000, 1_000_000, 5_000_000])
async def test_what_an_origin_said_before_it_closed_reaches_a_client_that_takes_its_time(
    edge: Edge, origin_by_tls: TlsOrigin, orderly: bool, size: int
) -> None:
    origin_by_tls.talk = saying(answer(b"x" * size, b"Connection: close"), orderly=orderly)
    async with connected(edge, auto=False) as client:
        number = client.request(get(), b"")
        got = client.answers[number]
        await client.until(lambda: len(got.content) >= 65535)
        await asyncio.sleep(0.5)
        client.auto = True
        client.acknowledge(number, len(got.content))
        await client.answer(number)
        assert (len(got.content), got.complete) == (size, True)


@pytest.mark.parametrize("orderly", [True, False])
async def test_a_body_that_its_close_ends_is_complete_only_with_close_notify(
    edge: Edge, origin_by_tls: TlsOrigin, orderly: bool
) -> None:
    origin_by_tls.talk = saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 40_000, orderly=orderly)
    got = await edge.exchange("gallery.test", GET)
    assert got.count(b"x") == 40_000
    assert got.endswith(b"0\r\n\r\n") is orderly


def to_origin(edge: Edge) -> OriginConnection:
    """The worker's only connection to its origin."""
    ((found,),) = [pool.open for pool in edge.worker._pools.values()]
    return found


async def test_an_early_answer_is_read_though_the_upload_cannot_be_written_any_more(
    edge: Edge, origin_by_tls: TlsOrigin
) -> None:
    asked, go = threading.Event(), threading.Event()

    def early(sock: ssl.SSLSocket) -> None:
        sock.recv(65536)
        asked.set()
        go.wait(30)
        sock.sendall(answer(b"big" * 10_000))  # and close over what was not read

    origin_by_tls.talk = early
    async with connected(edge) as client:
        number = client.request([*get(method="PUT"), (b"content-length", b"10000000")])
        for _ in range(3):
            client.send(number, bytes(5000))
            await asyncio.sleep(0.05)
        await until(asked.is_set)
        below = cast(TlsTransport, to_origin(edge).transport)._below
        below.pause_reading()  # so that it is the write that finds out
        go.set()
        await until(lambda: origin_by_tls.served)
        got = client.answers[number]
        async with asyncio.timeout(60):
            while not got.complete and got.reset is None:
                if client.state.local_flow_control_window(number) > 1000:
                    client.send(number, bytes(1000))
                await asyncio.sleep(0.01)
        assert (got.status, got.body) == (200, b"big" * 10_000)
    await until(lambda: not any(pool.open for pool in edge.worker._pools.values()))


def garbage(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def silence(sock: socket.socket) -> None:
    sock.recv(65536)


async def test_uploads_over_http2_reach_it_whole(tmp_path: Path, maps: MapProcess) -> None:
    """Where the client's window waits for what is sent, which TLS counts in records of its own."""
    chain, key = self_signed("localhost")
    pem = tmp_path / "origin.pem"
    pem.write_bytes(chain + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    script = Script()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await script.read_head(reader):
            await asyncio.sleep(0.1)
            script.bodies.append(await script.read_body(head, reader))
            writer.write(script.response)

    script.handler = slowly
    content = random.Random(5).randbytes(1_000_000)
    async with script.listening(tls=context) as port:
        edge = edge_with(tmp_path, maps, 1, origin=Origin(url=f"https://localhost:{port}", ca_bundle=str(pem)))
        async with edge.running(), connected(edge) as client:
            for _ in range(2):
                number = client.request(get("/", (b"content-length", b"1000000"), method="POST"))
                await client.upload(number, content)
                assert (await client.answer(number)).status == 200
                assert script.bodies.pop() == content


@pytest.mark.parametrize("plain", [garbage, silence])
async def test_an_origin_that_does_not_speak_tls_is_a_502(
    edge: Edge, origin_by_tls: TlsOrigin, plain: Callable[[socket.socket], None]
) -> None:
    origin_by_tls.plain = plain
    assert fields(await edge.exchange("gallery.test", GET))[0] == 502


async def test_what_came_before_an_origin_broke_tls_is_used(edge: Edge, origin_by_tls: TlsOrigin) -> None:
    def talk(sock: ssl.SSLSocket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        socket.socket.sendall(sock, b"\x17\x03\x03\x00\x20" + bytes(32))
        sock.recv(1)

    origin_by_tls.talk = talk
    got = await edge.exchange("gallery.test", GET.replace(b"Connection: close\r\n", b""))
    assert fields(got)[2] == b"hello"  # five bytes less than announced, then the end


async def test_an_origin_that_closes_as_soon_as_it_is_there_is_a_502(edge: Edge, origin_by_tls: TlsOrigin) -> None:
    origin_by_tls.talk = saying(orderly=True)
    assert fields(await edge.exchange("gallery.test", GET))[0] == 502


class Reader(asyncio.BufferedProtocol):
    """Takes `room` bytes at a time, and pauses when it has `pause_at`."""

    def __init__(self, room: int = RELAY_BUFFER, pause_at: int = -1) -> None:
        self.buffer = bytearray(room)
        self.pause_at = pause_at
        self.got = b""
        self.told: list[object] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.buffer[:nbytes]
        if len(self.got) >= self.pause_at > 0:
            self.pause_at = -1
            self.transport.pause_reading()

    def eof_received(self) -> None:
        self.told.append("close_notify")

    def unwritable(self, exc: Exception) -> None:
        self.told.append("unwritable")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)


BUFFER = memoryview(bytearray(RELAY_BUFFER))


async def dial(origin: TlsOrigin, reader: Reader, *, trusted: bool = True, host: str = "localhost") -> TlsTransport:
    """A connection; they share a buffer as those of a worker do."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=str(origin.pem) if trusted else None)
    over = TlsTransport(loop, reader, context, host, BUFFER)
    await loop.create_connection(lambda: over, "127.0.0.1", origin.port)
    await asyncio.wait_for(over.ready, 60)
    return over


@pytest.mark.parametrize(("trusted", "host"), [(False, "localhost"), (True, "other.test")])
async def test_a_certificate_that_is_not_good_ends_the_handshake(origin_by_tls: TlsOrigin, trusted: bool, host: str) -> None:
    reader = Reader()
    with pytest.raises(ssl.SSLCertVerificationError):
        await dial(origin_by_tls, reader, trusted=trusted, host=host)
    await until(lambda: origin_by_tls.served)
    assert reader.told == []


@pytest.mark.parametrize("room", [1000, 16384, RELAY_BUFFER])
async def test_a_reader_gets_no_more_than_it_takes_and_nothing_while_it_is_paused(origin_by_tls: TlsOrigin, room: int) -> None:
    def talk(sock: ssl.SSLSocket) -> None:
        sock.sendall(sock.recv(1) * 300_000)

    origin_by_tls.talk = talk
    reader = Reader(room, pause_at=20_000)
    over = await dial(origin_by_tls, reader)
    over.write(b"x")
    await until(lambda: len(reader.got) >= 20_000)
    before = len(reader.got)
    await asyncio.sleep(0.1)
    assert len(reader.got) == before < 20_000 + room
    over.resume_reading()
    over.pause_reading()
    await asyncio.sleep(0.05)
    assert len(reader.got) == before
    over.resume_reading()
    await until(lambda: reader.told)
    assert (reader.got, reader.told) == (b"x" * 300_000, [None])


async def test_what_waits_for_one_reader_is_not_lost_to_what_comes_for_another(origin_by_tls: TlsOrigin) -> None:
    def talk(sock: ssl.SSLSocket) -> None:
        sock.sendall(sock.recv(1) * 100_000)

    origin_by_tls.talk = talk
    slow, quick = Reader(1000, pause_at=1000), Reader()
    over, other = await dial(origin_by_tls, slow), await dial(origin_by_tls, quick)
    over.write(b"x")
    await until(lambda: slow.got)
    other.write(b"y")
    await until(lambda: quick.told)
    over.resume_reading()
    await until(lambda: slow.told)
    assert (slow.got, quick.got) == (b"x" * 100_000, b"y" * 100_000)


async def test_much_is_written_piece_by_piece_and_counted_until_it_is_out(origin_by_tls: TlsOrigin) -> None:
    go = threading.Event()
    taken = bytearray()

    def talk(sock: ssl.SSLSocket) -> None:
        go.wait(30)
        while piece := sock.recv(65536):
            taken.extend(piece)

    origin_by_tls.talk = talk
    over = await dial(origin_by_tls, Reader())
    data = bytes(range(256)) * 40_000
    over.write(data)
    await asyncio.sleep(0.1)
    assert over.get_write_buffer_size() > 0
    assert not over.is_closing()
    go.set()
    await until(lambda: len(taken) == len(data))
    assert taken == data
    over.abort()


async def test_the_end_is_told_once_and_what_is_done_after_it_has_no_effect(origin_by_tls: TlsOrigin) -> None:
    origin_by_tls.talk = saying(orderly=True)
    reader = Reader()
    over = await dial(origin_by_tls, reader)
    await until(lambda: None in reader.told)
    assert over.is_closing()
    over.write(b"x")
    over.pause_reading()
    over.resume_reading()
    over.set_write_buffer_limits(high=1)
    over.abort()
    over.close()
    await asyncio.sleep(0.05)
    assert reader.told == ["close_notify", None]
    assert over.get_write_buffer_size() == 0


async def test_who_aborts_while_something_waits_for_him_hears_only_of_the_end(origin_by_tls: TlsOrigin) -> None:
    def talk(sock: ssl.SSLSocket) -> None:
        sock.sendall(b"x" * 50_000)

    origin_by_tls.talk = talk
    reader = Reader(1000, pause_at=1000)
    over = await dial(origin_by_tls, reader)
    await until(lambda: len(reader.got) == 1000 and origin_by_tls.served)
    over.abort()
    await until(lambda: reader.told)
    assert (len(reader.got), reader.told) == (1000, [None])
