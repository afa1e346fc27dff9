"""The HTTP/2 session, through a real worker, with h2 as the client and an origin that does what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import h2.errors
import h2.exceptions
import h2.settings
import hpack
import msgspec
import pytest
from hpack import NeverIndexedHeaderTuple
from hyperframe.frame import ContinuationFrame, GoAwayFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from edgeproxy.edge import connection, front2
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.exchange import Exchange
from edgeproxy.edge.front2 import Front2
from edgeproxy.edge.http2 import CONNECTION_WINDOW
from edgeproxy.limits import Limits
from tests.edge.client2 import Client2, connected, get
from tests.edge.flow import flowing, held, settled
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with, until
from tests.http2_peer import PREFACE, parse_frames

POST = get(method="POST")


async def test_many_requests_share_a_connection_and_the_pool(edge: Edge, script: Script) -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            path = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    script.handler = answer
    async with connected(edge) as client:
        for _ in range(5):
            streams = {client.request(get(f"/{n}"), b""): b"/%d" % n for n in range(100)}
            for number, path in streams.items():
                assert (await client.answer(number)).body == path
        (connection,) = edge.worker.connections
        assert isinstance(connection, Connection)
        assert connection.front is not None
        assert connection.front.idle
    assert script.connections <= 100


# Back-pressure


@contextlib.asynccontextmanager
async def wide_open(edge: Edge) -> AsyncIterator[Client2]:
    """A client that gives the largest windows there are."""
    most = 2**31 - 1
    async with connected(edge, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: most}) as client:
        client.state.increment_flow_control_window(most - 65535)
        yield client


async def test_streams_whose_client_gives_no_windows_are_held_within_bounds(edge: Edge, script: Script) -> None:
    produced = [0]
    flowing(script, produced, 10_000_000)
    async with connected(edge, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}) as client:
        streams = [client.request(get(f"/{n}"), b"") for n in range(100)]
        await client.until(lambda: sum(answer.status == 200 for answer in client.answers.values()) >= 20)
        await settled(produced)
        assert held(edge) < 128 * 1024
        assert all(not client.answers[number].body for number in streams)


async def test_a_client_that_reads_nothing_stalls_the_origins(edge: Edge, script: Script) -> None:
    produced = [0]
    flowing(script, produced, 10_000_000)
    async with wide_open(edge) as client:
        for n in range(50):
            client.request(get(f"/{n}"), b"")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await settled(produced)
        assert held(edge) < 256 * 1024
        script.handler = script.answer
        late = client.request(get(), b"")
        await until(lambda: len(script.heads) == 51)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.until(lambda: len(client.answers[1].content) > 100_000)
        assert (await client.answer(late)).body == b"hello"


async def test_long_answers_of_one_connection_come_side_by_side(edge: Edge, script: Script) -> None:
    produced = [0]
    flowing(script, produced, 10_000_000)
    async with wide_open(edge) as client:
        for n in range(20):
            client.request(get(f"/{n}"), b"")
        await client.until(lambda: any(len(answer.content) > 1_000_000 for answer in client.answers.values()))
        assert all(len(answer.content) > 300_000 for answer in client.answers.values())
        script.handler = script.answer
        assert (await client.answer(client.request(get(), b""))).body == b"hello"
        assert not any(answer.complete for answer in client.answers.values() if answer.body != b"hello")


async def test_answers_of_our_own_wait_for_the_window_and_the_connection_ends_when_it_stays_shut(edge: Edge) -> None:
    async with connected(edge, auto=False) as client:
        with contextlib.suppress(h2.exceptions.TooManyStreamsError):
            while True:  # those that the window has let through make room for others
                answer = client.answers[client.request(get(host="shop.test"), b"")]
                await client.until(lambda answer=answer: answer.status == 421)
        assert held(edge) < 256 * 1024
        timeouts = edge.worker.timeouts
        for seconds in (timeouts.write, timeouts.write, timeouts.idle):  # looked at, given up, idle
            await edge.elapse(seconds + 1)
        await client.until(lambda: client.goaways)
        assert len(client.answers) > Limits().streams
        waited = [answer for answer in client.answers.values() if not answer.complete]
        assert {answer.reset for answer in waited} == {h2.errors.ErrorCodes.CANCEL}
        assert sum(len(answer.content) for answer in client.answers.values()) == 65535
        await client.ended()


async def test_a_request_that_finds_no_room_for_its_answer_gets_it_when_there_is_some(
    edge: Edge, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Front2, "first_room", lambda _self, _number: 0)
    async with connected(edge, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}) as client:
        number = client.request(get(), b"")
        await until(lambda: script.bodies)
        await asyncio.sleep(0.1)
        assert client.answers[number].status == 0
        client.state.increment_flow_control_window(1000)
        client.flush()
        assert (await client.answer(number)).body == b"hello"


async def test_many_uploads_to_stalled_origins_are_held_within_bounds(edge: Edge, script: Script) -> None:
    stop = asyncio.Event()

    async def answer(reader: Reader, writer: Writer) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    script.handler = answer
    async with connected(edge) as client:
        uploads = []
        for _ in range(50):
            number = client.request([*POST, (b"content-length", b"4000000")])
            uploads.append(asyncio.ensure_future(client.upload(number, b"z" * 4_000_000)))
        await asyncio.sleep(1.5)
        assert held(edge) < 256 * 1024
        for upload in uploads:
            upload.cancel()
        stop.set()


async def test_a_body_that_ends_soon_after_its_answer_is_not_stopped(
    edge: Edge, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """curl 7.88 sends a request's head, then its body, and gives up an answer that a reset follows in between."""

    async def answer(reader: Reader, writer: Writer) -> None:
        while await script.read_head(reader):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")

    monkeypatch.setattr(front2, "BODY_GRACE", 60.0)
    script.handler = answer
    async with connected(edge) as client:
        number = client.request([*POST, (b"content-length", b"200000")])
        assert (await client.answer(number)).body == b"yes"
        await client.upload(number, b"x" * 200_000)
        assert (await client.get(get())).status == 200
        (connection,) = edge.worker.connections
        assert isinstance(connection, Connection)
        assert isinstance(connection.front, Front2)
        assert connection.front.idle  # nothing is left that a reset could be sent for
        assert client.answers[number].reset is None


