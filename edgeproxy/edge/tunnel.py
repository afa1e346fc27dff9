"""WebSockets: bytes both ways between a client and the origin, after the origin agreed to switch."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.exchange import Exchange, Fields
    from edgeproxy.edge.headers import ResponseHead


def websocket_key() -> bytes:
    """A fresh Sec-WebSocket-Key (RFC 6455 section 4.1), for a request that came as an extended CONNECT without one."""
    return base64.b64encode(os.urandom(16))


class Tunnel:
    """The front of an HTTP/1.1 connection whose WebSocket is open, and the client's side of its exchange."""

    __slots__ = ("_early", "_held", "connection", "exchange")

    def __init__(self, connection: Connection, exchange: Exchange) -> None:
        self.connection = connection
        self.exchange: Exchange | None = exchange
        self._held = False
        self._early = b""
        connection.expect(connection.worker.timeouts.tunnel_idle)

    @property
    def idle(self) -> bool:
        """A tunnel is always under way."""
        return False

    # from the connection

    def received(self, data: bytes) -> None:
        """Plaintext from the client."""
        exchange = self.exchange
        if exchange is None:
            return
        self.connection.expect(self.connection.worker.timeouts.tunnel_idle)
        exchange.body(data)

    def client_closed(self) -> None:
        """The client will send no more. A WebSocket is over then."""
        self.connection.close()

    def lost(self) -> None:
        """The connection is gone."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()

    def full(self) -> None:
        """The client takes no more for now."""
        if self.exchange is not None:
            self.exchange.client_full()

    def ready(self) -> None:
        """It does again."""
        if self.exchange is not None:
            self.exchange.client_ready()

    def drain(self) -> None:
        """A WebSocket has no orderly end that a proxy could ask for: it may use the time that draining has."""

    def expired(self) -> None:
        """Nothing was said for too long, or the client takes nothing."""
        self.connection.close()

    # exchange.ClientSide

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the origin."""
        connection = self.connection
        connection.send_large(data)
        connection.expect(connection.worker.timeouts.tunnel_idle)

    def tunnel_end(self) -> None:
        """The origin closed: so do we, once what it said is sent."""
        self.exchange = None
        self.connection.close()

    def release_body(self) -> None:
        """The origin takes more."""
        self.connection.resume_reading()

    def hold_body(self) -> None:
        """The origin takes no more for now."""
        self.connection.pause_reading()

    def truncated(self) -> None:
        """The tunnel ends without a word."""
        self.exchange = None
        self.connection.cut()

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """Never called: it was, to get here."""

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """Never called: the answer was 101."""

    def response_data(self, data: bytes | memoryview, done: bool) -> None:
        """Never called."""

    def response_end(self, trailers: list[bytes]) -> None:
        """Never called."""

    def interim(self, head: ResponseHead) -> None:
        """Never called."""

    def page(self, status: int, fields: Fields, body: bytes) -> None:
        """Never called."""

    def room(self) -> int:
        """Never called."""
        return 0
