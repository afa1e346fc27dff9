"""Answers over HTTP/1.1: every kind of them as it goes on the wire, and what becomes of the connection behind it."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from tests.edge.client1 import Client1, connected, request
from tests.edge.harness import Edge, Reader, Script, Writer, fields, to_origin, until

GET = request(b"GET /", close=True)
OLD = b"GET / HTTP/1.0\r\nHost: gallery.test\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def once(script: Script, *said: bytes, pause: float = 0.02) -> None:
    """The origin says this to one request, piece by piece, and closes."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        for piece in said:
            writer.write(piece)
            await asyncio.sleep(pause)

    script.handler = handler


# Framing


@pytest.mark.parametrize("size", [0, 5, 16384, 65536, 1_000_000])
async def test_an_answer_of_known_length_arrives_whole(edge: Edge, script: Script, size: int) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    async with connected(edge) as client:
        for _ in range(2):
            answer = await client.get()
            assert (answer.status, answer.field(b"content-length"), answer.body) == (200, b"%d" % size, b"x" * size)
            assert answer.field(b"connection") is None


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_a_chunked_answer_arrives_chunked_with_its_trailers(edge: Edge, script: Script, size: int) -> None:
    content = b"%x\r\n%b\r\n" % (size, b"x" * size) if size else b""
    script.response = CHUNKED + content + b"2\r\nde\r\n0\r\nX-Sum: 9\r\nContent-Length: 3\r\n\r\n"
    async with connected(edge) as client:
        for _ in range(2):
            answer = await client.get()
            assert answer.field(b"transfer-encoding") == b"chunked"
            assert (answer.body, answer.trailers) == (b"x" * size + b"de", [b"X-Sum: 9"])


