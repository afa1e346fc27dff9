"""One connection to an origin: HTTP/1.1, lent to one exchange at a time."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol, cast

from edgeproxy.edge.headers import LENGTH_CHUNKED, LENGTH_UNTIL_CLOSE, RequestHead, ResponseHead
from edgeproxy.edge.http1 import ChunkedDecoder, ChunkError, ResponseError, incomplete_response_fault, parse_response
from edgeproxy.edge.upstream.remains import Remains
from edgeproxy.edge.upstream.trust import what_broke
from edgeproxy.limits import RELAY_BUFFER, WRITE_HIGH_WATER

if TYPE_CHECKING:
    from edgeproxy.edge.upstream.pool import Pool
    from edgeproxy.edge.worker import Worker

_MANY = 1_000_000_000
REST: Final = 0.1
"""Seconds that a connection rests after an answer whose content was withheld. Origins that send it all the same do so in a
write of its own, which Nagle's algorithm may hold back until a delayed acknowledgement, 40 ms. What comes meanwhile closes
the connection; on one that is lent already it would be the next visitor's answer. After an answer whose last read filled the
buffer too: what the origin sent beyond it may lie in the kernel, and a client's window could be chosen so that it does."""
_IDLE, _HEAD, _BODY, _CHUNKED, _UNTIL_CLOSE, _TUNNEL, _CLOSED = range(7)


class Borrower(Protocol):
    """Whom a connection is lent to (exchange.Exchange). Called in this order, each from a read:

    interim* → (switched → tunnel_data*) | response → data* → end, or lost at any point before done.
    """

    request: RequestHead

    @property
    def network(self) -> bytes:
        """Of the client: see pool.Waiter."""

    def displaced(self, reason: str) -> None:
        """Others need the connection more: see pool.Waiter."""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx head, not 101."""

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """101 to a request that asked for it; from now on bytes go both ways."""

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The final head, with the part of the body that came along. After `done` the connection is not the borrower's."""

    def data(self, data: bytes | memoryview, done: bool) -> None:
        """More of the body; a memoryview is only good until the call returns."""

    def end(self, trailers: list[bytes]) -> None:
        """The end of a body whose length was not known."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes of a tunnel."""

    def lost(self, reason: str, *, answered: bool, broken: bool) -> None:
        """The origin ended before `done`. `answered`: some byte of a response had come. `broken`: it broke the protocol."""

    def hold_body(self) -> None:
        """The origin takes no more for now."""

    def release_body(self) -> None:
        """It does again."""


