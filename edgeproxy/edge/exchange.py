"""One request and its response: admit → route → (answer instead) → forward → respond.

The origin's side (upstream.connection) and the front that speaks with the client call in here. What goes to the client goes
through methods that a subclass has for its protocol: exchange1 and exchange2. One object for both sides, since every request
needs one, and a call from one to the other for each of its steps.
"""

from __future__ import annotations

from time import perf_counter, time
from typing import TYPE_CHECKING, Final

import msgspec

from edgeproxy.buckets import network_of_literal
from edgeproxy.edge import forwarding
from edgeproxy.edge.admission import NOT_ADMITTED, client_of
from edgeproxy.edge.forwarding import Destination, origin_head
from edgeproxy.edge.headers import RequestHead, ResponseHead, trailer_lines
from edgeproxy.edge.http1 import chunk, last_chunk
from edgeproxy.edge.instead import Instead
from edgeproxy.edge.rates import REASONS
from edgeproxy.edge.redirect import redirect
from edgeproxy.edge.respond import API_AWAY, Text, api_answer, moved, page, text_for
from edgeproxy.errors import MapError
from edgeproxy.limits import RELAY_BUFFER
from edgeproxy.units import Size

if TYPE_CHECKING:
    from edgeproxy.edge.admission import Admission
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.encoded import Encoding
    from edgeproxy.edge.route import Route
    from edgeproxy.edge.upstream.connection import OriginConnection
    from edgeproxy.edge.upstream.pool import Pool
    from edgeproxy.link.arrivals import Over

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
Fields = list[tuple[bytes, bytes]]
BODY_LATE: Final = "the request's body came too slowly, or not on (limits.client_rate over timeouts.client_body)"
"""Why a request ends with 408, for the operator."""

ANY_SIZE: Final = 1 << 62


