"""An origin that gets the PROXY protocol: whose connections there are, who shares them, and under what bounds."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge.proxy_protocol import Endpoints, Header, parse
from edgeproxy.edge.upstream.client_pool import ClientPool
from edgeproxy.limits import Limits
from tests.edge.client2 import connected, get
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, edge_with, pool_of, until

REQUEST = b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"
Making = Callable[..., contextlib.AbstractAsyncContextManager[Edge]]


class Announced(Script):
    """An origin that wants to know whose each connection is, and answers with that client's address."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.told: list[Endpoints] = []
        self.hold: asyncio.Event | None = None

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Reads the header, then requests."""
        data = b""
        header: Header | None = None
        while header is None:
            data += await reader.readexactly(1)
            header = parse(data)
        assert header.endpoints is not None
        self.told.append(header.endpoints)
        client = header.endpoints.source.encode()
        while await self.read_head(reader):
            if self.hold is not None:
                await self.hold.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(client), client))


@pytest.fixture
async def announced() -> AsyncIterator[tuple[Announced, int]]:
    script = Announced()
    async with script.listening() as port:
        yield script, port


@pytest.fixture
def telling(tmp_path: Path, announced: tuple[Announced, int], maps: MapProcess) -> Making:
    """Makes a worker that tells its origin of the clients."""

    @contextlib.asynccontextmanager
    async def make(version: str = "v2", **limits: int) -> AsyncIterator[Edge]:
        origin = Origin(url=f"http://127.0.0.1:{announced[1]}", proxy_protocol=version)  # type: ignore[arg-type]
        edge = edge_with(tmp_path, maps, announced[1], origin=origin, limits=Limits(**limits))  # type: ignore[arg-type]
        async with edge.running():
            yield edge

    return make


class Visitor:
    """Somebody at an address of his own, over one connection."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def come(cls, edge: Edge, address: str) -> Visitor:
        """A TLS connection from this address."""
        streams = await asyncio.open_connection(
            "127.0.0.1", edge.port, ssl=edge.client_context("http/1.1"), server_hostname="gallery.test", local_addr=(address, 0)
        )
        return cls(*streams)

    async def ask(self) -> bytes:
        """What the origin takes him for; or the status where that is not 200."""
        self.writer.write(REQUEST)
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await asyncio.wait_for(self.reader.readexactly(length), 60)
        return body if b" 200 " in head else head.split(b" ")[1]

    def leave(self) -> None:
        """Closes the connection."""
        self.writer.transport.abort()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_connection_says_whose_it_is_and_is_lent_to_nobody_else(
    telling: Making, announced: tuple[Announced, int], version: str
):
    script, _ = announced
    async with telling(version) as edge:
        one, other = await Visitor.come(edge, "127.0.0.1"), await Visitor.come(edge, "127.0.0.2")
        for _ in range(3):
            assert await one.ask() == b"127.0.0.1"
            assert await other.ask() == b"127.0.0.2"
        again = await Visitor.come(edge, "127.0.0.1")
        assert await again.ask() == b"127.0.0.1"
        port = one.writer.get_extra_info("sockname")[1]
        assert script.told[0] == Endpoints("127.0.0.1", port, "127.0.0.1", edge.port)
        assert script.connections == 2  # each client's is kept for that client's next request
        for visitor in (one, other, again):
            visitor.leave()


async def test_requests_of_one_client_at_once_have_connections_of_their_own(telling: Making, announced: tuple[Announced, int]):
    script, _ = announced
    script.hold = asyncio.Event()
    async with telling() as edge, connected(edge) as client:
        asked = [asyncio.create_task(client.get(get(f"/{number}"))) for number in range(5)]
        await until(lambda: len(script.heads) == 5)
        script.hold.set()
        assert [bytes((await answer).content) for answer in asked] == [b"127.0.0.1"] * 5
        assert script.connections == 5
        assert (await client.get(get("/more"))).body == b"127.0.0.1"
        assert script.connections == 5


async def test_clients_share_the_bounds_and_an_idle_connection_makes_room(telling: Making):
    async with telling(origin_connections=2, origin_idle=2) as edge:
        visitors = [await Visitor.come(edge, f"127.0.0.{number}") for number in range(1, 6)]
        for visitor in visitors:
            address = visitor.writer.get_extra_info("sockname")[0].encode()
            assert await visitor.ask() == address
            assert len(pool_of(edge).open) <= 2
        answers = await asyncio.gather(*(visitor.ask() for visitor in visitors))
        assert answers == [b"127.0.0.%d" % number for number in range(1, 6)]
        assert len(pool_of(edge).open) <= 2
        pool = pool_of(edge)
        assert isinstance(pool, ClientPool)
        assert not pool.idle
        await until(lambda: not pool._connecting)
        assert not pool._attempts
        assert set(pool._owners) == pool.open
        for visitor in visitors:
            visitor.leave()


async def test_what_is_kept_idle_has_its_bound(telling: Making):
    async with telling(origin_idle=1) as edge:
        visitors = [await Visitor.come(edge, f"127.0.0.{number}") for number in range(1, 4)]
        for visitor in visitors:
            await visitor.ask()
        await until(lambda: len(pool_of(edge).open) == 1)
        assert await visitors[0].ask() == b"127.0.0.1"
        for visitor in visitors:
            visitor.leave()


async def test_an_origin_that_takes_no_connection_fails_the_one_who_waits(tmp_path: Path, maps: MapProcess):
    edge = edge_with(tmp_path, maps, 9, origin=Origin(url="http://127.0.0.1:9", proxy_protocol="v2"))
    async with edge.running():
        one, other = await Visitor.come(edge, "127.0.0.1"), await Visitor.come(edge, "127.0.0.2")
        assert list(await asyncio.gather(one.ask(), other.ask())) == [b"502", b"502"]
        pool = pool_of(edge)
        assert isinstance(pool, ClientPool)
        await until(lambda: not pool._attempts)
        assert not pool._owners
        assert not pool._making
        one.leave()
        other.leave()


async def test_what_a_balancer_said_is_passed_on(tmp_path: Path, announced: tuple[Announced, int], maps: MapProcess):
    from edgeproxy.config.visitors import Listen

    listen = Listen(https=(), http=(), proxy_protocol=("127.0.0.0/8",))
    origin = Origin(url=f"http://127.0.0.1:{announced[1]}", proxy_protocol="v2")
    edge = edge_with(tmp_path, maps, announced[1], listen=listen, origin=origin)
    async with edge.running():
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = edge.client_context("http/1.1").wrap_bio(incoming, outgoing, server_hostname="gallery.test")
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(b"PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 5000 443\r\n")
        done = False
        while not done:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                tls.write(REQUEST)
                done = True
            writer.write(outgoing.read())
            if not done:
                incoming.write(await asyncio.wait_for(reader.read(65536), 60))
        await until(lambda: announced[0].told)
        writer.transport.abort()
    assert announced[0].told == [Endpoints("2001:db8::7", 5000, "192.0.2.1", 443)]


async def test_domains_own_origins_are_told_nothing(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    config = config_for(9, origin=Origin(url=f"http://127.0.0.1:{origin[1]}", proxy_protocol="v1"))
    edge = Edge(tmp_path, config, maps)
    edge.add_site("gallery.test", "w", origin=f"http://127.0.0.1:{origin[1]}")
    async with edge.running():
        visitor = await Visitor.come(edge, "127.0.0.1")
        assert await visitor.ask() == b"hello"
        assert not isinstance(pool_of(edge), ClientPool)
        visitor.leave()
    assert origin[0].heads[0].startswith(b"GET / ")
