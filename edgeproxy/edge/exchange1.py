"""An exchange whose client speaks HTTP/1.1: how its answer goes on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeproxy.edge.exchange import Exchange, Fields
from edgeproxy.edge.headers import RequestHead, ResponseHead
from edgeproxy.edge.http1 import chunk, last_chunk
from edgeproxy.edge.tunnel import Tunnel
from edgeproxy.limits import RELAY_BUFFER

if TYPE_CHECKING:
    from edgeproxy.edge.front1 import Front1


class Exchange1(Exchange, eq=False):
    """See Exchange, whose methods these are."""

    front: Front1 | None = None
    """None once the answer is complete, or nobody waits for it any more."""
    _chunked: bool = False
    """The body goes out in chunks."""

    def send_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        front = self.front
        if front is None:
            return
        connection = self.connection
        if not self.body_complete or connection.worker.draining:
            front.close = True  # where the next request begins is known only when this one's body was read
        if head.length >= 0 and not front.close:
            if head.whole:
                connection.send(b"\r\n\r\n".join((head.whole, body)))
            else:
                connection.send(b"\r\n".join((head.start_line, *head.lines, b"", body)))
        else:
            self._send_other(front, head, body, done)
        if done:
            front.finished()

    def _send_other(self, front: Front1, head: ResponseHead, body: bytes, done: bool) -> None:
        """A response whose length is not known, or behind which the connection ends."""
        parts = [head.start_line, *head.lines]
        if head.length < 0 and self.request.version:  # the end of the connection is the body's for HTTP/1.0
            self._chunked = True
            parts.append(b"transfer-encoding: chunked")
            body = chunk(body)
        if front.close:
            parts.append(b"connection: close")
        last = done and front.close and self.body_complete and not front.more
        send = self.connection.send_last if last else self.connection.send
        send(b"\r\n".join((*parts, b"", body)))

    def send_data(self, data: bytes | memoryview, done: bool) -> None:
        front = self.front
        if front is None:
            return
        if self._chunked:
            self.connection.send(chunk(data))
        else:
            self.connection.send_large(data)
        if done:
            front.finished()

    def send_end(self, trailers: list[bytes]) -> None:
        front = self.front
        if front is None:
            return
        if self._chunked:
            self.connection.send(last_chunk(trailers))
        front.finished()

    def send_interim(self, head: ResponseHead) -> None:
        self.connection.send(b"\r\n".join((head.start_line, *head.lines, b"", b"")))

    def send_page(self, status: int, fields: Fields, body: bytes) -> None:
        front = self.front
        if front is None:
            return
        if not self.body_complete or self.connection.worker.draining:
            front.close = True
        front.send_page(status, fields, body, head_only=self.request.method == b"HEAD")
        front.finished()

    def truncate(self) -> None:
        """Without the last chunk, or with fewer bytes than announced, and without close_notify."""
        if self.front is not None:
            self.front.leave()
        self.connection.cut()

    def open_tunnel(self, head: ResponseHead, early: bytes) -> None:
        front = self.front
        if front is None:
            return
        connection = self.connection
        lines = [b"HTTP/1.1 101 Switching Protocols", *head.lines, b"connection: upgrade", b"upgrade: websocket", b"", early]
        connection.send(b"\r\n".join(lines))
        tunnel = connection.front = Tunnel(connection, self)
        came = front.leave()
        if came:
            tunnel.received(came)
        if connection.client_closed:
            tunnel.client_closed()

    def send_tunnel(self, data: bytes) -> None:
        connection = self.connection
        connection.send_large(data)
        connection.expect(connection.worker.timeouts.tunnel_idle)

    def close_tunnel(self) -> None:
        self.connection.close(linger=not self.connection.client_closed)

    def room(self) -> int:
        return 0 if self.connection.full else RELAY_BUFFER

    @property
    def request_whole(self) -> bool:
        return self.front is not None and self.front.body_here

    def release_body(self) -> None:
        if self.front is not None:
            self.front.release_body(self)
        else:
            self.connection.resume_reading()

    def hold_body(self) -> None:
        if self.front is not None:
            self.front.hold_body()
        else:
            self.connection.pause_reading()


def exchange1(front: Front1, request: RequestHead, started: float) -> Exchange1:
    """The exchange of a request that came at `started`, time.perf_counter()."""
    connection = front.connection
    whole = request.length == 0
    exchange = Exchange1(connection, request, connection.worker.next_request_id(), started, whole)
    exchange.front = front
    return exchange