# Faults


async def test_hosts_that_the_certificate_does_not_cover_are_misdirected(edge: Edge, script: Script) -> None:
    edge.add_site("shop.test", "acme-store")
    async with connected(edge) as client:
        assert (await client.get(get(host="shop.test"))).status == 421
        assert (await client.get(get(host="192.0.2.1"))).status == 421
        assert (await client.get(get())).status == 200
    assert len(script.heads) == 1


async def test_a_site_that_is_removed_during_a_connection_is_not_found(edge: Edge) -> None:
    async with connected(edge) as client:
        assert (await client.get(get())).status == 200
        edge.publish(deletes=(("sites", "gallery.test"),))
        answered = await client.get(get("/", (b"accept", b"application/json")))
        assert answered.status == 404
        assert msgspec.json.decode(answered.body)["code"] == "unknown_host"
        head = await client.get(get("/", method="HEAD"))
        assert (head.status, head.body) == (404, b"")


@pytest.mark.parametrize(
    ("fields", "status"),
    [([(b":method", b"CONNECT"), (b":authority", b"gallery.test:443")], 405), (get("/" + "x" * 17_000), 414)],
)
async def test_what_is_not_served_is_answered(edge: Edge, fields: list[tuple[bytes, bytes]], status: int) -> None:
    async with connected(edge) as client:
        assert (await client.get(fields)).status == status
        assert (await client.get(get())).status == 200


async def test_malformed_requests_end_their_stream_only(edge: Edge, script: Script) -> None:
    async with connected(edge) as client:
        client.state.config.validate_outbound_headers = False
        client.state.config.normalize_outbound_headers = False
        answered = await client.get(get("/", (b"host", b"other.test")))
        assert answered.reset == h2.errors.ErrorCodes.PROTOCOL_ERROR
        assert (await client.get(get())).status == 200
    assert len(script.heads) == 1


async def test_a_client_that_leaves_ends_its_requests(edge: Edge, script: Script) -> None:
    ended = [0]

    async def answer(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await reader.read(1)
        ended[0] += 1

    script.handler = answer
    async with connected(edge) as client:
        for _ in range(5):
            client.request(get(), b"")
        while len(script.heads) < 5:
            await asyncio.sleep(0.01)
        client.writer.transport.abort()
    while ended[0] < 5:
        await asyncio.sleep(0.01)
    while edge.worker.connections:
        await asyncio.sleep(0.01)


def blast(port: int, context: ssl.SSLContext, frames: list[bytes]) -> tuple[int, bytes]:
    """Sends frame after frame, without a look at what comes back, and then reads to the end: how many were sent, what came."""
    sent = 0
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="gallery.test", suppress_ragged_eofs=False) as sock,
    ):
        with contextlib.suppress(OSError):
            for frame in frames:
                sock.sendall(frame)
                sent += 1
        while piece := sock.recv(65536):
            answer += piece
    return sent, answer