async def test_chunks_arrive_as_they_come(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(CHUNKED + b"5\r\nfirst\r\n")
        await go.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    script.handler = handler
    async with connected(edge) as client:
        client.send(GET)
        assert (await asyncio.wait_for(client.reader.readuntil(b"first"), 60)).startswith(b"HTTP/1.1 200 OK\r\n")
        go.set()
        assert (await client.ended()).endswith(b"second\r\n0\r\n\r\n")


async def test_an_answer_that_ends_with_the_connection_is_chunked_for_the_client(edge: Edge, script: Script) -> None:
    once(script, b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nno ", b"length")
    async with connected(edge) as client:
        for _ in range(2):
            answer = await client.get()
            assert (answer.version, answer.field(b"transfer-encoding"), answer.body) == (b"HTTP/1.1", b"chunked", b"no length")


@pytest.mark.parametrize(
    ("said", "body", "length"),
    [
        (CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", b"abc", None),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", b"until the end", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", b"3"),
        (b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", b"3"),
    ],
    ids=["chunked", "until close", "length", "interim"],
)
async def test_a_client_of_http_1_0_gets_what_it_understands_and_the_end(
    edge: Edge, script: Script, said: bytes, body: bytes, length: bytes | None
) -> None:
    once(script, said)
    async with connected(edge) as client:
        client.send(OLD)
        answer = await client.answer()
        assert (answer.body, answer.interim, answer.field(b"transfer-encoding")) == (body, [], None)
        assert (answer.field(b"content-length"), answer.field(b"connection")) == (length, b"close")
        assert await client.ended() == b""
    assert script.heads[0].startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("method", "response", "passed_on"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", None),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 404 Not Found\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    edge: Edge, script: Script, method: bytes, response: bytes, passed_on: bytes | None
) -> None:
    script.response = response
    async with connected(edge) as client:
        for _ in range(2):
            client.send(request(method + b" /"))
            assert await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 60) == (passed_on or response)
            await until(lambda: to_origin(edge).pool.idle)  # where it may rest first
    assert script.connections == 1


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (b"HTTP/1.1 200", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.0 404 Nowhere", b"HTTP/1.1 404 Nowhere"),
        (b"HTTP/1.1 299 ", b"HTTP/1.1 299 "),
        (b"HTTP/1.1 999 Request denied", b"HTTP/1.1 999 Request denied"),
    ],
)
async def test_a_status_is_passed_on_with_its_reason_or_the_usual_one(
    edge: Edge, script: Script, said: bytes, sent: bytes
) -> None:
    once(script, said + b"\r\nContent-Length: 0\r\n\r\n")
    assert (await edge.exchange("gallery.test", GET)).startswith(sent + b"\r\n")


async def test_what_an_origin_says_of_its_own_connection_ends_here(edge: Edge, script: Script) -> None:
    once(script, b"HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: a\r\nKeep-Alive: b\r\nContent-Length: 2\r\n\r\nok")
    async with connected(edge) as client:
        assert (await client.get()).fields == [(b"content-length", b"2")]
        assert (await client.get()).body == b"ok"
    assert script.connections == 2


# Interim answers


async def test_early_hints_are_passed_on_and_an_unasked_continue_is_not(edge: Edge, script: Script) -> None:
    script.response = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = await edge.exchange("gallery.test", GET)
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_client_that_expects_continue_gets_it_from_the_origin(edge: Edge, script: Script) -> None:
    async def willing(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        script.bodies.append(await reader.readexactly(4))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    script.handler = willing
    async with connected(edge) as client:
        client.send(request(b"PUT /", b"Content-Length: 4", b"Expect: 100-continue"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert (await client.answer()).field(b"connection") is None
    assert script.bodies == [b"body"]
    assert b"expect: 100-continue\r\n" in script.heads[0]


async def test_an_origin_that_refuses_an_expectation_is_heard(edge: Edge, script: Script) -> None:
    async def unwilling(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    script.handler = unwilling
    async with connected(edge) as client:
        client.send(request(b"PUT /", b"Content-Length: 4", b"Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer.interim, answer.field(b"connection")) == (417, [], b"close")
        assert await client.ended() == b""


# The connection behind the answer


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig", b"HTTP/1.1 413 Too Large\r\n\r\nbig"],
    ids=["length", "until close"],
)
async def test_an_answer_before_the_body_was_read_ends_the_connection_but_not_before_it_is_read(
    edge: Edge, script: Script, said: bytes
) -> None:
    once(script, said)
    async with connected(edge) as client:
        client.send(request(b"PUT /", b"Content-Length: 10000000", body=bytes(100_000)))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.field(b"connection")) == (413, b"big", b"close")
        client.send(bytes(100_000))  # who is in the middle of his body is no reason for a reset
        assert await client.ended() == b""
    await until(lambda: not edge.worker.connections)


async def test_an_answer_while_the_body_is_sent_does_not_cut_it_short_where_the_origin_goes_on_reading(
    edge: Edge, script: Script
) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(CHUNKED + b"5\r\nbegun\r\n")
        script.bodies.append(await reader.readexactly(200_000))
        writer.write(b"4\r\ndone\r\n0\r\n\r\n")

    script.handler = handler
    async with connected(edge) as client:
        client.send(request(b"PUT /", b"Content-Length: 200000", body=bytes(1000)))
        await client.reader.readuntil(b"begun\r\n")
        client.send(bytes(199_000))
        assert await client.ended() == b"4\r\ndone\r\n0\r\n\r\n"
    assert script.bodies == [bytes(200_000)]


async def test_a_worker_that_drains_says_so_with_every_kind_of_answer(edge: Edge, script: Script) -> None:
    go = asyncio.Event()
    said = {
        b"/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"/chunked": CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
        b"/broken": b"nonsense\r\n\r\n",
    }

    async def handler(reader: Reader, writer: Writer) -> None:
        head = await script.read_head(reader)
        await go.wait()
        writer.write(said[head.split(b" ")[1]])

    script.handler = handler

    async def one(target: bytes) -> tuple[int, bytes | None, bytes]:
        async with connected(edge) as client:
            client.send(request(b"GET " + target))
            answer = await client.answer()
            return answer.status, answer.field(b"connection"), await client.ended()

    asked = [asyncio.ensure_future(one(target)) for target in said]
    await until(lambda: len(script.heads) == len(said))
    edge.worker.drain()
    go.set()
    assert await asyncio.gather(*asked) == [(200, b"close", b""), (200, b"close", b""), (502, b"close", b"")]


async def test_the_edges_own_pages_leave_the_connection_usable(edge: Edge, script: Script) -> None:
    edge.add_certificate("both", "one.test", "nobody.test")
    edge.add_site("one.test", "w", certificate="both")
    async with connected(edge, "one.test") as client:
        page = await client.get(host=b"nobody.test")
        assert (page.status, page.field(b"connection")) == (404, None)
        assert page.field(b"content-length") == b"%d" % len(page.body)
        client.send(request(b"HEAD /", host=b"nobody.test"))
        head = await client.answer(b"HEAD")
        assert (head.status, head.field(b"content-length")) == (404, page.field(b"content-length"))
        assert (await client.get(host=b"one.test")).body == b"hello"
        client.send(request(b"PUT /", b"Content-Length: 10", host=b"nobody.test"))
        refused = await client.answer()
        assert (refused.status, refused.field(b"connection")) == (404, b"close")
        assert await client.ended() == b""
    assert len(script.heads) == 1


# Answers that are cut off


async def test_an_answer_that_lacks_its_end_is_seen_to(edge: Edge, script: Script) -> None:
    once(script, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    assert fields(await edge.exchange("gallery.test", request(b"GET /")))[2] == b"only this"
    once(script, CHUNKED + b"4\r\nonly\r\n")
    assert (await edge.exchange("gallery.test", request(b"GET /"))).endswith(b"\r\n\r\n4\r\nonly\r\n")


async def test_a_client_of_http_1_0_learns_of_a_cut_by_the_missing_close_notify(edge: Edge, script: Script) -> None:
    once(script, CHUNKED + b"4\r\nonly\r\n")

    def visit() -> bytes:
        got = bytearray()
        context = edge.client_context("http/1.1")
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which some releases of Python set by themselves
        with socket.create_connection(("127.0.0.1", edge.port), 30) as plain:
            sock = context.wrap_socket(plain, server_hostname="gallery.test", suppress_ragged_eofs=False)
            with sock:

                def read_all() -> None:
                    while piece := sock.recv(65536):
                        got.extend(piece)

                sock.sendall(OLD)
                with pytest.raises(ssl.SSLError, match="EOF"):  # SSLEOFError, but with some releases
                    read_all()
        return bytes(got)

    assert (await asyncio.to_thread(visit)).endswith(b"\r\n\r\nonly")


# A client that does not read


async def test_a_slow_reader_stalls_the_origin(edge: Edge, script: Script) -> None:
    sent = 0

    async def endless(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    script.handler = endless
    async with connected(edge) as client:
        client.transport.pause_reading()
        client.send(GET)
        last = -1
        while sent != last or not sent:  # until nothing moves any more
            last = sent
            await asyncio.sleep(0.3)
        assert sent < 32_000_000  # the kernel's socket buffers; without back-pressure it would go on
        assert held(edge) < 256 * 1024
        client.transport.resume_reading()
        while sent == last:
            await client.reader.read(65536)
        client.transport.abort()


def held(edge: Edge) -> int:
    """Bytes that the edge holds for its only client."""
    (connection,) = edge.worker.connections
    return connection.transport.get_write_buffer_size()


async def test_a_client_that_left_before_its_turn_gets_nothing_and_holds_nobody_up(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def late(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await go.wait()
        writer.write(script.response)

    script.handler = late

    async def leave(client: Client1) -> None:
        client.send(GET)
        await until(lambda: script.heads)
        client.transport.abort()

    async with connected(edge) as client:
        await leave(client)
        await until(lambda: not edge.worker.connections)
        go.set()
    assert (await edge.exchange("gallery.test", GET)).endswith(b"hello")
