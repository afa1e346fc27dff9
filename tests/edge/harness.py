"""A worker on the test's own loop, with a real published map, real TLS, and an origin whose every byte the test decides."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import multiprocessing
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeproxy.config.issuance import Issuance
from edgeproxy.config.platform import Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen, Timeouts
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.pool import Pool
from edgeproxy.edge.worker import Worker
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import LinkEnd, LinkMessage
from edgeproxy.link.peer import Link
from edgeproxy.link.start import WorkerStart
from edgeproxy.link.table import Table
from edgeproxy.log import Log
from edgeproxy.published.records import Certificate, Site
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from edgeproxy.units import Duration

MAP_KEY = bytes(range(32))
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def self_signed(*names: str) -> tuple[bytes, bytes]:
    """A certificate that is its own root, and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pkcs8 = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pkcs8


def listener() -> socket.socket:
    """A bound, listening loopback socket on a free port."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


def _write_maps(pipe: Connection) -> None:
    """The other process: a command is (directory, puts, deletes, change); puts of None close the map."""
    writers: dict[Path, MapWriter] = {}
    while True:
        try:
            directory, puts, deletes, change = pipe.recv()
        except EOFError:
            return
        if puts is None:
            if directory in writers:
                writers.pop(directory).close()
        elif directory not in writers:
            writers[directory] = MapWriter(directory)
            writers[directory].rebuild(puts, change=change)
        elif deletes is None:
            writers[directory].rebuild(puts, change=change)
        else:
            writers[directory].apply(puts, deletes, change=change)
        pipe.send(True)


class MapProcess:
    """Writes maps from a process of its own: LMDB lets no process open one environment twice."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_write_maps, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def write(self, directory: Path, puts: object, deletes: object, change: int) -> None:
        """One commit; it is visible when this returns."""
        self._pipe.send((directory, puts, deletes, change))
        self._pipe.recv()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(30)


class Ahead:
    """A worker's event loop whose clock is ahead of the real one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = 0.0
        self._loop = loop

    def time(self) -> float:
        """Monotonic seconds, as the worker is to have them."""
        return self._loop.time() + self.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class Edge:
    """A running worker, and the other end of everything that it talks to."""

    def __init__(self, directory: Path, config: Config, maps: MapProcess) -> None:
        self.config = config
        self.directory = directory
        self.maps = maps
        self.sealer = Sealer(MAP_KEY)
        self.change = 1
        self.maps.write(directory, [], [], 1)
        self.roots = ""
        self.certificates: list[tuple[str, str, msgspec.Struct]] = []
        self.asked: list[LinkMessage] = []
        """What the worker said to the controller."""
        self.on_message: Callable[[LinkMessage], None] = self.asked.append
        self._https, self._http = listener(), listener()
        self.port: int = self._https.getsockname()[1]
        self.http_port: int = self._http.getsockname()[1]
        self.link: Link | None = None

    def publish(self, *puts: tuple[str, str, msgspec.Struct], deletes: tuple[tuple[str, str], ...] = ()) -> None:
        """Changes the map as the publisher would."""
        self.change += 1
        self.maps.write(self.directory, list(puts), list(deletes), self.change)

    def replace_map(self, *puts: tuple[str, str, msgspec.Struct]) -> None:
        """Makes the map anew, with the certificates so far and nothing else but this."""
        self.change += 1
        self.maps.write(self.directory, [*self.certificates, *puts], None, self.change)

    def add_certificate(self, certificate_id: str, *names: str) -> None:
        """A certificate for these names, trusted by `client_context`."""
        chain, key = self_signed(*names)
        self.roots += chain.decode()
        sealed = self.sealer.seal(key, b"key:" + certificate_id.encode())
        now = time.time()
        record = Certificate(names=names, chain=chain, sealed_key=sealed, not_before=now - 1, not_after=now + 86400)
        self.certificates.append(("certificates", certificate_id, record))
        self.publish(self.certificates[-1])

    def add_site(self, hostname: str, workspace: str, *, certificate: str = "", origin: str = "") -> None:
        """A site; with a certificate of its own unless one is named."""
        if not certificate:
            certificate = f"cert-{hostname}"
            self.add_certificate(certificate, hostname)
        self.publish(("sites", hostname, Site(workspace=workspace, certificate=certificate, origin=origin)))

    def client_context(self, *protocols: str) -> ssl.SSLContext:
        """A client that trusts every certificate added so far."""
        context = ssl.create_default_context(cadata=self.roots or None)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    async def connect(
        self, hostname: str, *protocols: str, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection to the worker under this name."""
        context = context or self.client_context(*(protocols or ("http/1.1",)))
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=hostname)

    async def exchange(self, hostname: str, request: bytes) -> bytes:
        """Sends bytes over a fresh connection and reads until it ends.

        In a thread with a blocking socket: uvloop's own TLS loses what it holds when close_notify comes while reading is
        paused, which is not the edge's doing.
        """
        return await asyncio.to_thread(self._exchange, hostname, request, self.client_context("http/1.1"))

    def _exchange(self, hostname: str, request: bytes, context: ssl.SSLContext) -> bytes:
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), 30) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as sock,
        ):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                sock.sendall(request)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while piece := sock.recv(65536):
                    answer += piece
        return answer

    def tell(self, message: LinkMessage) -> None:
        """The controller says something."""
        if self.link is None or not self.link.send(message):
            raise RuntimeError("there is no link")

    async def elapse(self, seconds: float) -> None:
        """Has so much time pass for the worker, and its deadlines looked at: however slow the machine is, what a test did
        before was in time, and what it did not do now is late."""
        loop: Any = self.worker.loop
        if not isinstance(loop, Ahead):
            loop = self.worker.loop = Ahead(loop)  # type: ignore[assignment]
        before = self.worker.now
        loop.seconds += seconds
        await until(lambda: self.worker.now >= before + seconds)

    async def relink(self) -> None:
        """Another controller takes over."""
        if self.link is not None:
            self.link.close()
        ours, theirs = socket.socketpair()
        self.link = await Link.open(ours, lambda message: self.on_message(message), lambda _reason: None)
        self.channel.send(LinkEnd(worker=0), [theirs])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Edge]:
        """Runs the worker until the block ends."""
        table, view, descriptor = Table.create(2)
        table.claim(0)
        channel, theirs = Channel.pair()
        start = WorkerStart(
            config=self.config,
            config_path=None,
            state_directory=self.directory,
            channel=theirs,
            sockets={f"https 127.0.0.1:{self.port}": self._https, f"http 127.0.0.1:{self.http_port}": self._http},
            started_at=time.time(),
            index=0,
            column=0,
            generation=0,
            map_key=MAP_KEY,
            table=view,
        )
        self.worker = Worker(start, Log("worker 0"), share_tickets=True)
        task = asyncio.ensure_future(self.worker.run())
        self.channel = channel
        await self.relink()
        ready = asyncio.ensure_future(channel.receive())
        await asyncio.wait([task, ready], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await asyncio.wait_for(task, 1)
            raise RuntimeError("the worker did not start")
        try:
            yield self
        finally:
            self.worker.drain()
            async with asyncio.timeout(60):
                while not task.done():
                    for connection in list(self.worker.connections):
                        connection.abort()
                    await asyncio.wait([task], timeout=0.05)  # somebody may have been let in just now
            await task
            if self.link is not None:
                self.link.close()
            channel.close()
            self.maps.write(self.directory, None, None, 0)
            os.close(descriptor)


class Script:
    """An origin that does to each connection what a handler says, and keeps what it received."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler = handler or self.answer
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        self._came: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads requests one after the other and answers each with `response`."""
        while True:
            head = await self.read_head(reader)
            if not head:
                return
            self.bodies.append(await self.read_body(head, reader))
            writer.write(self.response)

    async def read_head(self, reader: asyncio.StreamReader) -> bytes:
        """One head, kept in `heads`; empty at the end of the connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self.heads.append(head)
        return head

    async def read_body(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        """The body that a head announces, raw: chunked bodies with their framing."""
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            body = b""
            while not body.endswith(b"0\r\n\r\n") and b"\r\n0\r\n" not in body:
                piece = await reader.read(65536)
                if not piece:
                    break
                body += piece
            return body
        if b"content-length: " in lower:
            return await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return b""

    @contextlib.asynccontextmanager
    async def listening(self, *, unix: Path | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Listens, by TCP or on a Unix socket; gives the port, 0 for the latter."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.current_task()
            assert task is not None
            self._came[task] = writer
            try:
                await self.handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the edge went away: a test says if it should not have
            finally:
                writer.close()

        if unix is not None:
            server = await asyncio.start_unix_server(connected, str(unix))
        else:
            server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        try:
            yield 0 if unix is not None else server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await self._end()

    async def _end(self) -> None:
        """Ends what is left of its connections: one that is open when the loop is closed would be the next test's error."""
        for task, writer in self._came.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._came, return_exceptions=True)
        async with asyncio.timeout(60):
            for writer in self._came.values():
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


