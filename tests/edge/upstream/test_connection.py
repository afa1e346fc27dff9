"""A connection to an origin: how it ends, how long it may take, and what is still read of one that broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.edge.headers import RequestHead, ResponseHead
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.target import Target
from edgeproxy.limits import RELAY_BUFFER
from tests.edge.client2 import connected, get
from tests.edge.harness import (
    Edge,
    MapProcess,
    Reader,
    Script,
    Writer,
    edge_with,
    fields,
    patient,
    pool_of,
    until,
)

GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


async def dripping(script: Script, data: bytes, pause: float, answer: bytes = b"") -> None:
    """An origin that sends these bytes again and again, one at a time."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(answer)
        while True:
            for byte in data:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(pause)

    script.handler = handler


async def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_any_other(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
) -> None:
    script, port = origin
    await dripping(script, b"a", 0.1, b"HTTP/1.1 200 OK\r\nX-Long: ")
    edge = edge_with(tmp_path, maps, port, timeouts=patient(origin_response=1))
    async with edge.running():
        assert fields(await edge.exchange("gallery.test", GET))[0] == 504


async def test_a_body_that_comes_byte_by_byte_may_take_its_time(edge: Edge, script: Script) -> None:
    go = asyncio.Semaphore(0)

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            await go.acquire()
            writer.write(b"x")

    script.handler = handler
    async with connected(edge) as client:
        answer = client.answers[client.request(get(), b"")]
        await client.until(lambda: answer.status)
        for count in range(1, 6):
            await edge.elapse(edge.worker.timeouts.origin_response * 0.6)
            go.release()
            await client.until(lambda count=count: len(answer.content) == count)
        await client.until(lambda: answer.complete)
        assert answer.body == b"x" * 5


