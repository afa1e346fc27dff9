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


class Incoming:
    """What a client sends on its stream, on its way to the origin: a request's body, or one side of a tunnel."""

    __slots__ = ("active_at", "ahead", "buffer", "ended", "held", "key", "trailers", "unacknowledged")

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


class Stream:
    """What an exchange calls (exchange.ClientSide), and what the session tells it of its stream."""

    __slots__ = ("_head_sent", "exchange", "front", "incoming", "number")

    def __init__(self, front: Front2, number: int, incoming: Incoming | None) -> None:
        self.front = front
        self.number = number
        self.incoming = incoming
        """None for a request without a body."""
        self.exchange: Exchange | None = None
        """None once the answer is complete, or the exchange has been given up."""
        self._head_sent = False

    # from the session

    def body(self, data: bytes, end: bool) -> None:
        """Content came."""
        exchange, incoming = self.exchange, self.incoming
        if exchange is None or incoming is None:
            self.front.http2.consumed(self.number, len(data))
            return
        incoming.active_at = self.front.connection.worker.now
        if data:
            if incoming.held:
                incoming.buffer += data
            else:
                self._hand_on(exchange, incoming, data)
        if end:
            self.body_end([])

    def body_end(self, trailers: list[bytes]) -> None:
        """The client's side has ended."""
        incoming = self.incoming
        if incoming is not None:
            incoming.ended, incoming.trailers = True, trailers
            if not incoming.held:
                self._end_body(incoming)

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

    @property
    def waits_for(self) -> tuple[int, int] | None:
        """Changes with every byte that the client takes; None where nothing waits for the client."""
        exchange = self.exchange
        queued = self.front.http2.queued_for(self.number)
        if not queued and self not in self.front.paused:
            return None
        return exchange.bytes_out if exchange is not None else -1, queued

    def take_nothing(self) -> None:
        """The client has taken nothing for too long."""
        self.front.connection.worker.count_timeout("write")
        self.gone()
        self.front.http2.reset(self.number, CANCEL)
        self.front.flush_soon()

    def check(self, now: float) -> None:
        """Ends the exchange where the client has said nothing for too long."""
        exchange, incoming = self.exchange, self.incoming
        if exchange is None or incoming is None:
            return
        timeouts = self.front.connection.worker.timeouts
        silent = now - incoming.active_at
        if exchange.tunnel:
            if silent > (TUNNEL_LINGER if incoming.ended else timeouts.tunnel_idle):
                exchange.client_gone()
                self.tunnel_end()
        elif not exchange.body_complete and not incoming.held and silent > timeouts.client_body:
            exchange.refuse(408, "the request's body did not come in time")

    # the request's body

    def _hand_on(self, exchange: Exchange, incoming: Incoming, data: bytes) -> None:
        front = self.front
        size = len(data)
        exchange.body(data)
        if not incoming.held and not incoming.unacknowledged and front.upload_ahead + size <= UPLOAD_AHEAD:
            incoming.ahead += size
            front.upload_ahead += size
            front.http2.consumed(self.number, size)
            return
        incoming.unacknowledged += size
        if exchange.origin is not None and not incoming.held:
            exchange.origin.tell_when_sent()
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
        """exchange.ClientSide: everything handed on so far has left, or the origin is there."""
        incoming = self.incoming
        if incoming is None:
            return
        incoming.held = False
        self._account()
        if incoming.unacknowledged:
            self._acknowledge(incoming)
        exchange = self.exchange
        if incoming.buffer and exchange is not None:
            content, incoming.buffer = bytes(incoming.buffer), bytearray()
            self._hand_on(exchange, incoming, content)
        if incoming.ended and not incoming.held and not incoming.buffer:
            self._end_body(incoming)

    def hold_body(self) -> None:
        """exchange.ClientSide."""
        if self.incoming is not None:
            self.incoming.held = True

    def _end_body(self, incoming: Incoming) -> None:
        exchange = self.exchange
        if exchange is not None and not exchange.body_complete:
            exchange.body_end(incoming.trailers)

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
        fields = head.fields
        if fields is None:
            fields = head.fields = http2.with_status(head.status, front.connection.worker.response_fields.of(head.lines))
        if body:
            http2.send_fields(self.number, fields)
            http2.send_data(self.number, body, done)
        else:
            http2.send_fields(self.number, fields, done)
        if done:
            self._finished()
        else:
            self.flow()
            front.flush_soon()

    def response_data(self, data: bytes | memoryview, done: bool) -> None:
        """exchange.ClientSide."""
        self.front.http2.send_data(self.number, data, done)
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
        if self.incoming is not None:
            self._account()
        if front.paused:
            front.paused.discard(self)
        if front.http2.let_go(self.number):
            front.finish_later(self.number)
        front.flush_soon()

    # exchange.ClientSide: WebSockets

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """exchange.ClientSide: the origin's 101 is the client's 200."""
        front, exchange, incoming = self.front, self.exchange, self.incoming
        if exchange is None or incoming is None:
            return
        wanted = base64.b64encode(hashlib.sha1(incoming.key + _WEBSOCKET_GUID, usedforsecurity=False).digest())
        fields = front.connection.worker.response_fields.of(head.lines)
        if (b"sec-websocket-accept", wanted) not in fields:
            exchange.status = 502
            exchange.refuse(502, "the origin accepted a WebSocket with a wrong key")
            return
        self._head_sent = True
        front.http2.send_head(self.number, 200, [field for field in fields if field[0] != b"sec-websocket-accept"])
        if early:
            front.http2.send_data(self.number, early)
        incoming.active_at = front.connection.worker.now
        front.watch()
        self.flow()
        front.flush_soon()

    def tunnel_data(self, data: bytes) -> None:
        """exchange.ClientSide."""
        if self.incoming is not None:
            self.incoming.active_at = self.front.connection.worker.now
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
