"""One client connection: TCP, the ClientHello, the wait for a certificate if there must be one, TLS, then HTTP."""

from __future__ import annotations

import array
import asyncio
import fcntl
import math
import ssl
import termios
from typing import TYPE_CHECKING, Protocol

from edgeproxy.edge import forwarding, pace
from edgeproxy.edge.forwarding import Destination
from edgeproxy.edge.front1 import Front1
from edgeproxy.edge.front2 import Front2
from edgeproxy.edge.hello import (
    INTERNAL_ERROR,
    NO_APPLICATION_PROTOCOL,
    UNRECOGNIZED_NAME,
    ClientHello,
    HelloError,
    alert_record,
    parse,
)
from edgeproxy.edge.proxy_protocol import Endpoints
from edgeproxy.edge.respond import plain_http_answer
from edgeproxy.edge.route import Route
from edgeproxy.edge.tls import STEP, TlsLayer
from edgeproxy.edge.upstream.target import parse_target
from edgeproxy.limits import WRITE_HIGH_WATER
from edgeproxy.model import wildcard_of

if TYPE_CHECKING:
    from edgeproxy.edge.headers import RequestHead
    from edgeproxy.edge.rates import Caller
    from edgeproxy.edge.worker import Worker

TICKET_MAX = 1024
"""Bytes that a session ticket may have on the wire, to wait for the first answer. They have about 250."""

LINGER_SECONDS = 2.0
"""How long a client that was told the end may go on sending before the connection ends: closing at once would reset it, and the
answer could be lost on the way (RFC 9112 section 9.6). As long as it takes what was sent it has `timeouts.write` more."""

NOWHERE = Destination(b"", Route(known=False, workspace="", target=parse_target("http://127.0.0.1"), header=""), b"")
"""Before the first request, which always has an authority."""


class Front(Protocol):
    """What speaks HTTP on a connection: front1, front2 or a tunnel."""

    @property
    def idle(self) -> bool:
        """Nothing is under way, so that the connection may be closed at any time."""

    def received(self, data: bytes) -> None:
        """Plaintext came."""

    def received_view(self, data: memoryview) -> None:
        """More plaintext, which lies here until the call returns."""

    def client_closed(self) -> None:
        """The client ended its side of TLS; it may still read."""

    def lost(self) -> None:
        """The connection is gone."""

    def full(self) -> None:
        """The client takes no more for now."""

    def ready(self) -> None:
        """It does again."""

    def drain(self) -> None:
        """End the connection in good order."""

    def expired(self) -> None:
        """What was expected has not come in time."""


