"""The sample origin: a small HTTP/1.1 server that shows each request to whoever sent it.

`python -m edgeproxy.demo.origin FD` serves the listening socket FD until its standard input ends: whoever started it
holds that open, so it is never orphaned.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import socket
import sys

from edgeproxy.demo import page, websocket
from edgeproxy.demo.message import BadRequest, Request, chunk_size, is_trailer, parse_head

HEAD_BYTES = 64 * 1024
"""Bytes of a request's head, and of any line."""

BODY_BYTES = 16 * 1024 * 1024
"""Bytes of a request's body."""

IDLE_SECONDS = 60.0
"""A connection without a request. More than the edge's `timeouts.origin_idle`, so that it is the edge that closes."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused request is read and forgotten before the connection is closed."""

SLOW_SECONDS = 60.0
"""The longest that /slow waits."""


class Origin:
    """Serves connections."""

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Starts to serve a bound socket."""
        return await asyncio.start_server(self._connection, sock=listener, limit=HEAD_BYTES)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except BadRequest as error:
            _answer(writer, None, error.status, f"{error}\n".encode(), "text/plain; charset=utf-8", close=True)
            await _linger(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the edge closed, or said nothing for too long: nobody is there to be told
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when it was the last."""
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise BadRequest("the head is too large", 431) from None
        request = parse_head(head[:-4])
        if request.path == "/ws":
            await self._echo(request, reader, writer)
            return False
        if "100-continue" in request.tokens("expect") and request.length:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(request, reader)
        if request.path == "/slow":
            await asyncio.sleep(_seconds(request))
        if request.path == "/favicon.ico":
            _answer(writer, request, 404, b"", "text/plain")
        elif page.wants_html(request):
            _answer(writer, request, 200, page.as_html(request, body), "text/html; charset=utf-8")
        else:
            _answer(writer, request, 200, page.as_json(request, body), "application/json")
        await writer.drain()
        return request.keep_alive

    async def _echo(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = websocket.accept_key(request)
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "upgrade: websocket",
            "connection: upgrade",
            f"sec-websocket-accept: {key}",
        )
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        echo = websocket.Echo()
        while not echo.closed and (data := await reader.read(65536)):
            writer.write(echo.receive(data))
            await writer.drain()


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads what a refused request still brings: closed with bytes unread, TCP would reset the connection and with it take
    the answer away."""
    with contextlib.suppress(OSError, TimeoutError):
        writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(HEAD_BYTES):
                pass


def _seconds(request: Request) -> float:
    try:
        return min(max(float(request.query.get("seconds", "3")), 0.0), SLOW_SECONDS)
    except ValueError:
        raise BadRequest("seconds must be a number, as in /slow?seconds=3") from None


async def _body(request: Request, reader: asyncio.StreamReader) -> bytes:
    """The whole body; raises BadRequest when it is too large or its chunks are malformed."""
    too_large = BadRequest(f"a body may have {BODY_BYTES} bytes", 413)
    if request.length >= 0:
        if request.length > BODY_BYTES:
            raise too_large
        return await reader.readexactly(request.length)
    body = b""
    while size := chunk_size(await _line(reader)):
        if len(body) + size > BODY_BYTES:
            raise too_large
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise BadRequest("a chunk does not end where it should")
    while line := await _line(reader):
        if not is_trailer(line):
            raise BadRequest("a trailer is malformed")
    return body


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.LimitOverrunError:
        raise BadRequest("a line is too long") from None


def _answer(
    writer: asyncio.StreamWriter, request: Request | None, status: int, body: bytes, kind: str, *, close: bool = False
) -> None:
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
    ]
    if close or (request is not None and not request.keep_alive):
        lines.append("connection: close")
    head = "\r\n".join(lines) + "\r\n\r\n"
    writer.write(head.encode() + (b"" if request is not None and request.method == "HEAD" else body))


async def _until_input_ends() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin.buffer)
    await ended.read()


async def main(descriptor: int) -> None:
    """Serves the listening socket until standard input ends."""
    server = await Origin().serve(socket.socket(fileno=descriptor))
    try:
        await _until_input_ends()
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
