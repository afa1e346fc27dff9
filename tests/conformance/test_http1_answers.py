"""What an origin may answer by RFC 9112 and RFC 9110, and what a client gets of it: that answer, a 502, or one that is visibly
cut off. What an origin sends beyond its answer is nobody's."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
from pathlib import Path

import h2.settings
import pytest

from edgeproxy.edge.upstream import connection
from edgeproxy.limits import RELAY_BUFFER, Limits
from tests.edge import client2
from tests.edge.client1 import answers_in, connected, request
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with, fields, pool_of, until
from tests.edge.visiting import visiting

GET = request(b"GET /", close=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Saying:
    """An origin that says to each request what it is told to, and goes on reading; `closing`: it closes behind it."""

    def __init__(self, script: Script) -> None:
        self.said: tuple[bytes, ...] = (OK,)
        self.closing = False
        self.left = 0
        """Connections that the edge ended."""
        self._script = script
        script.handler = self._connected

    async def _connected(self, reader: Reader, writer: Writer) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._script.read_head(reader):
                for number, piece in enumerate(self.said):
                    if number:
                        await asyncio.sleep(0.05)
                    writer.write(piece)
                if self.closing:
                    return
        self.left += 1


@pytest.fixture
def origin_says(script: Script) -> Saying:
    """The origin."""
    return Saying(script)


async def each_status(edge: Edge, origin: Saying, cases: dict[str, bytes], raw: bytes = GET) -> dict[str, list[int]]:
    """The statuses that a client gets for each of these, on a connection of its own."""
    got = {}
    for name, said in cases.items():
        origin.said = (said,)
        got[name] = [answer.status for answer in await answers_in(await edge.exchange("gallery.test", raw))]
    return got


# Garbage


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = b"hello") -> bytes:
    return b"\r\n".join((status, *lines, b"", body))


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2's preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "an empty line before": b"\r\n" + OK,
    "LF alone": OK.replace(b"\r\n", b"\n"),
    "CR alone": OK.replace(b"\r\n", b"\r"),
    "HTTP/2.0": head(status=b"HTTP/2.0 200 OK"),
    "HTTP/1.2": head(status=b"HTTP/1.2 200 OK"),
    "lower case": head(status=b"http/1.1 200 OK"),
    "no status": head(status=b"HTTP/1.1 OK"),
    "two digits": head(status=b"HTTP/1.1 20 OK"),
    "four digits": head(status=b"HTTP/1.1 2000 OK"),
    "zero": head(status=b"HTTP/1.1 000 OK"),
    "a sign": head(status=b"HTTP/1.1 +20 OK"),
    "two blanks": head(status=b"HTTP/1.1  200 OK"),
    "NUL in the reason": head(status=b"HTTP/1.1 200 O\x00K"),
    "CR in the reason": head(status=b"HTTP/1.1 200 O\rK"),
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank before the colon": head(b"X-A : 1"),
    "folded": head(b"X-A: 1", b" 2"),
    "folded at first": head(b" X-A: 1"),
    "no colon": head(b"X-A"),
    "an empty name": head(b": 1"),
    "NUL": head(b"X-A: \x00"),
    "a bare CR": head(b"X-A: 1\rSet-Cookie: a=b"),
    "a bare LF": head(b"X-A: 1\nSet-Cookie: a=b"),
    "two lengths": head(b"Content-Length: 5", b"Content-Length: 6"),
    "one length twice": head(b"Content-Length: 5", b"Content-Length: 5"),
    "a list": head(b"Content-Length: 5, 5"),
    "a plus": head(b"Content-Length: +5"),
    "a minus": head(b"Content-Length: -5"),
    "hexadecimal": head(b"Content-Length: 0x5"),
    "an empty length": head(b"Content-Length:"),
    "a huge length": head(b"Content-Length: " + b"9" * 30),
    "a length and a coding": head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "a coding and a length": head(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "another coding": head(b"Transfer-Encoding: gzip"),
    "another before chunked": head(b"Transfer-Encoding: gzip, chunked"),
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "identity": head(b"Transfer-Encoding: identity"),
    "an empty coding": head(b"Transfer-Encoding:"),
    "a coding of HTTP/1.0": head(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK"),
    "a switch that nobody asked for": head(b"Upgrade: websocket", b"Connection: upgrade", status=b"HTTP/1.1 101 Switching"),
    "a switch to h2c": head(b"Upgrade: h2c", b"Connection: upgrade", status=b"HTTP/1.1 101 Switching"),
    "too large": head(b"X-A: " + b"a" * 70_000),
    "too many fields": head(*[b"X-A: 1"] * 200),
    "garbage behind an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\nnonsense\r\n\r\n",
}


@pytest.mark.parametrize("part", [0, 1])  # an origin that fails too often in a row is left alone
async def test_garbage_is_a_502_and_nothing_of_it_is_passed_on(
    edge: Edge, script: Script, origin_says: Saying, part: int
) -> None:
    cases = dict(list(GARBAGE.items())[part::2])
    got = await each_status(edge, origin_says, cases)
    assert got == {name: [502] for name in cases}
    await until(lambda: origin_says.left == len(cases))  # none of these connections is used again
    assert script.connections == len(cases)
    assert len(script.heads) == len(cases)  # nor is anybody asked twice


async def test_garbage_is_a_502_over_http_2_too(edge: Edge, origin_says: Saying) -> None:
    async with visiting(edge, "h2") as ask:
        for name in ("another protocol", "two lengths", "a length and a coding", "a bare LF", "a switch that nobody asked for"):
            origin_says.said = (GARBAGE[name],)
            assert (name, (await ask()).status) == (name, 502)
        origin_says.said = (OK,)
        assert (await ask()).body == b"ok"


async def test_a_switch_to_another_protocol_than_was_asked_for_is_a_502(edge: Edge, origin_says: Saying) -> None:
    upgrades = {
        "none": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "h2c": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "two": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    }
    asked = request(b"GET /", b"Connection: upgrade, close", b"Upgrade: websocket")
    assert await each_status(edge, origin_says, upgrades, asked) == {name: [502] for name in upgrades}


@pytest.mark.parametrize("status", [100, 102, 103, 199])
async def test_interim_answers_have_no_body_and_no_framing(edge: Edge, origin_says: Saying, status: int) -> None:
    interim = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n" % status
    origin_says.said = (interim + OK,)
    got = await edge.exchange("gallery.test", GET)
    passed = b"HTTP/1.1 %d X\r\nX-A: 1\r\n\r\n" % status if status != 100 else b""
    assert got.startswith(passed + b"HTTP/1.1 200 OK\r\n")
    old = await edge.exchange("gallery.test", b"GET / HTTP/1.0\r\nHost: gallery.test\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200 OK\r\n")


# Answers without content


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL),
        (b"HEAD", CHUNKED + b"4\r\nevil\r\n0\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n" + EVIL),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL),
        (b"GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\n" + EVIL),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + EVIL),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["in one", "apart"])
async def test_content_that_must_not_be_there_is_nobodys_answer(
    edge: Edge, script: Script, origin_says: Saying, method: bytes, said: bytes, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REST", 60.0)  # a slow machine may bring the rest later than anybody would
    start, end, rest = said.partition(b"\r\n\r\n")
    announced = b"Content-Length: 0" not in start and (method == b"HEAD" or b": " in start)
    # Where nothing was announced, what comes later than the answer cannot be told from an answer to the next request.
    origin_says.said = (start + end, rest) if apart and announced else (said,)
    async with connected(edge) as client:
        for _ in range(2):
            client.send(request(method + b" /"))
            answer = await client.answer(b"HEAD")  # its head is all of it
            assert answer.status == int(said[9:12])
            assert answer.field(b"transfer-encoding") is None
            assert answer.field(b"content-length") is None or answer.status != 204
        origin_says.said = (OK,)
        assert (await client.get()).body == b"ok"
    assert script.connections == 3


# More than one answer


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\r\nContent-Length: 2\r\nSet-Cookie: split\r\n\r\nok",
    ],
    ids=["length", "chunks", "split"],
)
@pytest.mark.parametrize("protocol", ["h1", "h2"])
async def test_a_second_answer_behind_the_first_is_never_delivered(
    edge: Edge, script: Script, origin_says: Saying, first: bytes, protocol: str
) -> None:
    origin_says.said = (first + EVIL,)
    async with visiting(edge, protocol) as ask:
        for _ in range(2):
            answer = await ask()
            assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)
    assert script.connections == 2


def whole_read(chunked: bool) -> tuple[bytes, int]:
    """An answer that fills the edge's buffer exactly, and the size of its content."""
    start = CHUNKED + b"%05x\r\n" if chunked else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    end = b"\r\n0\r\n\r\n" if chunked else b""
    size = RELAY_BUFFER - len(start % RELAY_BUFFER) - len(end)
    return start % size + bytes(size) + end, size


