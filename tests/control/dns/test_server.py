"""The DNS server's sockets, with clients that behave and others that do not."""

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns import server as module
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.dns.server import Server, from_where_it_came
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.metrics import Metrics, Snapshot
from edgeproxy.published.records import Challenge
from edgeproxy.supervision.identity import Identities
from edgeproxy.supervision.listeners import Listeners, wanted
from tests.control.store.making import NOW, opened
from tests.ports import free_port

LABEL = zone_label("gallery.customer.test")
NAME = f"{LABEL}.acme.example"
PLENTY = 1_000_000


class Serving:
    """A server at work on sockets bound as the supervisor binds them."""

    def __init__(self, authority, rate, host):
        self.host = host
        self.port = free_port(host)
        shown = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.metrics = Metrics("1", 10)
        self.listeners = Listeners()
        wants = [each for each in wanted(Config(dns=Dns(listen=(shown,))), Identities(None, None)) if "dns" in each.role]
        self.listeners.prepare(wants)
        sockets = self.listeners.controller_sockets(wants)
        self.server = Server(authority, sockets, rate=rate, metrics=self.metrics)

    async def udp(self, name=NAME, kind="TXT", source=None, timeout=30.0, **options):
        query = dns.message.make_query(name, kind, **options)
        return await dns.asyncquery.udp(query, self.host, timeout, self.port, source=source)

    async def tcp(self, name=NAME, kind="TXT", source=None):
        return await dns.asyncquery.tcp(dns.message.make_query(name, kind), self.host, 30, self.port, source=source)

    async def connect(self):
        return await asyncio.open_connection(self.host, self.port)

    def counted(self, name, *labels):
        shown = ",".join(f'{key}="{value}"' for key, value in labels)
        for line in self.metrics.render(Snapshot()).decode().splitlines():
            if line.startswith(f"edgeproxy_{name}{{{shown}}}"):
                return float(line.split()[-1])
        return 0.0


@pytest.fixture
async def authority(tmp_path: Path):
    config = Config(dns=Dns(zone="acme.example"), platform=Platform(cname_target="edge.example"))
    async with opened(tmp_path) as store:
        for number in range(40):
            key = f"dns:{zone_label('many.customer.test')}/{number:043d}"
            await store.put_challenge(key, Challenge(hostname="many.customer.test"), NOW)
        await store.put_challenge(f"dns:{LABEL}/value", Challenge(hostname="gallery.customer.test"), NOW)
        authority = Authority(config, store)
        await authority.follow(None)
        yield authority


@contextlib.asynccontextmanager
async def running(authority, *, rate=PLENTY, host="127.0.0.1"):
    serving = Serving(authority, rate, host)
    task = asyncio.create_task(serving.server.run())
    try:
        yield serving
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        serving.listeners.close()


def framed(name=NAME, number=1):
    data = dns.message.make_query(name, "TXT", id=number).to_wire()
    return struct.pack(">H", len(data)) + data


async def read(reader):
    length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 60), "big")
    return dns.message.from_wire(await asyncio.wait_for(reader.readexactly(length), 60))


async def ended(reader):
    """Whether the server closes the connection, in one way or another."""
    try:
        return await asyncio.wait_for(reader.read(), 60) == b""
    except ConnectionError:
        return True


@contextlib.contextmanager
def closing(writer):
    try:
        yield
    finally:
        writer.transport.abort()


async def test_questions_are_answered_by_datagram_and_by_stream(authority):
    async with running(authority) as serving:
        for answer in (await serving.udp(), await serving.tcp()):
            assert answer.answer[0][0].strings == (b"value",)
        assert (await serving.udp("none.acme.example")).rcode() == dns.rcode.NXDOMAIN
        assert serving.counted("dns_queries_total", ("rcode", "noerror"), ("transport", "udp")) == 1
        assert serving.counted("dns_queries_total", ("rcode", "nxdomain"), ("transport", "udp")) == 1
        assert serving.counted("dns_queries_total", ("rcode", "noerror"), ("transport", "tcp")) == 1