class Connection(asyncio.BufferedProtocol):
    """The protocol of a client's transport. Reads go to the worker's one buffer and are used up before the call returns."""

    __slots__ = (
        "_early",
        "_handshake_left",
        "_lingering",
        "_names",
        "_next",
        "_reading",
        "_sent_left",
        "_ticket_waits",
        "_tls",
        "_waiting",
        "caller",
        "closing",
        "deadline",
        "destination",
        "front",
        "full",
        "hello",
        "limited",
        "peer",
        "protocol",
        "proxied",
        "server_name",
        "slot",
        "tls_version",
        "transport",
        "trusted",
        "worker",
        "write_deadline",
    )

    def __init__(self, worker: Worker, peer: str, slot: int) -> None:
        self.worker = worker
        self.peer = peer
        """The client's address, an IP literal."""
        self.slot = slot
        """Its place in the shared table."""
        self.proxied: Endpoints | None = None
        """What a balancer said about it (preface)."""
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # before connection_made
        self.front: Front | None = None
        self.server_name = ""
        """The hostname that TLS was set up for."""
        self.hello: ClientHello | None = None
        """What the client said first, until a certificate is chosen for it."""
        self.protocol = ""
        """ "h1" or "h2" once it is agreed on."""
        self.tls_version = ""
        """"TLSv1.3" or "TLSv1.2", for the access log."""
        self.closing = False
        self.full = False
        """The client takes nothing for now: the transport's queue is above its mark."""
        self.deadline = worker.now + worker.timeouts.handshake
        self.write_deadline = math.inf
        self._early = b""
        self._tls: TlsLayer | None = None
        self._next: Front2 | None = None
        """What is the front once the handshake is over."""
        self._names: tuple[str, ...] = ()
        self._waiting = False
        self._ticket_waits = False
        """The ticket that TLS 1.3 ends the handshake with has not been sent: the first answer takes it along."""
        self._handshake_left = 0.0
        self._reading = True
        self._lingering = False
        self._sent_left = math.inf
        """Bytes that the client had not taken yet when that was last looked at."""
        self.trusted = bool(worker.trusted) and forwarding.is_trusted(peer, worker.trusted)
        """A proxy of the operator's (listen.trusted_proxies): many clients have its address."""
        self.destination = NOWHERE
        """Where the last request went, and the next one goes without further ado."""
        self.limited = NOWHERE
        """The same of those that a rate limits, or that are compressed, so that each is looked at first."""
        self.caller: Caller | None = None
        """Known from the first of them on."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio's typing says no more than the loops can promise
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)  # type: ignore[attr-defined]
        self.worker.reception.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.worker.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._lingering:  # also where no hello was taken: what comes behind a refusal is swallowed, and not kept
            return
        tls = self._tls
        if tls is None:
            self._hello(bytes(self.worker.buffer[:nbytes]))
            return
        self._feed(tls, self.worker.buffer[:nbytes])

    def eof_received(self) -> bool:
        # A FIN without close_notify, or after it: the client is gone, as far as anybody can tell before writing to it.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.worker.reception.closed(self)
        if self._waiting:
            self._waiting = False
            self.worker.obtaining.leave(self)
        if self._tls is not None and not self._tls.established:
            self.worker.count_handshake("failed")
        front, self.front, self._next = self.front, None, None
        if front is not None:
            front.lost()

    def pause_writing(self) -> None:
        self.full = True
        self._sent_left = math.inf
        self.write_deadline = self.worker.now + self.worker.timeouts.write / 2
        if self.front is not None:
            self.front.full()

    def resume_writing(self) -> None:
        self.full = False
        self.write_deadline = math.inf
        if self.front is not None:
            self.front.ready()

    # the handshake

    def _hello(self, data: bytes) -> None:
        early = self._early = self._early + data if self._early else data
        if self._waiting:
            if len(early) > self.worker.limits.client_hello * 2:
                self.alert(INTERNAL_ERROR, "flooded")  # while it waits for a certificate a client has nothing to say
            return
        try:
            hello = parse(early, self.worker.limits.client_hello)
        except HelloError as error:
            self.worker.reception.heard(self)
            if error.plain_http:
                self.worker.count_handshake("plain_http")
                self.transport.write(plain_http_answer())
                self._linger()
            else:
                self.alert(error.alert, "refused")
            return
        if hello is not None:
            self._hello_complete(hello)

    def _hello_complete(self, hello: ClientHello) -> None:
        worker = self.worker
        worker.reception.heard(self)
        name = hello.server_name or worker.config.tls.default_hostname
        if not name:
            self.alert(UNRECOGNIZED_NAME, "no_name")
            return
        self.server_name = name
        self.hello = hello
        if hello.acme_challenge:
            worker.presenting.present_challenge(self, name)
            return
        if hello.alpn and worker.certificates.protocols.isdisjoint(hello.alpn):
            # RFC 7301 section 3.2. OpenSSL under Python's ssl would go on without a protocol, and HTTP/1.1 would be spoken to
            # somebody who never offered it (ALPACA's way in). Who sends no list at all speaks HTTP/1.1.
            self.alert(NO_APPLICATION_PROTOCOL, "no_protocol")
            return
        worker.presenting.present(self, name)

    def waits(self) -> None:
        """The handshake waits for a certificate: its own time stands still meanwhile."""
        self._waiting = True
        self._handshake_left = max(1.0, self.deadline - self.worker.now)
        self.deadline = math.inf  # worker.obtaining ends it

    def waited(self) -> None:
        """The wait is over; `wrap` or `alert` follows."""
        self._waiting = False
        self.deadline = self.worker.now + self._handshake_left

    def wrap(self, context: ssl.SSLContext, names: tuple[str, ...]) -> None:
        """Goes on with TLS under this context, whose certificate covers `names`."""
        if self.closing:
            return
        self._names = names
        self.hello = None
        self._tls = tls = TlsLayer(context)
        early, self._early = self._early, b""
        self._feed(tls, memoryview(early))

    def alert(self, alert: int, result: str) -> None:
        """Ends the handshake with one alert, before any TLS state exists."""
        if not self.closing:
            self.worker.count_handshake(result)
            self.transport.write(alert_record(alert))
            self._linger()

    def _feed(self, tls: TlsLayer, ciphertext: memoryview) -> None:
        established = tls.established
        try:
            plain = tls.feed(ciphertext)
            if not established:
                established = tls.established
                if established:
                    self._established(tls)
                    self._ticket_waits = self.tls_version == "TLSv1.3"
                elif self._next is None and tls.alpn == "h2":
                    # Before the handshake's end, with which OpenSSL wipes 21 KB that whoever comes next then gets, written to.
                    # libnghttp2 has 16 KB for its largest frame, of which most connections never touch more than a page.
                    self._next = Front2(self)
            output = tls.output
            if output:
                if self._ticket_waits and output <= TICKET_MAX:
                    self._ticket_waits = not plain  # what is left from here on is something else
                else:
                    self.transport.write(tls.pending())
        except ssl.SSLError:
            self._tls_failed(tls)
            return
        front = self.front
        if front is None:
            return
        if plain:
            if isinstance(plain, memoryview):
                front.received_view(plain)
            else:
                front.received(plain)
        if tls.peer_closed and not self.closing:
            front.client_closed()

    def _established(self, tls: TlsLayer) -> None:
        worker = self.worker
        front: Front
        alpn = tls.alpn
        if alpn == "acme-tls/1":
            worker.count_handshake("challenge")
            self.close()
            return
        worker.count_handshake("resumed" if tls.resumed else "full")
        self.tls_version = tls.version
        self.deadline = worker.now + worker.timeouts.client_header
        if alpn == "h2":
            self.protocol = "h2"
            front, self._next = self._next or Front2(self), None
            front.flush_soon()
        else:
            self.protocol = "h1"
            front = Front1(self)
        self.front = front
        if worker.draining:
            front.drain()

    def _tls_failed(self, tls: TlsLayer) -> None:
        self.transport.write(tls.last_words())
        self._close()

    # the front's side

    @property
    def client_closed(self) -> bool:
        """Whether the client has ended its side; it may still read."""
        return self._tls is not None and self._tls.peer_closed

    def covers(self, host: str) -> bool:
        """Whether the certificate that was presented is good for another hostname too."""
        return host in self._names or wildcard_of(host) in self._names

    def send(self, data: bytes) -> None:
        """Sends plaintext."""
        tls = self._tls
        if tls is None or self.closing:
            return
        if len(data) <= STEP:
            self.transport.write(tls.seal(data))
        else:
            self.transport.writelines(tls.seal_all(data))

    def send_last(self, data: bytes) -> None:
        """Sends plaintext and ends the connection in good order: what is sent in one packet costs one."""
        tls = self._tls
        if tls is None or self.closing:
            return
        if len(data) <= STEP:
            self.transport.write(tls.seal_last(data))
            self._close()
        else:
            self.send(data)
            self.close()

    def send_large(self, data: bytes | memoryview) -> None:
        """Sends plaintext that may be a view of the worker's buffer."""
        tls = self._tls
        if tls is not None and not self.closing:
            self.transport.writelines(tls.seal_all(data))

    @property
    def untaken(self) -> int:
        """Bytes that were sent and that the client's end has not acknowledged."""
        queued = array.array("i", [0])
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        return queued[0] + self.transport.get_write_buffer_size()

    def expect(self, seconds: float) -> None:
        """What the client must do next it must do within this time; else `front.expired`."""
        self.deadline = self.worker.now + seconds

    def brought(self, size: int) -> None:
        """So much of a request's body came: no timer, but a deadline that each byte puts off (limits.client_rate)."""
        worker = self.worker
        self.deadline = pace.put_off(self.deadline, worker.now, size, worker.byte_seconds, worker.timeouts.client_body)

    def expect_nothing(self) -> None:
        """The client need do nothing now."""
        self.deadline = math.inf

    def pause_reading(self) -> None:
        """Reads no more, so that the client is stalled."""
        if self._reading and not self.closing:
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        if not self._reading and not self.closing:
            self._reading = True
            self.transport.resume_reading()

    def drain(self) -> None:
        """Ends as soon as nothing is under way. A handshake may end first."""
        if self.front is not None:
            self.front.drain()

    def expired(self) -> None:
        """The sweep: a deadline has passed."""
        write = self.worker.timeouts.write
        if self._lingering and self.front is not None and self._takes(write):  # who got an alert alone has no more time
            self.write_deadline = self.deadline = self.worker.now + write
        elif self.closing or self.front is None:
            if self.front is None and not self.closing:
                self.worker.count_handshake("timeout")
            self.abort()
        elif self.full and self.write_deadline < self.worker.now:
            if self._takes(write / 2):
                self.write_deadline = self.worker.now + write / 2
            else:
                self.worker.count_timeout("write")
                self.abort()
        else:
            self.front.expired()

    def close(self, *, linger: bool = False) -> None:
        """Ends the connection in good order, once everything is sent. `linger`: the client may still be sending."""
        if self.closing:
            return
        if self._tls is not None:
            self.transport.write(self._tls.close())
        if linger:
            self._linger()
        else:
            self._close()

    def cut(self) -> None:
        """Ends the connection without close_notify, so that the client sees the truncation."""
        self._close()

    def abort(self) -> None:
        """Drops the connection with what was not sent yet."""
        self.closing = True
        self.transport.abort()

    def _close(self) -> None:
        # What is queued still goes out, but not to a client that never takes it: the transport waits without end.
        self.closing = True
        self.deadline = self.worker.now + self.worker.timeouts.write
        self.transport.close()

    def _linger(self) -> None:
        """Sends FIN and swallows what still comes, for a bounded time."""
        self.closing = True
        self._lingering = True
        self._sent_left = math.inf
        self.write_deadline = self.deadline = self.worker.now + LINGER_SECONDS
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()
        self.transport.write_eof()

    def _takes(self, seconds: float) -> bool:
        """Whether the client has yet to take some of what was sent, and has taken enough in the seconds since this was last
        asked. What the kernel holds counts: there a whole download may lie. Yes, the first time."""
        before, self._sent_left = self._sent_left, self.untaken
        return self._sent_left > 0 and pace.enough(before - self._sent_left, self.worker.byte_seconds, seconds)

    # towards the origin

    def destination_for(self, request: RequestHead, route: Route) -> tuple[Destination, bytes | None]:
        """See forwarding.destination. Kept for the next request, where that cannot differ."""
        worker = self.worker
        destination, request_id = forwarding.destination(
            self.peer, request, route, trusted=self.trusted, own_host=worker.own_host
        )
        if not self.trusted and not route.fresh_until:
            limited = route.rates is not None and not (self.caller is not None and self.caller.exempt)
            if limited or route.encodings is not None:
                self.limited = destination
            else:
                self.destination = destination
        return destination, request_id
