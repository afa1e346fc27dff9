"""The HTTP/2 session of a client connection: many requests at once, each a stream with an exchange of its own.

What a connection may hold in memory, 256 KiB in all: limits.WRITE_HIGH_WATER in the transport, QUEUE_HIGH and one read
more in the engine's queue, http2.CONNECTION_WINDOW of uploads that no origin has taken, exchange2.UPLOAD_AHEAD that one
may not have taken. Beside that each open stream keeps its request's head until it is answered, HEADS_MAX over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from edgeproxy.edge import pace
from edgeproxy.edge.exchange2 import Exchange2, Incoming
from edgeproxy.edge.headers import Field, RequestHead
from edgeproxy.edge.http1 import Refusal
from edgeproxy.edge.http2 import CANCEL, REFUSED_STREAM, Ended, Http2Error, Http2Server
from edgeproxy.edge.respond import http_date
from edgeproxy.edge.tunnel import websocket_key
from edgeproxy.limits import WRITE_HIGH_WATER

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.exchange import Fields

QUEUE_HIGH: Final = 32 * 1024
"""Bytes queued over all streams above which no origin is read. No read is larger either."""
HEAD_LARGE: Final = 4 * 1024
HEADS_MAX: Final = 1024 * 1024
"""Bytes of open streams' heads above which no stream with one above HEAD_LARGE is taken. HPACK lets a client have a head of
28 KB kept for a few bytes each; a browser with 10 KB of cookies still has its hundred requests at once."""
HEAD_ROOM: Final = 1024
"""What is read of an answer whose stream has no window at all: its head should not have to wait for one."""
SMALL_OUTPUT: Final = 16 * 1024
"""Up to so many queued bytes it is not asked whether the transport has room for them."""
BODY_GRACE: Final = 1.0
"""Seconds that a client has for the rest of a body that nobody takes. A reset right behind the answer is lawful (RFC 9113
section 8.1), but makes curl 7.88 and others that are about to send their few bytes throw the answer away."""
REST_AFTER: Final = 5.0
"""Seconds without a request after which the memory goes that only the next one would want: up to 4 KB of a connection's."""
GOAWAY_GRACE: Final = 1.0
"""Seconds between the announcement and the final GOAWAY: a round trip, for requests under way (RFC 9113 section 6.8)."""