@pytest.mark.parametrize("over", ["streams", "chatter", "continuations"])
async def test_who_goes_beyond_a_bound_and_goes_on_sending_is_told_why(
    edge: Edge, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 60.0)
    frames = [PREFACE + SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize()]
    if over == "streams":
        block = hpack.Encoder().encode([NeverIndexedHeaderTuple(*field) for field in get(host="shop.test")])
        whole = ["END_HEADERS", "END_STREAM"]
        frames += [HeadersFrame(2 * number + 1, block, flags=whole).serialize() for number in range(1400)]
    elif over == "chatter":
        frames += [WindowUpdateFrame(0, window_increment=1).serialize() * 500] * 1000
    else:
        frames += [HeadersFrame(1, b"").serialize(), *[ContinuationFrame(1, b"").serialize() * 500] * 1000]
    sent, answer = await asyncio.to_thread(blast, edge.port, edge.client_context("h2"), frames)
    assert sent == len(frames)  # nothing was met by a reset, which would have taken the GOAWAY along
    goaway = parse_frames(answer)[-1]
    assert isinstance(goaway, GoAwayFrame)
    expected = {
        "streams": (h2.errors.ErrorCodes.PROTOCOL_ERROR, b"max concurrent streams exceeded"),
        "chatter": (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"too many frames"),
        "continuations": (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"Too many CONTINUATION"),
    }
    code, reason = expected[over]
    assert goaway.error_code == code
    assert reason in goaway.additional_data


