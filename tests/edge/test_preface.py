"""Balancers that send the PROXY protocol: whose connection it is from then on, and what happens to those that do not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edgeproxy.config.monitoring import Log as LogSection
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control.probe.look import look
from edgeproxy.edge.preface import Preface
from edgeproxy.edge.proxy_protocol import SIGNATURE
from edgeproxy.limits import Limits
from edgeproxy.link.messages import Obtain
from tests.edge.harness import Edge, MapProcess, Script, edge_with, fields, patient, until

GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"
VERSION_1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\r\n"
VERSION_2 = SIGNATURE + struct.pack(
    ">BBH4s4sHH", 0x21, 0x11, 12, socket.inet_aton("203.0.113.7"), socket.inet_aton("192.0.2.1"), 5000, 443
)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
Making = Callable[..., contextlib.AbstractAsyncContextManager[Edge]]


@pytest.fixture
def behind(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess) -> Making:
    """Makes a worker behind a balancer at 127.0.0.1."""

    @contextlib.asynccontextmanager
    async def make(**changes: object) -> AsyncIterator[Edge]:
        listen = Listen(https=(), http=(), public_https_port=8443, proxy_protocol=("127.0.0.1/32",))
        edge = edge_with(tmp_path, maps, origin[1], listen=listen, **changes)
        async with edge.running():
            yield edge

    return make


def answer_over_tls(edge: Edge, preface: bytes, *, pieces: bool = False, source: str = "127.0.0.1") -> bytes:
    """What a visitor is answered whose balancer says this first."""
    answer = b""
    with socket.create_connection(("127.0.0.1", edge.port), 60, source_address=(source, 0)) as plain:
        if pieces:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in [bytes([byte]) for byte in preface] if pieces else [preface]:
            plain.sendall(piece)
        with edge.client_context("http/1.1").wrap_socket(plain, server_hostname="gallery.test") as sock:
            sock.sendall(GET)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while piece := sock.recv(65536):
                    answer += piece
    return answer


def answer_in_clear(edge: Edge, said: bytes, *, port: int = 0, source: str = "127.0.0.1") -> bytes:
    """What comes back on the plain port, or the given one, until it is closed; b"" where nothing does."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port or edge.http_port), 60, source_address=(source, 0)) as sock,
        contextlib.suppress(ConnectionError),
    ):
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            answer += piece
    return answer


def handshakes(edge: Edge, result: str) -> float:
    return edge.worker.access.snapshot({}).get(f"handshakes_total|{result}", 0)


@pytest.mark.parametrize("preface", [VERSION_1, VERSION_2], ids=["v1", "v2"])
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytewise"])
async def test_the_client_is_whom_the_balancer_names(behind: Making, script: Script, preface: bytes, pieces: bool):
    async with behind() as edge:
        answer = await asyncio.to_thread(answer_over_tls, edge, preface, pieces=pieces)
        assert fields(answer)[::2] == (200, b"hello")
        await until(lambda: not edge.worker.connections)
        assert edge.worker.reception.empty
    assert b"x-forwarded-for: 203.0.113.7\r\n" in script.heads[0]
    assert b"forwarded: for=203.0.113.7;" in script.heads[0]


