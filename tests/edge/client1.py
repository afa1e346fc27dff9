"""An HTTP/1.1 client over TLS for tests: sends the bytes that a test writes, and reads one answer after the other."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from edgeproxy.edge.headers import Field
from edgeproxy.edge.tls import TlsLayer
from tests.edge.harness import Edge

PATIENCE = 60


def request(start: bytes, *lines: bytes, body: bytes = b"", host: bytes = b"gallery.test", close: bool = False) -> bytes:
    """A raw request; `start` is its method and target."""
    closing = (b"Connection: close",) if close else ()
    return b"\r\n".join((start + b" HTTP/1.1", b"Host: " + host, *lines, *closing, b"", body))


class Answer:
    """One answer."""

    def __init__(self) -> None:
        self.version = b""
        self.status = 0
        self.reason = b""
        self.fields: list[Field] = []
        self.interim: list[int] = []
        self.body = b""
        self.trailers: list[bytes] = []
        self.complete = False
        """False where the connection ended before the answer did."""

    def field(self, name: bytes) -> bytes | None:
        """The only value of a field; None where there is none."""
        values = [value for each, value in self.fields if each == name]
        if len(values) > 1:
            raise AssertionError(f"{name!r} came {len(values)} times")
        return values[0] if values else None


class Client1:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)

    async def get(self, target: bytes = b"/", *lines: bytes, host: bytes = b"gallery.test") -> Answer:
        """A request without a body, and its answer."""
        self.send(request(b"GET " + target, *lines, host=host))
        return await self.answer()

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next answer, to a request with this method; ones that are interim are noted in it."""
        async with asyncio.timeout(PATIENCE):
            answer = Answer()
            await self._head(answer)
            while 100 <= answer.status < 200 and answer.status != 101:
                answer.interim.append(answer.status)
                await self._head(answer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._body(answer, method)
                answer.complete = True
        return answer

    async def _head(self, answer: Answer) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        answer.version, status, answer.reason = first.split(b" ", 2)
        answer.status = int(status)
        answer.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    async def _body(self, answer: Answer, method: bytes) -> None:
        length, coding = answer.field(b"content-length"), answer.field(b"transfer-encoding")
        if method == b"HEAD" or answer.status in (101, 204, 304):
            return
        if coding is not None:
            if coding != b"chunked" or length is not None:
                raise AssertionError("neither chunked nor of known length")
            while True:
                size = int(re.fullmatch(rb"([0-9a-f]+)\r\n", await self.reader.readuntil(b"\r\n"))[1], 16)  # type: ignore[index]
                if not size:
                    break
                answer.body += await self.reader.readexactly(size)
                if await self.reader.readexactly(2) != b"\r\n":
                    raise AssertionError("a chunk without its end")
            while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
                answer.trailers.append(line[:-2])
        elif length is not None:
            try:
                answer.body = await self.reader.readexactly(int(length))
            except asyncio.IncompleteReadError as error:
                answer.body = error.partial
                raise
        else:
            answer.body = await self.reader.read()

    async def ended(self) -> bytes:
        """What still comes until the connection ends."""
        rest = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    rest += piece
        return rest

    @property
    def transport(self) -> asyncio.Transport:
        """To stop and go on reading."""
        return cast(asyncio.Transport, self.writer.transport)


@contextlib.asynccontextmanager
async def connected(edge: Edge, hostname: str = "gallery.test", *protocols: str) -> AsyncIterator[Client1]:
    """A client on a connection of its own."""
    reader, writer = await edge.connect(hostname, *protocols)
    try:
        yield Client1(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def half_closed(
    edge: Edge,
    said: bytes,
    *,
    until_said: bytes = b"",
    protocol: str = "http/1.1",
    before_reading: Callable[[], Awaitable[object]] | None = None,
) -> bytes:
    """What comes back for this, said by a client that ends its side of TLS behind it, or when it has heard `until_said`, and
    goes on reading."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    tls = TlsLayer(edge.client_context(protocol), server_side=False, server_hostname="gallery.test")
    tls.feed(memoryview(b""))
    while not tls.established:
        writer.write(tls.pending())
        tls.feed(memoryview(await reader.read(65536)))
    got = bytearray()
    output = tls.pending() + b"".join(tls.seal_all(said))
    async with asyncio.timeout(PATIENCE):
        if until_said:
            writer.write(output)
            output = b""
        while until_said not in got:
            got += tls.feed(memoryview(await reader.read(65536)))
        writer.write(output + tls.close())
        if before_reading is not None:
            await before_reading()
        while piece := await reader.read(65536):
            got += tls.feed(memoryview(piece))
    assert tls.peer_closed
    writer.close()
    return bytes(got)


async def answers_in(raw: bytes) -> list[Answer]:
    """The answers that a connection gave, to requests that were not HEAD."""
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    client = Client1(reader, cast(asyncio.StreamWriter, None))
    answers = []
    while not reader.at_eof():
        answers.append(await client.answer())
    return answers