async def test_what_does_not_fit_into_a_datagram_is_had_by_stream(authority):
    many = f"{zone_label('many.customer.test')}.acme.example"
    async with running(authority) as serving:
        assert (await serving.udp(many)).flags & dns.flags.TC
        assert len((await serving.tcp(many)).answer[0]) == 40


async def test_an_answer_leaves_from_the_address_that_was_asked(authority):
    async with running(authority, host="0.0.0.0") as serving:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            for address in ("127.0.0.1", "127.0.0.77"):
                await loop.sock_sendto(sock, dns.message.make_query(NAME, "TXT").to_wire(), (address, serving.port))
                _, source = await asyncio.wait_for(loop.sock_recvfrom(sock, 4096), 60)
                assert source == (address, serving.port)


async def test_ipv6_is_answered_like_ipv4(authority):
    for host in ("::1", "::"):
        async with running(authority, host=host) as serving:
            serving.host = "::1"
            assert (await serving.udp()).answer[0][0].strings == (b"value",)
            assert (await serving.tcp()).answer[0][0].strings == (b"value",)


async def test_what_came_before_the_server_ran_is_answered_then(authority):
    authority.loaded.clear()
    async with running(authority) as serving:
        by_udp = asyncio.ensure_future(serving.udp())
        by_tcp = asyncio.ensure_future(serving.tcp())
        done, _ = await asyncio.wait({by_udp, by_tcp}, timeout=0.3)
        assert not done
        authority.loaded.set()
        for answer in await asyncio.gather(by_udp, by_tcp):
            assert answer.answer[0][0].strings == (b"value",)


async def test_the_server_runs_again_on_the_same_sockets(authority):
    async with running(authority) as serving:
        await serving.udp()
    serving = Serving(authority, PLENTY, "127.0.0.1")
    for _ in range(2):
        task = asyncio.create_task(serving.server.run())
        await serving.udp()
        await serving.tcp()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    serving.listeners.close()


async def test_a_network_that_floods_is_limited_and_another_is_not(authority):
    async with running(authority, rate=5) as serving:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.bind(("127.0.9.1", 0))
            for number in range(100):
                flood.sendto(dns.message.make_query(NAME, "TXT", id=number).to_wire(), ("127.0.0.1", serving.port))
            assert (await serving.udp(source="127.0.0.1")).answer
            # Every second one is told to come by TCP, where it is answered in full.
            flood.setblocking(False)
            loop = asyncio.get_running_loop()
            answers = [
                dns.message.from_wire(await asyncio.wait_for(loop.sock_recv(flood, 4096), 60))
                for _ in range(10 + 5)  # those before the limit and some above it
            ]
            assert any(answer.flags & dns.flags.TC and not answer.answer for answer in answers)
            assert (await serving.tcp(source="127.0.9.1")).answer
        assert serving.counted("dns_limited_total", ("action", "dropped")) > 10
        assert serving.counted("dns_limited_total", ("action", "truncated")) > 10


async def test_queries_sent_ahead_are_answered_in_order(authority):
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            writer.write(b"".join(framed(number=number) for number in range(50)))
            assert [(await read(reader)).id for _ in range(50)] == list(range(50))


async def test_a_query_in_pieces_is_put_together(authority):
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            for byte in framed():
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            assert (await read(reader)).answer


async def test_a_connection_has_so_many_queries(authority, monkeypatch):
    monkeypatch.setattr(module, "QUERIES", 3)
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            writer.write(framed() * 4)
            for _ in range(3):
                await read(reader)
            assert await ended(reader)


@pytest.mark.parametrize("sent", [b"", b"\0", framed()[:-1]], ids=["nothing", "half a length", "half a query"])
async def test_a_client_that_says_nothing_is_left(authority, monkeypatch, sent):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            writer.write(sent)
            assert await ended(reader)


async def test_a_connection_does_not_live_for_ever(authority, monkeypatch):
    monkeypatch.setattr(module, "LIFE_SECONDS", 0.2)
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    writer.write(framed())
                    await read(reader)
            assert await ended(reader)


