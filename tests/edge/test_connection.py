"""A client connection before HTTP: whom it serves, whom it refuses with one alert, and how it waits for a certificate."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import cast

import h2.config
import h2.connection
import h2.events
import pytest
from hyperframe.frame import GoAwayFrame

from edgeproxy.config.visitors import Http, Timeouts
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.front1 import Front1
from edgeproxy.limits import Limits
from edgeproxy.link.messages import Obtain
from edgeproxy.units import Duration
from tests.edge.client1 import answers_in, half_closed, request
from tests.edge.client2 import get
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, edge_with, fields, refused, until
from tests.hellos import client_context, from_python
from tests.http2_peer import PREFACE, parse_frames

GET = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
UNRECOGNIZED_NAME = "unrecognized name"
INTERNAL_ERROR = "internal error"


async def raw(edge: Edge, data: bytes) -> bytes:
    """What comes back for raw bytes on the TLS port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def test_an_unknown_name_gets_its_alert_without_a_question(edge: Edge):
    assert UNRECOGNIZED_NAME in await refused(edge, "stranger.test")
    assert not [message for message in edge.asked if isinstance(message, Obtain)]


async def test_a_client_without_sni_is_refused(edge: Edge):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        await asyncio.open_connection("127.0.0.1", edge.port, ssl=context)


async def agreed(edge: Edge, *offered: str) -> str | None:
    """The protocol that a client gets who offers these; raises ssl.SSLError."""
    _, writer = await edge.connect("gallery.test", context=edge.client_context(*offered))
    writer.close()
    return writer.get_extra_info("ssl_object").selected_alpn_protocol()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("offered", "protocol"),
    [
        (("h2", "http/1.1"), "h2"),
        (("foo", "http/1.1"), "http/1.1"),
        (("acme-tls/1", "h2"), "h2"),
        (("http/1.0",), "http/1.0"),
        ((), None),
    ],
)
async def test_the_protocol_is_agreed_on(edge: Edge, offered: tuple[str, ...], protocol: str | None):
    assert await agreed(edge, *offered) == protocol


@pytest.mark.parametrize("offered", [("foo",), ("h3", "http/0.9"), ("acme-tls/1", "foo")])
async def test_a_client_with_no_protocol_in_common_is_told_so(edge: Edge, offered: tuple[str, ...]):
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        await agreed(edge, *offered)


