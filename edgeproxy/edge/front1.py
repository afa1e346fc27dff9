"""The HTTP/1.1 session of a client connection: requests in, responses out, one at a time."""

from __future__ import annotations

import re
from time import perf_counter, time
from typing import TYPE_CHECKING

from edgeproxy.edge.exchange import BODY_LATE
from edgeproxy.edge.exchange1 import Exchange1, exchange1
from edgeproxy.edge.headers import accept_in
from edgeproxy.edge.http1 import (
    ChunkedDecoder,
    ChunkError,
    Refusal,
    incomplete_head_fault,
    parse_request,
    status_line,
)
from edgeproxy.edge.respond import http_date
from edgeproxy.limits import REQUESTS_AHEAD

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.exchange import Fields

LOOKED_THROUGH = 4096
"""Bytes of a chunked body that are looked through for its end, from the start each time that a client ends its piece as a body
may: more of them would cost a hostile client nothing and the worker much."""

_EMPTY_LINES = re.compile(rb"(?:\r\n)+").sub


class Front1:
    """The session. `received` brings plaintext; its exchange calls back with the answer (exchange1)."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_decoder",
        "_held",
        "_left",
        "_parsing",
        "_patience",
        "close",
        "connection",
        "exchange",
        "requests",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.exchange: Exchange1 | None = None
        self.requests = 0
        self._buffer = b""
        """What was received and not used yet: the start of a head, a held body, pipelined requests."""
        self._begun = -1
        """How many requests had come when the head began whose end is awaited: its time is set once, not by each byte."""
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._held = False
        self._patience = 0.0
        """Seconds that the client had left for a body when the origin began to hold it up."""
        self.close = False
        """The connection ends with the answer under way."""
        self._parsing = False

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return self.exchange is None and not self._buffer

    @property
    def more(self) -> bool:
        """The client has sent more than the request under way: it may go on sending."""
        return bool(self._buffer)

    @property
    def body_here(self) -> bool:
        """Whether the whole body of a request lies here of which its origin has taken nothing yet."""
        if self._decoder is None:
            return len(self._buffer) >= self._left
        if len(self._buffer) > LOOKED_THROUGH or not self._buffer.endswith(b"\r\n\r\n"):
            return False
        decoder = ChunkedDecoder()
        try:
            decoder.feed(self._buffer)
        except ChunkError:
            return True  # all that there will ever be of it
        return decoder.done

    # from the connection

    def received(self, data: bytes) -> None:
        """Plaintext from the client."""
        exchange = self.exchange
        if exchange is None and not self.connection.full:
            self._requests(self._buffer + data if self._buffer else data)
        elif exchange is None or exchange.body_complete or self._held:
            # The next request before this one's answer was given or taken, or a body that the origin does not take yet.
            self._buffer += data
            if len(self._buffer) > REQUESTS_AHEAD:
                self.connection.pause_reading()
            if self._held and exchange is not None:
                exchange.more_came()
        else:
            self._body(exchange, data)

    def received_view(self, data: memoryview) -> None:
        """The same, which lies here until the call returns: a body passes without being copied."""
        exchange = self.exchange
        if exchange is None or exchange.body_complete or self._held or self._decoder is not None or len(data) > self._left:
            self.received(bytes(data))
        else:
            self.connection.brought(len(data))
            self._content(exchange, data)

    def client_closed(self) -> None:
        """The client will send no more; it may still read. What came whole before is answered in its order (RFC 9112 sections
        9.3.2 and 9.6), and the rest is dropped. To be called again when there may be less left."""
        exchange = self.exchange
        if exchange is None:
            if not (self._buffer and self.connection.full):  # else `ready` goes on
                self.connection.close()
        elif exchange.body_complete:
            if b"\r\n\r\n" not in self._buffer:
                self.close = True  # nothing whole is left behind the request under way
        elif not (self._held and self._buffer):  # else the rest of the body may have come: `release_body` sees
            exchange.client_gone()
            self.connection.close()

    def lost(self) -> None:
        """The connection is gone."""
        exchange = self.exchange
        if exchange is not None:
            self.leave()
            exchange.client_gone()

    def full(self) -> None:
        """The client takes no more for now."""
        if self.exchange is not None:
            self.exchange.client_full()

    def ready(self) -> None:
        """It does again."""
        if self.exchange is not None:
            self.exchange.client_ready()
        elif self._buffer:
            self._next()

    def drain(self) -> None:
        """End the connection after the next answer that can say so: HTTP/1.1 has no other word for the end than
        `Connection: close`, and a client that was not told sends its next request."""
        if self.idle:
            self.connection.expect(self.connection.worker.idle_grace)

    def expired(self) -> None:
        """The deadline that counts now has passed."""
        exchange = self.exchange
        connection = self.connection
        if exchange is None:
            if self._buffer:
                connection.worker.count_timeout("client_header")
                self._answer_alone(408, "the request's head did not come in time (timeouts.client_header)")
            else:
                connection.close()
        elif not exchange.body_complete and not self._held:
            connection.worker.count_timeout("client_body")
            exchange.refuse(408, BODY_LATE)
        elif connection.full:
            connection.worker.count_timeout("write")
            connection.abort()

    # requests

    def _requests(self, data: bytes) -> None:
        """Parses and starts requests until one has to be waited for. A loop, since answers may come at once."""
        if self._parsing:
            self._buffer = data
            return
        self._parsing = True
        self.connection.worker.notice()
        try:
            while data and self.exchange is None and not self.connection.closing:
                self._buffer = b""
                if self.connection.full:
                    self._buffer = data
                    break
                data = self._request(data)
        finally:
            self._parsing = False

    def _request(self, data: bytes) -> bytes:
        """Starts the request at the beginning of `data`; what is left for another one."""
        connection = self.connection
        limits = connection.worker.limits
        if data[0] == 0x0D and data[:2] == b"\r\n":
            # RFC 9112 section 2.2 has at least one empty line before a request ignored. All of them: two must not be an error
            # or none by whether they come in one read.
            data = _EMPTY_LINES(b"", data, 1)
            if not data:
                return b""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._incomplete(data)
            return b""
        if end > limits.request_head:
            self._answer_alone(431, f"the request's head has more than {limits.request_head} (limits.request_head)", data[:end])
            return b""
        try:
            request = parse_request(data[:end], connection.worker.request_lines, limits)
        except Refusal as refusal:
            self._answer_alone(refusal.status, refusal.reason, data[:end])
            return b""
        self.requests += 1
        self.close = request.close or connection.worker.draining or self.requests >= limits.requests_per_connection
        self.exchange = exchange = exchange1(self, request, perf_counter())
        self._buffer = data[end + 4 :]
        if request.length:
            self._left = request.length
            self._decoder = ChunkedDecoder() if request.length < 0 else None
            self._held = True
            self._patience = connection.worker.timeouts.client_body
            connection.expect_nothing()
            exchange.start_body()
        else:
            connection.expect_nothing()
            exchange.start()
        if exchange is self.exchange:
            return b""  # its answer is still to come
        data, self._buffer = self._buffer, b""
        return data

    def _incomplete(self, data: bytes) -> None:
        connection = self.connection
        limits = connection.worker.limits
        fault = incomplete_head_fault(data)
        if fault:
            self._answer_alone(400, fault)
        elif len(data) > limits.request_line and b"\r\n" not in data[: limits.request_line + 2]:
            self._answer_alone(414, f"the request line has more than {limits.request_line} (limits.request_line)")
        elif len(data) > limits.request_head:
            self._answer_alone(431, f"the request's head has more than {limits.request_head} (limits.request_head)")
        else:
            if self._begun != self.requests:
                self._begun = self.requests
                connection.expect(connection.worker.timeouts.client_header)
            self._buffer = data

    def _answer_alone(self, status: int, reason: str, head: bytes = b"") -> None:
        """Refuses what never became a request, and closes: where the next request would begin is not known. `head` is all of
        it, where that has come."""
        connection = self.connection
        request_id = connection.worker.next_request_id()
        fields, body = connection.worker.error_pages.answer(status, accept_in(head), request_id.decode("ascii"), "")
        connection.worker.record_refused(connection, status, reason, request_id, len(body))
        self.close = True
        self._buffer = b""
        self.send_page(status, fields, body, head_only=False)
        connection.close(linger=True)

    def _content(self, exchange: Exchange1, data: bytes | memoryview) -> None:
        """A part of a body whose length was told, and nothing else."""
        self._left -= len(data)
        exchange.body(data)
        if not self._left:
            self.connection.expect_nothing()
            exchange.body_end([])

    def _body(self, exchange: Exchange1, data: bytes) -> None:
        """A part of the request's body, that the origin takes."""
        connection = self.connection
        connection.brought(len(data))
        decoder = self._decoder
        if decoder is None:
            if len(data) > self._left:
                self._buffer = data[self._left :]
                data = data[: self._left]
            self._content(exchange, data)
            return
        try:
            content = decoder.feed(data)
        except ChunkError as error:
            self.close = True
            exchange.refuse(400, f"malformed chunked body: {error}")
            return
        if content:
            exchange.body(content)
        if decoder.done:
            self._buffer = decoder.rest
            connection.expect_nothing()
            exchange.body_end(decoder.trailers)

    def release_body(self, exchange: Exchange1) -> None:
        """The origin takes (more of) the request's body."""
        held, self._held = self._held, False
        if not exchange.body_complete:  # else what was received since is the next request
            if held:
                self.connection.expect(self._patience)
            data, self._buffer = self._buffer, b""
            if data:
                self._body(exchange, data)
                if self.connection.client_closed:
                    self.client_closed()
        if not self._held:
            self.connection.resume_reading()

    def hold_body(self) -> None:
        """It takes no more for now: the client's time stands still."""
        connection = self.connection
        if not self._held:
            self._held = True
            self._patience = connection.deadline - connection.worker.now
            connection.expect_nothing()
        connection.pause_reading()

    # towards the client

    def send_page(self, status: int, fields: Fields, body: bytes, *, head_only: bool) -> None:
        parts = [status_line(status)]
        parts += [name + b": " + value for name, value in fields]
        parts.append(b"date: " + http_date(int(time())))
        if self.close:
            parts.append(b"connection: close")
        parts += [b"", b"" if head_only else body]
        self.connection.send(b"\r\n".join(parts))

    def leave(self) -> bytes:
        """The exchange goes its own way; what was received behind its request."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.front = None
        return self._buffer

    def finished(self) -> None:
        """The answer is complete."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.front = None
        connection = self.connection
        if self.close:
            connection.close(linger=self.more or (exchange is not None and not exchange.body_complete))
            return
        worker = connection.worker
        connection.expect(worker.idle_grace if worker.draining else worker.timeouts.idle)
        if not connection.full:  # else who pipelines without reading would fill our memory with answers
            self._next()

    def _next(self) -> None:
        """Reads on, beginning with what came already."""
        self.connection.resume_reading()
        if self._buffer and not self._parsing:
            self._requests(self._buffer)
            if self.connection.client_closed:
                self.client_closed()
