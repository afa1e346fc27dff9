"""An HTTP/2 client over TLS for tests: h2 with a loop around it, which takes content only when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hyperframe.frame import GoAwayFrame

from edgeproxy.edge.headers import Field
from tests.edge.harness import Edge


class Answer:
    """What has come of one answer."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: list[Field] = []
        self.interim: list[int] = []
        self.content = bytearray()
        self.trailers: list[Field] = []
        self.complete = False
        self.reset: int | None = None

    @property
    def body(self) -> bytes:
        """All content so far."""
        return bytes(self.content)


class Client2:
    """One connection. `auto` acknowledges content as it comes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: dict[h2.settings.SettingCodes, int],
        auto: bool,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.auto = auto
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.state.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.ENABLE_PUSH: 0, **settings}
        )
        # h2 takes no frame of any stream after a GOAWAY, against RFC 9113 section 6.8: it never sees one.
        self.state._frame_dispatch_table[GoAwayFrame] = self._goaway
        self.state.initiate_connection()
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.goaways: list[int] = []
        self.closed = False
        self._changed = asyncio.Event()
        self._task = asyncio.ensure_future(self._read())
        self.flush()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                for event in self.state.receive_data(data):
                    self._take(event)
                self.flush()
                self._changed.set()
        self.closed = True
        self._changed.set()

    def _goaway(self, frame: GoAwayFrame) -> tuple[list[Any], list[Any]]:
        self.goaways.append(frame.last_stream_id)
        return [], []

    def _take(self, event: Any) -> None:
        number = getattr(event, "stream_id", None)
        if not number:
            return
        answer = self.answers[number]
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(int(event.headers[0][1]))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.status, answer.fields = int(event.headers[0][1]), event.headers[1:]
        elif isinstance(event, h2.events.DataReceived):
            answer.content += event.data
            if self.auto:
                self.state.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            answer.complete = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)

    def flush(self) -> None:
        """Sends what there is to send."""
        if data := self.state.data_to_send():
            self.writer.write(data)

    def request(self, fields: list[Field], body: bytes | None = None) -> int:
        """Sends a request; its stream. `body` None: it stays open for `send`."""
        number = self.state.get_next_available_stream_id()
        self.state.send_headers(number, fields, end_stream=body == b"")
        if body:
            self.state.send_data(number, body, end_stream=True)
        self.flush()
        return number

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Sends content that fits into the windows."""
        self.state.send_data(number, data, end_stream=end)
        self.flush()

    async def upload(self, number: int, content: bytes) -> None:
        """Sends content as the windows allow."""
        sent = 0
        while sent < len(content):
            room = min(self.state.local_flow_control_window(number), 16384, len(content) - sent)
            if room > 0:
                self.state.send_data(number, content[sent : sent + room], end_stream=sent + room == len(content))
                sent += room
                self.flush()
                await self.writer.drain()
            else:
                await self._wait()

    def acknowledge(self, number: int, amount: int) -> None:
        """Takes content, so that more may come."""
        self.state.acknowledge_received_data(amount, number)
        self.flush()

    async def _wait(self) -> None:
        self._changed.clear()
        await asyncio.wait_for(self._changed.wait(), 60)

    async def until(self, condition: Any) -> None:
        """Waits until a condition holds."""
        while not condition():
            if self.closed:
                raise ConnectionError("the connection ended")
            await self._wait()

    async def answer(self, number: int) -> Answer:
        """The whole answer, or its reset."""
        answer = self.answers[number]
        await self.until(lambda: answer.complete or answer.reset is not None)
        return answer

    async def get(self, fields: list[Field]) -> Answer:
        """A request without a body, and its answer."""
        return await self.answer(self.request(fields, b""))

    async def ended(self) -> None:
        """Waits for the end of the connection."""
        while not self.closed:
            await self._wait()

    async def close(self) -> None:
        """Ends the connection."""
        self._task.cancel()
        self.writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self._task


@contextlib.asynccontextmanager
async def connected(
    edge: Edge,
    hostname: str = "gallery.test",
    *,
    settings: dict[h2.settings.SettingCodes, int] | None = None,
    auto: bool = True,
) -> AsyncIterator[Client2]:
    """A client on a connection of its own."""
    reader, writer = await edge.connect(hostname, "h2")
    client = Client2(reader, writer, settings or {}, auto)
    try:
        yield client
    finally:
        await client.close()


def get(path: str = "/path?q=1", *fields: Field, host: str = "gallery.test", method: str = "GET") -> list[Field]:
    """The fields of a request."""
    return [
        (b":method", method.encode()),
        (b":scheme", b"https"),
        (b":authority", host.encode()),
        (b":path", path.encode()),
        *fields,
    ]