class Front2:
    """The session. `received` brings plaintext; the engine's adapter calls back as http2.Sink."""

    __slots__ = (
        "_begun",
        "_client_closed",
        "_flush_due",
        "_held",
        "_read_at",
        "_rested",
        "_waiting",
        "_watching",
        "_winding_up",
        "connection",
        "free",
        "http2",
        "paused",
        "streams",
        "upload_ahead",
        "whole",
    )

    def __init__(self, connection: Connection) -> None:
        worker = connection.worker
        self.connection = connection
        self.http2 = Http2Server(self, worker.request_fields, worker.limits)
        self.streams: dict[int, Exchange2 | None] = {}
        """From the request to the end of both sides; answers that are complete but not sent yet included. None where the edge
        has answered what never became an exchange."""
        self.paused: dict[Exchange2, None] = {}
        """Those whose origin is not read, because the client takes no more; whose turn is next comes first."""
        self.upload_ahead = 0
        self.free = 0
        """What the first read of an answer may bring where nothing is in its way; 0: ask `first_room`."""
        self.whole: list[Exchange2] = []
        """Answered since the last flush, each by one read from its origin; not counted yet."""
        self._held = 0
        """Bytes that were queued after the last flush, and those of answers that were ended since."""
        self._read_at = 0.0
        """time.perf_counter() at the last read."""
        self._rested = True
        self._flush_due = False
        self._waiting: dict[int, tuple[int, float]] = {}
        """Streams that waited for the client when last looked at: how much of their content has left, and by when that must be
        more (limits.client_rate)."""
        self._watching = False
        self._winding_up = False
        self._begun = False
        self._client_closed = False

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self.streams

    # from the connection

    def received(self, data: bytes) -> None:
        """Plaintext from the client."""
        if not self._begun:
            self._begun = True
            self.connection.expect(self.connection.worker.timeouts.idle)
        connection, http2 = self.connection, self.http2
        connection.worker.notice()
        self._read_at = perf_counter()
        free = self._held < QUEUE_HIGH and not connection.full and http2.initial_window >= QUEUE_HIGH
        self.free = QUEUE_HIGH if free else 0
        try:
            http2.receive(data, self._read_at)
        except Http2Error as error:
            self._end(error)
            return
        if http2.has_output or http2.ended:
            self.flush_soon()
        if http2.requests >= connection.worker.limits.requests_per_connection:
            self.drain()

    def received_view(self, data: memoryview) -> None:
        """The same, which lies here until the call returns."""
        self.received(bytes(data))

    def client_closed(self) -> None:
        """The client will send no more; it may still read what needs no more windows than it has given. Requests that came
        whole are answered, also where their origin has yet to take the rest of a body."""
        if self._client_closed:
            return  # what is still sent would have a GOAWAY queued with each read, which a client that reads nothing lets grow
        self._client_closed = True
        for number, stream in list(self.streams.items()):
            if stream is not None and stream.watched and not stream.request_whole:
                stream.client_gone()
                self.http2.reset(number, CANCEL)
        self.http2.goaway()
        self.flush_soon()

    def lost(self) -> None:
        """The connection is gone."""
        self.http2.leave()
        streams = list(self.streams.values())
        self.streams.clear()
        self.paused.clear()
        for stream in streams:
            if stream is not None:
                stream.gone()

    def full(self) -> None:
        """The client takes no more for now: the queue fills, and that stops the origins."""
        self.free = 0

    def ready(self) -> None:
        """It does again."""
        self.flush_soon()

    def drain(self) -> None:
        """Announces the end; serves what comes until the final word, and what is under way then."""
        if not self._winding_up:
            self._winding_up = True
            worker = self.connection.worker
            self.http2.goaway(final=False)
            self.flush_soon()
            worker.loop.call_later(min(GOAWAY_GRACE, worker.timeouts.drain / 2), self._wind_up)

    def _wind_up(self) -> None:
        self.http2.goaway()
        self.flush_soon()

    def expired(self) -> None:
        """The deadline that counts now has passed: that of the idle connection, or time to look at the streams."""
        connection = self.connection
        if not self.streams:
            end = 0.0 if self._rested else connection.deadline + connection.worker.timeouts.idle - REST_AFTER
            if end > connection.worker.now:
                self._rested = True
                self.http2.rest()
                connection.deadline = end
                return
            self.http2.goaway()
            self._flush()
            connection.close(linger=True)
            return
        self._watching = False
        connection.expect_nothing()
        now, byte_seconds = connection.worker.now, connection.worker.byte_seconds
        watched = [stream for stream in self.streams.values() if stream and stream.watched]
        for stream in watched:
            stream.check(now, byte_seconds * len(watched))  # they share the rate: they share the client's line
        self._check_writes(now)
        if self.paused or self.http2.queued or any(stream and stream.watched for stream in self.streams.values()):
            self.watch()

    def _check_writes(self, now: float) -> None:
        """Ends streams of whose answer the client takes too little."""
        worker = self.connection.worker
        patience = worker.timeouts.write
        before, self._waiting = self._waiting, {}
        byte_seconds = worker.byte_seconds * max(1, len(before))
        for number, stream in list(self.streams.items()):
            queued = self.http2.queued_for(number)
            if not queued and stream not in self.paused:
                continue
            left = (0 if stream is None else stream.bytes_out) - queued  # grows with every byte that the client takes
            was, due = before.get(number, (left, now + patience))
            due = pace.put_off(due, now, left - was, byte_seconds, patience)
            if due < now:
                worker.count_timeout("write")
                if stream is not None:
                    stream.gone()
                self.http2.reset(number, CANCEL)
                self.flush_soon()
                continue
            self._waiting[number] = left, due

    def watch(self) -> None:
        """Has `expired` called again and again while a stream waits for the client: one deadline for all of them."""
        if not self._watching:
            self._watching = True
            timeouts = self.connection.worker.timeouts
            self.connection.expect(min(timeouts.client_body, timeouts.write, timeouts.tunnel_idle) / 4)

    def _end(self, error: Http2Error) -> None:
        """The client broke the protocol."""
        self.connection.send(error.last_words)
        self.connection.close(linger=True)

    # http2.Sink

    def request(self, number: int, head: RequestHead, end: bool) -> None:
        """A request: an exchange of its own."""
        connection = self.connection
        if not self.streams and not self._watching:
            connection.expect_nothing()
        if len(head.head) > HEAD_LARGE and self._heads() + len(head.head) > HEADS_MAX:
            self.http2.reset(number, REFUSED_STREAM)  # which tells the client that it may ask again
            self.flush_soon()
            return
        worker = connection.worker
        exchange = Exchange2(connection, head, worker.next_request_id(), self._read_at, head.length == 0)
        exchange.front, exchange.number = self, number
        if not end:
            key = b""
            if head.upgrade:
                key = websocket_key()
                head.head += b"sec-websocket-key: " + key + b"\r\n"
            exchange.incoming = Incoming(worker.now, key)
            self.watch()
            self.streams[number] = exchange
            exchange.start_body()
        else:
            self.streams[number] = exchange
            exchange.start()

    def _heads(self) -> int:
        """Bytes of the heads of open streams."""
        return sum(len(stream.request.head) for stream in self.streams.values() if stream is not None)

    def refused(self, number: int, fields: Sequence[Field], refusal: Refusal, end: bool) -> None:
        """A request that goes no further is answered here."""
        connection = self.connection
        if not self.streams and not self._watching:
            connection.expect_nothing()
        request_id = connection.worker.next_request_id()
        said = dict(fields)
        accept, method = said.get(b"accept"), said.get(b":method")
        fields, body = connection.worker.error_pages.answer(refusal.status, accept, request_id.decode("ascii"), "")
        connection.worker.record_refused(connection, refusal.status, refusal.reason, request_id, len(body))
        self.streams[number] = None
        self.send_page(number, refusal.status, fields, body, head_only=method == b"HEAD")
        if self.http2.let_go(number):
            self.finish_later(number)
        self.queued(len(body))

    def body(self, number: int, data: bytes, end: bool) -> None:
        """Content of a request, or bytes of a tunnel."""
        stream = self.streams.get(number)
        if stream is not None:
            stream.incoming_data(data, end)
        else:
            self.http2.consumed(number, len(data))

    def trailers(self, number: int, lines: list[bytes]) -> None:
        """The end of a request's body."""
        stream = self.streams.get(number)
        if stream is not None:
            stream.incoming_end(lines)

    def closed(self, ended: Sequence[Ended]) -> None:
        """Streams are over."""
        streams = self.streams
        had = bool(streams)
        for event in ended:
            stream = streams.pop(event.stream_id, None)
            if stream is not None and (not stream.answered or stream.incoming is not None):
                stream.gone()
        if had and not streams:
            idle = self.connection.worker.timeouts.idle
            self._rested = idle <= REST_AFTER
            self.connection.expect(idle if self._rested else REST_AFTER)
            self._watching = False

    def writable(self) -> None:
        """The client takes more, or has said how much it takes."""
        self.free = 0
        self.flush_soon()

    # towards the client

    def room(self, number: int) -> int:
        """Bytes that may be read for a stream now: as far as its own window, the queue and the transport allow."""
        http2 = self.http2
        queued = http2.queued
        if queued >= QUEUE_HIGH or self.connection.full:
            return 0
        return min(http2.window(number), QUEUE_HIGH - queued)

    def first_room(self, number: int) -> int:
        """The same for a stream's first read, which brings its head."""
        return self.room(number) or (HEAD_ROOM if self.http2.queued < QUEUE_HIGH and not self.connection.full else 0)

    def send_page(self, number: int, status: int, fields: Fields, body: bytes, *, head_only: bool) -> None:
        """An answer of the edge's own."""
        self.http2.send_head(number, status, [*fields, (b"date", http_date(int(time())))], head_only)
        if not head_only:
            self.http2.send_data(number, body, True)

    def queued(self, size: int) -> None:
        """An answer's end was queued, `size` bytes."""
        self._held += size
        if self._held >= QUEUE_HIGH:
            self.free = 0
            if self.http2.queued >= QUEUE_HIGH:
                self.overfull()
        if not self._flush_due:
            self._flush_due = True
            self.connection.worker.loop.call_soon(self._flush)

    def finish_later(self, number: int) -> None:
        """Stops a request's body that outlasts its answer."""
        self.connection.worker.loop.call_later(BODY_GRACE, self._finish, number)

    def _finish(self, number: int) -> None:
        self.http2.finish(number)
        self.flush_soon()

    def overfull(self) -> None:
        """The queue has reached its mark: no origin is read, those that have said nothing yet included."""
        self.free = 0
        for stream in self.streams.values():
            if stream is not None:
                stream.pause()
        self.watch()

    def _resume(self) -> None:
        """Has the next one read, and in the loop's next turn the one after it: among many that are ready the loop would always
        let the same ones speak first, and they would fill the queue. One that is silent stays so, and keeps nobody waiting."""
        for stream in list(self.paused):
            if self.http2.queued >= QUEUE_HIGH or self.connection.full:
                return
            if stream.read_on():
                if self.paused:
                    self.flush_soon()
                return

    def flush_soon(self) -> None:
        """One write for all that this turn of the loop brings."""
        if not self._flush_due:
            self._flush_due = True
            self.connection.worker.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        connection, http2 = self.connection, self.http2
        if self.whole:
            connection.worker.record_whole(self.whole)
            self.whole.clear()
        if connection.closing or connection.full:
            return  # `ready` comes back to it
        small = http2.queued <= SMALL_OUTPUT
        try:
            if small:
                output = http2.data_to_send()
            else:
                output = http2.data_to_send(max(1, WRITE_HIGH_WATER - connection.transport.get_write_buffer_size()))
        except Http2Error as error:
            self._end(error)
            return
        queued = self._held = http2.queued
        if output:
            connection.send(output)
        if http2.ended:
            # A client speaks as long as it reads (WINDOW_UPDATE, PING), and a connection that is closed then is reset, with
            # what the kernel holds of an answer, or the GOAWAY that says what was wrong.
            connection.close(linger=http2.failed or not connection.client_closed)
            return
        if queued or self.paused:
            self.watch()
            if queued < QUEUE_HIGH // 2:
                self._resume()
            if not small and http2.more_output:
                self.flush_soon()  # the kernel took at once what was to fill the transport: nobody else comes back to it
