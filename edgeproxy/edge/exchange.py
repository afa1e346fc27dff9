"""One request and its response: admit → route → forward → respond.

The client's side (front1.Front1, or a stream of front2) and the origin's side (upstream.connection) call in here; the
exchange itself knows neither bytes on the wire of the one nor of the other.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgeproxy.edge.headers import RequestHead, ResponseHead, trailer_lines
from edgeproxy.edge.http1 import chunk, last_chunk
from edgeproxy.edge.respond import API_NOT_READY, Text, page
from edgeproxy.errors import MapError
from edgeproxy.limits import RELAY_BUFFER

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.route import Route
    from edgeproxy.edge.upstream.connection import OriginConnection
    from edgeproxy.edge.upstream.pool import Pool

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
Fields = list[tuple[bytes, bytes]]


class ClientSide(Protocol):
    """What an exchange needs of the client's side. Calls come in the order interim* → response → data* → end, or
    page, or switched → tunnel bytes; `truncated` may come after `response`."""

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The final head with the first part of its body; `done`: that was all."""

    def response_data(self, data: bytes | memoryview, done: bool) -> None:
        """More of the body. A memoryview is only good until the call returns."""

    def response_end(self, trailers: list[bytes]) -> None:
        """The body's end, where its length was not known. `trailers` are raw lines."""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response."""

    def page(self, status: int, fields: Fields, body: bytes) -> None:
        """An answer of the edge's own, whole."""

    def truncated(self) -> None:
        """The response cannot be completed: the client must be able to see that."""

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """The WebSocket is open; `early` are its first bytes from the origin. Then `tunnel_data`."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the origin through the WebSocket."""

    def tunnel_end(self) -> None:
        """The origin closed the WebSocket's connection."""

    def room(self) -> int:
        """Bytes of the answer that the client takes at first; 0: none before `Exchange.client_ready`."""

    def release_body(self) -> None:
        """The origin takes (more of) the request's body, or of the tunnel: deliver it by `Exchange.body`."""

    def hold_body(self) -> None:
        """No more for now."""