async def test_a_hello_in_the_same_packet_as_the_header_is_not_lost(behind: Making, script: Script):
    async with behind() as edge:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = edge.client_context("http/1.1").wrap_bio(incoming, outgoing, server_hostname="gallery.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(VERSION_2 + outgoing.read())
        assert (await asyncio.wait_for(reader.readexactly(5), 60))[:2] == b"\x16\x03"
        writer.transport.abort()


async def test_the_plain_port_reads_it_too_and_the_access_log_has_the_client(behind: Making, tmp_path: Path):
    log = tmp_path / "access.log"
    async with behind(log=LogSection(access=str(log), format="json")) as edge:
        raw = b"GET /here HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"
        for preface in (VERSION_1, VERSION_2):
            status, found, _ = fields(await asyncio.to_thread(answer_in_clear, edge, preface + raw))
            assert status == 308
            assert found[b"location"] == b"https://gallery.test:8443/here"
        assert fields(await asyncio.to_thread(answer_in_clear, edge, LOCAL + raw))[0] == 308
        await until(lambda: log.exists() and log.read_text().count("\n") == 3)
    clients = [json.loads(line)["client"] for line in log.read_text().splitlines()]
    assert clients == ["203.0.113.7", "203.0.113.7", "127.0.0.1"]


@pytest.mark.parametrize("preface", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_balancer_that_names_nobody_speaks_for_itself(behind: Making, script: Script, preface: bytes):
    async with behind() as edge:
        assert fields(await asyncio.to_thread(answer_over_tls, edge, preface))[0] == 200
    assert b"x-forwarded-for: 127.0.0.1\r\n" in script.heads[0]


async def test_a_balancer_without_the_header_is_closed_and_that_is_said_once(behind: Making, capfd: pytest.CaptureFixture[str]):
    async with behind() as edge:
        for _ in range(2):
            for port in (edge.port, edge.http_port):
                assert await asyncio.to_thread(answer_in_clear, edge, GET, port=port) == b""
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(answer_over_tls, edge, b"")
        await until(lambda: handshakes(edge, "no_proxy_header") == 5)
        assert await asyncio.to_thread(answer_in_clear, edge, b"") == b""  # somebody who looks whether anybody listens
        await until(lambda: not edge.worker.connections)
        assert edge.worker.reception.empty
        assert handshakes(edge, "no_proxy_header") == 5
    assert capfd.readouterr().err.count("have it send the PROXY protocol") == 1


async def test_nobody_else_is_believed(behind: Making, script: Script):
    async with behind() as edge:
        said = await asyncio.to_thread(answer_in_clear, edge, VERSION_1 + GET, source="127.0.0.2")
        assert fields(said)[0] == 400
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(answer_over_tls, edge, VERSION_1, source="127.0.0.2")
        assert fields(await asyncio.to_thread(answer_over_tls, edge, b"", source="127.0.0.2"))[0] == 200
    assert b"x-forwarded-for: 127.0.0.2\r\n" in script.heads[0]


async def test_an_edge_without_balancers_believes_nobody(edge: Edge):
    assert fields(await asyncio.to_thread(answer_in_clear, edge, VERSION_1 + GET))[0] == 400


async def test_a_balancer_that_says_half_a_header_is_dropped_in_time(behind: Making):
    async with behind(timeouts=patient(handshake=0.3)) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(VERSION_1[:9])
        assert await asyncio.wait_for(reader.read(), 60) == b""
        await until(lambda: handshakes(edge, "timeout") == 1)
        writer.close()


async def test_a_balancer_has_time_for_the_header_and_the_handshake_together(behind: Making):
    async with behind(timeouts=patient(handshake=1000)) as edge:
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        await until(lambda: edge.worker.connections)
        (preface,) = edge.worker.connections
        assert isinstance(preface, Preface)
        assert (await edge.worker.reception.states())["handshake"] == 1
        came, now = preface.deadline, edge.worker.now
        await until(lambda: edge.worker.now > now)
        writer.write(VERSION_1)
        await until(lambda: [each for each in edge.worker.connections if each is not preface])
        (connection,) = edge.worker.connections
        assert connection.deadline == came
        writer.transport.abort()


async def test_limits_are_those_of_the_clients_and_not_of_the_balancer(behind: Making):
    async with behind(limits=Limits(connections_per_address=2)) as edge:
        streams = []

        async def come(address: str) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(f"PROXY TCP4 {address} 192.0.2.1 5000 443\r\n".encode())
            streams.append(writer)
            return reader

        for number in range(4):
            await come(f"203.0.113.{number}")
        await come("203.0.113.1")
        await until(lambda: sum(not isinstance(each, Preface) for each in edge.worker.connections) == 5)
        refused = await come("203.0.113.1")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(refused.read(), 60) == b""
        assert handshakes(edge, "too_many_from_address") == 1
        for writer in streams:
            writer.transport.abort()
        await until(lambda: edge.worker.reception.empty)
        await come("203.0.113.1")
        await until(lambda: any(each.peer == "203.0.113.1" for each in edge.worker.connections))
        streams[-1].transport.abort()


async def test_who_is_asked_about_a_name_hears_of_the_client(behind: Making):
    from edgeproxy.config.issuance import Allow, Issuance

    issuance = Issuance(directory="internal", allow=Allow(gate="http://127.0.0.1:9/"))
    async with behind(issuance=issuance) as edge:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="new.example.com")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(VERSION_2 + outgoing.read())
        await until(lambda: any(isinstance(asked, Obtain) for asked in edge.asked))
        (asked,) = [asked for asked in edge.asked if isinstance(asked, Obtain)]
        assert (asked.hostname, asked.client_ip) == ("new.example.com", "203.0.113.7")
        writer.transport.abort()


async def test_the_edge_is_no_balancer_to_itself_when_it_looks_how_names_are_served(behind: Making) -> None:
    async with behind() as edge:
        own = Config(listen=Listen(https=(f"127.0.0.1:{edge.port}",), proxy_protocol=("127.0.0.0/8",)))
        trusted = edge.client_context("http/1.1")
        served = await look("127.0.0.1", edge.port, "gallery.test", trusted, own=own)
        assert (served.error, bool(served.leaf)) == ("", True)
        elsewhere = Config(listen=Listen(https=("127.0.0.1:1",), proxy_protocol=("127.0.0.0/8",)))
        for config in (elsewhere, None):  # a balancer of this machine, say, that wants no such header
            assert (await look("127.0.0.1", edge.port, "gallery.test", trusted, own=config)).error
