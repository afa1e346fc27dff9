"""Port 80: answers to ACME's HTTP-01, redirects to https, health checks; nothing is ever forwarded from here."""

from __future__ import annotations

import asyncio
import math
from time import time
from typing import TYPE_CHECKING, cast

from edgeproxy.edge.headers import RequestHead, accept_in
from edgeproxy.edge.http1 import Refusal, incomplete_head_fault, parse_request, status_line
from edgeproxy.edge.redirect import redirect
from edgeproxy.edge.respond import API_IN_CLEAR, api_answer, http_date, moved
from edgeproxy.errors import MapError
from edgeproxy.limits import WRITE_HIGH_WATER

if TYPE_CHECKING:
    from edgeproxy.edge.worker import Worker

_TOKENS = b"/.well-known/acme-challenge/"
_HEALTH = {b"/healthz", b"/readyz"}
_TOO_LARGE = "the request's head is too large (limits.request_head)"
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class PlainConnection(asyncio.Protocol):
    """The protocol of a connection on port 80. Requests one after the other; a body ends the connection."""

    __slots__ = (
        "_answered",
        "_begun",
        "_buffer",
        "_lingering",
        "closing",
        "deadline",
        "full",
        "peer",
        "slot",
        "transport",
        "worker",
        "write_deadline",
    )

    tls_version = ""
    """For the access log."""
    protocol = "http"
    """The same."""
    server_name = ""
    """The same: which name was meant is known with a request."""

    def __init__(self, worker: Worker, peer: str, slot: int) -> None:
        self.worker = worker
        self.peer = peer
        self.slot = slot
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.deadline = worker.now + worker.timeouts.client_header
        self.write_deadline = math.inf
        self.closing = False
        self._begun = True
        """The time of the head that is awaited runs: it is set once, not by each byte."""
        self._buffer = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.worker.reception.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.worker.reception.closed(self)

    def pause_writing(self) -> None:
        # Answers are short: a client that pipelines and does not read has no business here.
        self.abort()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        data = self._buffer + data
        self._buffer = b""
        while data and not self.closing:
            if data[:2] == b"\r\n":  # RFC 9112 section 2.2: one empty line before a request is ignored
                data = data[2:]
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._incomplete(data)
                return
            if end > self.worker.limits.request_head:
                self._refuse(431, _TOO_LARGE, data[:end])
                return
            self._request(data[:end])
            data = data[end + 4 :]

    @property
    def idle(self) -> bool:
        """Nothing is under way, and there was a request before."""
        return self._answered and not self._buffer

    def drain(self) -> None:
        """Nothing on this port takes long, but what was accepted is answered once."""
        if self.idle:
            self.close()
        else:
            self.deadline = min(self.deadline, self.worker.now + self.worker.idle_grace)

    def expired(self) -> None:
        """The client was too slow."""
        if self._buffer and not self.closing:
            self.worker.count_timeout("client_header")
            self._refuse(408, "the request's head did not come in time (timeouts.client_header)")
        else:
            self.abort()

    def close(self) -> None:
        """Ends the connection once everything is sent."""
        self.closing = True
        self.transport.close()

    def abort(self) -> None:
        """Drops it."""
        self.closing = True
        self.transport.abort()

    def _incomplete(self, data: bytes) -> None:
        if fault := incomplete_head_fault(data):
            self._refuse(400, fault)
        elif len(data) > self.worker.limits.request_head:
            self._refuse(431, _TOO_LARGE)
        else:
            if not self._begun:
                self._begun = True
                self.deadline = self.worker.now + self.worker.timeouts.client_header
            self._buffer = data

    def _request(self, head: bytes) -> None:
        worker = self.worker
        if not self._answered:
            worker.reception.heard(self)
        try:
            request = parse_request(head, worker.request_lines, worker.limits)
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.reason, head)
            return
        if head.split(b" ", 2)[1][:8].lower() == b"https://":  # RFC 9110 section 7.4: that was asked for in clear
            self._refuse(421, "an https target on a connection without TLS")
            return
        request_id = worker.next_request_id()
        status, fields, body = self._answer(request, request_id)
        self._answered = True
        close = request.close or request.length != 0 or worker.draining
        self._send(status, fields, b"" if request.method == b"HEAD" else body, close=close)
        worker.record_plain(self, request, status, len(body), request_id)
        self.deadline = worker.now + worker.timeouts.idle
        self._begun = False
        if close:
            self._end()

    def _answer(self, request: RequestHead, request_id: bytes) -> Answer:
        worker = self.worker
        host, target = request.host, request.target
        if target.startswith(_TOKENS):
            token = target[len(_TOKENS) :].decode("ascii")
            try:
                challenge = worker.reader.challenge(f"http:{host}/{token}")
            except MapError:
                return self._page(503, request, request_id)
            if challenge is not None:
                return 200, _text(challenge.key_authorization.encode("ascii")), challenge.key_authorization.encode("ascii")
        known = worker.may_serve(host)
        if not known and target in _HEALTH:
            # For load balancers, which ask by address: this worker serves, whether or not the controller does.
            body = b"draining\n" if worker.draining else b"ok\n"
            return 503 if worker.draining else 200, _text(body), body
        if host and host == worker.config.api.hostname:
            # A redirect would let a program go on sending its token in clear, and nobody would notice.
            return 403, *api_answer(API_IN_CLEAR, target, request_id.decode("ascii"), host)
        location = redirect(host, target, known=known, https_port=worker.config.listen.public_https_port)
        if location is None:
            return self._page(404, request, request_id)
        return 308, *moved(location)

    def _page(self, status: int, request: RequestHead, request_id: bytes) -> Answer:
        return status, *self.worker.error_pages.answer(status, request.accept, request_id.decode("ascii"), request.host)

    def _refuse(self, status: int, reason: str, head: bytes = b"") -> None:
        self.worker.reception.heard(self)
        request_id = self.worker.next_request_id()
        fields, body = self.worker.error_pages.answer(status, accept_in(head), request_id.decode("ascii"), "")
        self._send(status, fields, body, close=True)
        self.worker.record_refused(self, status, reason, request_id, len(body))
        self._end()

    def _send(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes, *, close: bool) -> None:
        parts = [status_line(status)]
        parts += [name + b": " + value for name, value in fields]
        parts.append(b"date: " + http_date(int(time())))
        if close:
            parts.append(b"connection: close")
        self.transport.write(b"\r\n".join([*parts, b"", body]))

    def _end(self) -> None:
        """FIN first, then swallow what still comes, so that the answer is not lost to a reset."""
        self.closing = True
        self.deadline = self.worker.now + 2.0
        self.transport.write_eof()


def _text(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
