"""An exchange whose client speaks HTTP/2: one stream of its connection."""

from __future__ import annotations

import base64
import hashlib
import math
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from edgeproxy.edge import pace
from edgeproxy.edge.exchange import BODY_LATE, Exchange, Fields
from edgeproxy.edge.http2 import INTERNAL_ERROR

if TYPE_CHECKING:
    from edgeproxy.edge.front2 import Front2
    from edgeproxy.edge.headers import ResponseHead

UPLOAD_AHEAD: Final = 16 * 1024
"""Bytes of a connection's uploads that are acknowledged as soon as they are handed on. Small bodies end within them; for
others it is waited until they have left for the origin, which costs a turn of the loop for each read."""
TUNNEL_LINGER: Final = 10.0
"""Seconds that the origin has to close a WebSocket that the client has closed."""
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Incoming:
    """What a client sends on its stream, on its way to the origin: a request's body, or one side of a tunnel."""

    __slots__ = ("active_at", "ahead", "buffer", "due", "ended", "held", "key", "seen", "trailers", "unacknowledged")

    def __init__(self, now: float, key: bytes) -> None:
        self.key = key
        """Sec-WebSocket-Key that the origin was sent, of an extended CONNECT."""
        self.held = True
        """The origin is not there yet, or takes nothing for now."""
        self.buffer = bytearray()
        """What came meanwhile; bounded by the stream's window."""
        self.ended = False
        self.trailers: list[bytes] = []
        self.ahead = 0
        """Bytes acknowledged that may not have left for the origin (UPLOAD_AHEAD)."""
        self.unacknowledged = 0
        """Bytes handed on that are acknowledged when they have left."""
        self.active_at = now
        """When the client last sent something; for a tunnel, when either side did."""
        self.due = math.inf
        """When the client counts as too slow with a body (limits.client_rate), as of the last look; inf before the first."""
        self.seen = 0
        """Bytes that had come of the body by then."""

    def look(self, now: float, came: int, byte_seconds: float, patience: float) -> None:
        """Puts `due` off by what came of a body since the last look, at most by `patience` seconds from now. Whom the origin
        holds up owes nothing."""
        new, self.seen = came - self.seen, came
        first = self.held or self.due == math.inf
        self.due = now + patience if first else pace.put_off(self.due, now, new, byte_seconds, patience)


