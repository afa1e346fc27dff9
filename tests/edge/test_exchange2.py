"""One request over HTTP/2: its body and its answer, through a real worker, with h2 as the client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random

import h2.errors
import pytest

from edgeproxy.edge.exchange2 import TUNNEL_LINGER, UPLOAD_AHEAD, Exchange2, Incoming
from edgeproxy.edge.front2 import Front2
from edgeproxy.edge.http2 import STREAM_WINDOW
from edgeproxy.limits import Limits
from tests.edge.client2 import Client2, connected, get
from tests.edge.flow import flowing, held, settled
from tests.edge.harness import Edge, Reader, Script, Writer, until
from tests.edge.visiting import following

POST = get(method="POST")
WEBSOCKET = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get("/chat")[1:], (b"sec-websocket-version", b"13")]
NOT_SWITCHED = "the origin answered a WebSocket's request without switching protocols"
WRONG_KEY = "the origin accepted a WebSocket with a wrong key"


def fronts(edge: Edge) -> list[Front2]:
    return [each.front for each in edge.worker.connections if isinstance(each.front, Front2)]  # type: ignore[union-attr]


def front(edge: Edge) -> Front2:
    """The session of the only client."""
    (found,) = fronts(edge)
    return found


async def under_way(edge: Edge, number: int) -> tuple[Exchange2, Incoming]:
    """A request with a body that has reached the edge."""
    await until(lambda: any(number in each.streams for each in fronts(edge)))
    stream = front(edge).streams[number]
    assert stream is not None
    assert stream.incoming is not None
    return stream, stream.incoming


async def test_a_request_reaches_the_origin_as_http1_with_its_workspace(edge: Edge, script: Script) -> None:
    async with connected(edge) as client:
        answer = await client.get(
            get("/path?q=1", (b"user-agent", b"x"), (b"workspace_id", b"evil"), (b"x-forwarded-for", b"evil"))
        )
    assert (answer.status, answer.fields, answer.body) == (200, [(b"content-length", b"5")], b"hello")
    head = script.heads[0]
    assert head.startswith(b"GET /path?q=1 HTTP/1.1\r\nhost: gallery.test\r\nuser-agent: x\r\nworkspace-id: spandantest\r\n")
    assert b"\r\nx-forwarded-for: 127.0.0.1\r\n" in head
    assert b"\r\nx-forwarded-host: gallery.test\r\n" in head
    assert b"\r\nvia: 2 edgeproxy\r\n" in head
    assert b"evil" not in head


# Bodies


@pytest.mark.parametrize("length", [None, b"100000"])
async def test_an_upload_arrives_whole(edge: Edge, script: Script, length: bytes | None) -> None:
    content = random.Random(1).randbytes(100_000)
    async with connected(edge) as client:
        number = client.request([*POST, *([(b"content-length", length)] if length else [])])
        await client.upload(number, content)
        assert (await client.answer(number)).status == 200
    if length:
        assert script.bodies == [content]
        assert b"content-length: 100000\r\n" in script.heads[0]
    else:
        assert b"transfer-encoding: chunked\r\n" in script.heads[0]
        assert b"".join(unchunk(script.bodies[0])) == content


def unchunk(raw: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    while True:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return pieces
        pieces.append(raw[:length])
        raw = raw[length + 2 :]


async def test_a_small_body_goes_with_its_head(edge: Edge, script: Script) -> None:
    async with connected(edge) as client:
        number = client.request([*POST, (b"content-length", b"3")], b"abc")
        assert (await client.answer(number)).status == 200
    assert script.bodies == [b"abc"]


async def test_trailers_go_both_ways(edge: Edge, script: Script) -> None:
    got = bytearray()

    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        while not got.endswith(b"\r\n\r\n"):
            got.extend(await reader.read(100))
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\nContent-Length: 7\r\n\r\n"
        )

    script.handler = answer
    async with connected(edge) as client:
        number = client.request(POST)
        client.send(number, b"abc")
        client.state.send_headers(number, [(b"x-up", b"1"), (b"workspace-id", b"evil")], end_stream=True)
        client.flush()
        answered = await client.answer(number)
    assert bytes(got) == b"3\r\nabc\r\n0\r\nx-up: 1\r\n\r\n"
    assert (answered.body, answered.trailers) == (b"ok", [(b"x-sum", b"2")])


async def test_expect_continue_and_other_interim_answers_are_passed_on(edge: Edge, script: Script) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        assert await reader.readexactly(3) == b"abc"
        writer.write(script.response)

    script.handler = answer
    async with connected(edge) as client:
        number = client.request([*POST, (b"expect", b"100-continue"), (b"content-length", b"3")])
        await client.until(lambda: client.answers[number].interim)
        client.send(number, b"abc", end=True)
        answered = await client.answer(number)
    assert (answered.interim, answered.status) == ([100, 103], 200)


@pytest.mark.parametrize(
    ("method", "response", "status", "fields", "body"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, [(b"content-length", b"7")], b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, [], b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n", 304, [(b"etag", b"a")], b""),
        ("GET", b"HTTP/1.1 200 OK\r\nConnection: close, x-a\r\nX-A: b\r\n\r\nuntil the end", 200, [], b"until the end"),
        ("GET", b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", 200,
         [(b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"content-length", b"0")], b""),
    ],
)  # fmt: skip
async def test_every_kind_of_answer(
    edge: Edge, script: Script, method: str, response: bytes, status: int, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(response)

    script.handler = answer
    async with connected(edge) as client:
        answered = await client.get(get(method=method))
    assert (answered.status, answered.fields, answered.body) == (status, fields, body)


async def test_a_large_answer_arrives_whole(edge: Edge, script: Script) -> None:
    content = random.Random(3).randbytes(3_000_000)
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + content
    async with connected(edge) as client:
        answers = [client.request(get(f"/{n}"), b"") for n in range(3)]
        for number in answers:
            assert (await client.answer(number)).body == content


async def test_a_stream_without_a_window_stalls_its_origin_and_no_other(edge: Edge, script: Script) -> None:
    produced = [0]
    flowing(script, produced, 20_000_000)
    async with connected(edge, auto=False) as client:
        number = client.request(get("/large"), b"")
        await client.until(lambda: len(client.answers[number].content) == 65535)
        await settled(produced)
        assert produced[0] < 19_000_000
        assert held(edge) < 64 * 1024
        client.state.increment_flow_control_window(10_000_000)
        client.flush()
        script.handler = script.answer
        assert (await client.get(get("/other"))).body == b"hello"
        client.auto = True
        client.state.increment_flow_control_window(10_000_000, number)
        client.flush()
        assert len((await client.answer(number)).body) == 20_000_000


def slow(script: Script, size: int) -> tuple[asyncio.Event, asyncio.Event, bytearray]:
    """The origin takes a body of this size, but nothing of it before the first event and its end only then; it answers after
    the second. And what it took."""
    take, go, taken = asyncio.Event(), asyncio.Event(), bytearray()

    async def answer(reader: Reader, writer: Writer) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await take.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        await script.read_head(reader)
        while len(taken) < size and (data := await reader.read(1_000_000)):
            taken.extend(data)
        await go.wait()
        writer.write(script.response)

    script.handler = answer
    return take, go, taken


async def fed(edge: Edge, client: Client2, stream: Exchange2, incoming: Incoming) -> int:
    """Sends content bit by bit, each when the one before has been handed on, until the origin takes no more: how much."""
    sent = 0
    while not incoming.held:
        client.send(stream.number, b"x" * 16_000)
        sent += 16_000
        await until(lambda: stream.bytes_in == sent or incoming.held)  # noqa: B023
        await client.until(lambda: client.state.local_flow_control_window(stream.number) >= 16_000)
    return sent


async def test_an_origin_that_takes_nothing_stalls_the_uploads(edge: Edge, script: Script) -> None:
    take, go, taken = slow(script, 8_000_000)
    content = random.Random(4).randbytes(8_000_000)
    async with connected(edge) as client:
        number = client.request([*POST, (b"content-length", b"8000000")])
        upload = asyncio.ensure_future(client.upload(number, content))
        stream, incoming = await under_way(edge, number)
        await until(lambda: incoming.held and stream.origin is not None)
        await asyncio.sleep(0.5)
        assert not upload.done()
        assert incoming.ahead == front(edge).upload_ahead <= UPLOAD_AHEAD
        assert held(edge) <= STREAM_WINDOW + UPLOAD_AHEAD
        stream.check(1e9, 1 / 256)  # the client waits for the origin, and not the other way round
        take.set()
        await upload
        await until(lambda: len(taken) == 8_000_000)
        assert incoming.unacknowledged == 0
        go.set()
        assert (await client.answer(number)).status == 200
        await until(lambda: front(edge).idle)
        assert front(edge).upload_ahead == 0
    whole = bytes(taken) == content
    assert whole  # by itself: a difference of megabytes takes pytest minutes to show


async def test_what_the_origin_has_taken_at_last_is_acknowledged_though_nothing_follows(edge: Edge, script: Script) -> None:
    take, go, taken = slow(script, 1 << 40)
    async with connected(edge) as client:
        number = client.request([*POST, (b"content-length", b"%d" % (1 << 40))])
        stream, incoming = await under_way(edge, number)
        await until(lambda: not incoming.held)
        sent = await fed(edge, client, stream, incoming)
        take.set()
        await until(lambda: len(taken) == sent)
        await until(lambda: not incoming.held)
        assert (incoming.unacknowledged, incoming.ahead, front(edge).upload_ahead) == (0, 0, 0)
        assert client.state.local_flow_control_window(number) >= STREAM_WINDOW // 2
        client.state.reset_stream(number)
        client.flush()
        go.set()


async def test_a_little_is_acknowledged_at_once(edge: Edge, script: Script) -> None:
    async with connected(edge) as client:
        number = client.request([*POST, (b"content-length", b"6")])
        stream, incoming = await under_way(edge, number)
        await until(lambda: not incoming.held)
        incoming.active_at = -1.0
        client.send(number, b"abc")
        await until(lambda: stream.bytes_in == 3)
        assert (incoming.ahead, incoming.unacknowledged, front(edge).upload_ahead) == (3, 0, 3)
        assert incoming.active_at >= 0  # whoever sends is not too slow
        client.send(number, b"def", end=True)
        assert (await client.answer(number)).status == 200
        await until(lambda: front(edge).idle)
        assert front(edge).upload_ahead == 0


async def test_an_early_answer_stops_the_upload(edge: Edge, script: Script) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read(10_000_000)

    script.handler = answer
    async with connected(edge) as client:
        answers = []
        for _ in range(20):
            number = client.request([*POST, (b"content-length", b"10000000")])
            client.send(number, b"x" * 15_000)
            answered = await client.answer(number)
            assert (answered.status, answered.body) == (413, b"big")
            answers.append(answered)
        await client.until(lambda: all(answered.reset == 0 for answered in answers))
        assert client.state.outbound_flow_control_window >= STREAM_WINDOW // 4


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz", None),
    ],
)
async def test_origins_that_fail(edge: Edge, script: Script, response: bytes, status: int | None) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(response)

    script.handler = answer
    async with connected(edge) as client:
        answered = await client.get(get())
        if status:
            assert (answered.status, answered.complete) == (status, True)
        else:
            assert not answered.complete
            assert answered.reset == h2.errors.ErrorCodes.INTERNAL_ERROR
        script.handler = script.answer
        assert (await client.get(get())).status == 200


async def test_a_reset_ends_the_request_at_the_origin(edge: Edge, script: Script) -> None:
    ended = asyncio.Event()

    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        script.heads.append(b"read")
        assert await reader.read(1) == b""
        ended.set()

    script.handler = answer
    async with connected(edge) as client:
        number = client.request(get(), b"")
        while not script.heads:
            await asyncio.sleep(0.01)
        client.state.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        await asyncio.wait_for(ended.wait(), 60)
        script.handler = script.answer
        assert (await client.get(get())).status == 200


def accept(head: bytes) -> bytes:
    key = head.split(b"sec-websocket-key: ")[1].split(b"\r\n")[0]
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


async def test_a_websocket_by_extended_connect_is_an_upgrade_for_the_origin(edge: Edge, script: Script) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        head = await script.read_head(reader)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n"
            b"Sec-WebSocket-Protocol: chat\r\n\r\nfirst" % accept(head)
        )
        while data := await reader.read(1000):
            writer.write(data.upper())
            if data == b"bye":
                return

    script.handler = answer
    async with connected(edge) as client:
        number = client.request([*WEBSOCKET, (b"sec-websocket-protocol", b"chat")])
        answered = client.answers[number]
        await client.until(lambda: answered.body == b"first")
        assert (answered.status, answered.fields) == (200, [(b"sec-websocket-protocol", b"chat")])
        client.send(number, b"abc")
        await client.until(lambda: answered.body == b"firstABC")
        client.send(number, b"bye")
        await client.answer(number)
        assert answered.body == b"firstABCBYE"
    head = script.heads[0]
    assert head.startswith(b"GET /chat HTTP/1.1\r\nhost: gallery.test\r\nsec-websocket-version: 13\r\n")
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head
    assert b"\r\nworkspace-id: spandantest\r\n" in head


@pytest.mark.parametrize(
    ("response", "status", "error"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 502, NOT_SWITCHED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 502, NOT_SWITCHED),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n", 502, WRONG_KEY),
    ],
    ids=["refused", "whole", "begun", "wrong key"],
)
async def test_a_websocket_that_the_origin_does_not_open_is_answered(
    edge: Edge, script: Script, response: bytes, status: int, error: str
) -> None:
    told: list[tuple[int, str, int]] = []
    edge.worker.record = lambda over: told.append((over.status, over.error, over.bytes_out))

    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(response)
        await reader.read(1)

    script.handler = answer
    async with connected(edge) as client:
        answered = await client.answer(client.request(WEBSOCKET))
        assert (answered.status, answered.complete) == (status, True)
        await until(lambda: told)
    assert told == [(status, error, len(answered.body))]


def opening(script: Script) -> tuple[asyncio.Event, asyncio.Event]:
    """The origin opens a WebSocket after the first event, says "hi" to whatever it hears, and sets the second when the edge has
    left."""
    go, left = asyncio.Event(), asyncio.Event()

    async def answer(reader: Reader, writer: Writer) -> None:
        head = await script.read_head(reader)
        await go.wait()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept(head)
        )
        while await reader.read(100):
            writer.write(b"hi")
        left.set()

    script.handler = answer
    return go, left


async def test_either_sides_words_keep_a_websocket(edge: Edge, script: Script) -> None:
    go, _ = opening(script)
    async with connected(edge) as client:
        number = client.request(WEBSOCKET)
        stream, incoming = await under_way(edge, number)
        incoming.active_at = -1.0
        go.set()
        await client.until(lambda: client.answers[number].status == 200)
        assert incoming.active_at >= 0
        incoming.active_at = -1.0
        stream.send_tunnel(b"from the origin")
        assert incoming.active_at >= 0
        incoming.active_at = -1.0
        client.send(number, b"x")
        await client.until(lambda: client.answers[number].body == b"from the originhi")
        assert incoming.active_at >= 0
        client.send(number, b"", end=True)
        await until(lambda: incoming.ended)
        assert stream.watched  # the origin has so long to close it


async def test_an_origin_that_does_not_close_a_websocket_after_its_client_is_left(edge: Edge, script: Script) -> None:
    go, left = opening(script)
    go.set()
    async with connected(edge) as client:
        number = client.request(WEBSOCKET)
        await client.until(lambda: client.answers[number].status == 200)
        stream, incoming = await under_way(edge, number)
        client.send(number, b"", end=True)
        await until(lambda: incoming.ended)
        assert stream.watched
        await edge.elapse(max(TUNNEL_LINGER, edge.worker.timeouts.client_body) + 1)
        assert (await client.answer(number)).complete
        await asyncio.wait_for(left.wait(), 60)


async def test_an_upload_that_stops_is_given_up(edge: Edge, script: Script) -> None:
    async with connected(edge) as client:
        told = following(edge)
        number = client.request([*POST, (b"content-length", b"100")])
        client.send(number, b"x")
        await until(lambda: script.heads)
        for _ in range(2):  # it is looked at, and again
            await edge.elapse(edge.worker.timeouts.client_body + 1)
        assert (await client.answer(number)).status == 408
        await until(lambda: told)
        assert "(limits.client_rate over timeouts.client_body)" in told[0].error


async def test_a_silent_websocket_is_ended(edge: Edge, script: Script) -> None:
    go, left = opening(script)
    go.set()
    async with connected(edge) as client:
        number = client.request(WEBSOCKET)
        await client.until(lambda: client.answers[number].status == 200)
        await edge.elapse(edge.worker.timeouts.tunnel_idle + 1)
        assert (await client.answer(number)).complete
        await asyncio.wait_for(left.wait(), 60)


async def test_a_status_beyond_those_of_http_is_passed_on(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 999 Request denied\r\nContent-Length: 2\r\n\r\nno"
    async with connected(edge) as client:
        answer = await client.get(get())
    assert (answer.status, answer.body) == (999, b"no")


async def test_interim_answers_without_end_are_not_queued_for_a_client_without_end(edge: Edge, script: Script) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </%b.css>\r\n\r\n" % (b"a" * 900))
            await writer.drain()

    script.handler = answer
    async with connected(edge) as client:
        answered = await client.get(get())
    assert answered.status == 502
    assert 0 < len(answered.interim) <= Limits().response_head // 900