class OriginConnection(asyncio.BufferedProtocol):
    """A pooled connection. The pool makes it, `lend` begins a request, and it goes back by itself when the answer ends."""

    __slots__ = (
        "_broke",
        "_buffer",
        "_decoder",
        "_descriptor",
        "_early",
        "_ended",
        "_interim",
        "_left",
        "_limit",
        "_paused",
        "_queues",
        "_rests",
        "_state",
        "_tells_when_sent",
        "_told",
        "borrower",
        "pool",
        "request_sent",
        "requests",
        "since",
        "transport",
        "worker",
    )

    def __init__(self, worker: Worker, pool: Pool) -> None:
        self.worker = worker
        self.pool = pool
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.borrower: Borrower | None = None
        self._state = _IDLE
        self._early = b""
        self._broke: OSError | None = None
        """Why it could not be written to."""
        self._ended = False
        """The origin has said that it says no more: by FIN, over TLS by close_notify."""
        self._interim = 0
        """Bytes of 1xx heads that came before this answer."""
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._paused = False
        self._descriptor = -1
        """For requests' heads, which need not wait for the transport's turn: written at once they cost a microsecond less.
        -1 over TLS, and where the connection is gone."""
        self._queues = False
        """The transport was given something; it may not have written all of it yet."""
        self._rests = False
        """After this answer it is not lent at once: see REST."""
        self._tells_when_sent = False
        self._buffer = worker.buffer
        self._limit = RELAY_BUFFER
        """Bytes that the next read may bring, which is the size of the buffer; below RELAY_BUFFER where the client has less
        room (HTTP/2 windows)."""
        self.since = worker.now
        """When something last happened, as of the worker's last sweep: see `look`."""
        self._told = 0
        self.requests = 0
        """That were begun; less _MANY where this one is the last."""
        self.request_sent = False
        """Whether the whole request is on its way. A connection with an unfinished one cannot be used again."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.since = self.worker.now
        if not self.pool.target.tls:
            self._descriptor = transport.get_extra_info("socket").fileno()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        borrower = self.borrower
        if borrower is None:
            self._unusable()  # an idle origin that speaks: an answer nobody asked for
            return
        state = self._state
        if state == _HEAD:  # whose time goes on: an origin that sends it byte by byte has no more than others
            if nbytes == self._limit:
                self._rests = True
            self._head(bytes(self._buffer[:nbytes]), borrower)
            return
        worker = self.worker
        data = worker.buffer[:nbytes]
        self.since = worker.now
        if state == _BODY:
            self._left -= nbytes
            if self._left > 0:
                borrower.data(data, False)
            elif self._left == 0:
                self._rests = nbytes == self._limit
                borrower.data(data, True)
                self._done()
            else:
                borrower.data(data[: self._left], True)
                self._keep_not()
                self._done()
        elif state == _CHUNKED:
            self._rests = nbytes == self._limit
            self._chunked(bytes(data), borrower)
        elif state == _UNTIL_CLOSE:
            borrower.data(data, False)
        elif state == _TUNNEL:
            borrower.tunnel_data(bytes(data))

    def eof_received(self) -> bool:
        self._ended = True
        if self._state == _IDLE:  # `connection_lost` comes in the loop's next turn: until then it would be lent
            self._unusable()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        state = self._state
        exc = self._broke or exc
        self._descriptor = -1  # the transport closes it when this returns
        if exc is not None and _IDLE < state < _TUNNEL and self._read_remains(exc):
            return
        self._state = _CLOSED
        self.pool.gone(self)
        borrower, self.borrower = self.borrower, None
        if borrower is None:
            return
        if state == _UNTIL_CLOSE and self._ended:
            self.pool.answered()
            borrower.end([])
        else:
            reason = f"the connection broke: {what_broke(exc)}" if exc is not None else "the origin closed the connection"
            borrower.lost(reason, answered=state != _HEAD or bool(self._early), broken=False)

    def pause_writing(self) -> None:
        if self.borrower is not None:
            self.borrower.hold_body()

    def resume_writing(self) -> None:
        if self.borrower is not None:
            self.borrower.release_body()

    def _read_remains(self, exc: Exception) -> bool:
        """The connection broke, most often because it could not be written to: reads what came before. Whether it can."""
        transport, borrower = self.transport, self.borrower
        if borrower is None or self.pool.target.tls or isinstance(transport, Remains):
            return False
        try:
            remains = Remains(
                self.worker.loop, transport, lambda: self._buffer, self.buffer_updated, lambda: self.connection_lost(exc)
            )
        except OSError:  # no descriptor is left for it
            return False
        self.transport = remains
        if self._paused:
            remains.pause_reading()
        # EPIPE and not ECONNRESET: the origin had ended its side in good order before it reset the connection.
        self._ended = isinstance(exc, BrokenPipeError)
        self.unwritable(exc)
        return True

    def unwritable(self, exc: Exception) -> None:
        """The transport takes nothing any more; what came before it still brings. See tls.Reader."""
        self._keep_not()
        if self.borrower is not None:
            self.borrower.release_body()  # whose rest is thrown away

    @property
    def alive(self) -> bool:
        """Whether it can be lent."""
        return self._state != _CLOSED

    @property
    def reused(self) -> bool:
        """Whether this is not the first request on this connection."""
        return self.requests % _MANY != 1

    def newly_asked(self) -> int:
        """Requests that were begun since this was last called."""
        before, self._told = self._told, self.requests % _MANY
        return self._told - before

    @property
    def paused(self) -> bool:
        """Whether it is not read, since the client takes nothing for now."""
        return self._paused

    # the borrower's side

    def lend(self, borrower: Borrower, head: bytes, whole: bool, room: int = RELAY_BUFFER) -> None:
        """Begins a request: `head` ends with its empty line. `whole`: no body follows. The first read brings at most `room`
        bytes; 0: there is none before `resume`."""
        self.borrower = borrower
        self._state = _HEAD
        self.requests += 1
        self.request_sent = whole
        self.since = self.worker.now
        if room != self._limit:
            self._room(room)
        if self._tells_when_sent:
            self._tells_when_sent = False
            self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._write(head)

    def _write(self, data: bytes | memoryview) -> None:
        """Straight into the kernel where that has room, with the transport's queue for what it does not take."""
        if self._descriptor < 0 or (self._queues and self.transport.get_write_buffer_size()):
            self._queues = True
            self.transport.write(bytes(data))
            return
        try:
            sent = os.write(self._descriptor, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:  # the kernel says once what broke: the transport will learn of a broken pipe at most
            self._broke = error
            sent = 0
        self._queues = sent < len(data)
        if self._queues:
            self.transport.write(bytes(data[sent:]))

    def _room(self, room: int) -> None:
        """The next read brings at most so much; 0: there is none."""
        if room:
            self._limit = room
            self._buffer = self.worker.buffer[:room]
        else:
            self.pause()

    def send(self, data: bytes | memoryview) -> None:
        """More of the request: body, chunks, or a tunnel's bytes. A view is good for this call."""
        self.since = self.worker.now
        self._write(data)

    def tell_when_sent(self) -> None:
        """For the rest of this request: `hold_body` at once where anything is not out yet, `release_body` when all is."""
        if not self._tells_when_sent and self._state != _CLOSED:
            self._tells_when_sent = True
            # Not 0: a TLS transport calls itself full at its mark, not above it, and would never be ready again.
            self.transport.set_write_buffer_limits(high=1, low=0)

    def pause(self) -> None:
        """The client takes no more: stop reading, so that the origin is stalled too."""
        if not self._paused and self._state != _CLOSED:
            self._paused = True
            self.transport.pause_reading()

    def resume(self, room: int = RELAY_BUFFER) -> None:
        """Read on, at most `room` bytes at once."""
        if room != self._limit:
            self._room(room)
        if self._paused and self._state != _CLOSED:
            self._paused = False
            self.since = self.worker.now
            self.transport.resume_reading()

    def abandon(self) -> None:
        """The borrower has no more use for the answer: close, since what is still coming cannot be skipped."""
        self.borrower = None
        self._unusable()

    @property
    def address(self) -> str:
        """The origin's, an IP literal."""
        return str((self.transport.get_extra_info("peername") or ("",))[0])

    def retire(self) -> None:
        """This request is the last; where there is none, now."""
        if self._state == _IDLE:
            self._unusable()
        else:
            self._keep_not()

    def look(self, now: float) -> None:
        """Ends the connection if the origin has been silent for too long."""
        timeouts = self.worker.timeouts
        state = self._state
        patience = (
            timeouts.origin_idle if state == _IDLE else timeouts.tunnel_idle if state == _TUNNEL else timeouts.origin_response
        )
        if now - self.since <= patience or self._paused or (not self.request_sent and self._waits_for_client(state)):
            return  # it waits for the client, whose own deadline counts
        borrower, answered = self.borrower, state != _HEAD or bool(self._early)
        self.borrower = None
        self._unusable()
        if borrower is not None:
            borrower.lost("timeout", answered=answered, broken=False)

    def _waits_for_client(self, state: int) -> bool:
        """Whether the origin has taken all that came of a request, and it is the client who has to go on: one that waits for
        100 (Continue) need not, before the origin says so."""
        borrower = self.borrower
        if borrower is None or not _IDLE < state < _TUNNEL or self.transport.get_write_buffer_size():
            return False
        return bool(self._interim or not borrower.request.expect)

    # the answer

    def _head(self, data: bytes, borrower: Borrower) -> None:
        if self._early:
            data = self._early + data
            self._early = b""
        worker = self.worker
        limits = worker.limits
        while True:
            raw, end, rest = data.partition(b"\r\n\r\n")
            if len(raw) > limits.response_head:
                self._broken("its header is too large")
                return
            if not end:
                fault = incomplete_response_fault(data)
                if fault:
                    self._broken(fault)
                else:
                    self._early = data
                return
            try:
                head = parse_response(raw, worker.response_lines, limits, borrower.request.method, self.pool.beginning)
            except ResponseError as error:
                self._broken(str(error))
                return
            data = rest
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(head, data, borrower)
                return
            # HTTP/2 has no window for heads: what a client does not take of them is kept in memory.
            self._interim += len(raw) + 4
            if self._interim > limits.response_head:
                self._broken("its interim answers are too many")
                return
            self.since = worker.now
            borrower.interim(head)
            if not data or self.borrower is not borrower:
                return
        if not head.keep:
            self._keep_not()
        if head.withheld:
            self._rests = True
        if head.length == len(data):  # the whole answer in one read, as most are
            borrower.response(head, data, True)
            self._done()
        else:
            self._body(head, data, borrower)

    def _body(self, head: ResponseHead, data: bytes, borrower: Borrower) -> None:
        self.since = self.worker.now
        length = head.length
        if length >= 0:
            left = length - len(data)
            if left > 0:
                self._left = left
                self._state = _BODY
                borrower.response(head, data, False)
                return
            # More than it said: the surplus is nobody's answer.
            self._keep_not()
            borrower.response(head, data[:length], True)
            self._done()
        elif length == LENGTH_CHUNKED:
            self._state = _CHUNKED
            self._decoder = ChunkedDecoder()
            borrower.response(head, b"", False)
            if data and self.borrower is borrower:
                self._chunked(data, borrower)
        elif length == LENGTH_UNTIL_CLOSE:
            self._state = _UNTIL_CLOSE
            borrower.response(head, data, False)

    def _chunked(self, data: bytes, borrower: Borrower) -> None:
        decoder = cast(ChunkedDecoder, self._decoder)
        try:
            content = decoder.feed(data)
        except ChunkError as error:
            self._broken(str(error))
            return
        if content:
            borrower.data(content, False)
        if decoder.done and self.borrower is borrower:
            if decoder.rest:
                self._keep_not()
            borrower.end(decoder.trailers)
            self._done()

    def _switch(self, head: ResponseHead, early: bytes, borrower: Borrower) -> None:
        if not borrower.request.upgrade or not _to_websocket(head):
            self._broken("it switched protocols unasked")
            return
        self._state = _TUNNEL
        self.since = self.worker.now
        self._keep_not()
        borrower.switched(head, early)

    def _broken(self, reason: str) -> None:
        borrower, answered = self.borrower, self._state > _HEAD
        self.borrower = None
        self._unusable()
        if borrower is not None:
            borrower.lost(reason, answered=answered, broken=True)

    def _done(self) -> None:
        """The answer is complete: back to the pool, if it can be used again."""
        self.borrower = None
        if self.requests < 0 or not self.request_sent or self._state == _CLOSED:
            self.pool.answered()
            self._unusable()
            return
        self._state = _IDLE
        self.since = self.worker.now
        if self._decoder is not None or self._interim:
            self._decoder = None
            self._interim = 0
        if self._paused:
            self.resume()
        if self._rests:
            self._rests = False
            self.worker.loop.call_later(REST, self._rested)
        else:
            self.pool.release(self)

    def _rested(self) -> None:
        if self._state == _IDLE:
            self.pool.release(self)

    def _keep_not(self) -> None:
        if self.requests > 0:
            self.requests -= _MANY

    def _unusable(self) -> None:
        if self._state != _CLOSED:
            self._state = _CLOSED
            self.pool.gone(self)
            self.transport.abort()


def _to_websocket(head: ResponseHead) -> bool:
    """Whether a 101 names the protocol that was asked for, and no other (RFC 9110 section 7.8)."""
    fields = (line.partition(b":") for line in head.raw)
    return [value.strip(b" \t").lower() for name, _, value in fields if name.lower() == b"upgrade"] == [b"websocket"]