class Exchange2(Exchange, eq=False):
    """See Exchange, whose methods these are; and what the session tells of the stream."""

    front: Front2 = cast("Front2", None)
    number: int = 0
    """The stream's."""
    incoming: Incoming | None = None
    """None for a request without a body."""
    answered: bool = False
    """The answer is complete, or has been given up; it may not be sent yet."""
    _head_sent: bool = False

    # from the session

    def incoming_data(self, data: bytes, end: bool) -> None:
        """Content came."""
        incoming = self.incoming
        if self.answered or incoming is None:
            return  # nobody takes it: the session has given its bytes back to the window
        incoming.active_at = self.connection.worker.now
        if data:
            if incoming.held:
                incoming.buffer += data
            else:
                self._hand_on(incoming, data)
        if end:
            self.incoming_end([])

    def incoming_end(self, trailers: list[bytes]) -> None:
        """The client's side has ended."""
        incoming = self.incoming
        if incoming is not None:
            incoming.ended, incoming.trailers = True, trailers
            if not incoming.held:
                self._end_body(incoming)
            else:
                self.more_came()

    def gone(self) -> None:
        """The stream is over, or the connection."""
        self._account()
        if not self.answered:
            self.answered = True
            self.front.paused.pop(self, None)
            self.client_gone()

    def pause(self) -> None:
        """The client takes no more."""
        if not self.answered:
            self.front.paused.setdefault(self)
            self.client_full()

    def flow(self) -> None:
        """The answer brought something: it goes on where no other one of the connection waits, else it is the others' turn."""
        if self.front.paused and not self.answered:
            self.pause()
        else:
            self.read_on()

    def read_on(self) -> bool:
        """Reads the origin as far as the client takes what it says. Whether it does."""
        front = self.front
        front.paused.pop(self, None)
        if self.answered:
            return False
        room = front.room(self.number)
        if room > 0:
            self.client_ready(room)
            return True
        if front.http2.window(self.number) > 0:
            front.overfull()
        else:
            self.pause()
        return False

    @property
    def watched(self) -> bool:
        """Whether the client has to do something for it, in bounded time."""
        return not self.answered and (self.tunnel or not self.body_complete)

    @property
    def request_whole(self) -> bool:
        return not self.tunnel and (self.incoming is None or self.incoming.ended)

    def check(self, now: float, byte_seconds: float) -> None:
        """Ends the exchange where the client has said nothing for too long, or too little. `byte_seconds`: what it gains with
        each byte."""
        incoming = self.incoming
        if self.answered or incoming is None:
            return
        worker = self.connection.worker
        timeouts = worker.timeouts
        if self.tunnel:
            if now - incoming.active_at > (TUNNEL_LINGER if incoming.ended else timeouts.tunnel_idle):
                self.client_gone()
                self.close_tunnel()
        elif not self.body_complete:
            incoming.look(now, self.bytes_in, byte_seconds, timeouts.client_body)
            if incoming.due < now:
                worker.count_timeout("client_body")
                self.refuse(408, BODY_LATE)

    # the request's body

    def _hand_on(self, incoming: Incoming, data: bytes) -> None:
        front = self.front
        size = len(data)
        self.body(data)
        if not incoming.held and not incoming.unacknowledged and front.upload_ahead + size <= UPLOAD_AHEAD:
            incoming.ahead += size
            front.upload_ahead += size
            front.http2.consumed(self.number, size)
            return
        incoming.unacknowledged += size
        if self.origin is not None and not incoming.held:
            self.origin.tell_when_sent()
        if not incoming.held:
            self._acknowledge(incoming)  # it has left already

    def _acknowledge(self, incoming: Incoming) -> None:
        amount, incoming.unacknowledged = incoming.unacknowledged, 0
        self.front.http2.consumed(self.number, amount)
        self.front.flush_soon()

    def _account(self) -> None:
        incoming = self.incoming
        if incoming is not None:
            self.front.upload_ahead -= incoming.ahead
            incoming.ahead = 0

    def release_body(self) -> None:
        """Everything handed on so far has left, or the origin is there."""
        incoming = self.incoming
        if incoming is None:
            return
        incoming.held = False
        self._account()
        if incoming.unacknowledged:
            self._acknowledge(incoming)
        if incoming.buffer and not self.answered:
            content, incoming.buffer = bytes(incoming.buffer), bytearray()
            self._hand_on(incoming, content)
        if incoming.ended and not incoming.held and not incoming.buffer:
            self._end_body(incoming)

    def hold_body(self) -> None:
        if self.incoming is not None:
            self.incoming.held = True

    def _end_body(self, incoming: Incoming) -> None:
        if not self.answered and not self.body_complete:
            self.body_end(incoming.trailers)

    # the answer

    def room(self) -> int:
        front = self.front
        room = front.free or front.first_room(self.number)
        if not room:
            front.paused.setdefault(self)
        return room

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        front = self.front
        if not done or self.answered or self.incoming is not None or front.paused:
            Exchange.response(self, head, body, done)
            return
        # What most answers are, whole and for a request without a body: all steps in one.
        self.origin = None
        self._over = self.answered = True
        self.status = head.status
        self.seconds = self.origin_seconds = perf_counter() - self.started
        size = self.bytes_out = len(body)
        front.http2.respond(self.number, head.fields, body, True)
        front.whole.append(self)
        front.queued(size)

    def send_interim(self, head: ResponseHead) -> None:
        self.front.http2.send_interim(self.number, head.status, head.fields[1:])
        self.front.flush_soon()

    def send_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        if self.answered:
            return
        if self.request.upgrade and head.status < 300:
            # To an extended CONNECT that would mean that the tunnel is open (RFC 8441 section 4).
            self._not_upgraded(done)
            return
        self._head_sent = True
        front = self.front
        front.http2.respond(self.number, head.fields, body, done)
        if done:
            self._finished(len(body))
        else:
            self.flow()
            front.flush_soon()

    def send_data(self, data: bytes | memoryview, done: bool) -> None:
        self.front.http2.send_data(self.number, data, done)
        if done:
            self._finished(len(data))
        else:
            self.flow()
            self.front.flush_soon()

    def send_end(self, trailers: list[bytes]) -> None:
        self.front.http2.send_trailers(self.number, self.connection.worker.response_lines.fields(trailers))
        self._finished(0)

    def send_page(self, status: int, fields: Fields, body: bytes) -> None:
        self.front.send_page(self.number, status, fields, body, head_only=self.request.method == b"HEAD")
        self._finished(len(body))

    def truncate(self) -> None:
        self.answered = True
        self._account()
        if not self._head_sent:
            self._bad_gateway()
        else:
            self.front.http2.reset(self.number, INTERNAL_ERROR)
            self.front.flush_soon()

    def _finished(self, size: int) -> None:
        """The answer is complete, its last `size` bytes were just queued; the stream lives on until it is sent."""
        front = self.front
        self.answered = True
        if self.incoming is not None:
            self._account()
            if front.http2.let_go(self.number):
                front.finish_later(self.number)
        if front.paused:
            front.paused.pop(self, None)
        front.queued(size)

    # WebSockets

    def open_tunnel(self, head: ResponseHead, early: bytes) -> None:
        """The origin's 101 is the client's 200."""
        front, incoming = self.front, self.incoming
        if self.answered or incoming is None:
            return
        wanted = base64.b64encode(hashlib.sha1(incoming.key + _WEBSOCKET_GUID, usedforsecurity=False).digest())
        if (b"sec-websocket-accept", wanted) not in head.fields:
            self.status = 502
            self.refuse(502, "the origin accepted a WebSocket with a wrong key")
            return
        self._head_sent = True
        front.http2.send_head(self.number, 200, [field for field in head.fields[1:] if field[0] != b"sec-websocket-accept"])
        if early:
            front.http2.send_data(self.number, early)
        incoming.active_at = self.connection.worker.now
        front.watch()
        self.flow()
        front.flush_soon()

    def send_tunnel(self, data: bytes) -> None:
        if self.incoming is not None:
            self.incoming.active_at = self.connection.worker.now
        self.send_data(data, False)

    def close_tunnel(self) -> None:
        self.front.http2.send_data(self.number, b"", True)
        self._finished(0)

    def _not_upgraded(self, done: bool) -> None:
        reason = "the origin answered a WebSocket's request without switching protocols"
        self.status = 502
        if done:
            self.error = reason
            self._bad_gateway()
        else:
            self.refuse(502, reason)

    def _bad_gateway(self) -> None:
        """What comes of a WebSocket that the origin's answer does not open."""
        pages, request = self.connection.worker.error_pages, self.request
        fields, body = pages.answer(502, request.accept, self.request_id.decode("ascii"), request.host)
        self.bytes_out = len(body)
        self.front.send_page(self.number, 502, fields, body, head_only=False)
        self._finished(len(body))
