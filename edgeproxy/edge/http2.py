"""HTTP/2 towards visitors (RFC 9113): the adapter over ngh2, the one place that knows it. Pure: no I/O, no clock.

libnghttp2 does frames, HPACK, windows and most of what makes a message malformed; this module adds what it lets pass, builds
the HTTP/1.1 head for the origin, and hides its traps:

- it holds a client to MAX_CONCURRENT_STREAMS only when that was sent, and to flow control only with manual updates;
- bytes of a stream that nobody reads any more must be acknowledged, or the connection's window leaks away; those of a DATA
  frame that was cut off by a reset are lost to it altogether (`_heal`);
- after a flood it may only queue GOAWAY and stop wanting to read (`ended`);
- after an error that it raises, its object is unusable: every method here is then a quiet no-op;
- bytes queued for a stream are kept without bound: ask `window()` and `queued` first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import ngh2

from edgeproxy.edge.headers import Field, RequestHead, trailer_lines
from edgeproxy.edge.http1 import MAX_TRAILERS, Refusal
from edgeproxy.edge.http2_budget import Budget
from edgeproxy.edge.http2_fields import Malformed, Repeated, RequestFields
from edgeproxy.limits import (
    HTTP2_CHATTER,
    HTTP2_CHATTER_PER,
    HTTP2_CRUMBS,
    HTTP2_GLITCHES,
    HTTP2_MALFORMED,
    HTTP2_RESETS,
    Limits,
)

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB

STREAM_WINDOW: Final = 64 * 1024
"""Bytes of a request's body that may be under way unacknowledged."""
CONNECTION_WINDOW: Final = 96 * 1024
"""The same over all streams: the part of a connection's 256 KiB that uploads have (see front2)."""
MAX_FRAME: Final = 16 * 1024
"""The largest frame: MAX_FRAME_SIZE's default, which is left alone."""

_GOAWAY = b"\x07\0\0\0\0\0"
_LAST_STREAM = b"\x7f\xff\xff\xff"
_RESETS: Final = "too many streams were reset"
_FLOODED = {
    INTERNAL_ERROR: _RESETS,
    ENHANCE_YOUR_CALM: "too many malformed messages or frames without effect",
}
"""With which code the engine ends a connection beyond HTTP2_RESETS and HTTP2_GLITCHES, and the reason, which it leaves out."""
_SETTINGS_FIXED = {
    ngh2.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    ngh2.Setting.ENABLE_CONNECT_PROTOCOL: 1,
    ngh2.Setting.NO_RFC7540_PRIORITIES: 1,
}


unindexed: Callable[[Field], Field] = functools.partial(tuple.__new__, ngh2.NeverIndexedHeader)
"""Marks a response's field that HPACK is not to put into its table (RFC 7541 section 7.1.3)."""


class Http2Error(Exception):
    """The connection is over: the client broke the protocol or went beyond a bound. Send `last_words`, close the transport."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        # By hand: after its own errors the engine says nothing more. Which requests were begun is not told, so that none is
        # thought to be safe to send again (RFC 9113 section 6.8).
        words = _LAST_STREAM + code.to_bytes(4, "big") + reason.encode("ascii", "replace")
        self.last_words = len(words).to_bytes(3, "big") + _GOAWAY + words
        """A GOAWAY frame with the reason."""


class Ended(Protocol):
    """What is told of a stream that is over."""

    @property
    def stream_id(self) -> int:
        """Its number."""

    @property
    def error_code(self) -> int:
        """NO_ERROR where both sides have ended, else the code with which one has reset it."""


class Sink(Protocol):
    """What a server calls while it takes in bytes, in the order of the client's frames.

    Every method of the server may be called meanwhile but `receive` and `data_to_send`.
    """

    def request(self, stream: int, head: RequestHead, end: bool) -> None:
        """A request; with `end` it has no body and no trailers."""

    def refused(self, stream: int, fields: Sequence[Field], refusal: Refusal, end: bool) -> None:
        """A well-formed request with these fields that is not forwarded: answer it with the refusal's status."""

    def body(self, stream: int, data: bytes, end: bool) -> None:
        """Content, possibly none with `end`. Say `consumed` when it has gone on, or the client cannot send more."""

    def trailers(self, stream: int, lines: list[bytes]) -> None:
        """The end of the body, with the raw trailer lines that may be passed on."""

    def closed(self, ended: Sequence[Ended]) -> None:
        """These streams are over, at least one. Streams whose request was malformed come too, of which the sink heard
        nothing."""

    def writable(self) -> None:
        """The client widened a window, or has changed its settings: `window()` may be another one for any stream."""