async def test_a_client_that_reads_nothing_is_left_with_little_in_memory(authority, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(module, "QUERIES", 1_000_000)
    monkeypatch.setattr(module, "LIFE_SECONDS", 60.0)
    many = framed(f"{zone_label('many.customer.test')}.acme.example")
    async with running(authority) as serving:
        _, writer = await serving.connect()
        with closing(writer):
            writer.transport.pause_reading()
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(60):
                    while not writer.transport.is_closing():
                        writer.write(many * 10)
                        await writer.drain()
                        held = [each.transport.get_write_buffer_size() for each in serving.server._connections.values()]
                        assert all(size < 4096 for size in held)
                        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">H", 5000) + b"x" * 5000,
        struct.pack(">H", 0),
        struct.pack(">H", 12) + b"\0\1\x80" + bytes(9),
    ],
    ids=["too long", "empty", "an answer"],
)
async def test_what_is_no_query_ends_the_connection(authority, sent):
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            writer.write(sent)
            assert await ended(reader)


async def test_a_malformed_query_does_not_end_the_connection(authority):
    async with running(authority) as serving:
        reader, writer = await serving.connect()
        with closing(writer):
            writer.write(struct.pack(">H", 12) + b"\0\1" + bytes(10) + framed())
            assert (await read(reader)).rcode() == dns.rcode.FORMERR
            assert (await read(reader)).answer


async def test_one_network_has_so_many_connections_and_others_have_theirs(authority, monkeypatch):
    monkeypatch.setattr(module, "CONNECTIONS_PER_NETWORK", 4)
    async with running(authority, host="0.0.0.0") as serving:
        serving.host = "127.0.0.1"
        clients = [await serving.connect() for _ in range(4)]
        for reader, writer in clients:
            writer.write(framed())
            assert (await read(reader)).answer
        reader, writer = await serving.connect()
        with closing(writer):
            assert await ended(reader)
        assert (await serving.tcp(source="127.0.9.1")).answer
        for _, writer in clients:
            writer.transport.abort()
        async with asyncio.timeout(60):
            while serving.server._networks:
                await asyncio.sleep(0.01)
        assert (await serving.tcp()).answer


async def test_when_all_places_are_taken_the_longest_silent_one_goes(authority, monkeypatch):
    monkeypatch.setattr(module, "CONNECTIONS", 4)
    async with running(authority) as serving:
        clients = [await serving.connect() for _ in range(4)]
        for reader, writer in [*clients, clients[0]]:
            writer.write(framed())
            assert (await read(reader)).answer
        assert (await serving.tcp()).answer
        assert await ended(clients[1][0])
        reader, writer = clients[0]
        writer.write(framed())
        assert (await read(reader)).answer
        for _, writer in clients:
            writer.transport.abort()


async def test_arbitrary_datagrams_do_not_stop_the_server(authority):
    async with running(authority) as serving:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b"", b"\0", bytes(12), b"\xff" * 512, b"\0" * 9000, framed(), framed()[2:-1]):
                sock.sendto(data, ("127.0.0.1", serving.port))
            assert (await serving.udp()).answer


def test_where_a_datagram_came_from_is_said_only_where_it_is_known():
    assert from_where_it_came([]) == []
    assert from_where_it_came([(socket.IPPROTO_IP, 8, b"short")]) == []
    assert from_where_it_came([(socket.SOL_SOCKET, 1, bytes(12))]) == []
    four = struct.pack("=I4s4s", 3, b"\x0a\0\0\1", b"\x0a\0\0\xff")
    assert from_where_it_came([(socket.IPPROTO_IP, 8, four)]) == [
        (socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 0, b"\x0a\0\0\1", bytes(4)))
    ]
    for address, interface in (("fe80::1", 3), ("2001:db8::1", 0)):
        packed = socket.inet_pton(socket.AF_INET6, address)
        came = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", packed, 3))]
        goes = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", packed, interface))]
        assert from_where_it_came(came) == goes
