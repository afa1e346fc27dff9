"""One HTTP/2 stream of a client: the client's side of one exchange."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final

from edgeproxy.edge.http2 import CANCEL, INTERNAL_ERROR
from edgeproxy.edge.respond import page

if TYPE_CHECKING:
    from edgeproxy.edge.exchange import Exchange, Fields
    from edgeproxy.edge.front2 import Front2
    from edgeproxy.edge.headers import ResponseHead

UPLOAD_AHEAD: Final = 16 * 1024
"""Bytes of a connection's uploads that are acknowledged as soon as they are handed on. Small bodies end within them; for
others it is waited until they have left for the origin, which costs a turn of the loop for each read."""
TUNNEL_LINGER: Final = 10.0
"""Seconds that the origin has to close a WebSocket that the client has closed."""
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Stream:
    """What an exchange calls (exchange.ClientSide), and what the session tells it of its stream."""

    __slots__ = (
        "_ahead",
        "_buffer",
        "_ended",
        "_head_sent",
        "_held",
        "_key",
        "_progress_at",
        "_sent",
        "_taken",
        "_trailers",
        "_unacknowledged",
        "active_at",
        "exchange",
        "front",
        "number",
    )

    def __init__(self, front: Front2, number: int, key: bytes) -> None:
        self.front = front
        self.number = number
        self.exchange: Exchange | None = None
        """None once the answer is complete, or the exchange has been given up."""
        self._key = key
        """Sec-WebSocket-Key that the origin was sent, of an extended CONNECT."""
        self._buffer = bytearray()
        """Content that the origin does not take yet; bounded by the stream's window."""
        self._held = True
        self._head_sent = False
        self._ended = False
        self._trailers: list[bytes] = []
        self._ahead = 0
        """Bytes acknowledged that may not have left for the origin (front2.UPLOAD_AHEAD)."""
        self._unacknowledged = 0
        """Bytes handed on that are acknowledged when they have left."""
        self._sent = 0
        """Bytes of content given to the engine."""
        self._taken = 0
        now = front.connection.worker.now
        self._progress_at = now
        self.active_at = now
        """When the client last sent content."""

    # from the session

    def body(self, data: bytes, end: bool) -> None:
        """Content came."""
        exchange = self.exchange
        if exchange is None:
            self.front.http2.consumed(self.number, len(data))
            return
        self.active_at = self.front.connection.worker.now
        if data:
            if self._held:
                self._buffer += data
            else:
                self._hand_on(exchange, data)
        if end:
            self.body_end([])

    def body_end(self, trailers: list[bytes]) -> None:
        """The client's side has ended."""
        self._ended = True
        self._trailers = trailers
        if not self._held:
            self._end_body()

    def gone(self) -> None:
        """The stream is over, or the connection."""
        exchange, self.exchange = self.exchange, None
        self._account()
        if exchange is not None:
            exchange.client_gone()

    def pause(self) -> None:
        """The client takes no more."""
        if self.exchange is not None:
            self.front.paused.add(self)
            self.exchange.client_full()

    def flow(self) -> None:
        """Reads the origin as far as the client takes what it says."""
        exchange = self.exchange
        if exchange is None:
            self.front.paused.discard(self)
            return
        room = self.front.room(self.number)
        if room > 0:
            self.front.paused.discard(self)
            exchange.client_ready(room)
        elif self.front.http2.window(self.number) > 0:
            self.front.overfull()
        else:
            self.pause()

    @property
    def watched(self) -> bool:
        """Whether the client has to do something for it, in bounded time."""
        exchange = self.exchange
        return exchange is not None and (exchange.tunnel or not exchange.body_complete)

    def check(self, now: float) -> None:
        """Ends the stream where the client has been idle for too long."""
        front, exchange = self.front, self.exchange
        worker = front.connection.worker
        taken = self._sent - front.http2.queued_for(self.number)
        if taken != self._taken or (taken == self._sent and self not in front.paused):
            self._taken, self._progress_at = taken, now
        elif now - self._progress_at > worker.timeouts.write:
            worker.count_timeout("write")
            self.gone()
            front.http2.reset(self.number, CANCEL)
            front.flush_soon()
            return
        if exchange is None:
            return
        if exchange.tunnel:
            if now - self.active_at > (TUNNEL_LINGER if self._ended else worker.timeouts.tunnel_idle):
                exchange.client_gone()
                self.tunnel_end()
        elif not exchange.body_complete and not self._held and now - self.active_at > worker.timeouts.client_body:
            exchange.refuse(408, "the request's body did not come in time")

    # the request's body

    def _hand_on(self, exchange: Exchange, data: bytes) -> None:
        front = self.front
        size = len(data)
        exchange.body(data)
        if not self._held and not self._unacknowledged and front.upload_ahead + size <= UPLOAD_AHEAD:
            self._ahead += size
            front.upload_ahead += size
            front.http2.consumed(self.number, size)
            return
        self._unacknowledged += size
        if exchange.origin is not None and not self._held:
            exchange.origin.tell_when_sent()
        if not self._held:
            self._acknowledge()  # it has left already

    def _acknowledge(self) -> None:
        amount, self._unacknowledged = self._unacknowledged, 0
        self.front.http2.consumed(self.number, amount)
        self.front.flush_soon()

    def _account(self) -> None:
        self.front.upload_ahead -= self._ahead
        self._ahead = 0

    def release_body(self) -> None:
        """exchange.ClientSide: everything handed on so far has left, or the origin is there."""
        self._held = False
        self._account()
        if self._unacknowledged:
            self._acknowledge()
        exchange = self.exchange
        if self._buffer and exchange is not None:
            content, self._buffer = bytes(self._buffer), bytearray()
            self._hand_on(exchange, content)
        if self._ended and not self._held and not self._buffer:
            self._end_body()

    def hold_body(self) -> None:
        """exchange.ClientSide."""
        self._held = True

    def _end_body(self) -> None:
        exchange = self.exchange
        if exchange is not None and not exchange.body_complete:
            exchange.body_end(self._trailers)

    # exchange.ClientSide: the answer

    def room(self) -> int:
        """exchange.ClientSide."""
        room = self.front.first_room(self.number)
        if not room:
            self.front.paused.add(self)
        return room

    def interim(self, head: ResponseHead) -> None:
        """exchange.ClientSide."""
        front = self.front
        front.http2.send_interim(self.number, head.status, front.connection.worker.response_fields.of(head.lines))
        front.flush_soon()

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """exchange.ClientSide."""
        front, exchange = self.front, self.exchange
        if exchange is None:
            return
        if exchange.upgrade and head.status < 300:
            # To an extended CONNECT that would mean that the tunnel is open (RFC 8441 section 4).
            reason = "the origin answered a WebSocket's request without switching protocols"
            exchange.status = 502
            if done:
                exchange.error = reason
                self._bad_gateway(exchange)
            else:
                exchange.refuse(502, reason)
            return
        self._head_sent = True
        http2 = front.http2
        fields = front.connection.worker.response_fields.of(head.lines)
        if body:
            http2.send_head(self.number, head.status, fields)
            http2.send_data(self.number, body, done)
            self._sent += len(body)
        else:
            http2.send_head(self.number, head.status, fields, done)
        if done:
            self._finished()
        else:
            self.flow()
            front.flush_soon()

    def response_data(self, data: bytes | memoryview, done: bool) -> None:
        """exchange.ClientSide."""
        self.front.http2.send_data(self.number, data, done)
        self._sent += len(data)
        if done:
            self._finished()
        else:
            self.flow()
            self.front.flush_soon()

    def response_end(self, trailers: list[bytes]) -> None:
        """exchange.ClientSide."""
        front = self.front
        front.http2.send_trailers(self.number, front.connection.worker.response_fields.of(trailers))
        self._finished()

    def page(self, status: int, fields: Fields, body: bytes) -> None:
        """exchange.ClientSide."""
        exchange = self.exchange
        self.send_page(status, fields, body, head_only=exchange is not None and exchange.method == b"HEAD")

    def send_page(self, status: int, fields: Fields, body: bytes, *, head_only: bool) -> None:
        """An answer of the edge's own."""
        self.front.http2.send_head(self.number, status, fields, head_only)
        if not head_only:
            self.front.http2.send_data(self.number, body, True)
            self._sent += len(body)
        self._finished()

    def truncated(self) -> None:
        """exchange.ClientSide."""
        exchange, self.exchange = self.exchange, None
        self._account()
        if exchange is not None and not self._head_sent:
            self._bad_gateway(exchange)
        else:
            self.front.http2.reset(self.number, INTERNAL_ERROR)
            self.front.flush_soon()

    def _finished(self) -> None:
        """The answer is complete; the stream lives on until it is sent."""
        front = self.front
        self.exchange = None
        self._account()
        if front.paused:
            front.paused.discard(self)
        front.http2.finish(self.number)
        front.flush_soon()

    # exchange.ClientSide: WebSockets

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """exchange.ClientSide: the origin's 101 is the client's 200."""
        front, exchange = self.front, self.exchange
        if exchange is None:
            return
        wanted = base64.b64encode(hashlib.sha1(self._key + _WEBSOCKET_GUID, usedforsecurity=False).digest())
        fields = front.connection.worker.response_fields.of(head.lines)
        if (b"sec-websocket-accept", wanted) not in fields:
            exchange.status = 502
            exchange.refuse(502, "the origin accepted a WebSocket with a wrong key")
            return
        self._head_sent = True
        front.http2.send_head(self.number, 200, [field for field in fields if field[0] != b"sec-websocket-accept"])
        if early:
            front.http2.send_data(self.number, early)
            self._sent += len(early)
        self.active_at = front.connection.worker.now
        front.watch()
        self.flow()
        front.flush_soon()

    def tunnel_data(self, data: bytes) -> None:
        """exchange.ClientSide."""
        self.active_at = self.front.connection.worker.now
        self.response_data(data, False)

    def tunnel_end(self) -> None:
        """exchange.ClientSide."""
        self.front.http2.send_data(self.number, b"", True)
        self._finished()

    def _bad_gateway(self, exchange: Exchange) -> None:
        """What comes of a WebSocket that the origin's answer does not open."""
        fields, body = page(502, exchange.request.accept, exchange.request_id.decode("ascii"), exchange.request.host)
        exchange.bytes_out = len(body)
        self.send_page(502, fields, body, head_only=False)
