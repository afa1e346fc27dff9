"""A client connection before HTTP: whom it serves, whom it refuses with one alert, and how it waits for a certificate."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.visitors import Http, Timeouts
from edgeproxy.edge.certificate import Cold, Found
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.hello import alert_record
from edgeproxy.limits import Limits
from edgeproxy.link.messages import LinkMessage, Obtain, Obtained
from edgeproxy.published.records import Challenge, Site
from edgeproxy.units import Duration
from tests.certificates import self_signed
from tests.descriptors import descriptors
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, fields, until
from tests.http2_peer import PREFACE

GET = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
UNRECOGNIZED_NAME = "unrecognized name"
INTERNAL_ERROR = "internal error"


async def refused(edge: Edge, hostname: str) -> str:
    """How a handshake for this name is refused."""
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)) as caught:
        await asyncio.to_thread(edge._exchange, hostname, b"", edge.client_context())
    return str(caught.value).replace("_", " ").lower()


async def raw(edge: Edge, data: bytes) -> bytes:
    """What comes back for raw bytes on the TLS port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


@contextlib.asynccontextmanager
async def waiting_edge(
    directory: Path, port: int, maps: MapProcess, *, wait: float = 30, bound: int = 512, handshake: float = 10
) -> AsyncIterator[Edge]:
    """A worker whose names *.new.test are admitted and have no certificate yet."""
    config = config_for(
        port,
        issuance=Issuance(directory="internal", handshake_wait=Duration(wait), allow=Allow(patterns=("*.new.test",))),
        limits=Limits(waiting_handshakes=bound),
        timeouts=Timeouts(handshake=Duration(handshake), drain=Duration(1)),
    )
    edge = Edge(directory, config, maps)
    async with edge.running():
        yield edge


async def asked(edge: Edge, count: int = 1) -> list[Obtain]:
    """What the worker asked the controller for, once it is that many."""
    while True:
        found = [message for message in edge.asked if isinstance(message, Obtain)]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)


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
    assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 200 OK")
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
    writer.write(first)
    assert (await asyncio.wait_for(reader.readexactly(len(answer)), 30)) == answer
    await reader.read()  # to the FIN: from here on the edge only swallows
    (connection,) = cast(list[Connection], list(edge.worker.connections))
    refused = edge.worker.access.snapshot({})
    writer.write(first + b"\xff" * 1_000_000)
    kept = 0
    async with asyncio.timeout(30):
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