class _Nobody:
    """The sink of a connection that is gone."""

    def request(self, stream: int, head: RequestHead, end: bool) -> None:
        pass

    def refused(self, stream: int, fields: Sequence[Field], refusal: Refusal, end: bool) -> None:
        pass

    def body(self, stream: int, data: bytes, end: bool) -> None:
        pass

    def trailers(self, stream: int, lines: list[bytes]) -> None:
        pass

    def closed(self, ended: Sequence[Ended]) -> None:
        pass

    def writable(self) -> None:
        pass


NOBODY = _Nobody()

_STATUS_FIELDS: dict[int, Field] = {
    # Beyond 599 HTTP defines none (RFC 9110 section 15), but some origins answer with 999, and HTTP/1.1 passes that on.
    status: (b":status", b"%d" % status)
    for status in range(100, 1000)
}


@functools.lru_cache(maxsize=1)
def _configuration(request_head: int, header_count: int) -> ngh2.Configuration:
    """One for all connections of a worker."""
    return ngh2.Configuration(
        auto_window_update=False,
        stream_reset_rate_limit=HTTP2_RESETS,
        glitch_rate_limit=HTTP2_GLITCHES,
        # What is somewhat over the limits gets a 431, what is far over them ends the connection: a block's decoded size,
        # 32 bytes a field included, is bounded before it grows (CVE-2016-6581, "HPACK bomb").
        max_inbound_header_list_size=2 * request_head + 32 * header_count,
        max_inbound_header_count=HTTP2_CRUMBS,
    )


