"""One request and its response, through a real worker: what reaches the origin, what reaches the client."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import cast

import pytest

from edgeproxy.config.structs import Timeouts
from edgeproxy.published.records import Site
from edgeproxy.units import Duration
from tests.edge.harness import Edge, MapProcess, Script, config_for, fields

GET = b"GET /path?q=1 HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


def request(start: bytes, *lines: bytes, body: bytes = b"", close: bool = True) -> bytes:
    """A raw request for gallery.test."""
    closing = (b"Connection: close",) if close else ()
    return b"\r\n".join((start + b" HTTP/1.1", b"Host: gallery.test", *lines, *closing, b"", body))


def reading(writer: asyncio.StreamWriter) -> asyncio.Transport:
    """The transport of a stream, to stop and go on reading."""
    return cast(asyncio.Transport, writer.transport)


async def test_a_request_reaches_the_origin_with_its_workspace(edge: Edge, script: Script) -> None:
    status, _, body = fields(await edge.exchange("gallery.test", GET))
    assert (status, body) == (200, b"hello")
    head = script.heads[0]
    assert head.startswith(b"GET /path?q=1 HTTP/1.1\r\nHost: gallery.test\r\n")
    assert b"\r\nworkspace-id: spandantest\r\n" in head


async def test_the_origin_learns_who_asked_and_how(edge: Edge, script: Script) -> None:
    await edge.exchange("gallery.test", GET)
    head = script.heads[0]
    for line in (
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-proto: https",
        b"x-forwarded-host: gallery.test",
        b"forwarded: for=127.0.0.1;host=gallery.test;proto=https",
        b"via: 1.1 edgeproxy",
    ):
        assert b"\r\n" + line + b"\r\n" in head
    assert re.search(rb"\r\nx-request-id: [0-9a-f]{12}-[0-9a-f]+\r\n", head)


@pytest.mark.parametrize(
    "line",
    [
        b"workspace-id: evil",
        b"Workspace-Id: evil",
        b"WORKSPACE_ID: evil",
        b"workspace.id: evil",
        b"X-Forwarded-For: 6.6.6.6, evil",
        b"x_forwarded_for: evil",
        b"X-Forwarded-Prefix: evil",
        b"Forwarded: for=evil",
        b"Via: 1.1 evil",
        b"X-Request-ID: evil",
        b"X-Real-IP: evil",
        b"Proxy: evil",
        b"Proxy-Connection: evil",
        b"Keep-Alive: evil",
        b"TE: evil",
    ],
)
async def test_what_only_the_edge_may_say_is_not_taken_from_a_client(edge: Edge, script: Script, line: bytes) -> None:
    status, _, _ = fields(await edge.exchange("gallery.test", request(b"GET /", line)))
    assert status == 200
    assert b"evil" not in script.heads[0]


async def test_fields_nominated_by_connection_end_here(edge: Edge, script: Script) -> None:
    lines = (b"X-Hop: secret", b"X-End: kept", b"Connection: close, x-hop, host, workspace-id")
    await edge.exchange("gallery.test", request(b"GET /", *lines, close=False))
    head = script.heads[0]
    assert b"secret" not in head
    assert b"X-End: kept" in head
    assert b"Host: gallery.test" in head
    assert b"workspace-id: spandantest" in head


async def test_connections_are_kept_on_both_sides(edge: Edge, script: Script) -> None:
    reader, writer = await edge.connect("gallery.test")
    for number in range(3):
        writer.write(request(b"GET /%d" % number, close=False))
        assert (await reader.readexactly(len(script.response))).endswith(b"hello")
    writer.close()
    assert script.connections == 1
    assert [head.split(b" ")[1] for head in script.heads] == [b"/0", b"/1", b"/2"]


async def test_pipelined_requests_are_answered_in_their_order(edge: Edge, script: Script) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await script.read_head(reader):
            path = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    script.handler = echo
    raw = request(b"GET /1", close=False) + request(b"GET /2", close=False) + request(b"GET /3")
    answer = await edge.exchange("gallery.test", raw)
    assert re.findall(rb"\r\n\r\n(/\d)", answer) == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 300_000])
async def test_a_body_of_known_length_arrives_whole(edge: Edge, script: Script, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    status, _, _ = fields(await edge.exchange("gallery.test", request(b"POST /", b"Content-Length: %d" % size, body=body)))
    assert status == 200
    assert script.bodies == [body]
    assert b"content-length: %d\r\n" % size in script.heads[0].lower()


async def test_a_chunked_body_arrives_chunked_with_its_trailers(edge: Edge, script: Script) -> None:
    body = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nWorkspace-Id: evil\r\nContent-Length: 3\r\n\r\n"
    status, _, _ = fields(await edge.exchange("gallery.test", request(b"POST /", b"Transfer-Encoding: chunked", body=body)))
    assert status == 200
    received = script.bodies[0]
    assert b"hello" in received
    assert b" world" in received
    assert received.endswith(b"0\r\nX-Sum: 1\r\n\r\n")


async def test_an_empty_post_says_that_it_is_empty(edge: Edge, script: Script) -> None:
    await edge.exchange("gallery.test", request(b"POST /"))
    assert b"content-length: 0\r\n" in script.heads[0]


@pytest.mark.parametrize("size", [0, 5, 16384, 65536, 1_000_000])
async def test_an_answer_of_known_length_arrives_whole(edge: Edge, script: Script, size: int) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    status, found, body = fields(await edge.exchange("gallery.test", GET))
    assert (status, found[b"content-length"], body) == (200, b"%d" % size, b"x" * size)


async def test_a_chunked_answer_arrives_chunked_with_its_trailers(edge: Edge, script: Script) -> None:
    script.response = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n"
    )
    _, found, body = fields(await edge.exchange("gallery.test", GET))
    assert found[b"transfer-encoding"] == b"chunked"
    assert re.sub(rb"[0-9a-f]+\r\n([a-z]*)\r\n", rb"\1", body.partition(b"0\r\nX-Sum")[0]) == b"abcde"
    assert body.endswith(b"0\r\nX-Sum: 9\r\n\r\n")


async def test_an_answer_that_ends_with_the_connection_is_chunked_for_the_client(edge: Edge, script: Script) -> None:
    async def until_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nno length")

    script.handler = until_close
    answer = await edge.exchange("gallery.test", GET)
    _, found, body = fields(answer)
    assert found[b"transfer-encoding"] == b"chunked"
    assert body == b"9\r\nno length\r\n0\r\n\r\n"


async def test_a_client_of_http_1_0_gets_no_chunks(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    _, found, body = fields(await edge.exchange("gallery.test", b"GET / HTTP/1.0\r\nHost: gallery.test\r\n\r\n"))
    assert b"transfer-encoding" not in found
    assert body == b"abc"
    assert script.heads[0].startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(edge: Edge, script: Script, method: bytes, response: bytes) -> None:
    script.response = response
    reader, writer = await edge.connect("gallery.test")
    for _ in range(2):
        writer.write(request(method + b" /", close=False))
        assert await reader.readuntil(b"\r\n\r\n") == response
    writer.close()


async def test_early_hints_are_passed_on_and_an_unasked_continue_is_not(edge: Edge, script: Script) -> None:
    script.response = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = await edge.exchange("gallery.test", GET)
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_interim_answers_together_are_bounded_as_one_head_is(edge: Edge, script: Script) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
            await writer.drain()

    script.handler = endless
    answer = await edge.exchange("gallery.test", GET)
    interim, _, last = answer.partition(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert last
    assert interim.replace(b"HTTP/1.1 102 Processing\r\n\r\n", b"") == b""
    assert len(interim) <= edge.worker.limits.response_head


async def test_a_client_that_expects_continue_gets_it_from_the_origin(edge: Edge, script: Script) -> None:
    async def willing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        script.bodies.append(await reader.readexactly(4))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    script.handler = willing
    reader, writer = await edge.connect("gallery.test")
    writer.write(request(b"PUT /", b"Content-Length: 4", b"Expect: 100-continue"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    assert script.bodies == [b"body"]
    writer.close()


async def test_an_origin_that_refuses_an_expectation_is_heard(edge: Edge, script: Script) -> None:
    script.handler = script.answer

    async def unwilling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    script.handler = unwilling
    answer = await edge.exchange("gallery.test", request(b"PUT /", b"Content-Length: 4", b"Expect: 100-continue", close=False))
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b"connection: close" in answer


async def test_a_slow_reader_stalls_the_origin(edge: Edge, script: Script) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    script.handler = endless
    reader, writer = await edge.connect("gallery.test")
    reading(writer).pause_reading()
    writer.write(GET)
    last = -1
    while sent != last or not sent:  # until nothing moves any more
        last = sent
        await asyncio.sleep(0.3)
    assert sent < 32_000_000  # the kernel's socket buffers; without back-pressure it would go on
    connection = next(iter(edge.worker.connections))
    assert connection.transport.get_write_buffer_size() < 256 * 1024
    reading(writer).resume_reading()
    while sent == last:
        await reader.read(65536)
    writer.transport.abort()


async def test_a_slow_origin_stalls_the_client(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        script.bodies.append(await reader.readexactly(50_000_000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    script.handler = slow
    reader, writer = await edge.connect("gallery.test")
    writer.write(request(b"POST /", b"Content-Length: 50000000"))
    sent = 0

    async def upload() -> None:
        nonlocal sent
        while sent < 50_000_000:
            writer.write(bytes(50_000))
            await writer.drain()
            sent += 50_000

    task = asyncio.ensure_future(upload())
    last = -1
    while sent != last or not sent:
        last = sent
        await asyncio.sleep(0.3)
    assert sent < 40_000_000
    go.set()
    await task
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    assert len(script.bodies[0]) == 50_000_000
    writer.close()


async def test_an_origin_that_is_not_there_is_a_502_with_a_request_id(edge: Edge) -> None:
    edge.add_site("gone.test", "w", origin="http://127.0.0.1:1")
    raw = b"GET / HTTP/1.1\r\nHost: gone.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    status, _, body = fields(await edge.exchange("gone.test", raw))
    assert status == 502
    assert b'"request_id"' in body


async def test_an_origin_that_does_not_answer_is_a_504(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess) -> None:
    script, port = origin

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    script.handler = silent
    timeouts = Timeouts(origin_response=Duration(0.5), drain=Duration(1))
    edge = Edge(tmp_path, config_for(port, timeouts=timeouts), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        status, _, _ = fields(await edge.exchange("gallery.test", GET))
    assert status == 504


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_an_origin_that_breaks_the_protocol_is_a_502(edge: Edge, script: Script, garbage: bytes) -> None:
    script.response = garbage
    status, _, body = fields(await edge.exchange("gallery.test", GET))
    assert status == 502
    assert b"hello" not in body


async def test_a_truncated_answer_is_seen_as_truncated(edge: Edge, script: Script) -> None:
    async def lying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    script.handler = lying
    answer = await edge.exchange("gallery.test", request(b"GET /", close=False))
    assert fields(answer)[2] == b"only this"  # fewer bytes than announced, then the end


async def test_a_truncated_chunked_answer_lacks_its_last_chunk(edge: Edge, script: Script) -> None:
    async def lying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n")

    script.handler = lying
    answer = await edge.exchange("gallery.test", request(b"GET /", close=False))
    assert b"only" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_a_kept_connection_that_the_origin_closed_costs_the_client_nothing(edge: Edge, script: Script) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await script.read_head(reader)  # the second request is read, and the connection closed over it

    script.handler = once
    for _ in range(3):
        status, _, _ = fields(await edge.exchange("gallery.test", GET))
        assert status == 200
    assert script.connections >= 2


async def test_a_post_is_not_sent_twice(edge: Edge, script: Script) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await script.read_head(reader)

    script.handler = once
    await edge.exchange("gallery.test", GET)
    status, _, _ = fields(await edge.exchange("gallery.test", request(b"POST /", b"Content-Length: 2", body=b"hi")))
    assert status == 502
    assert sum(head.startswith(b"POST") for head in script.heads) == 1


async def test_a_kept_connection_that_breaks_the_protocol_is_not_tried_again(edge: Edge, script: Script) -> None:
    async def breaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await script.read_head(reader)
        writer.write(b"nonsense\r\n\r\n")
        await reader.read()

    script.handler = breaking
    assert fields(await edge.exchange("gallery.test", GET))[0] == 200
    assert fields(await edge.exchange("gallery.test", GET))[0] == 502
    assert len(script.heads) == 2


async def test_a_client_that_leaves_frees_the_origin(edge: Edge, script: Script) -> None:
    left = asyncio.Event()

    async def waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await reader.read()
        left.set()

    script.handler = waiting
    _, writer = await edge.connect("gallery.test")
    writer.write(request(b"GET /", close=False))
    while not script.heads:
        await asyncio.sleep(0.01)
    writer.transport.abort()
    await asyncio.wait_for(left.wait(), 30)


async def test_a_websocket_carries_bytes_both_ways(edge: Edge, script: Script) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\nearly")
        while data := await reader.read(65536):
            writer.write(data)

    script.handler = echo
    reader, writer = await edge.connect("gallery.test")
    writer.write(request(b"GET /ws", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: abc", close=False))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"upgrade: websocket\r\n" in head
    assert await reader.readexactly(5) == b"early"
    assert b"upgrade: websocket\r\n" in script.heads[0]
    assert b"Sec-WebSocket-Key: abc\r\n" in script.heads[0]
    data = bytes(range(256)) * 2000
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    writer.close()


async def test_a_quiet_websocket_outlives_the_time_that_an_answer_may_take(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
) -> None:
    script, port = origin

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await asyncio.sleep(1.5)
        writer.write(b"late")
        await reader.read()

    script.handler = late
    timeouts = Timeouts(origin_response=Duration(0.5), idle=Duration(0.5), client_body=Duration(0.5), drain=Duration(1))
    edge = Edge(tmp_path, config_for(port, timeouts=timeouts), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        reader, writer = await edge.connect("gallery.test")
        writer.write(request(b"GET /ws", b"Upgrade: websocket", b"Connection: Upgrade", close=False))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"late"
        writer.close()


async def test_who_pipelines_without_reading_does_not_fill_the_memory(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60000)
    reader, writer = await edge.connect("gallery.test")
    reading(writer).pause_reading()
    writer.write(request(b"GET /", close=False) * 2000)
    last = -1
    while len(script.heads) != last or not last:
        last = len(script.heads)
        await asyncio.sleep(0.3)
    assert last < 1000
    connection = next(iter(edge.worker.connections))
    assert connection.transport.get_write_buffer_size() < 256 * 1024
    reading(writer).resume_reading()
    for _ in range(2000):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        await reader.readexactly(60000)
    writer.close()


async def test_one_empty_line_before_a_request_is_ignored_and_two_are_not(edge: Edge) -> None:
    assert fields(await edge.exchange("gallery.test", b"\r\n" + GET))[0] == 200
    assert fields(await edge.exchange("gallery.test", b"\r\n\r\n" + GET))[0] == 400


async def test_a_refused_websocket_is_an_ordinary_answer(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    answer = await edge.exchange(
        "gallery.test", request(b"GET /ws", b"Upgrade: websocket", b"Connection: Upgrade, close", close=False)
    )
    assert fields(answer)[0] == 403


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\nHost: gallery.test\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: gallery.test\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gallery.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"CONNECT gallery.test:443 HTTP/1.1\r\nHost: gallery.test\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: gallery.test\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\nHost: gallery.test\r\n\r\n", 505),
        (b"GET http://other.test/ HTTP/1.1\r\nHost: gallery.test\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: gallery.test\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 421),
    ],
)
async def test_what_cannot_be_forwarded_gets_a_defined_answer(edge: Edge, script: Script, raw: bytes, status: int) -> None:
    answer = await edge.exchange("gallery.test", raw)
    assert fields(answer)[0] == status
    assert not any(script.bodies)


async def test_a_site_added_and_removed_on_a_living_connection_counts_at_once(edge: Edge, script: Script) -> None:
    edge.add_certificate("both", "a.test", "b.test")
    edge.add_site("a.test", "one", certificate="both")
    reader, writer = await edge.connect("a.test")

    async def status_of(host: bytes) -> int:
        writer.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        return int(head.split(b" ")[1])

    assert await status_of(b"a.test") == 200
    assert await status_of(b"b.test") == 404
    edge.add_site("b.test", "two", certificate="both")
    assert await status_of(b"b.test") == 200
    assert b"workspace-id: two" in script.heads[-1]
    edge.publish(deletes=(("sites", "a.test"),))
    assert await status_of(b"a.test") == 404
    edge.publish(("sites", "b.test", Site(workspace="three", certificate="both")))
    assert await status_of(b"b.test") == 200
    assert b"workspace-id: three" in script.heads[-1]
    writer.close()
