"""The beginning of a connection from a load balancer of `listen.proxy_protocol`: its header, and whose it then is."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, cast

from edgeproxy.edge.connection import Connection
from edgeproxy.edge.plain import PlainConnection
from edgeproxy.edge.proxy_protocol import Endpoints, Header, ProxyError, parse

if TYPE_CHECKING:
    from edgeproxy.edge.worker import Worker

REFUSED: Final = "no_proxy_header"
"""In `handshakes_total`: a balancer's connection that did not begin with a header."""


class Preface:
    """Reads the header; then the transport gets the protocol of its port, under the client's address. Until then it counts
    under the balancer's, which has no limit. `timeouts.handshake` is the time for it and the TLS handshake together."""

    front: None = None
    """For the states of connections: it is in its handshake."""
    tls_version = protocol = ""

    def __init__(self, worker: Worker, peer: str, slot: int) -> None:
        self.worker = worker
        self.peer = peer
        """The balancer's address."""
        self.slot = slot
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.deadline = worker.now + worker.timeouts.handshake
        self.write_deadline = math.inf
        self.closing = False
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.worker.reception.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.worker.reception.closed(self)

    def eof_received(self) -> bool:
        return False  # balancers look in this way whether anybody listens: no fault

    def drain(self) -> None:
        """What was accepted is served: its client may know nothing of the balancer."""

    def expired(self) -> None:
        """The header has not come in time."""
        if not self.closing:
            self.worker.count_handshake("timeout")
        self.abort()

    def abort(self) -> None:
        """Drops the connection."""
        self.closing = True
        self.transport.abort()

    close = abort

    def came(self, data: bytes) -> None:
        """More of the connection's beginning."""
        if self.closing:
            return
        data = self._early + data
        try:
            header = parse(data)
        except ProxyError as error:
            self.worker.reception.unannounced(self, str(error))
            self.abort()
            return
        if header is None:
            self._early = data
        else:
            self._early = b""
            self._hand_over(header, data[header.size :])

    def _hand_over(self, header: Header, rest: bytes) -> None:
        slot, peer = self.slot, self.peer
        if header.endpoints is not None:
            peer = header.endpoints.source
            slot = self.worker.reception.moved(self, peer)
            if slot < 0:
                self.abort()
                return
        self.worker.reception.handed_over(self)
        self.closing = True
        self.begin(peer, slot, header.endpoints, rest)

    def begin(self, peer: str, slot: int, endpoints: Endpoints | None, rest: bytes) -> None:
        """Makes the connection what it is to be, of this client; `rest` are its first bytes."""
        raise NotImplementedError


class TlsPreface(Preface, asyncio.BufferedProtocol):
    """On the TLS port."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.worker.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.came(bytes(self.worker.buffer[:nbytes]))

    def begin(self, peer: str, slot: int, endpoints: Endpoints | None, rest: bytes) -> None:
        connection = Connection(self.worker, peer, slot)
        connection.proxied = endpoints
        connection.deadline = self.deadline
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)
        if rest:
            self.worker.buffer[: len(rest)] = rest
            connection.buffer_updated(len(rest))


class PlainPreface(Preface, asyncio.Protocol):
    """On the port for plain HTTP."""

    def data_received(self, data: bytes) -> None:
        self.came(data)

    def begin(self, peer: str, slot: int, endpoints: Endpoints | None, rest: bytes) -> None:
        connection = PlainConnection(self.worker, peer, slot)
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)
        if rest:
            connection.data_received(rest)
