"""Slow uploads: how many of an origin's connections they may hold, who is served meanwhile, and when the others' turn comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from edgeproxy.config.visitors import Listen
from edgeproxy.edge.front1 import LOOKED_THROUGH
from edgeproxy.edge.upstream.uploads import GRANTS, Uploads
from edgeproxy.limits import Limits
from tests.edge import client1, client2
from tests.edge.client1 import Client1, request
from tests.edge.client2 import Client2, get
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with, pool_of, until

HALF = request(b"POST /slow", b"Content-Length: 4", body=b"ab")


class Origin(Script):
    """Knows when all of its connections are gone."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.each = self.answer
        self.open = 0

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Does what `each` says."""
        self.open += 1
        try:
            await self.each(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1


@pytest.fixture
async def origin() -> AsyncIterator[tuple[Origin, int]]:
    """The origin and its port."""
    script = Origin()
    async with script.listening() as port:
        yield script, port
        await until(lambda: not script.open)


@contextlib.asynccontextmanager
async def bounded(
    directory: Path, maps: MapProcess, port: int, connections: int, *, trusted: tuple[str, ...] = ()
) -> AsyncIterator[Edge]:
    """A worker with few connections to its origin, for which requests wait long."""
    edge = edge_with(
        directory,
        maps,
        port,
        limits=Limits(origin_connections=connections, origin_idle=connections, origin_failures=3),
        listen=Listen(https=(), http=(), public_https_port=8443, trusted_proxies=trusted),
    )
    async with edge.running():
        yield edge


def waiting(uploads: Uploads) -> int:
    """How many wait."""
    return sum(map(len, uploads._waiting.values()))


def nothing_held(edge: Edge) -> bool:
    """No place is taken or counted, and nobody waits."""
    uploads = pool_of(edge).uploads
    return uploads.unused and not uploads._held_by


def start_slowly(client: Client2) -> int:
    """A request half of whose body comes; its stream."""
    number = client.request(get("/slow", method="POST"))
    client.send(number, b"ab")
    return number


@contextlib.asynccontextmanager
async def connected(edge: Edge) -> AsyncIterator[Client2]:
    """A client whose connection is gone when the block has ended."""
    async with client2.connected(edge) as client:
        yield client
        cast(asyncio.Transport, client.writer.transport).abort()
    with contextlib.suppress(ConnectionError):
        await client.writer.wait_closed()


@contextlib.asynccontextmanager
async def from_elsewhere(edge: Edge) -> AsyncIterator[Client1]:
    """A client of another network."""
    tls = edge.client_context("http/1.1")
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", edge.port, ssl=tls, server_hostname="gallery.test", local_addr=("127.9.9.9", 0)
    )
    try:
        yield Client1(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_slow_uploads_have_half_of_the_connections_and_wait_for_each_other(
    tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int], protocol: str
) -> None:
    async with bounded(tmp_path, maps, origin[1], 4) as edge, contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(connected(edge))
        assert (await other.get(get())).status == 200
        uploads = pool_of(edge).uploads
        slow: list[Client1] = []
        streams: list[int] = []
        client = await stack.enter_async_context(connected(edge))
        for count in range(1, 6):
            if protocol == "h2":
                streams.append(start_slowly(client))
            else:
                slow.append(await stack.enter_async_context(client1.connected(edge)))
                slow[-1].send(HALF)
            await until(lambda: len(uploads._holders) + waiting(uploads) == count)  # noqa: B023 - over before the next round
        assert (len(uploads._holders), waiting(uploads)) == (2, 3)
        assert [(await other.get(get())).status for _ in range(3)] == [200] * 3
        for number in range(5):  # each that ends makes room for the next, in the order in which they came
            if protocol == "h2":
                client.send(streams[number], b"cd", end=True)
                assert (await client.answer(streams[number])).status == 200
            else:
                slow[number].send(b"cd")
                assert (await slow[number].answer()).status == 200
        assert nothing_held(edge)


@pytest.mark.parametrize(
    "pieces", [(b"4\r\nabcd\r\n0\r\n\r\n",), (b"4\r\nabcd\r\n", b"0\r\nx: y\r\n", b"\r\n"), (b"4\r\nabc", b"d\r\n0\r\n\r\n")]
)
async def test_a_body_that_is_here_needs_no_place(
    tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int], pieces: tuple[bytes, ...]
) -> None:
    async with bounded(tmp_path, maps, origin[1], 2) as edge, connected(edge) as slow, client1.connected(edge) as quick:
        start_slowly(slow)
        await until(lambda: edge.worker._pools and pool_of(edge).uploads._holders)
        quick.send(request(b"POST /", b"Content-Length: 4", body=b"abcd"))
        assert (await quick.answer()).status == 200
        chunked = request(b"POST /", b"Transfer-Encoding: chunked", body=pieces[0])
        quick.send(chunked)
        for piece in pieces[1:]:
            await until(lambda: waiting(pool_of(edge).uploads))
            quick.send(piece)
        assert (await quick.answer()).status == 200
        number = slow.request(get("/late", method="POST"))
        slow.send(number, b"abcd")
        await until(lambda: waiting(pool_of(edge).uploads))
        slow.send(number, b"", end=True)
        assert (await slow.answer(number)).status == 200


async def test_a_long_chunked_body_is_not_looked_through_for_its_end_again_and_again(
    tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int]
) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (LOOKED_THROUGH, bytes(LOOKED_THROUGH))
    async with bounded(tmp_path, maps, origin[1], 2) as edge, connected(edge) as slow, client1.connected(edge) as quick:
        stream = start_slowly(slow)
        await until(lambda: edge.worker._pools and pool_of(edge).uploads._holders)
        quick.send(request(b"POST /", b"Transfer-Encoding: chunked", body=body))
        await until(lambda: waiting(pool_of(edge).uploads))
        slow.send(stream, b"cd", end=True)
        assert (await quick.answer()).status == 200
        assert (await slow.answer(stream)).status == 200


async def test_who_waits_too_long_for_a_place_may_come_again_later(
    tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int], protocol: str
) -> None:
    async with bounded(tmp_path, maps, origin[1], 2) as edge, connected(edge) as slow:
        start_slowly(slow)
        await until(lambda: edge.worker._pools and pool_of(edge).uploads._holders)
        async with client1.connected(edge) as late:
            number = start_slowly(slow) if protocol == "h2" else 0
            if not number:
                late.send(HALF)
            await until(lambda: waiting(pool_of(edge).uploads))
            for entries in pool_of(edge).uploads._waiting.values():
                entries.update(dict.fromkeys(entries, 0.0))  # the time is over
            answer = await slow.answer(number) if number else await late.answer()
        assert answer.status == 503
        assert b"retry-after" in dict(answer.fields)
        assert edge.worker.access.snapshot({})["limits_reached_total|origin_connections"] == 1


async def test_who_leaves_holds_nothing_and_waits_no_more(tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int]) -> None:
    async with bounded(tmp_path, maps, origin[1], 2) as edge:
        async with connected(edge) as slow:
            streams = [start_slowly(slow) for _ in range(3)]
            await until(lambda: edge.worker._pools and waiting(pool_of(edge).uploads) == 2)
            slow.state.reset_stream(streams[1])
            slow.flush()
            await until(lambda: waiting(pool_of(edge).uploads) == 1)
            slow.state.reset_stream(streams[0])
            slow.flush()
            slow.send(streams[2], b"cd", end=True)
            assert (await slow.answer(streams[2])).status == 200
            start_slowly(slow)
            start_slowly(slow)
            await until(lambda: waiting(pool_of(edge).uploads) == 1)
        await until(lambda: nothing_held(edge))


async def test_an_answer_before_the_end_of_a_body_ends_its_place(
    tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int]
) -> None:
    script, port = origin

    async def refusing(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    script.each = refusing
    async with bounded(tmp_path, maps, port, 2) as edge, connected(edge) as slow:
        streams = [start_slowly(slow) for _ in range(4)]
        assert [(await slow.answer(number)).status for number in streams] == [403] * 4
        await until(lambda: nothing_held(edge))


async def test_an_origin_that_fails_leaves_no_place_taken_and_nobody_waiting(tmp_path: Path, maps: MapProcess) -> None:
    async with bounded(tmp_path, maps, 9, 2) as edge, connected(edge) as slow:
        streams = [start_slowly(slow) for _ in range(GRANTS + 6)]
        statuses = [(await slow.answer(number)).status for number in streams]
        assert set(statuses) <= {502, 503}
        assert nothing_held(edge)


@pytest.mark.parametrize("trusted", [False, True])
async def test_one_client_network_cannot_have_all_places(
    tmp_path: Path, maps: MapProcess, origin: tuple[Origin, int], trusted: bool
) -> None:
    proxies = ("127.0.0.0/8",) if trusted else ()
    async with bounded(tmp_path, maps, origin[1], 40, trusted=proxies) as edge, contextlib.AsyncExitStack() as stack:
        greedy = await stack.enter_async_context(connected(edge))
        for _ in range(30):
            start_slowly(greedy)
        await until(lambda: edge.worker._pools and waiting(pool_of(edge).uploads) >= 10)
        uploads = pool_of(edge).uploads
        assert len(uploads._holders) == (20 if trusted else 10)
        other = await stack.enter_async_context(from_elsewhere(edge))
        other.send(HALF)
        await until(lambda: len(uploads._holders) + waiting(uploads) == 31)
        assert waiting(uploads) == (11 if trusted else 20)
        greedy.writer.close()  # all others of that network
        await until(lambda: len(uploads._holders) == 1)
        other.send(b"cd")
        assert (await other.answer()).status == 200
        assert nothing_held(edge)
