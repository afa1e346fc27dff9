"""The HTTP/1.1 session: what a client may send before it is its turn, how slow it may be, and how the connection ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from edgeproxy.edge import worker
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.front1 import Front1
from edgeproxy.limits import RELAY_BUFFER, REQUESTS_AHEAD, WRITE_HIGH_WATER, Limits
from tests.edge.client1 import connected, half_closed, request
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with, fields, patient, to_origin, until

GET = request(b"GET /", close=True)


def session(edge: Edge) -> Front1:
    """The only client's."""
    (connection,) = edge.worker.connections
    front = cast(Connection, connection).front
    assert isinstance(front, Front1)
    return front


def silent(script: Script) -> None:
    """The origin reads and never answers."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        while piece := await reader.read(65536):
            script.bodies.append(piece)

    script.handler = handler


def echoing(script: Script) -> None:
    """The origin answers with the path that it was asked for."""

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            script.bodies.append(await script.read_body(head, reader))
            path = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    script.handler = handler


# One request after the other


async def test_connections_are_kept_on_both_sides(edge: Edge, script: Script) -> None:
    async with connected(edge) as client:
        for number in range(3):
            assert (await client.get(b"/%d" % number)).body == b"hello"
        assert session(edge).idle
        assert session(edge).requests == 3
    assert script.connections == 1
    assert [head.split(b" ")[1] for head in script.heads] == [b"/0", b"/1", b"/2"]


async def test_pipelined_requests_are_answered_in_their_order(edge: Edge, script: Script) -> None:
    echoing(script)
    async with connected(edge) as client:
        bodies = (
            request(b"PUT /1", b"Content-Length: 3", body=b"abc"),
            request(b"PUT /2", b"Transfer-Encoding: chunked", body=b"3\r\ndef\r\n0\r\n\r\n"),
        )
        client.send(request(b"GET /0") + b"".join(bodies) + b"\r\n" + request(b"GET /3"))
        assert [(await client.answer()).body for _ in range(4)] == [b"/0", b"/1", b"/2", b"/3"]
    assert script.bodies == [b"", b"abc", b"3\r\ndef\r\n0\r\n\r\n", b""]


async def test_empty_lines_before_a_request_are_ignored_however_they_are_cut(edge: Edge, script: Script) -> None:
    echoing(script)
    for pieces in ((b"\r\n\r\n\r\n",), (b"\r\n", b"\r\n", b"\r", b"\n"), (b"\r\n\r",), (b"\r", b"\n\r\n\r")):
        async with connected(edge) as client:
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0)
            client.send((b"\n" if pieces[-1].endswith(b"\r") else b"") + request(b"GET /1"))
            assert (await client.answer()).body == b"/1"


async def test_any_number_of_requests_that_the_edge_answers_at_once_may_be_pipelined(edge: Edge) -> None:
    edge.add_certificate("both", "one.test", "nobody.test")
    edge.add_site("one.test", "w", certificate="both")
    async with connected(edge, "one.test") as client:
        client.send(request(b"GET /", host=b"nobody.test") * 3000)
        for _ in range(3000):
            assert (await client.answer()).status == 404


async def test_a_request_may_come_byte_by_byte(edge: Edge, script: Script) -> None:
    echoing(script)
    async with connected(edge) as client:
        raw = request(b"PUT /a", b"Transfer-Encoding: chunked", body=b"3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
        for byte in raw + request(b"GET /b"):
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"/a"
        assert (await client.answer()).body == b"/b"
    assert b"".join(script.bodies).endswith(b"0\r\nX-T: 1\r\n\r\n")


@pytest.mark.parametrize("asked", [1, 3])
async def test_a_connection_ends_after_its_share_of_requests(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], asked: int
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], limits=Limits(requests_per_connection=asked))
    async with edge.running(), connected(edge) as client:
        said = [(await client.get()).field(b"connection") for _ in range(asked)]
        assert said == [None] * (asked - 1) + [b"close"]
        assert await client.ended() == b""


# Bodies


@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 300_000])
async def test_a_body_of_known_length_arrives_whole(edge: Edge, script: Script, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    async with connected(edge) as client:
        client.send(request(b"POST /", b"Content-Length: %d" % size, body=body))
        assert (await client.answer()).status == 200
    assert script.bodies == [body]
    assert b"content-length: %d\r\n" % size in script.heads[0].lower()


async def test_a_chunked_body_arrives_chunked_with_its_trailers(edge: Edge, script: Script) -> None:
    body = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nWorkspace-Id: evil\r\nContent-Length: 3\r\n\r\n"
    async with connected(edge) as client:
        client.send(request(b"POST /", b"Transfer-Encoding: chunked", body=body))
        assert (await client.answer()).status == 200
    (received,) = script.bodies
    assert b"hello" in received
    assert b" world" in received
    assert received.endswith(b"0\r\nX-Sum: 1\r\n\r\n")


@pytest.mark.parametrize("broken", [b"zz\r\n", b"3\r\nabcd\r\n", b"3\nabc\r\n"])
async def test_a_malformed_body_is_refused_and_the_origin_left(edge: Edge, script: Script, broken: bytes) -> None:
    silent(script)
    async with connected(edge) as client:
        client.send(request(b"POST /", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
        await until(lambda: script.bodies)
        client.send(broken)
        answer = await client.answer()
        assert (answer.status, answer.field(b"connection")) == (400, b"close")
        assert await client.ended() == b""
    await until(lambda: not any(pool.open for pool in edge.worker._pools.values()))
    assert not b"".join(script.bodies).endswith(b"0\r\n\r\n")


async def test_a_malformed_trailer_is_refused_and_the_origin_left(edge: Edge, script: Script) -> None:
    silent(script)
    async with connected(edge) as client:
        client.send(request(b"POST /", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nno trailer\r\n\r\n"))
        answer = await client.answer()
        assert (answer.status, answer.field(b"connection")) == (400, b"close")  # where the next begins nobody agrees on
        assert await client.ended() == b""
    await until(lambda: not any(pool.open for pool in edge.worker._pools.values()))


async def test_a_body_waits_for_a_connection_to_the_origin(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    script, port = origin
    go = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if head.startswith(b"GET"):
                await go.wait()
            script.bodies.append(await script.read_body(head, reader))
            writer.write(script.response)

    script.handler = handler
    edge = edge_with(tmp_path, maps, port, limits=Limits(origin_connections=1))
    async with edge.running(), connected(edge) as first:
        first.send(request(b"GET /"))
        await until(lambda: script.heads)
        async with connected(edge) as client:
            client.send(request(b"PUT /", b"Content-Length: 300000", body=bytes(range(256)) * 1000))
            await asyncio.sleep(0.2)
            front = next(each for each in edge.worker.connections if cast(Connection, each).front is not None)
            assert len(script.heads) == 1
            assert len(cast(Front1, cast(Connection, front).front)._buffer) <= REQUESTS_AHEAD + RELAY_BUFFER
            go.set()
            client.send(bytes(44_000))
            assert (await client.answer()).status == 200
    assert script.bodies == [b"", bytes(range(256)) * 1000 + bytes(44_000)]


async def test_a_slow_origin_stalls_the_client(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def slow(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        script.bodies.append(await reader.readexactly(50_000_000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    script.handler = slow
    reader, writer = await edge.connect("gallery.test")
    writer.write(request(b"POST /", b"Content-Length: 50000000", close=True))
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


async def test_what_is_pipelined_behind_a_body_whose_end_has_to_wait_is_the_next_request(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def slow(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if head.startswith(b"PUT"):
                transport = cast(asyncio.Transport, writer.transport)
                transport.pause_reading()
                await go.wait()
                transport.resume_reading()
                while not (await reader.read(65536)).endswith(b"0\r\n\r\n"):
                    pass
            writer.write(script.response)

    script.handler = slow
    reader, writer = await edge.connect("gallery.test")
    writer.write(request(b"PUT /", b"Transfer-Encoding: chunked"))
    await until(lambda: script.heads)
    queued = to_origin(edge).transport.get_write_buffer_size
    while queued() < 4000:  # until the kernel takes no more
        writer.write(b"4e20\r\n" + bytes(20_000) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
    assert queued() < WRITE_HIGH_WATER
    writer.write(b"fa00\r\n" + bytes(64_000) + b"\r\n0\r\n\r\n" + request(b"GET /next"))
    await until(lambda: queued() > WRITE_HIGH_WATER)
    await asyncio.sleep(0.1)
    go.set()
    for _ in range(2):
        assert await asyncio.wait_for(reader.readexactly(len(script.response)), 60) == script.response
    assert script.heads[1].startswith(b"GET /next")
    writer.close()


# Clients that send or read too much


async def test_what_is_sent_before_its_turn_is_held_within_bounds(edge: Edge, script: Script) -> None:
    silent(script)
    async with connected(edge) as client:
        client.send(request(b"GET /first") + b"x" * 20_000_000)
        await until(lambda: script.heads)
        await until(lambda: len(session(edge)._buffer) > REQUESTS_AHEAD)
        await asyncio.sleep(0.3)
        assert len(session(edge)._buffer) <= REQUESTS_AHEAD + RELAY_BUFFER
        client.transport.abort()


async def test_who_pipelines_without_reading_does_not_fill_the_memory(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60000)
    async with connected(edge) as client:
        client.transport.pause_reading()
        client.send(request(b"GET /") * 2000)
        last = -1
        while len(script.heads) != last or not last:
            last = len(script.heads)
            await asyncio.sleep(0.3)
        assert last < 1000
        (connection,) = edge.worker.connections
        assert connection.transport.get_write_buffer_size() < 256 * 1024
        client.transport.resume_reading()
        for _ in range(2000):
            answer = await client.answer()
            assert (answer.status, len(answer.body)) == (200, 60000)


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


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: gallery.test\n", 400),
        (b"GET /\x00", 400),
        (b"GET /" + b"a" * 17_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 33_000, 431),
    ],
)
async def test_a_head_that_can_be_none_is_refused_before_its_end(edge: Edge, start: bytes, status: int) -> None:
    async with connected(edge) as client:
        client.send(start)
        answer = await client.answer()
        assert (answer.status, answer.field(b"connection")) == (status, b"close")
        assert await client.ended() == b""


async def test_behind_what_was_no_request_nothing_is_served(edge: Edge, script: Script) -> None:
    answer = await edge.exchange("gallery.test", b"nonsense\r\n\r\n" + GET)
    assert fields(answer)[0] == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not script.heads


# Time


async def test_an_idle_connection_is_closed_without_a_word(edge: Edge) -> None:
    async with connected(edge) as client:
        assert (await client.get()).status == 200
        await edge.elapse(edge.worker.timeouts.idle + 1)
        assert await client.ended() == b""


@pytest.mark.parametrize(
    "start", [b"GET / HT", request(b"POST /", b"Content-Length: 10", body=b"four"), request(b"GET /ok") + b"GET"]
)
async def test_who_does_not_go_on_is_told_so(edge: Edge, script: Script, start: bytes) -> None:
    async with connected(edge) as client:
        client.send(start)
        if start.startswith(b"GET /ok"):
            assert (await client.answer()).status == 200
        await until(lambda: script.heads or any(getattr(each.front, "_buffer", b"") for each in edge.worker.connections))  # type: ignore[union-attr]
        await edge.elapse(61)
        answer = await client.answer()
        assert (answer.status, answer.field(b"connection")) == (408, b"close")
        assert await client.ended() == b""


async def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_others(edge: Edge) -> None:
    async with connected(edge) as client:
        assert (await client.get()).status == 200  # the second head's time is its own too
        answer = asyncio.ensure_future(client.answer())
        for _ in range(4):
            client.send(b"G")
            await edge.elapse(edge.worker.timeouts.client_header / 3)
        assert (await answer).status == 408


async def test_a_body_has_its_time_anew_with_each_part_and_none_while_the_origin_takes_nothing(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    script, port = origin
    go = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        head = await script.read_head(reader)
        transport = cast(asyncio.Transport, writer.transport)
        transport.pause_reading()
        await go.wait()
        transport.resume_reading()
        script.bodies.append(await script.read_body(head, reader))
        writer.write(script.response)

    script.handler = handler
    edge = edge_with(tmp_path, maps, port, timeouts=patient(client_body=120))
    async with edge.running(), connected(edge) as client:
        client.send(request(b"PUT /", b"Content-Length: 8000003"))
        await until(lambda: script.heads)
        (connection,) = edge.worker.connections
        for _ in range(3):
            before, now = connection.deadline, edge.worker.now
            await until(lambda now=now: edge.worker.now > now)  # type: ignore[misc]
            client.send(b"x")
            await until(lambda before=before: connection.deadline > before)  # type: ignore[misc]
        client.send(bytes(8_000_000))
        await until(lambda: session(edge)._held)
        session(edge).expired()
        go.set()
        assert (await client.answer()).status == 200
    assert len(script.bodies[0]) == 8_000_003


async def test_who_takes_nothing_of_his_answer_is_dropped_and_counted(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    script, port = origin
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)
    edge = edge_with(tmp_path, maps, port, timeouts=patient(write=0.5))
    async with edge.running(), connected(edge) as client:
        client.transport.pause_reading()
        client.send(request(b"GET /"))
        await until(lambda: edge.worker.access.snapshot({}).get("timeouts_total|write"))
        await until(lambda: not edge.worker.connections)
        await until(lambda: not any(pool.open for pool in edge.worker._pools.values()))


# The end


async def test_who_ends_his_side_behind_a_request_still_gets_the_answer(edge: Edge, script: Script) -> None:
    async def late(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await asyncio.sleep(0.2)
        writer.write(script.response)

    script.handler = late
    status, found, body = fields(await half_closed(edge, request(b"GET /")))
    assert (status, found[b"connection"], body) == (200, b"close", b"hello")


async def test_who_ends_his_side_within_a_body_has_given_up(edge: Edge, script: Script) -> None:
    silent(script)
    assert await half_closed(edge, request(b"PUT /", b"Content-Length: 10", body=b"four")) == b""
    await until(lambda: all(each.borrower is None for pool in edge.worker._pools.values() for each in pool.open))


async def test_who_ends_his_side_without_a_request_gets_the_end(edge: Edge) -> None:
    assert await half_closed(edge, b"") == b""


async def test_an_idle_connection_has_a_moment_for_its_last_request_when_it_is_drained(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "IDLE_GRACE", 20.0)
    async with connected(edge) as used, connected(edge) as unused:
        assert (await used.get()).status == 200
        edge.worker.draining = True
        for connection in edge.worker.connections:
            connection.drain()
        assert (await used.get()).field(b"connection") == b"close"
        await edge.elapse(21)
        assert await unused.ended() == b""
        edge.worker.draining = False


async def test_a_request_under_way_is_finished_when_it_is_drained(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def late(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await go.wait()
        writer.write(script.response)

    script.handler = late
    async with connected(edge) as client:
        client.send(request(b"GET /"))
        await until(lambda: script.heads)
        session(edge).drain()
        assert not session(edge).idle
        await asyncio.sleep(0.7)  # longer than idle connections have
        go.set()
        assert (await client.answer()).body == b"hello"
