"""Whose requests hold more than their share of an origin's connections."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.visitors import Listen
from edgeproxy.edge.upstream.shares import crowd
from edgeproxy.limits import Limits
from tests.edge.client2 import connected, get
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, patient, pool_of, until

A, B = b"\x7f\0\0", b"\x0a\0\0"


@pytest.mark.parametrize(
    ("holders", "waiters", "found"),
    [
        ([A] * 8, [A, B], (A, 1)),
        ([A] * 8, [B] * 3, (A, 3)),
        ([A] * 8, [B] * 30, (A, 6)),
        ([A] * 6 + [B] * 2, [b""], (A, 1)),
        ([A] * 2 + [B] * 2, [b""], (b"", 0)),  # nobody has more than a quarter
        ([A] * 8, [A] * 3, (b"", 0)),  # nobody else wants any
        ([A] * 8, [], (b"", 0)),
        ([b""] * 8, [A], (b"", 0)),  # a proxy of the operator's speaks for many
        ([b""] * 5 + [A] * 3, [B], (A, 1)),
        ([], [A], (b"", 0)),
    ],
)
def test_a_network_gives_back_what_is_beyond_a_quarter_while_others_wait(
    holders: list[bytes], waiters: list[bytes], found: tuple[bytes, int]
) -> None:
    assert crowd(holders, waiters, 8) == found


@pytest.fixture
def script() -> Script:
    """An origin, one of whose answers is larger than what lies between it and a client that takes nothing."""
    script = Script()

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if head.startswith(b"GET /large "):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000)
                await writer.drain()
            else:
                writer.write(script.response)

    script.handler = handler
    return script


def edge_of(directory: Path, maps: MapProcess, port: int, *trusted: str) -> Edge:
    config = config_for(port, limits=Limits(origin_connections=4), timeouts=patient(origin_connect=1000))
    edge = Edge(directory, msgspec.structs.replace(config, listen=Listen(https=(), http=(), trusted_proxies=trusted)), maps)
    edge.add_site("gallery.test", "w")
    return edge


async def test_a_client_that_holds_all_connections_gives_one_back_to_who_waits(
    tmp_path: Path, maps: MapProcess, script: Script
) -> None:
    async with script.listening() as port:
        edge = edge_of(tmp_path, maps, port)
        async with edge.running(), connected(edge, auto=False) as greedy:
            streams = [greedy.request(get("/large"), b"") for _ in range(6)]
            await until(lambda: script.connections == 4)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                edge.port,
                ssl=edge.client_context(),
                server_hostname="gallery.test",
                local_addr=("127.0.9.1", 0),
            )
            writer.write(b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 ")
            writer.close()
            answers = [greedy.answers[number] for number in streams]

            def ended() -> int:
                return sum(answer.status == 503 or answer.reset is not None for answer in answers)

            await greedy.until(lambda: ended() == 3)  # the two that waited, and one of the others
            assert [answer.status for answer in answers[4:]] == [503, 503]
            assert edge.worker.access.snapshot({})["limits_reached_total|origin_connections"] == 3


@pytest.mark.parametrize(("trusted", "network"), [(("127.0.0.1/32",), b""), ((), b"\x7f\0\0")])
async def test_a_proxy_of_the_operators_is_nobodys_network(
    tmp_path: Path, maps: MapProcess, script: Script, trusted: tuple[str, ...], network: bytes
) -> None:
    async with script.listening() as port:
        edge = edge_of(tmp_path, maps, port, *trusted)
        async with edge.running(), connected(edge, auto=False) as client:
            client.request(get("/large"), b"")
            await until(lambda: edge.worker._pools and pool_of(edge).open)
            (connection,) = pool_of(edge).open
            assert connection.borrower is not None
            assert connection.borrower.network == network