async def test_a_silent_client_is_dropped(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    timeouts = Timeouts(handshake=Duration(0.3), drain=Duration(1))
    edge = Edge(tmp_path, config_for(origin[1], timeouts=timeouts), maps)
    async with edge.running():
        began = time.monotonic()
        assert await raw(edge, b"") == b""
        assert time.monotonic() - began < 20


async def test_an_idle_connection_is_closed_and_a_slow_head_is_told(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    timeouts = Timeouts(idle=Duration(0.3), client_header=Duration(0.3), client_body=Duration(0.3), drain=Duration(1))
    edge = Edge(tmp_path, config_for(origin[1], timeouts=timeouts), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        assert (await edge.exchange("gallery.test", GET.replace(b"Connection: close\r\n", b"") % b"gallery.test")).count(
            b"HTTP/1.1"
        ) == 1
        assert fields(await edge.exchange("gallery.test", b"GET / HT"))[0] == 408
        body = b"POST / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 10\r\n\r\nfour"
        assert fields(await edge.exchange("gallery.test", body))[0] == 408


async def test_the_first_visitor_waits_until_the_certificate_is_there(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:
        edge.add_site("a.new.test", "fresh")
        edge.publish(deletes=(("sites", "a.new.test"),))
        visitors = [asyncio.create_task(edge.exchange("a.new.test", GET % b"a.new.test")) for _ in range(20)]
        question = (await asked(edge))[0]
        await asyncio.sleep(0.5)
        assert len(await asked(edge)) == 1  # however many wait
        assert (question.hostname, question.client_ip) == ("a.new.test", "127.0.0.1")
        assert question.deadline > time.time()
        edge.publish(("sites", "a.new.test", Site(workspace="fresh", certificate="cert-a.new.test")))
        edge.tell(Obtained(id=question.id, ok=True))
        for visitor in visitors:
            assert fields(await visitor)[0] == 200
        assert edge.worker.obtaining.waiting == 0


@pytest.mark.parametrize(("denied", "alert"), [(True, UNRECOGNIZED_NAME), (False, INTERNAL_ERROR)])
async def test_a_name_that_gets_no_certificate_is_remembered_for_a_while(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, denied: bool, alert: str
):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:

        def answer(message: LinkMessage) -> None:
            edge.asked.append(message)
            if isinstance(message, Obtain):
                edge.tell(Obtained(id=message.id, ok=False, denied=denied, detail="no", remember=60.0))

        edge.on_message = answer
        for _ in range(3):
            assert alert in await refused(edge, "b.new.test")
        assert len(await asked(edge)) == 1


async def test_who_waits_too_long_gets_an_alert(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    async with waiting_edge(tmp_path, origin[1], maps, wait=0.5, handshake=0.2) as edge:
        assert INTERNAL_ERROR in await refused(edge, "c.new.test")
        assert edge.worker.obtaining.waiting == 0


async def test_only_so_many_may_wait(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    async with waiting_edge(tmp_path, origin[1], maps, bound=2, wait=5) as edge:
        tasks = [asyncio.create_task(refused(edge, f"{number}.new.test")) for number in range(2)]
        await asked(edge, 2)
        began = time.monotonic()
        assert INTERNAL_ERROR in await refused(edge, "3.new.test")
        assert time.monotonic() - began < 4
        await asyncio.gather(*tasks)


async def test_a_client_that_leaves_while_it_waits_frees_its_place(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:
        task = asyncio.create_task(edge.connect("d.new.test"))
        question = (await asked(edge))[0]
        while not edge.worker.obtaining.waiting:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        while edge.worker.obtaining.waiting:
            await asyncio.sleep(0.01)
        edge.tell(Obtained(id=question.id, ok=True))


async def test_another_controller_is_asked_again(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:
        edge.add_site("e.new.test", "w")
        edge.publish(deletes=(("sites", "e.new.test"),))
        visitor = asyncio.create_task(edge.exchange("e.new.test", GET % b"e.new.test"))
        first = (await asked(edge))[0]
        await edge.relink()
        again = (await asked(edge, 2))[1]
        assert again == first
        edge.publish(("sites", "e.new.test", Site(workspace="w", certificate="cert-e.new.test")))
        edge.tell(Obtained(id=again.id, ok=True))
        assert fields(await visitor)[0] == 200


def publish_challenge(edge: Edge, hostname: str) -> bytes:
    """Has a challenge for the hostname pending; gives the chain that answers it."""
    chain, key = self_signed(hostname)
    record = Challenge(hostname=hostname, chain=chain, sealed_key=edge.sealer.seal(key, b"alpn:" + hostname.encode()))
    edge.publish(("challenges", f"alpn:{hostname}", record))
    return chain


async def answered(edge: Edge, hostname: str) -> str:
    """The certificate, PEM, with which a CA is answered that asks for the answer to a challenge."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, ssl=context, server_hostname=hostname)
    tls = writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == "acme-tls/1"
    found = ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)).strip()
    assert await reader.read() == b""
    writer.close()
    return found


async def test_a_challenge_is_answered_and_nothing_else_said(edge: Edge):
    chain = publish_challenge(edge, "challenged.test")
    assert await answered(edge, "challenged.test") in chain.decode()


async def test_each_of_several_challenges_in_a_row_has_its_own_answer(edge: Edge):
    # A CA may ask about the next one before anything else has made the worker look at what changed.
    for _ in range(3):
        chain = publish_challenge(edge, "challenged.test")
        assert await answered(edge, "challenged.test") in chain.decode()
    edge.publish(deletes=(("challenges", "alpn:challenged.test"),))
    assert UNRECOGNIZED_NAME in await challenged(edge, "challenged.test")


async def challenged(edge: Edge, hostname: str) -> str:
    """How a CA that asks for the answer to a challenge is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    with pytest.raises(ssl.SSLError) as caught:
        await asyncio.open_connection("127.0.0.1", edge.port, ssl=context, server_hostname=hostname)
    return str(caught.value).replace("_", " ").lower()


async def test_a_challenge_that_is_not_pending_or_cannot_be_used_is_refused(edge: Edge):
    assert UNRECOGNIZED_NAME in await challenged(edge, "gallery.test")
    chain, key = self_signed("broken.test")
    sealed = edge.sealer.seal(key, b"alpn:another.test")
    edge.publish(("challenges", "alpn:broken.test", Challenge(hostname="broken.test", chain=chain, sealed_key=sealed)))
    assert INTERNAL_ERROR in await challenged(edge, "broken.test")
    assert fields(await edge.exchange("gallery.test", GET % b"gallery.test"))[0] == 200


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
        assert await asyncio.wait_for(held[0][0].read(), 30) == b""
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
            async with asyncio.timeout(30):
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
    answered = await asyncio.wait_for(visit, 30)
    assert answered.count(b"x") >= len(LARGE) - 1
    assert b"!" in answered[-100:]
    await until(lambda: not edge.worker.connections)


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
    async with asyncio.timeout(30):
        while tls.session is None or not tls.session.has_ticket:  # nothing was asked
            await asyncio.sleep(0.01)
    writer.close()


async def test_contexts_are_made_in_the_loop_one_at_a_time_and_the_others_by_the_thread(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
):
    certificates = edge.worker.certificates
    at_once: list[str] = []
    by_thread: list[str] = []
    build, obtain = certificates.build, certificates.obtain_context

    def in_the_loop(cold: Cold, now: float) -> Found:
        at_once.append(cold.hostname)
        return build(cold, now)

    async def in_the_thread(cold: Cold, now: float) -> Found:
        by_thread.append(cold.hostname)
        return await obtain(cold, now)

    monkeypatch.setattr(certificates, "build", in_the_loop)
    monkeypatch.setattr(certificates, "obtain_context", in_the_thread)
    for number in range(2):
        edge.add_site(f"cold{number}.test", "w")
    for number in range(2):
        host = f"cold{number}.test"
        assert fields(await edge.exchange(host, GET % host.encode()))[0] == 200
        edge.worker._make_next = float("inf")
    assert (at_once, by_thread) == (["cold0.test"], ["cold1.test"])


@pytest.mark.parametrize("by_thread", [False, True])
async def test_without_a_descriptor_for_a_new_name_its_visitor_is_told_and_the_next_one_served(edge: Edge, by_thread: bool):
    edge.add_site("cold.test", "w")
    visitor, incoming, outgoing = edge.client_context("http/1.1"), ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        visitor.wrap_bio(incoming, outgoing, server_hostname="cold.test").do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    await until(lambda: edge.worker.connections)
    if by_thread:
        edge.worker._make_next = float("inf")
        edge.add_site("warm.test", "w")
        await edge.exchange("warm.test", GET % b"warm.test")  # the thread is there
    with descriptors(0):
        writer.write(outgoing.read())
        assert await asyncio.wait_for(reader.read(), 30) == alert_record(80)
    writer.close()
    assert fields(await edge.exchange("cold.test", GET % b"cold.test"))[0] == 200