class Exchange(msgspec.Struct, eq=False):
    """Lives from a request's head to the last byte of its answer. A msgspec struct: made in half the time of a class."""

    connection: Connection
    request: RequestHead
    request_id: bytes
    started: float
    """time.perf_counter() when the request's head was read."""
    body_complete: bool
    """The whole request has come."""
    destination: Destination | None = None
    """None where none was found."""
    origin: OriginConnection | None = None
    origin_seconds: float = 0.0
    """From the request's head to the origin's first byte."""
    seconds: float = 0.0
    """From the request's head to the end of the answer; 0.0 where that is now."""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""
    """For the operator: why the edge answered by itself, or broke off."""
    tunnel: bool = False
    encoding: Encoding = None  # type: ignore[assignment]  # what only an encoded.Encoded has
    body_most: int = ANY_SIZE
    """Bytes that the request's body may have."""
    _pool: Pool | None = None
    _answered: bool = False
    _retried: bool = False
    _over: bool = False
    _told_interim: bool = False

    # admit, route

    def start(self) -> None:
        """Begins. The answer may be given before this returns."""
        connection = self.connection
        worker = connection.worker
        destination = connection.destination
        if destination.authority != self.request.authority or destination.route.epoch != worker.routes.epoch:
            found = self._route()
            if found is None:
                return
            destination = found
        else:
            worker.routes.hits += 1
        self.destination = destination
        route = destination.route
        pool = route.pool
        if pool is None or pool.closed:
            pool = self._pool_of(route)
        if pool.idle:
            self.connected(pool.idle.pop())
        else:
            self._pool = pool
            pool.wait(self)

    def start_body(self) -> None:
        """The same for a request that has a body: its size is judged before the origin hears of it. `start` is as it is so that
        requests without a body pay nothing for those with one."""
        connection, request = self.connection, self.request
        destination: Destination | None = connection.destination
        if destination.authority != request.authority or destination.route.epoch != connection.worker.routes.epoch:  # type: ignore[union-attr]
            destination = self._route()
        else:
            connection.worker.routes.hits += 1
        if destination is None:
            return
        self.destination = destination
        own = destination.route.request_body
        most = connection.worker.limits.request_body if own is None else own
        if most and not request.upgrade:  # a WebSocket has no end
            if request.length > most:
                self._too_large(most)
                return
            self.body_most = most
        pool = destination.route.pool
        if pool is None or pool.closed:
            pool = self._pool_of(destination.route)
        self._pool = pool
        pool.uploads.begin(self)

    def _too_large(self, most: int) -> None:
        self.connection.worker.access.limit("request_body")
        self.refuse(413, f"the request's body has more than {Size(most)} (limits.request_body, or the domain's own)")

    def _route(self) -> Destination | None:
        """Where to; None where the edge has answered by itself."""
        connection, request = self.connection, self.request
        host = request.host
        if host != connection.server_name and not connection.covers(host):
            self.refuse(421, f"the certificate of this connection is not for {host or 'that host'}")
            return None
        try:
            route = connection.worker.find_route(host)
        except MapError as error:
            self.refuse(503, error.detail)
            return None
        if route is None:
            self.refuse(404, f"no workspace for {host}")
            return None
        if route.admission is not None and not self._admitted(route.admission):
            self.refuse(403, "the client's address is not admitted (http.allow and deny, or the domain's own)", NOT_ADMITTED)
            return None
        if route.rates is not None:
            over = connection.worker.rates.over(connection, request, route, self.started)
            if over is not None:
                self._too_many(over)
                return None
        if route.instead is not None:
            self._answer_instead(route, route.instead)
            return None
        if route.encodings is not None:
            route.encodings.take(self)
        if route.rates is not None or route.encodings is not None:
            known = connection.limited
            if known.route is route and known.authority == request.authority:
                return known
        destination, request_id = connection.destination_for(request, route)
        if request_id is not None:
            self.request_id = request_id
        return destination

    def _admitted(self, admission: Admission) -> bool:
        """Whether this client is answered. Its connection keeps no destination where it is not, and asks once where it is."""
        connection = self.connection
        client = connection.peer
        if connection.trusted:
            client = client_of(client, self.request.forwarded, connection.worker.trusted)
        return admission.admits(client)

    def _pool_of(self, route: Route) -> Pool:
        """The connections of a route that has none at hand. One whose answers are dressed never has: so it comes here with each
        request, and all others pay nothing for there being such."""
        pool = self.connection.worker.pool(route.target)
        if route.dressing is None:
            route.pool = pool
        else:
            route.dressing.take(self)
        return pool

    # answer instead

    def _too_many(self, over: Over) -> None:
        """One request more than a rate allows. Nothing of its body is read: it costs the origin nothing."""
        request, worker, request_id = self.request, self.connection.worker, self.request_id.decode("ascii")
        answer = worker.rates.answer(over, request.accept, request_id, request.host, worker.error_pages)
        self._reply(429, REASONS[over.key.kind], *answer)

    def _answer_instead(self, route: Route, instead: Instead) -> None:
        """The domain redirects, or shows a page of its operator's.

        The connection does not keep such a destination, so that the next request comes here again: a route that asks its
        origin pays nothing for there being others.
        """
        connection, request = self.connection, self.request
        self.destination, request_id = forwarding.destination(
            connection.peer, request, route, trusted=connection.trusted, own_host=False
        )
        if request_id is not None:
            self.request_id = request_id
        if instead.redirect_to:
            port = connection.worker.config.listen.public_https_port
            location = redirect(instead.redirect_to, request.target, known=True, https_port=port)
            if location is None:  # "*", the only target that is no path, is of the server and not of a page
                self.refuse(404, "a redirect needs a path")
            else:
                self._reply(308, instead.reason, *moved(location))
        else:
            self._show(instead)

    def _show(self, instead: Instead) -> None:
        """One of the operator's pages."""
        notice, request = self.connection.worker.notices[instead.page], self.request
        status, request_id = notice.text.status, self.request_id.decode("ascii")
        answer = page(status, request.accept, request_id, request.host, notice.text, notice.template)
        self._reply(status, instead.reason, *answer)

    # forward

    def connected(self, connection: OriginConnection) -> None:
        """Pool: a connection to the origin."""
        self._pool = None
        self.origin = connection
        whole = self.body_complete
        if not whole:
            connection.pool.uploads.lent(self, connection)
        head = origin_head(self.request, self.destination, self.request_id)  # type: ignore[arg-type]  # found in `start`
        connection.lend(self, head, whole, self.room())
        if not whole:
            self.release_body()

    def not_connected(self, reason: str, *, timeout: bool) -> None:
        """Pool: none to be had."""
        self._pool = None
        if self.destination.route.new:  # type: ignore[union-attr]  # found in `start`
            self._show(Instead(page="setup", reason=reason))
        else:
            self.refuse(504 if timeout else 502, reason)

    @property
    def network(self) -> bytes:
        """Pool: whose share of the origin's connections this one counts for; b"" for a proxy's that speaks for many."""
        return b"" if self.connection.trusted else network_of_literal(self.connection.peer)

    def displaced(self, reason: str) -> None:
        """Pool: others have waited for a connection, of which this client's network, or slow uploads, have too many."""
        self.connection.worker.access.limit("origin_connections")
        self.refuse(503, reason)

    def left_alone(self, reason: str, seconds: int) -> None:
        """Pool: the origin has failed too often to be asked just now."""
        self._pool = None
        self.connection.worker.access.left_alone(self)
        if self.destination.route.new:  # type: ignore[union-attr]  # found in `start`
            self._show(Instead(page="setup", reason=reason))
        else:
            self.refuse(503, reason, msgspec.structs.replace(text_for(503), retry_after=seconds))

    def more_came(self) -> None:
        """A part of a body that no connection is there for yet."""
        if self._pool is not None and self.request_whole:
            self._pool.uploads.came(self)

    def body(self, data: bytes | memoryview) -> None:
        """Some of the request's body, or of a tunnel. Only between release_body and hold_body. A view is good for this call."""
        origin = self.origin
        self.bytes_in += len(data)
        if self.bytes_in > self.body_most:
            self._too_large(self.body_most)
            return
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
        origin.pool.uploads.ended(origin)

    # respond: what the origin's connection calls

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response. RFC 9110 section 15.2: passed on, but for a 100 nobody waits for."""
        if self.request.version and (head.status != 100 or self.request.expect):
            self._told_interim = True
            self.send_interim(head)

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The final response begins; `done`: that was all of it."""
        self._answered = True
        self.status = head.status
        self.origin_seconds = perf_counter() - self.started
        self.bytes_out = len(body)
        if done:
            self.origin = None
            self._over = True
            self.seconds = self.origin_seconds
            self.send_response(head, body, True)
            self.connection.worker.record(self)
        else:
            self.send_response(head, body, False)

    def data(self, data: bytes | memoryview, done: bool) -> None:
        """More of the body."""
        self.bytes_out += len(data)
        if done:
            self.origin = None
            self._over = True
        self.send_data(data, done)
        if done:
            self.connection.worker.record(self)

    def end(self, trailers: list[bytes]) -> None:
        """The end of a body whose length was not known."""
        kept = trailer_lines(trailers) if trailers else []
        if kept is None:
            self.lost("malformed trailer", answered=True, broken=True)
            return
        self.origin = None
        self._over = True
        self.send_end(kept)
        self.connection.worker.record(self)

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """The WebSocket is open."""
        self._answered = True
        self.tunnel = True
        self.status = 101
        self.origin_seconds = perf_counter() - self.started
        self.bytes_out += len(early)
        self.open_tunnel(head, early)
        if self.origin is not None:
            self.release_body()

    def tunnel_data(self, data: bytes) -> None:
        """Bytes of the WebSocket."""
        self.bytes_out += len(data)
        self.send_tunnel(data)

    def lost(self, reason: str, *, answered: bool, broken: bool) -> None:
        """The origin ended, or broke the protocol, before the answer was complete."""
        origin, self.origin = self.origin, None
        if self.tunnel:
            self._over = True
            self.close_tunnel()
            self.connection.worker.record(self)
            return
        destination = self.destination
        if (
            not answered
            and not broken
            and not self._told_interim
            and not self._retried
            and origin is not None
            and origin.reused
            and reason != "timeout"
            and self.request.method in _IDEMPOTENT
            and self.request.length == 0
            and destination is not None
            and origin.pool.retry()
        ):
            # A kept connection that closes as it is used again says nothing about the origin (RFC 9112 section 9.3.1).
            self._retried = True
            self._pool = self.connection.worker.pool(destination.route.target)
            self._pool.wait(self)
            return
        if origin is not None and not self._answered and self.body_complete:  # else it may be the request that it will not have
            origin.pool.failed("it did not answer in time" if reason == "timeout" else reason)
        target = destination.route.target if destination is not None else "the origin"
        if reason == "timeout":
            self.refuse(504, f"{target} did not answer in time")
        elif broken:
            self.refuse(502, f"{target} broke the protocol: {reason}")
        else:
            self.refuse(502, f"{target}: {reason}")

    def refuse(self, status: int, reason: str, text: Text | None = None) -> None:
        """The edge answers by itself, with a page; where the origin's answer has begun it is cut off visibly."""
        if self._over:
            return
        request, request_id = self.request, self.request_id.decode("ascii")
        if self.destination is not None and self.destination.route.api:
            text = API_AWAY if status in (502, 504) else text_for(status)
            self._reply(text.status, reason, *api_answer(text, request.target, request_id, request.host))
        else:
            pages = self.connection.worker.error_pages
            self._reply(status, reason, *pages.answer(status, request.accept, request_id, request.host, text))

    def _reply(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        """An answer of the edge's own, and the end of the exchange."""
        if self.destination is not None and (dressing := self.destination.route.dressing) is not None:
            fields = dressing.dressed(fields, time())
        self._over = True
        self.error = reason
        self._leave_origin()
        if self._answered:
            self.truncate()
        else:
            self.status = status
            self.bytes_out = len(body)
            self.send_page(status, fields, body)
        self.connection.worker.record(self)

    # the client's side of the flow

    def client_full(self) -> None:
        """The client takes no more of the answer for now."""
        if self.origin is not None:
            self.origin.pause()

    def client_ready(self, room: int = RELAY_BUFFER) -> None:
        """It does again, `room` bytes at a time."""
        if self.origin is not None:
            self.origin.resume(room)

    def client_gone(self) -> None:
        """The client closed the connection or reset the stream."""
        if self._over:
            return
        self._over = True
        if not self.status:
            self.status = 499
        self.error = "" if self.tunnel else "the client went away"
        self._leave_origin()
        self.connection.worker.record(self)

    def _leave_origin(self) -> None:
        if self._pool is not None:
            self._pool.forget(self)
            self._pool = None
        if self.origin is not None:
            self.origin.abandon()
            self.origin = None

    # the client's side. Calls come in the order send_interim* → send_response → send_data* → send_end, or send_page, or
    # open_tunnel → send_tunnel* → close_tunnel; truncate may come after send_response.

    def send_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The final head with the first part of its body; `done`: that was all."""
        raise NotImplementedError

    def send_data(self, data: bytes | memoryview, done: bool) -> None:
        """More of the body. A memoryview is only good until the call returns."""
        raise NotImplementedError

    def send_end(self, trailers: list[bytes]) -> None:
        """The body's end, where its length was not known. `trailers` are raw lines."""
        raise NotImplementedError

    def send_interim(self, head: ResponseHead) -> None:
        """A 1xx response."""
        raise NotImplementedError

    def send_page(self, status: int, fields: Fields, body: bytes) -> None:
        """An answer of the edge's own, whole."""
        raise NotImplementedError

    def truncate(self) -> None:
        """The response cannot be completed: the client must be able to see that."""
        raise NotImplementedError

    def open_tunnel(self, head: ResponseHead, early: bytes) -> None:
        """The WebSocket is open; `early` are its first bytes from the origin."""
        raise NotImplementedError

    def send_tunnel(self, data: bytes) -> None:
        """Bytes from the origin through the WebSocket."""
        raise NotImplementedError

    def close_tunnel(self) -> None:
        """The origin closed the WebSocket's connection."""
        raise NotImplementedError

    def room(self) -> int:
        """Bytes of the answer that the client takes at first; 0: none before `client_ready`."""
        raise NotImplementedError

    @property
    def request_whole(self) -> bool:
        """Whether the whole request has come, though the origin may have yet to take the end of its body."""
        raise NotImplementedError

    def release_body(self) -> None:
        """The origin takes (more of) the request's body, or of the tunnel: deliver it by `body`."""
        raise NotImplementedError

    def hold_body(self) -> None:
        """No more for now."""
        raise NotImplementedError