class Exchange(msgspec.Struct, eq=False):
    """Lives from a request's head to the last byte of its answer. A msgspec struct: made in half the time of a class."""

    connection: Connection
    client: ClientSide
    request: RequestHead
    method: bytes = b""
    upgrade: bool = False
    route: Route | None = None
    origin: OriginConnection | None = None
    request_id: bytes = b""
    started: float = 0.0
    """time.perf_counter() at the request's head."""
    origin_seconds: float = 0.0
    """From there to the origin's first byte."""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""
    """For the operator: why the edge answered by itself, or broke off."""
    body_complete: bool = False
    tunnel: bool = False
    _pool: Pool | None = None
    _answered: bool = False
    _retried: bool = False
    _over: bool = False
    _told_interim: bool = False

    def __post_init__(self) -> None:
        request = self.request
        self.method = request.method
        self.upgrade = request.upgrade
        self.body_complete = request.length == 0
        self.request_id = self.connection.worker.next_request_id()
        self.started = perf_counter()

    # admit, route

    def start(self) -> None:
        """Begins. The answer comes through the client's side, possibly before this returns."""
        connection, request = self.connection, self.request
        host = request.host
        if host != connection.server_name and not connection.covers(host):
            self.refuse(421, f"the certificate of this connection is not for {host or 'that host'}")
            return
        try:
            route = connection.worker.find_route(host)
        except MapError as error:
            self.refuse(503, error.detail)
            return
        if route is None:
            self.refuse(404, f"no workspace for {host}")
            return
        if route.api:
            self.refuse(503, "the API is not served here yet", API_NOT_READY)
            return
        self.route = route
        pool = route.pool
        if pool is None or pool.closed:
            pool = route.pool = self.connection.worker.pool(route.target)
        origin = pool.take()
        if origin is not None:
            self.connected(origin)
        else:
            self._pool = pool
            pool.wait(self)

    # forward

    def connected(self, connection: OriginConnection) -> None:
        """Pool: a connection to the origin."""
        self._pool = None
        self.origin = connection
        connection.lend(self, self.connection.origin_head(self), self.body_complete, self.client.room())
        if not self.body_complete:
            self.client.release_body()

    def not_connected(self, reason: str, *, timeout: bool) -> None:
        """Pool: none to be had."""
        self._pool = None
        self.refuse(504 if timeout else 502, reason)

    def body(self, data: bytes) -> None:
        """A part of the request's body, or of a tunnel. Only between release_body and hold_body."""
        origin = self.origin
        self.bytes_in += len(data)
        if origin is not None and data:
            origin.send(chunk(data) if self.request.length < 0 and not self.tunnel else data)

    def body_end(self, trailers: list[bytes]) -> None:
        """The request's body is complete. `trailers` are raw lines, not filtered yet."""
        self.body_complete = True
        origin = self.origin
        if origin is None:
            return
        if self.request.length < 0:
            kept = trailer_lines(trailers, self.connection.worker.request_lines) if trailers else []
            if kept is None:
                self.refuse(400, "malformed trailer")
                return
            origin.send(last_chunk(kept))
        origin.request_sent = True

    def origin_full(self) -> None:
        """Origin: takes no more for now."""
        self.client.hold_body()

    def origin_ready(self) -> None:
        """Origin: does again."""
        self.client.release_body()

    # respond

    def interim(self, head: ResponseHead) -> None:
        """Origin: a 1xx response. RFC 9110 section 15.2: passed on, but for a 100 nobody waits for."""
        if self.request.version and (head.status != 100 or self.request.expect):
            self._told_interim = True
            self.client.interim(head)

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """Origin: the final response begins."""
        self._answered = True
        self.status = head.status
        self.origin_seconds = perf_counter() - self.started
        self.bytes_out = len(body)
        if done:
            self.origin = None
            self._over = True
        self.client.response(head, body, done)
        if done:
            self._record()

    def data(self, data: bytes | memoryview, done: bool) -> None:
        """Origin: more of the body."""
        self.bytes_out += len(data)
        if done:
            self.origin = None
            self._over = True
        self.client.response_data(data, done)
        if done:
            self._record()

    def end(self, trailers: list[bytes]) -> None:
        """Origin: the end of a body whose length was not known."""
        kept = trailer_lines(trailers) if trailers else []
        if kept is None:
            self.lost("malformed trailer", answered=True, broken=True)
            return
        self.origin = None
        self._over = True
        self.client.response_end(kept)
        self._record()

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """Origin: the WebSocket is open."""
        self._answered = True
        self.tunnel = True
        self.status = 101
        self.origin_seconds = perf_counter() - self.started
        self.bytes_out += len(early)
        self.client.switched(head, early)
        if self.origin is not None:
            self.client.release_body()

    def tunnel_data(self, data: bytes) -> None:
        """Origin: bytes of the WebSocket."""
        self.bytes_out += len(data)
        self.client.tunnel_data(data)

    def lost(self, reason: str, *, answered: bool, broken: bool) -> None:
        """Origin: it ended, or broke the protocol, before the answer was complete."""
        origin, self.origin = self.origin, None
        if self.tunnel:
            self._over = True
            self.client.tunnel_end()
            self._record()
            return
        if (
            not answered
            and not broken
            and not self._told_interim
            and not self._retried
            and origin is not None
            and origin.requests > 1
            and reason != "timeout"
            and self.method in _IDEMPOTENT
            and self.request.length == 0
            and self.route is not None
        ):
            # A kept connection that closes as it is used again says nothing about the origin (RFC 9112 section 9.3.1).
            self._retried = True
            self._pool = self.connection.worker.pool(self.route.target)
            self._pool.wait(self)
            return
        target = self.route.target if self.route is not None else "the origin"
        if reason == "timeout":
            self.refuse(504, f"{target} did not answer in time")
        elif broken:
            self.refuse(502, f"{target} broke the protocol: {reason}")
        else:
            self.refuse(502, f"{target}: {reason}")

    def refuse(self, status: int, reason: str, text: Text | None = None) -> None:
        """The edge answers by itself; where the origin's answer has begun it is cut off visibly."""
        if self._over:
            return
        self._over = True
        self.error = reason
        self._leave_origin()
        if self._answered:
            self.client.truncated()
        else:
            self.status = status
            fields, body = page(status, self.request.accept, self.request_id.decode("ascii"), self.request.host, text)
            self.bytes_out = len(body)
            self.client.page(status, fields, body)
        self._record()

    # the client's side of the flow

    def client_full(self) -> None:
        """The client takes no more of the answer for now."""
        if self.origin is not None:
            self.origin.pause()

    def client_ready(self, room: int = RELAY_BUFFER) -> None:
        """It does again, `room` bytes at a time."""
        if self.origin is not None:
            self.origin.limit = room
            self.origin.resume()

    def client_gone(self) -> None:
        """The client closed the connection or reset the stream."""
        if self._over:
            return
        self._over = True
        if not self.status:
            self.status = 499
        self.error = "" if self.tunnel else "the client went away"
        self._leave_origin()
        self._record()

    def _leave_origin(self) -> None:
        if self._pool is not None:
            self._pool.forget(self)
            self._pool = None
        if self.origin is not None:
            self.origin.abandon()
            self.origin = None

    def _record(self) -> None:
        self.connection.worker.record(self)
