"""WebSockets: bytes both ways between a client and the origin, after the origin agreed to switch."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.exchange import Exchange


def websocket_key() -> bytes:
    """A fresh Sec-WebSocket-Key (RFC 6455 section 4.1), for a request that came as an extended CONNECT without one."""
    return base64.b64encode(os.urandom(16))


class Tunnel:
    """The front of an HTTP/1.1 connection whose WebSocket is open: what the client says. What the origin says comes through
    the exchange."""

    __slots__ = ("connection", "exchange")

    def __init__(self, connection: Connection, exchange: Exchange) -> None:
        self.connection = connection
        self.exchange = exchange
        connection.expect(connection.worker.timeouts.tunnel_idle)

    @property
    def idle(self) -> bool:
        """A tunnel is always under way."""
        return False

    def received(self, data: bytes) -> None:
        """Plaintext from the client."""
        self.connection.expect(self.connection.worker.timeouts.tunnel_idle)
        self.exchange.body(data)

    def received_view(self, data: memoryview) -> None:
        """The same, which lies here until the call returns."""
        self.received(bytes(data))

    def client_closed(self) -> None:
        """The client will send no more. A WebSocket is over then."""
        self.connection.close()

    def lost(self) -> None:
        """The connection is gone."""
        self.exchange.client_gone()

    def full(self) -> None:
        """The client takes no more for now."""
        self.exchange.client_full()

    def ready(self) -> None:
        """It does again."""
        self.exchange.client_ready()

    def drain(self) -> None:
        """A WebSocket has no orderly end that a proxy could ask for: it may use the time that draining has."""

    def expired(self) -> None:
        """Nothing was said for too long, or the client takes nothing."""
        self.connection.close()