async def test_interim_heads_that_come_bit_by_bit_are_bounded_together(edge: Edge, script: Script) -> None:
    await dripping(script, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", 0)
    answer = await edge.exchange("gallery.test", GET)
    interim, _, last = answer.partition(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert last
    assert 0 < len(interim) <= edge.worker.limits.response_head


async def test_interim_answers_together_are_bounded_as_one_head_is(edge: Edge, script: Script) -> None:
    async def endless(reader: Reader, writer: Writer) -> None:
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


async def test_a_kept_connection_that_breaks_the_protocol_is_not_tried_again(edge: Edge, script: Script) -> None:
    async def breaking(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await script.read_head(reader)
        writer.write(b"nonsense\r\n\r\n")
        await reader.read()

    script.handler = breaking
    assert fields(await edge.exchange("gallery.test", GET))[0] == 200
    assert fields(await edge.exchange("gallery.test", GET))[0] == 502
    assert len(script.heads) == 2


# What is kept


async def test_a_head_may_come_in_pieces_up_to_its_bound(edge: Edge, script: Script) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            lines = int(head.split(b"/")[1].split(b" ")[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
            for _ in range(lines):
                if writer.is_closing():
                    return
                writer.write(b"X-A: " + b"a" * 995 + b"\r\n")
                await asyncio.sleep(0.001)
            writer.write(b"\r\nok")

    script.handler = handler
    assert fields(await edge.exchange("gallery.test", GET.replace(b"/", b"/60", 1)))[::2] == (200, b"ok")
    assert fields(await edge.exchange("gallery.test", GET.replace(b"/", b"/70", 1)))[0] == 502


@pytest.mark.parametrize(
    ("method", "said", "kept"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", True),
        ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", False),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore", False),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nmore", False),
    ],
)
async def test_a_connection_is_kept_where_the_answer_ended_as_it_said(
    edge: Edge, script: Script, method: str, said: bytes, kept: bool
) -> None:
    script.response = said
    async with connected(edge) as client:
        for _ in range(2):
            answer = await client.get(get(method=method))
            assert (answer.complete, answer.body) == (True, b"ok" if b"ok" in said and method == "GET" else b"")
            await until(lambda: len(pool_of(edge).idle) == len(pool_of(edge).open))
    assert script.connections == (1 if kept else 2)


async def test_surplus_in_a_read_of_its_own_is_nobodys_answer(edge: Edge, script: Script) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await asyncio.sleep(0.1)
        writer.write(b"defHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()

    script.handler = handler
    async with connected(edge) as client:
        assert [(await client.get(get())).body for _ in range(2)] == [b"abcdef", b"abcdef"]
    assert script.connections == 2


async def test_an_idle_origin_that_speaks_is_left(edge: Edge, script: Script) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    script.handler = handler
    async with connected(edge) as client:
        assert (await client.get(get())).status == 200
        await until(lambda: not pool_of(edge).open)
        assert (await client.get(get())).status == 200


async def test_an_origin_that_answered_before_the_body_was_sent_is_not_asked_again(edge: Edge, script: Script) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await reader.read()

    script.handler = handler
    async with connected(edge) as client:
        number = client.request([*get(method="PUT"), (b"content-length", b"10")])
        assert (await client.answer(number)).body == b"hello"
        await until(lambda: not pool_of(edge).open)
        assert (await client.get(get())).body == b"hello"
    assert script.connections == 2


# The borrower's side


class Borrowing:
    """Borrows a connection for one request, and notes what it is told."""

    def __init__(self, method: bytes = b"GET", *, upgrade: bool = False) -> None:
        self.request = RequestHead(method, b"/", "gallery.test", b"", upgrade=upgrade)
        self.told: list[object] = []
        self.got = b""
        self.largest = 0
        self.connection: OriginConnection | None = None
        self.at_first: Callable[[], None] = lambda: None

    network = b""

    def connected(self, connection: OriginConnection) -> None:
        self.connection = connection

    def displaced(self, reason: str) -> None:
        self.told.append(reason)

    def not_connected(self, reason: str, *, timeout: bool) -> None:
        self.told.append(reason)

    def left_alone(self, reason: str, seconds: int) -> None:
        self.told.append(reason)

    def _take(self, data: bytes | memoryview) -> None:
        self.got += data
        self.largest = max(self.largest, len(data))
        at_first, self.at_first = self.at_first, lambda: None
        at_first()

    def interim(self, head: ResponseHead) -> None:
        self.told.append(head.status)

    def switched(self, head: ResponseHead, early: bytes) -> None:
        self.told.append(head.status)
        self._take(early)

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        self.told.append((head.status, done))
        self._take(body)

    def data(self, data: bytes | memoryview, done: bool) -> None:
        self._take(data)
        if done:
            self.told.append("done")

    def end(self, trailers: list[bytes]) -> None:
        self.told.append(trailers)

    def tunnel_data(self, data: bytes) -> None:
        self._take(data)

    def lost(self, reason: str, *, answered: bool, broken: bool) -> None:
        self.told.append(("lost", answered, broken))

    def hold_body(self) -> None:
        self.told.append("hold")

    def release_body(self) -> None:
        self.told.append("release")


async def borrow(edge: Edge, port: int, borrower: Borrowing) -> OriginConnection:
    edge.worker.pool(Target("127.0.0.1", port, False)).wait(borrower)
    await until(lambda: borrower.connection)
    assert borrower.connection is not None
    return borrower.connection


HEAD = b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"


async def test_no_read_is_larger_than_the_room_that_there_is(edge: Edge, origin: tuple[Script, int]) -> None:
    script, port = origin
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, True, 1000)
    await until(lambda: "done" in borrower.told)
    assert borrower.told == [(200, False), "done"]
    assert (len(borrower.got), borrower.largest) == (50_000, 1000)
    assert edge.worker.pool(Target("127.0.0.1", port, False)).idle == [connection]


async def test_without_room_nothing_is_read_before_there_is_some(edge: Edge, origin: tuple[Script, int]) -> None:
    script, port = origin
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, True, 0)
    await until(lambda: script.heads)
    await asyncio.sleep(0.1)
    assert borrower.told == []
    connection.resume(20)
    await until(lambda: borrower.told)
    await until(lambda: borrower.got == b"hello")
    assert borrower.largest <= 20


async def test_a_paused_connection_brings_nothing_and_is_not_too_slow(edge: Edge, origin: tuple[Script, int]) -> None:
    script, port = origin
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000)
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    borrower.at_first = connection.pause
    connection.lend(borrower, HEAD, True)
    await until(lambda: borrower.got)
    before = len(borrower.got)
    connection.look(edge.worker.now + 1e6)
    await asyncio.sleep(0.1)
    assert len(borrower.got) == before <= RELAY_BUFFER
    connection.resume()
    await until(lambda: "done" in borrower.told)
    assert len(borrower.got) == 2_000_000


@pytest.mark.parametrize(("said", "answered"), [(b"", False), (b"HTTP/1.1 2", True), (b"HTTP/1.1 200 OK\r\n\r\n", True)])
async def test_a_silent_origin_is_given_up_whatever_it_said_before(
    edge: Edge, origin: tuple[Script, int], said: bytes, answered: bool
) -> None:
    script, port = origin

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(said)
        script.bodies.append(await reader.read())

    script.handler = handler
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, True)
    await until(lambda: script.heads)
    await asyncio.sleep(0.1)
    timeouts = edge.worker.timeouts
    connection.look(connection.since + timeouts.origin_response - 1)
    assert ("lost", answered, False) not in borrower.told
    connection.look(connection.since + timeouts.origin_response + 1)
    assert borrower.told[-1] == ("lost", answered, False)
    assert not connection.alive
    await until(lambda: script.bodies == [b""])


@pytest.mark.parametrize("expect", [False, True])
async def test_an_origin_that_has_all_that_came_of_a_request_is_not_the_slow_one(
    edge: Edge, origin: tuple[Script, int], expect: bool
) -> None:
    script, port = origin

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        script.bodies.append(await reader.read())

    script.handler = handler
    borrower = Borrowing(b"POST")
    borrower.request.expect = expect
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, False)
    await until(lambda: script.heads)
    connection.look(connection.since + 1e6)
    if not expect:  # else it is the origin that has to go on
        assert not borrower.told
        connection.request_sent = True
        connection.look(connection.since + 1e6)
    assert borrower.told == [("lost", False, False)]
    await until(lambda: script.bodies == [b""])