def edges_end(edge: Edge, writer: Writer) -> asyncio.Transport:
    """The edge's transport of a connection to the origin; its kernel has room for more than the first window."""
    address = writer.get_extra_info("peername")
    transports = [each.transport for each in pool_of(edge).open]
    (transport,) = [each for each in transports if each.get_extra_info("sockname") == address]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
    return transport


def unread(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has for it. Where the network is late, no more than an answer may have come when that is read."""
    waiting = array.array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, waiting)
    return waiting[0]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_what_lies_behind_a_read_that_was_just_filled_is_nobodys_answer(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], chunked: bool
) -> None:
    """The last read takes exactly the answer, and who waits for the connection would be lent it at once: what the origin sent
    beyond is still in the kernel."""
    script, port = origin
    edge = edge_with(tmp_path, maps, port, limits=Limits(origin_connections=1))
    whole, size = whole_read(chunked)
    assert len(whole) == RELAY_BUFFER

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if head.startswith(b"GET /1 "):
                await until(lambda: pool_of(edge)._waiting)
            transport = edges_end(edge, writer)
            transport.pause_reading()
            writer.write(whole + EVIL)
            await until(lambda transport=transport: unread(transport) == len(whole + EVIL))  # type: ignore[misc]
            transport.resume_reading()

    script.handler = handler
    async with edge.running(), connected(edge) as one, connected(edge) as other:
        for turn in range(1, 4):
            one.send(request(b"GET /1"))
            await until(lambda turn=turn: len(script.heads) == 2 * turn - 1)  # type: ignore[misc]
            other.send(request(b"GET /2"))
            assert [len((await each.answer()).body) for each in (one, other)] == [size, size]
    assert script.connections == 6


async def test_no_client_can_choose_its_window_so_that_a_second_answer_is_delivered(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    script, port = origin
    edge = edge_with(tmp_path, maps, port, limits=Limits(origin_connections=1))

    async def handler(reader: Reader, writer: Writer) -> None:
        while await script.read_head(reader):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            if len(script.heads) == 1:
                await until(lambda: pool_of(edge)._waiting)
            await asyncio.sleep(0.05)
            writer.write(bytes(1000) + EVIL)

    script.handler = handler
    window = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}
    async with edge.running(), client2.connected(edge, settings=window) as client:
        numbers = [client.request(client2.get(), b"") for _ in range(2)]
        assert [(await client.answer(number)).body for number in numbers] == [bytes(1000)] * 2
    assert script.connections == 2


# Answers that lack their end


CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "length of HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "chunks": CHUNKED + b"9\r\nonly this\r\n",
    "chunks within one": CHUNKED + b"20\r\nonly this",
    "chunks without the last empty line": CHUNKED + b"9\r\nonly this\r\n0\r\n",
    "chunks and then garbage": CHUNKED + b"9\r\nonly this\r\nzz\r\n",
    "a trailer that is none": CHUNKED + b"9\r\nonly this\r\n0\r\nX-A\r\n\r\n",
}


def visit(edge: Edge, raw: bytes) -> tuple[bytes, bool]:
    """What comes by TLS, and whether it ended in good order, with close_notify."""
    got = bytearray()
    context = edge.client_context("http/1.1")
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which some releases of Python set by themselves
    with (
        socket.create_connection(("127.0.0.1", edge.port), 30) as plain,
        context.wrap_socket(plain, server_hostname="gallery.test", suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(raw)
        try:
            while piece := sock.recv(65536):
                got += piece
        except ssl.SSLError as error:  # SSLEOFError, but with some releases
            return bytes(got), "EOF" not in str(error)
    return bytes(got), True


@pytest.mark.parametrize("cut", CUT)
async def test_every_client_sees_that_an_answer_lacks_its_end(edge: Edge, origin_says: Saying, cut: str) -> None:
    origin_says.said, origin_says.closing = (CUT[cut],), True
    for raw in (request(b"GET /"), GET):
        got, good = await asyncio.to_thread(visit, edge, raw)
        (answer,) = await answers_in(got)
        assert (answer.status, answer.complete, good) == (200, False, False)
        assert b"only this".startswith(answer.body)
    got, good = await asyncio.to_thread(visit, edge, b"GET / HTTP/1.0\r\nHost: gallery.test\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not good  # the only sign that there is where the end of the connection is the body's
    async with client2.connected(edge) as client:
        streamed = await client.get(client2.get())
        assert not streamed.complete
        assert streamed.reset is not None


async def test_an_answer_that_is_whole_ends_in_good_order(edge: Edge, origin_says: Saying) -> None:
    whole = (OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nok", b"HTTP/1.0 200 OK\r\n\r\nok")
    origin_says.closing = True
    for said in whole:
        origin_says.said = (said,)
        for raw in (GET, b"GET / HTTP/1.0\r\nHost: gallery.test\r\n\r\n"):
            got, good = await asyncio.to_thread(visit, edge, raw)
            (answer,) = await answers_in(got)
            assert (answer.body, answer.complete, good) == (b"ok", True, True)


async def test_an_origin_that_resets_an_answer_until_the_end_has_cut_it_off(edge: Edge, script: Script) -> None:
    async def resets(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nonly this")
        await asyncio.sleep(0.1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    script.handler = resets
    got, good = await asyncio.to_thread(visit, edge, GET)
    (answer,) = await answers_in(got)
    assert (answer.complete, good) == (False, False)


async def test_an_origin_that_closes_without_an_answer_is_a_502(edge: Edge, origin_says: Saying) -> None:
    origin_says.closing = True
    cases = {
        "nothing": b"",
        "a part": b"HTTP/1.1 200 OK\r\nContent-Le",
        "an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    }
    got = await each_status(edge, origin_says, cases)
    assert got == {name: [502] for name in cases}


# What goes on


async def test_an_origins_fields_go_on_but_for_those_of_its_connection(edge: Edge, origin_says: Saying) -> None:
    lines = (
        b"Connection: x-a, content-length",
        b"X-A: 1",
        b"Keep-Alive: a",
        b"Proxy-Authenticate: b",
        b"Trailer: X",
        b"X-B:\t2 ",
    )
    origin_says.said = (head(*lines, b"Upgrade: h2c", b"Content-Length: 5", b"x-b: 3", b"Set-Cookie: a", b"Set-Cookie: b"),)
    (answer,) = await answers_in(await edge.exchange("gallery.test", GET))
    assert answer.fields == [
        (b"x-b", b"2"),
        (b"content-length", b"5"),
        (b"x-b", b"3"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"connection", b"close"),
    ]


async def test_answers_go_on_in_our_version(edge: Edge, origin_says: Saying) -> None:
    origin_says.closing = True
    for said in (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.0 200 OK\r\n\r\nok", OK):
        origin_says.said = (said,)
        for raw in (GET, b"GET / HTTP/1.0\r\nHost: gallery.test\r\n\r\n"):
            assert fields(await edge.exchange("gallery.test", raw))[0] == 200
            assert (await edge.exchange("gallery.test", raw)).startswith(b"HTTP/1.1 200 OK\r\n")