class Http2Server:
    """The server's side of one HTTP/2 connection.

    Feed it what the client sent with `receive`; send what `data_to_send` gives after that and after every other call.
    """

    __slots__ = (
        "_chatter",
        "_chatter_at",
        "_engine",
        "_fields",
        "_finishing",
        "_granted",
        "_healed",
        "_malformed",
        "_open",
        "_plain",
        "_repeated",
        "_resets",
        "_sink",
        "_taken",
        "_trailer_count",
        "_unread",
        "_unread_total",
        "ended",
        "failed",
        "initial_window",
        "requests",
    )

    def __init__(self, sink: Sink, fields: RequestFields, limits: Limits) -> None:
        self._sink = sink
        self._fields = fields
        self._repeated = Repeated(fields)
        self._plain = self._repeated.head
        self._trailer_count = limits.header_count
        self._malformed = 0
        self._unread: dict[int, int] = {}
        """Bytes given to the sink and not consumed yet, by stream whose body somebody takes."""
        self._open: dict[int, None] = {}
        """Streams whose body the client has not ended."""
        self._finishing: dict[int, None] = {}
        """Of those, the ones whose response has ended: they are reset when it has gone out."""
        self._unread_total = 0
        self._healed = 0
        self.ended = False
        """The connection is over: send what `data_to_send` has left, then close."""
        self.failed = False
        """It is over since the client broke the protocol or went beyond a bound: it may still be sending."""
        self._chatter, self._chatter_at = float(HTTP2_CHATTER[0]), 0.0
        """Frames of HTTP2_CHATTER that the client may still send, and when that was worked out."""
        self._resets: Budget | None = None
        """Of HTTP2_RESETS, from the first on."""
        self._granted = 65535
        """Bytes of content that the client has ever let us send, over all streams."""
        self._taken = 0
        """Of those, the ones that were sent when HTTP2_CHATTER was last counted."""
        self.initial_window = 65535
        """Bytes of an answer that the client takes on a new stream."""
        self.requests = 0
        """Requests that came on this connection, refused ones included."""
        self._engine = ngh2.Connection(ngh2.Role.SERVER, _configuration(limits.request_head, limits.header_count))
        self._engine.initiate_connection(
            {
                ngh2.Setting.MAX_CONCURRENT_STREAMS: limits.streams,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: limits.request_head,
                **_SETTINGS_FIXED,
            }
        )
        self._engine.set_local_window_size(CONNECTION_WINDOW)

    def leave(self) -> None:
        """The connection is gone, and its sink is not called any more. Sink and server know each other: without this nothing
        but the cyclic collector would free the two, with the engine and all that the connection has."""
        self.ended = True
        self._sink = NOBODY

    # Towards us

    def receive(self, data: bytes | memoryview, now: float) -> None:
        """Takes in what the client sent and calls the sink. `now`: any clock's seconds. Raises Http2Error when the connection
        is over."""
        if self.ended:
            return
        engine = self._engine
        try:
            engine.receive_data(data)
        except ngh2.NGH2Error as error:
            raise self._over(error) from None
        events: list[Any] = engine.events()
        if events and type(events[-1]) is ngh2.ConnectionClosed:
            # Known first: with that event the engine takes no more calls, and what stands before it may lead to some.
            self._close(events[-1].error_code)
        wider = False
        chatter = reset = 0
        plain = self._plain
        for event in events:
            kind = type(event)
            if kind is ngh2.RequestReceived:
                try:
                    head = plain(event.headers) if event.end_stream else None
                except Malformed:
                    head = None  # it is refused where every request is judged
                if head is not None:
                    self.requests += 1
                    self._sink.request(event.stream_id, head, True)
                else:
                    self._request(event.stream_id, event.headers, event.end_stream)
            elif kind is ngh2.StreamClosed:
                self._closed((event,))
                if event.stream_id == reset:
                    self._count_reset(now)
            elif kind is ngh2.DataReceived:
                content, end = event.data, event.end_stream
                self._body(event.stream_id, content, end)
                chatter += not content and not end
            elif kind is ngh2.TrailersReceived:
                self._trailers(event.stream_id, event.headers)
            else:
                chatter += 1
                if kind is ngh2.StreamReset:
                    reset = event.stream_id
                elif kind is ngh2.WindowUpdated:
                    wider = True
                    if not event.stream_id:
                        self._granted += event.increment
                elif kind is ngh2.SettingsReceived:
                    self.initial_window = event.settings.get(ngh2.Setting.INITIAL_WINDOW_SIZE, self.initial_window)
                    self._sink.writable()  # at once: what it said before of new streams may be too much
        if chatter:
            self._count_chatter(chatter, now)
        if wider:
            self._sink.writable()

    def rest(self) -> None:
        """Nothing is to come for a while: lets go of what only helps the next request to be read."""
        self._repeated.forget()

    def _count_chatter(self, frames: int, now: float) -> None:
        if self.ended:
            return
        burst, rate = HTTP2_CHATTER
        taken = self._granted - self._engine.remote_window_size
        left = min(burst, self._chatter + (now - self._chatter_at) * rate + (taken - self._taken) / HTTP2_CHATTER_PER) - frames
        self._chatter, self._chatter_at, self._taken = left, now, taken
        if left < 0:
            self._close(ENHANCE_YOUR_CALM)
            raise Http2Error(ENHANCE_YOUR_CALM, "too many frames that bring neither a request nor content")

    def _count_reset(self, now: float) -> None:
        # The engine counts them too, and then queues a GOAWAY. Until that is sent it goes on taking requests: all that the loop
        # reads in one turn, which may be two megabytes of them.
        resets = self._resets = self._resets or Budget(*HTTP2_RESETS)
        if not self.ended and not resets.take(now):
            self._close(ENHANCE_YOUR_CALM)
            raise Http2Error(ENHANCE_YOUR_CALM, _RESETS)

    def _over(self, error: ngh2.NGH2Error) -> Http2Error:
        code = ENHANCE_YOUR_CALM if isinstance(error, ngh2.DenialOfServiceError) else PROTOCOL_ERROR
        self._close(code)
        return Http2Error(code, str(error))

    def _close(self, code: int) -> None:
        self.ended = True
        self.failed = code != NO_ERROR

    def _request(self, stream: int, fields: Sequence[Field], end: bool) -> None:
        self.requests += 1
        if not end:
            self._open[stream] = None
            self._unread[stream] = 0
        try:
            head = self._fields.head(fields, end)
        except Malformed:
            self._refuse_malformed(stream)
        except Refusal as refusal:
            if refusal.status == 431:
                self._count_malformed(1)  # HPACK brings 60 KB to look at in fifteen bytes, again and again
            self._sink.refused(stream, fields, refusal, end)
        else:
            self._sink.request(stream, head, end)

    def _refuse_malformed(self, stream: int) -> None:
        self._open.pop(stream, None)
        self._count_malformed(1)
        self.reset(stream, PROTOCOL_ERROR)

    def _count_malformed(self, requests: int) -> None:
        self._malformed += requests
        if self._malformed > HTTP2_MALFORMED and not self.ended:
            self._close(ENHANCE_YOUR_CALM)
            raise Http2Error(ENHANCE_YOUR_CALM, f"more than {HTTP2_MALFORMED} malformed or too large requests")

    def _body(self, stream: int, data: bytes, end: bool) -> None:
        if end:
            self._open.pop(stream, None)
        unread = self._unread.get(stream)
        if unread is None:
            # Nobody takes it any more.
            if data:
                self._engine.acknowledge_received_data(len(data), stream)
        elif data or end:
            self._unread[stream] = unread + len(data)
            self._unread_total += len(data)
            self._sink.body(stream, data, end)

    def _trailers(self, stream: int, fields: Sequence[Field]) -> None:
        self._open.pop(stream, None)
        if stream not in self._unread:
            return
        # HPACK makes 60 KB of fields of a few bytes, and the origin may not take them for long.
        size = sum(len(name) + len(value) for name, value in fields)
        small = size <= MAX_TRAILERS and len(fields) <= self._trailer_count
        lines = trailer_lines([b"%b: %b" % field for field in fields], self._fields.lines) if small else None
        if lines is None:
            self._refuse_malformed(stream)
        else:
            self._sink.trailers(stream, lines)

    def _closed(self, ended: Sequence[Ended]) -> None:
        provoked = 0
        if self._open or self._unread or self._finishing:
            for event in ended:
                stream = event.stream_id
                # The engine has reset what was with the sink already, so that it cost more than a head's parsing.
                provoked += event.error_code == PROTOCOL_ERROR and stream in self._open
                self._open.pop(stream, None)
                self._finishing.pop(stream, None)
                self._let_go(stream)
        self._sink.closed(ended)
        if provoked:
            self._count_malformed(provoked)

    def _let_go(self, stream: int) -> None:
        """Nobody will read this stream's body any more: gives its bytes back to the connection's window."""
        unread = self._unread.pop(stream, 0)
        if unread and not self.ended:
            self._unread_total -= unread
            self._engine.acknowledge_received_data(unread, stream)
            self._heal()

    def _heal(self) -> None:
        """Gives back to the client what the engine lost of the connection's window.

        Bytes of a DATA frame that had come in part when its stream was reset are counted as received and can never be
        acknowledged. How many is not to be learnt, but what is missing beyond the unread bytes, one frame under way and the
        half window that may wait for the next WINDOW_UPDATE is certainly lost. Raising the window by all that was ever lost
        announces the part not announced yet, and lowering it again takes that out of what the engine holds as received.
        """
        engine = self._engine
        lost = CONNECTION_WINDOW // 2 - MAX_FRAME - self._unread_total - engine.local_window_size
        if lost > 0:
            self._healed += lost
            engine.set_local_window_size(CONNECTION_WINDOW + self._healed)
            engine.set_local_window_size(CONNECTION_WINDOW)

    def consumed(self, stream: int, amount: int) -> None:
        """`amount` bytes of the stream's body have gone on: the client may send as many again."""
        unread = self._unread.get(stream)
        if unread is None or self.ended or not amount:
            return
        self._unread[stream] = unread - amount
        self._unread_total -= amount
        self._engine.acknowledge_received_data(amount, stream)
        self._heal()

    # Towards the client

    def send_head(self, stream: int, status: int, fields: Iterable[Field], end: bool = False) -> None:
        """The final head of a response. `fields` are lower-case, without connection-specific ones."""
        if end:
            self.respond(stream, [_STATUS_FIELDS[status], *fields], b"", True)
        elif not self.ended:
            try:  # noqa: SIM105  # contextlib.suppress costs 0.3 µs
                self._engine.send_response(stream, [_STATUS_FIELDS[status], *fields])
            except ngh2.StreamProtocolError:
                pass  # the stream is gone; `closed` has said so

    def respond(self, stream: int, fields: list[Field], body: bytes, end: bool) -> None:
        """The final head, :status first among its fields, with the first part of the content, or (`end`) with all of it."""
        if not self.ended:
            engine = self._engine
            try:
                if body:
                    engine.send_response(stream, fields)
                    engine.send_data(stream, body, end_stream=end)
                else:
                    engine.send_response(stream, fields, end_stream=end)
            except ngh2.StreamProtocolError:
                pass  # the stream is gone; `closed` has said so

    def send_interim(self, stream: int, status: int, fields: Iterable[Field] = ()) -> None:
        """A 1xx head other than 101."""
        if not self.ended:
            try:  # noqa: SIM105  # contextlib.suppress costs 0.3 µs
                self._engine.send_informational_response(stream, [_STATUS_FIELDS[status], *fields])
            except ngh2.StreamProtocolError:
                pass  # the stream is gone; `closed` has said so

    def send_data(self, stream: int, data: bytes | memoryview, end: bool = False) -> None:
        """Content of a response; kept until the windows let it go (see `window` and `queued`)."""
        if not self.ended:
            try:  # noqa: SIM105  # contextlib.suppress costs 0.3 µs
                self._engine.send_data(stream, data, end_stream=end)
            except ngh2.StreamProtocolError:
                pass  # the stream is gone; `closed` has said so

    def send_trailers(self, stream: int, fields: Sequence[Field]) -> None:
        """Ends a response with trailers; without any it just ends it."""
        if not self.ended:
            try:  # contextlib.suppress costs 0.3 µs
                if fields:
                    self._engine.send_trailers(stream, fields)
                else:
                    self._engine.send_data(stream, b"", end_stream=True)
            except ngh2.StreamProtocolError:
                pass  # the stream is gone; `closed` has said so

    def reset(self, stream: int, code: int) -> None:
        """Ends a stream at once, what is queued for it lost. `closed` follows."""
        if not self.ended:
            self._let_go(stream)
            self._engine.reset_stream(stream, code)

    def let_go(self, stream: int) -> bool:
        """To be called with a response's end: nobody takes the request's body any more, whose rest is thrown away. Whether
        the client still sends it: then `finish` is to be called once it has had a moment for the rest."""
        if stream not in self._open or self.ended:
            return False
        self._let_go(stream)
        return True

    def finish(self, stream: int) -> None:
        """If the client still sends the body of a request whose response has ended, it is told, once that is out, that
        nobody takes it (RFC 9113 section 8.1)."""
        if stream in self._open and not self.ended:
            self._let_go(stream)
            self._finishing[stream] = None

    def goaway(self, *, final: bool = True) -> None:
        """Asks the client to open no more streams; open ones go on, and then the connection has `ended`.

        Not `final` only announces it: streams that are on their way are still served. Send it first, the final one a
        round trip later (RFC 9113 section 6.8).
        """
        if not self.ended:
            if final:
                self._engine.send_goaway(NO_ERROR)
            else:
                self._engine.send_shutdown_notice()

    def data_to_send(self, amount: int | None = None) -> bytes:
        """What the client is to get now, at most about `amount` bytes. May call the sink's `closed`. Raises Http2Error."""
        engine = self._engine
        try:
            output = engine.data_to_send(amount)
            if self._finishing and (amount is None or len(output) < amount):
                # The engine has given all that it could; it would have let a reset overtake the end of a response.
                for stream in [stream for stream in self._finishing if not engine.queued_body_size(stream)]:
                    self._finishing.pop(stream, None)
                    engine.reset_stream(stream, NO_ERROR)
                output += engine.data_to_send()
        except ngh2.NGH2Error as error:
            if self.ended:
                return b""
            raise self._over(error) from None
        events: list[Any] = engine.events()
        if events:
            if type(events[-1]) is ngh2.ConnectionClosed:
                code = events[-1].error_code
                self._close(code)
                if code in _FLOODED and not events[-1].debug_data:
                    raise Http2Error(ENHANCE_YOUR_CALM, _FLOODED[code])
            ended = [event for event in events if type(event) is ngh2.StreamClosed]
            if ended:
                self._closed(ended)
        return output

    def window(self, stream: int) -> int:
        """Bytes that may still be queued for the stream so that only the connection's window and the transport hold them up."""
        if self.ended:
            return 0
        try:
            return max(0, self._engine.stream_remote_window_size(stream) - self._engine.queued_body_size(stream))
        except ngh2.StreamUnavailableError:
            return 0

    def queued_for(self, stream: int) -> int:
        """Bytes of content queued for one stream."""
        return self._engine.queued_body_size(stream)

    @property
    def queued(self) -> int:
        """Bytes of content queued over all streams."""
        return self._engine.queued_body_size()

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` may give something."""
        return not self.ended and (self._engine.want_write or bool(self._finishing))

    @property
    def more_output(self) -> bool:
        """Whether the amount alone kept `data_to_send` from giving more: what waits for a window does not count."""
        return not self.ended and self._engine.want_write