async def test_a_borrower_that_wants_it_is_told_when_everything_is_out(edge: Edge, origin: tuple[Script, int]) -> None:
    script, port = origin
    go, answer = asyncio.Event(), asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await go.wait()
        await reader.readexactly(8_000_000)
        await answer.wait()
        writer.write(script.response)
        await reader.read()

    script.handler = handler
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, False)
    connection.tell_when_sent()
    connection.tell_when_sent()
    connection.send(bytes(8_000_000))
    assert borrower.told == ["hold"]
    go.set()
    await until(lambda: len(borrower.told) > 1)
    assert borrower.told[:2] == ["hold", "release"]
    assert connection.transport.get_write_buffer_size() == 0
    connection.request_sent = True
    answer.set()
    await until(lambda: (200, True) in borrower.told)
    again = Borrowing()
    connection.lend(again, HEAD, False)
    connection.send(bytes(60_000))  # the mark is the usual one again
    assert again.told == []


async def test_a_head_is_sent_at_once(edge: Edge, origin: tuple[Script, int]) -> None:
    _, port = origin
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, True)
    assert connection.transport.get_write_buffer_size() == 0
    await until(lambda: (200, True) in borrower.told)


async def test_a_head_waits_behind_a_body_that_the_origin_has_not_taken_yet(edge: Edge, origin: tuple[Script, int]) -> None:
    """It was answered early, so that the connection is lent again while most of the body is on its way."""
    script, port = origin
    go, bodies = asyncio.Event(), list[bytes]()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await go.wait()
        bodies.append(await reader.readexactly(8_000_000))
        await script.read_head(reader)
        writer.write(script.response)
        await script.read_head(reader)
        writer.write(script.response)

    script.handler = handler
    first, second, third = Borrowing(), Borrowing(), Borrowing()
    connection = await borrow(edge, port, first)
    connection.lend(first, HEAD, False)
    connection.send(bytes(8_000_000))
    connection.request_sent = True
    await until(lambda: (200, True) in first.told)
    connection.lend(second, HEAD, True)
    assert connection.transport.get_write_buffer_size() > len(HEAD)
    go.set()
    await until(lambda: (200, True) in second.told)
    assert bodies == [bytes(8_000_000)]
    connection.lend(third, HEAD, True)
    assert connection.transport.get_write_buffer_size() == 0
    await until(lambda: (200, True) in third.told)


async def test_who_abandons_a_connection_hears_no_more_and_nobody_else_gets_it(edge: Edge, origin: tuple[Script, int]) -> None:
    _, port = origin
    borrower = Borrowing()
    connection = await borrow(edge, port, borrower)
    assert (connection.alive, connection.reused) == (True, True)  # no request yet, so none that was the first
    connection.lend(borrower, HEAD, True)
    assert not connection.reused
    connection.abandon()
    connection.abandon()
    connection.pause()
    connection.resume()
    connection.tell_when_sent()
    assert not connection.alive
    await until(lambda: not edge.worker.pool(Target("127.0.0.1", port, False)).open)
    assert borrower.told == []


async def test_a_request_on_a_kept_connection_is_not_its_first(edge: Edge, origin: tuple[Script, int]) -> None:
    _, port = origin
    first, second = Borrowing(), Borrowing()
    connection = await borrow(edge, port, first)
    connection.lend(first, HEAD, True)
    await until(lambda: first.told)
    connection.lend(second, HEAD, True)
    assert connection.reused
    connection.unwritable(BrokenPipeError())
    assert connection.reused
    await until(lambda: (200, True) in second.told)
    assert second.told == ["release", (200, True)]
    assert not connection.alive  # what cannot be written to is not kept


async def test_nobody_gets_a_connection_whose_end_has_come_and_is_not_told_yet(
    edge: Edge, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await asyncio.sleep(0.1)
        writer.close()

    script.handler = handler
    to_be_had: list[bool] = []
    ends = OriginConnection.eof_received

    def ended(connection: OriginConnection) -> bool:
        was_idle = connection in connection.pool.idle
        more = ends(connection)
        to_be_had.append(was_idle and connection in connection.pool.idle)
        return more

    monkeypatch.setattr(OriginConnection, "eof_received", ended)
    async with connected(edge) as client:
        assert (await client.get(get())).status == 200
        await until(lambda: to_be_had and not pool_of(edge).open)
    assert to_be_had == [False]


async def test_a_switch_that_was_asked_for_makes_a_tunnel_of_it(edge: Edge, origin: tuple[Script, int]) -> None:
    script, port = origin

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nearly")
        writer.write((await reader.readexactly(3)).upper())

    script.handler = handler
    borrower = Borrowing(upgrade=True)
    connection = await borrow(edge, port, borrower)
    connection.lend(borrower, HEAD, True)
    await until(lambda: borrower.got == b"early")
    connection.look(connection.since + edge.worker.timeouts.origin_response + 1)  # a tunnel has more time
    assert connection.alive
    connection.send(b"abc")
    await until(lambda: len(borrower.told) > 1)
    assert (borrower.got, borrower.told) == (b"earlyABC", [101, ("lost", True, False)])