async def test_without_http2_a_client_that_speaks_nothing_else_is_told_so(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    edge = Edge(tmp_path, config_for(origin[1], http=Http(h2=False)), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        assert await agreed(edge, "h2", "http/1.1") == "http/1.1"
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            await agreed(edge, "h2")


async def test_a_client_without_alpn_speaks_http_1_1(edge: Edge):
    reader, writer = await edge.connect("gallery.test", context=edge.client_context())
    writer.write(GET % b"gallery.test")
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_plain_http_on_the_tls_port_is_told_so(edge: Edge):
    assert b"HTTPS" in await raw(edge, b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n")


async def test_garbage_gets_an_alert(edge: Edge):
    assert (await raw(edge, b"\xff" * 100))[:1] == b"\x15"


@pytest.mark.parametrize(
    ("first", "answer"), [(b"\xff" * 100, b"\x15"), (b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n", b"HTTP/1.1 400")]
)
async def test_what_comes_after_a_refusal_is_neither_kept_nor_answered(edge: Edge, first: bytes, answer: bytes):
    broken: list[object] = []
    edge.worker.loop.set_exception_handler(lambda _loop, context: broken.append(context))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    await until(lambda: edge.worker.connections)
    (connection,) = cast(list[Connection], list(edge.worker.connections))
    writer.write(first)
    assert (await asyncio.wait_for(reader.readexactly(len(answer)), 60)) == answer
    await reader.read()  # to the FIN: from here on the edge only swallows
    refused = edge.worker.access.snapshot({})
    writer.write(first + b"\xff" * 1_000_000)
    kept = 0
    async with asyncio.timeout(60):
        while edge.worker.connections:
            kept = max(kept, len(connection._early))
            await asyncio.sleep(0.01)
    writer.transport.abort()
    assert kept <= len(first)
    assert not broken
    assert edge.worker.access.snapshot({}) == refused


async def test_a_hello_may_come_byte_by_byte(edge: Edge):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = edge.client_context("http/1.1").wrap_bio(incoming, outgoing, server_hostname="gallery.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    for byte in outgoing.read():
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            incoming.write(await reader.read(65536))
    assert client.version() == "TLSv1.3"
    writer.close()


async def test_the_session_is_there_before_the_handshake_is_over_and_goes_with_a_client_that_leaves(edge: Edge):
    context = client_context()
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(from_python(context, "gallery.test"))
    await until(lambda: any(each._next for each in edge.worker.connections))  # type: ignore[union-attr]
    (connection,) = edge.worker.connections
    assert isinstance(connection, Connection)
    assert connection.front is None
    writer.close()
    await until(lambda: not edge.worker.connections)
    assert connection._next is None


async def test_a_silent_client_is_dropped(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    timeouts = Timeouts(handshake=Duration(0.3), drain=Duration(1))
    edge = Edge(tmp_path, config_for(origin[1], timeouts=timeouts), maps)
    async with edge.running():
        assert await raw(edge, b"") == b""


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n", 200),
        (b"GET / HT", 408),
        (b"POST / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 10\r\n\r\nfour", 408),
    ],
)
async def test_an_idle_connection_is_closed_and_a_slow_head_is_told(edge: Edge, script: Script, said: bytes, status: int):
    visit = asyncio.ensure_future(edge.exchange("gallery.test", said))
    fronts = [each.front for each in edge.worker.connections]  # type: ignore[union-attr]
    while not (script.heads or any(cast(Front1, front)._buffer for front in fronts if front is not None)):
        await asyncio.sleep(0.01)
        fronts = [cast(Connection, each).front for each in edge.worker.connections]
    if status == 200:
        await until(lambda: any(cast(Connection, each).front.idle for each in edge.worker.connections))  # type: ignore[union-attr]
    await edge.elapse(76)
    answer = await visit
    assert answer.count(b"HTTP/1.1 ") == 1
    assert fields(answer)[0] == status


async def test_sessions_resume_for_their_own_name_only(edge: Edge):
    edge.add_certificate("both", "one.test", "two.test")
    edge.add_site("one.test", "w", certificate="both")
    edge.add_site("two.test", "w", certificate="both")
    context = edge.client_context("http/1.1")

    def visit(hostname: str, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        with (
            socket.create_connection(("127.0.0.1", edge.port)) as plain,
            context.wrap_socket(plain, server_hostname=hostname, session=session) as tls,
        ):
            tls.sendall(GET % hostname.encode())
            while tls.recv(65536):
                pass
            return tls.session, bool(tls.session_reused)

    session, _ = await asyncio.to_thread(visit, "one.test", None)
    assert (await asyncio.to_thread(visit, "one.test", session))[1]
    session, _ = await asyncio.to_thread(visit, "one.test", None)
    assert not (await asyncio.to_thread(visit, "two.test", session))[1]


async def test_too_many_connections_from_one_address_are_refused(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    edge = Edge(tmp_path, config_for(origin[1], limits=Limits(connections_per_address=3)), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        held = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(3)]
        while len(edge.worker.connections) < 3:
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionError):
            assert await raw(edge, b"") == b""
        for _, writer in held:
            writer.close()
        while edge.worker.connections:
            await asyncio.sleep(0.01)
        assert fields(await edge.exchange("gallery.test", GET % b"gallery.test"))[0] == 200


async def test_an_idle_connection_makes_room_for_a_new_one(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    edge = Edge(tmp_path, config_for(origin[1], limits=Limits(connections=2)), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        held = [await edge.connect("gallery.test") for _ in range(2)]
        assert fields(await edge.exchange("gallery.test", GET % b"gallery.test"))[0] == 200
        assert await asyncio.wait_for(held[0][0].read(), 60) == b""
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("linger", [False, True])
async def test_a_client_that_never_takes_the_last_bytes_of_a_closed_connection_is_dropped(
    tmp_path: Path, maps: MapProcess, script: Script, linger: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edgeproxy.edge.connection.LINGER_SECONDS", 0.1)
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port, timeouts=Timeouts(drain=Duration(1), write=Duration(0.5))), maps)
        async with edge.running():
            edge.add_certificate("ours", "gallery.test")
            edge.add_site("gallery.test", "spandantest", certificate="ours")
            _, writer = await edge.connect("gallery.test")
            while not (served := [c for c in edge.worker.connections if isinstance(c, Connection) and c.front is not None]):
                await asyncio.sleep(0.01)
            (connection,) = served
            # As much as the kernel takes, and then some that stays below the mark at which a transport calls itself full.
            cast(asyncio.Transport, writer.transport).pause_reading()
            while not connection.transport.get_write_buffer_size():
                connection.send(bytes(16 * 1024))
                await asyncio.sleep(0)
            assert not connection.full
            connection.close(linger=linger)
            async with asyncio.timeout(60):
                while edge.worker.connections:
                    await asyncio.sleep(0.01)
            writer.transport.abort()


def slow_visit(port: int, context: ssl.SSLContext, request: bytes, closing: threading.Event, more: bytes) -> bytes:
    """What a client reads, to the end, that begins to read when the edge has closed, and goes on speaking."""
    answer = b""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        plain.settimeout(30)
        plain.connect(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="gallery.test") as tls:
            tls.sendall(request)
            closing.wait(30)
            with contextlib.suppress(OSError):
                tls.sendall(more)
                while piece := tls.recv(16384):
                    answer += piece
    return answer


LARGE = b"x" * 300_000 + b"!"
WEBSOCKET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
PING = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
WIDE = b"\0\0\x06\4\0\0\0\0\0\0\4\0\x10\0\0" + b"\0\0\4\x08\0\0\0\0\0\0\x10\0\0"
"""SETTINGS and WINDOW_UPDATE for a window of a MiB."""
HPACK = b"\x82\x84\x87\x41\x0cgallery.test"


@pytest.mark.parametrize(
    ("protocol", "request_", "more"),
    [
        ("h2", PREFACE + WIDE + b"\0\0%c\1\5\0\0\0\1" % len(HPACK) + HPACK, PING),
        ("http/1.1", GET % b"gallery.test" + b"GET /next HTTP/1.1\r\n", b"Host: gallery.test\r\n\r\n"),
        ("http/1.1", WEBSOCKET, b"a frame"),
    ],
    ids=["h2", "pipelined", "websocket"],
)
async def test_who_still_speaks_when_the_connection_is_closed_gets_all_that_was_sent(
    edge: Edge, script: Script, protocol: str, request_: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
):
    async def answer(reader: Reader, writer: Writer) -> None:
        if b"websocket" in await script.read_head(reader):
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        writer.write(LARGE)

    script.handler = answer
    monkeypatch.setattr("edgeproxy.edge.connection.LINGER_SECONDS", 0.1)
    closing = threading.Event()
    context = edge.client_context(protocol)
    visit = asyncio.ensure_future(asyncio.to_thread(slow_visit, edge.port, context, request_, closing, more))
    await until(lambda: script.heads)
    (connection,) = cast(list[Connection], list(edge.worker.connections))
    if protocol == "h2":
        connection.drain()
    await until(lambda: connection.closing)
    await until(lambda: connection.deadline > edge.worker.now + 1)  # it has not run out at once
    closing.set()
    answered = await asyncio.wait_for(visit, 60)
    assert answered.count(b"x") >= len(LARGE) - 1
    assert b"!" in answered[-100:]
    await until(lambda: not edge.worker.connections)


async def test_who_makes_room_while_the_kernel_has_the_end_of_an_answer_gets_it_though_he_speaks(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    script, port = origin
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE
    edge = edge_with(tmp_path, maps, port, limits=Limits(connections=1))
    async with edge.running():
        closing = threading.Event()
        asking = PREFACE + WIDE + b"\0\0%c\1\5\0\0\0\1" % len(HPACK) + HPACK
        context = edge.client_context("h2")
        visit = asyncio.ensure_future(asyncio.to_thread(slow_visit, edge.port, context, asking, closing, PING))
        await until(lambda: script.heads)
        (connection,) = cast(list[Connection], list(edge.worker.connections))
        await until(lambda: connection.front is not None and connection.front.idle)
        await until(lambda: not connection.transport.get_write_buffer_size())
        assert connection.untaken
        _, writer = await edge.connect("gallery.test")
        assert connection.closing
        closing.set()
        answered = await asyncio.wait_for(visit, 60)
        assert answered.count(b"x") >= len(LARGE) - 1
        assert b"!" in answered[-100:]
        writer.close()


_DATA_SEGMENTS_IN = 152
"""Offset of tcpi_data_segs_in in the kernel's struct tcp_info (linux/tcp.h)."""


@pytest.mark.parametrize("request_", [GET % b"gallery.test", b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"])
async def test_the_first_answer_comes_with_the_ticket_and_the_end_in_one_packet(edge: Edge, request_: bytes):
    context = edge.client_context("http/1.1")

    def visit() -> tuple[int, bool]:
        with (
            socket.create_connection(("127.0.0.1", edge.port), 30) as plain,
            context.wrap_socket(plain, server_hostname="gallery.test") as tls,
        ):
            tls.sendall(request_)
            answer = tls.recv(65536)
            while b"close" in request_ and tls.recv(65536):
                pass
            info = tls.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            session = tls.session
            assert answer.startswith(b"HTTP/1.1 200")
            return int.from_bytes(
                info[_DATA_SEGMENTS_IN : _DATA_SEGMENTS_IN + 4], "little"
            ), session is not None and session.has_ticket

    visits = [await asyncio.to_thread(visit) for _ in range(5)]
    assert min(visits) == (2, True)  # the server's flight and this; more where the kernel sent one twice


async def test_a_ticket_does_not_wait_for_what_is_too_large_for_one(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edgeproxy.edge.connection.TICKET_MAX", 100)
    _, writer = await edge.connect("gallery.test")
    tls = writer.get_extra_info("ssl_object")
    async with asyncio.timeout(60):
        while tls.session is None or not tls.session.has_ticket:  # nothing was asked
            await asyncio.sleep(0.01)
    writer.close()


async def echo(script: Script, reader: Reader, writer: Writer) -> None:
    """An origin that answers with the path that it was asked for, and the body that came."""
    while head := await script.read_head(reader):
        content = head.split(b" ")[1] + b" " + await script.read_body(head, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


WHOLE = (
    (request(b"GET /0"), b"/0 "),
    (request(b"PUT /1", b"Content-Length: 3", body=b"abc"), b"/1 abc"),
    (request(b"PUT /2", b"Transfer-Encoding: chunked", body=b"3\r\ndef\r\n0\r\n\r\n"), b"/2 3\r\ndef\r\n0\r\n\r\n"),
    (request(b"GET /3"), b"/3 "),
)
PARTS = {
    "nothing": b"",
    "line": b"\r\n",
    "head": b"GET /4 HTTP/1.1\r\nHost: gallery",
    "body": request(b"PUT /4", b"Content-Length: 10", body=b"four"),
    "chunks": request(b"PUT /4", b"Transfer-Encoding: chunked", body=b"4\r\nfour\r\n"),
}


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("part", PARTS)
async def test_all_that_came_whole_before_a_client_ended_its_side_is_answered_in_order(
    edge: Edge, script: Script, first: int, part: str
):
    script.handler = lambda reader, writer: echo(script, reader, writer)
    order = WHOLE[first:] + WHOLE[:first]  # each kind is once the one that waits for a connection to the origin
    answers = await answers_in(await half_closed(edge, b"".join(raw for raw, _ in order) + PARTS[part]))
    assert [answer.body for answer in answers] == [expected for _, expected in order]
    assert all(answer.complete for answer in answers)
    told = [answer.field(b"connection") for answer in answers]
    assert told[:-1] == [None] * 3
    if part in ("nothing", "head"):
        assert told[-1] == b"close"
    await until(lambda: not edge.worker.connections)
    await until(lambda: all(each.borrower is None for pool in edge.worker._pools.values() for each in pool.open))


async def test_nothing_is_answered_behind_the_request_that_asked_for_the_end(edge: Edge, script: Script):
    script.handler = lambda reader, writer: echo(script, reader, writer)
    said = request(b"GET /0") + request(b"GET /1", close=True) + request(b"GET /2")
    assert [answer.body for answer in await answers_in(await half_closed(edge, said))] == [b"/0 ", b"/1 "]


async def test_who_ends_his_side_and_reads_late_gets_every_answer(edge: Edge, script: Script):
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60000)

    async def stalled() -> None:
        await until(lambda: any(each.full and each.client_closed for each in cast(list[Connection], edge.worker.connections)))
        (connection,) = cast(list[Connection], list(edge.worker.connections))
        await until(lambda: connection.front is not None and cast(Front1, connection.front).exchange is None)

    answers = await answers_in(await half_closed(edge, request(b"GET /") * 300, before_reading=stalled))
    assert [len(answer.body) for answer in answers] == [60000] * 300
    assert answers[-1].field(b"connection") == b"close"


async def test_streams_that_came_whole_before_a_client_ended_its_side_are_answered(edge: Edge, script: Script):
    go = asyncio.Event()

    async def late(reader: Reader, writer: Writer) -> None:
        await go.wait()
        await echo(script, reader, writer)

    script.handler = late
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    client._frame_dispatch_table[GoAwayFrame] = lambda frame: ([], [])  # see client2
    client.initiate_connection()
    for number, body in ((1, b""), (3, b"abc"), (5, None)):
        client.send_headers(number, get(f"/{number}", method="POST"), end_stream=body == b"")
        if body != b"":
            client.send_data(number, body or b"four", end_stream=body is not None)
    answer = asyncio.ensure_future(half_closed(edge, client.data_to_send(), protocol="h2"))
    await until(lambda: script.connections)
    await until(lambda: any(each.client_closed for each in cast(list[Connection], edge.worker.connections)))
    (served,) = cast(list[Connection], list(edge.worker.connections))
    assert served.front is not None
    for _ in range(10):  # as whatever is sent behind the end has it called again
        served.front.client_closed()
    go.set()
    content: dict[int | None, bytes] = {}
    ended = []
    raw = await answer
    assert sum(isinstance(frame, GoAwayFrame) for frame in parse_frames(raw)) == 1
    for event in client.receive_data(raw):
        if isinstance(event, h2.events.DataReceived):
            content[event.stream_id] = content.get(event.stream_id, b"") + event.data
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            ended.append((event.stream_id, isinstance(event, h2.events.StreamEnded)))
    assert content == {1: b"/1 ", 3: b"/3 3\r\nabc\r\n0\r\n\r\n"}
    assert sorted(ended) == [(1, True), (3, True), (5, False)]
    await until(lambda: not edge.worker.connections)