def patient(**seconds: float) -> Timeouts:
    """Deadlines that a machine that stands still for seconds does not break, but for those that a test is about."""
    least = {"handshake": 60, "client_header": 60, "client_body": 60, "origin_connect": 60, "drain": 60, **seconds}
    return Timeouts(**{name: Duration(value) for name, value in least.items()})


def config_for(origin_port: int, **changes: object) -> Config:
    """The configuration of a test's worker."""
    config = Config(
        listen=Listen(https=(), http=(), public_https_port=8443),
        origin=Origin(url=f"http://127.0.0.1:{origin_port}"),
        platform=Platform(name="ve.test", cname_target="domain.ve.test"),
        issuance=Issuance(directory="internal"),
        timeouts=patient(),
    )
    return msgspec.structs.replace(config, **changes)


def edge_with(directory: Path, maps: MapProcess, origin_port: int, **changes: object) -> Edge:
    """A worker as that of the fixture `edge`, whose configuration is another one; to be run."""
    edge = Edge(directory, config_for(origin_port, **changes), maps)
    edge.add_site("gallery.test", "spandantest")
    return edge


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is so, for as long as only a broken program takes."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def to_origin(edge: Edge) -> OriginConnection:
    """The worker's only connection to its origin."""
    ((found,),) = [pool.open for pool in edge.worker._pools.values() if pool.open]
    return found


def pool_of(edge: Edge) -> Pool:
    """The worker's only pool."""
    (found,) = edge.worker._pools.values()
    return found


def fields(answer: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, lower-case fields and the rest of a raw response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = (line.split(b":", 1) for line in lines)
    return int(status.split(b" ")[1]), {name.lower(): value.strip() for name, value in pairs}, body


async def refused(edge: Edge, hostname: str) -> str:
    """How a handshake for this name is refused."""
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)) as caught:
        await asyncio.to_thread(edge._exchange, hostname, b"", edge.client_context())
    return str(caught.value).replace("_", " ").lower()
