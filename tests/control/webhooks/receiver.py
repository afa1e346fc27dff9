"""A receiver of webhooks: a real HTTP server that answers as the test says and notes what it was sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hmac
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclasses.dataclass
class Got:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def payload(self) -> dict[str, object]:
        found: dict[str, object] = msgspec.json.decode(self.body)
        return found

    def verified(self, key: str = SECRET) -> bool:
        """As a receiver checks it who has read the specification, and nothing of the edge's."""
        signed = b".".join((self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body))
        digest = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), signed, "sha256")
        wanted = base64.b64encode(digest).decode()
        given = [each.partition(",") for each in self.headers["webhook-signature"].split(" ")]
        return any(version == "v1" and hmac.compare_digest(value, wanted) for version, _, value in given)


Answer = Callable[[Got, asyncio.StreamWriter], Awaitable[None]]


def says(status: int, body: bytes = b"", **fields: str) -> Answer:
    """Answers so."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode()

    async def answer(_got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)

    return answer


def after(event: asyncio.Event, then: Answer) -> Answer:
    """Answers once that is set."""

    async def answer(got: Got, writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await then(got, writer)

    return answer


class Receiver:
    """One server. `answers` are for the next requests, one each; then `usual` is."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.usual: Answer = says(204)
        self.answers: list[Answer] = []
        self.open = 0
        self.most = 0
        self.connections = 0
        self.port = 0
        self.scheme = "http"
        self._more = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks"

    async def has(self, count: int) -> list[Got]:
        """Waits until it has got so many."""
        async with asyncio.timeout(60):
            while len(self.got) < count:
                self._more.clear()
                await self._more.wait()
        return self.got

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    await self._request(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        got = Got(head[0].split()[1], headers, body)
        self.open += 1
        self.most = max(self.most, self.open)
        self.got.append(got)
        self._more.set()
        try:
            await (self.answers.pop(0) if self.answers else self.usual)(got, writer)
            await writer.drain()
        finally:
            self.open -= 1

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """A receiver on a port of its own; with a context over TLS."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.accept, host, 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.scheme = "http" if context is None else "https"
    try:
        yield receiver
    finally:
        server.close()
        await receiver.end()
        await server.wait_closed()