async def test_something_that_is_not_http2_ends_the_connection(edge: Edge) -> None:
    reader, writer = await edge.connect("gallery.test", "h2")
    writer.write(b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n")
    assert b"HTTP/1.1" not in await asyncio.wait_for(reader.read(), 60)
    writer.close()


async def test_a_websocket_of_another_protocol_is_not_offered(edge: Edge) -> None:
    async with connected(edge) as client:
        number = client.request([(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), *get()[1:]])
        assert (await client.answer(number)).status == 501


# Time and the end


async def test_an_idle_connection_is_ended_by_goaway(edge: Edge) -> None:
    async with connected(edge) as client:
        assert (await client.get(get())).status == 200
        await edge.elapse(edge.worker.timeouts.idle + 1)
        await client.ended()
        assert client.goaways == [1]


async def test_an_idle_connection_soon_lets_go_of_what_only_the_next_request_wants_and_stays(edge: Edge) -> None:
    async with connected(edge) as client:
        for _ in range(2):
            assert (await client.get(get())).status == 200
            (there,) = edge.worker.connections
            assert isinstance(there, Connection)
            assert isinstance(there.front, Front2)
            repeated = there.front.http2._repeated
            assert repeated._before
            await edge.elapse(front2.REST_AFTER + 1)
            await until(lambda: not repeated._before)  # noqa: B023
            assert (repeated._after, repeated._tail) == ((), b"")
        await edge.elapse(edge.worker.timeouts.idle - front2.REST_AFTER + 1)
        await client.ended()
        assert client.goaways == [3]


async def test_a_connection_that_says_nothing_is_ended(edge: Edge) -> None:
    reader, writer = await edge.connect("gallery.test", "h2")
    await until(lambda: any(each.front for each in edge.worker.connections))  # type: ignore[union-attr]
    await edge.elapse(edge.worker.timeouts.client_header + 1)
    await asyncio.wait_for(reader.read(), 60)
    writer.close()


async def test_a_stream_that_takes_nothing_is_given_up(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    async with connected(edge, auto=False) as client:
        client.state.increment_flow_control_window(10_000_000)
        number = client.request(get("/large"), b"")
        await client.until(lambda: len(client.answers[number].content) == 65535)
        for _ in range(2):  # it is looked at, and again
            await edge.elapse(edge.worker.timeouts.write + 1)
        assert (await client.answer(number)).reset == h2.errors.ErrorCodes.CANCEL
        script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
        assert (await client.get(get())).status == 200


async def test_draining_serves_what_is_under_way_and_then_ends(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def answer(reader: Reader, writer: Writer) -> None:
        while await script.read_head(reader):
            await go.wait()
            writer.write(script.response)

    script.handler = answer
    async with connected(edge) as client:
        number = client.request(get(), b"")
        while not script.heads:
            await asyncio.sleep(0.01)
        for connection in edge.worker.connections:
            connection.drain()
        await client.until(lambda: client.goaways)
        assert client.goaways[0] == 2**31 - 1
        await client.until(lambda: len(client.goaways) == 2)
        assert client.goaways[1] == number
        go.set()
        assert (await client.answer(number)).body == b"hello"
        await client.ended()


async def test_a_connection_ends_after_its_share_of_requests(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], limits=Limits(requests_per_connection=3))
    async with edge.running(), connected(edge) as client:
        for _ in range(3):
            assert (await client.get(get())).status == 200
        await client.ended()
        assert client.goaways == [2**31 - 1, 5]


async def test_the_access_log_tells_of_every_request(edge: Edge, script: Script) -> None:
    told: list[tuple[object, ...]] = []

    def record(over: Exchange) -> None:
        told.append((over.connection.protocol, over.status, over.bytes_in, over.bytes_out))

    def record_whole(whole: Sequence[Exchange]) -> None:
        for over in whole:
            record(over)

    edge.worker.record, edge.worker.record_whole = record, record_whole
    edge.worker.access.record = lambda *line: told.append((line[8], line[3]))  # type: ignore[method-assign]
    async with connected(edge) as client:
        await client.get(get())
        await client.answer(client.request([*POST, (b"content-length", b"3")], b"abc"))
        await client.get([(b":method", b"CONNECT"), (b":authority", b"gallery.test:443")])
    assert told == [("h2", 200, 0, 5), ("h2", 200, 3, 5), ("h2", 405)]


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_left_over_by_a_mixture_of_everything(edge: Edge, script: Script, seed: int) -> None:
    chance = random.Random(seed)

    async def answer(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            kind = int(head.split(b"/")[1].split(b" ")[0])
            if kind == 0:
                return
            if kind == 1:  # an answer before the body was read
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000))
                return
            if kind == 2:
                await asyncio.sleep(0.05)
            size = len(await script.read_body(head, reader)) + 40_000
            if kind == 3:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * size) + bytes(size))
                return
            if kind == 4:
                writer.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size))
                )
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    script.handler = answer

    async def one() -> None:
        kind = chance.randrange(6)
        if chance.random() < 0.5:
            number = client.request(get(f"/{kind}"), b"")
        else:
            number = client.request(get(f"/{kind}", (b"content-length", b"30000"), method="POST"))
            with contextlib.suppress(h2.exceptions.ProtocolError):
                await client.upload(number, bytes(30_000))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() / 50)
            with contextlib.suppress(h2.exceptions.ProtocolError):
                client.state.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
                client.flush()
                return
        await client.answer(number)

    async with connected(edge) as client:
        for _ in range(6):
            await asyncio.gather(*(one() for _ in range(20)))
        assert len((await client.get(get("/5"))).body) == 40_000
        (connection,) = edge.worker.connections
        assert isinstance(connection, Connection)
        front = connection.front
        assert isinstance(front, Front2)
        while front.streams:
            await asyncio.sleep(0.01)
        assert not front.paused
        assert not front.http2._unread
        assert (front.upload_ahead, front.http2.queued, front.http2._unread_total) == (0, 0, 0)
        assert [*front.http2._open, *front.http2._finishing] == []
        assert client.state.outbound_flow_control_window > CONNECTION_WINDOW // 4
        for pool in edge.worker._pools.values():
            assert not pool._waiting
            assert all(origin.borrower is None for origin in pool.open)


async def test_the_heads_of_open_streams_are_bounded_and_more_of_them_may_be_sent_again(
    edge: Edge, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front2, "HEADS_MAX", 64 * 1024)
    release = asyncio.Event()

    async def hanging(reader: Reader, writer: Writer) -> None:
        while await script.read_head(reader):
            await release.wait()
            writer.write(script.response)

    script.handler = hanging
    large = (b"x-large", b"a" * 6_000)
    async with connected(edge) as client:
        streams = [client.request(get(f"/{n}", large), b"") for n in range(20)]
        await client.until(lambda: sum(client.answers[number].reset is not None for number in streams) >= 8)
        front = next(c.front for c in edge.worker.connections if isinstance(c.front, Front2))  # type: ignore[union-attr]
        assert front._heads() <= front2.HEADS_MAX
        assert {client.answers[number].reset for number in streams} == {None, h2.errors.ErrorCodes.REFUSED_STREAM}
        small = client.request(get("/small"), b"")
        release.set()
        assert (await client.answer(small)).status == 200
        assert (await client.get(get("/again", large))).status == 200
