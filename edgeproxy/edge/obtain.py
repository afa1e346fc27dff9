"""Handshakes that wait for a certificate, and what the worker asks the controller for them."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from edgeproxy.buckets import Buckets, network_of_literal
from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.link.messages import LinkMessage, Obtain, Obtained

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection

BURST_SECONDS = 10
"""Seconds' worth of questions (limits.unknown_names) that a network which was quiet may have at once: a page of a new
customer's that takes its parts from many names, or an office that comes back from lunch."""

SHARE = 4
"""Once half of the places are taken, a network that has a SHAREth of all gets no more: it can open as many connections as it
likes for one name whose answer takes long, and others are to find a place."""
LEAST_SHARE = 8
"""Places that a network may always have, as far as there are any."""

CLOCKS_APART = 1.0
"""Seconds by which the controller may hold a deadline for over too early: it waits by another clock than it computes with."""


class _Asked:
    """One name that was asked for, and the connections that wait for it."""

    __slots__ = ("connections", "hostname", "request", "until")

    def __init__(self, hostname: str, request: Obtain) -> None:
        self.hostname = hostname
        self.request = request
        self.until = request.deadline
        """Unix time when the last of them stops waiting: whoever comes later waits longer than the request says."""
        self.connections: dict[Connection, float] = {}


class Obtaining:
    """One question per hostname however many handshakes wait for it, asked again whenever the controller is another one.

    `send` gives a message to the controller if there is one; `present` goes on with a handshake when its name may have a
    certificate now; `deny` remembers an answer for some seconds. `wait` is how long a handshake may wait, in seconds, and
    `bound` how many may wait at once, and how many questions may be open. `unknown` is how many names a second that the map
    does not know one client network may have asked about; `secret` is random.
    """

    def __init__(
        self,
        *,
        send: Callable[[LinkMessage], bool],
        present: Callable[[Connection, str], None],
        deny: Callable[[str, float, bool], None],
        wait: float,
        bound: int,
        unknown: int,
        secret: bytes,
    ) -> None:
        self._send = send
        self._present = present
        self._deny = deny
        self._wait = wait
        self._bound = bound
        self._unknown = Buckets(float(unknown), float(unknown * BURST_SECONDS), secret)
        self._asked: dict[str, _Asked] = {}
        self._by_id: dict[int, _Asked] = {}
        self._last = 0
        self.waiting = 0
        self._waiting_of: collections.Counter[bytes] = collections.Counter()
        """Of them those of each network; clients behind trusted proxies count for none."""

    def join(self, connection: Connection, now: float, *, known: bool) -> None:
        """A handshake for `connection.server_name` waits from now on; or is ended, when too many do, or too many of its
        network, or when the map does not have the name (`known`) and that network asked about too many such names."""
        network = _network(connection)
        if self.waiting >= self._bound or (network and self._has_its_share(network)):
            connection.alert(INTERNAL_ERROR, "overloaded")
            return
        hostname = connection.server_name
        until = time.time() + self._wait
        asked = self._asked.get(hostname)
        if asked is None:
            if not known and network and not self._unknown.take(network, now):
                connection.alert(INTERNAL_ERROR, "limited")
                return
            asked = self._ask(hostname, connection.peer, until)
        asked.until = until
        connection.waits()
        asked.connections[connection] = now + self._wait
        self.waiting += 1
        if network:
            self._waiting_of[network] += 1

    def leave(self, connection: Connection) -> None:
        """The client of a waiting handshake has gone. The question stands: the next visitor will want the answer."""
        asked = self._asked.get(connection.server_name)
        if asked is not None and asked.connections.pop(connection, None) is not None:
            self._ended(connection)

    def again(self) -> None:
        """There is another controller: it is asked what the last one did not answer."""
        for asked in self._asked.values():
            asked.request = msgspec.structs.replace(asked.request, deadline=asked.until)
            self._send(asked.request)

    def answered(self, message: Obtained) -> None:
        """The controller's answer."""
        asked = self._by_id.pop(message.id, None)
        if asked is None:
            return
        del self._asked[asked.hostname]
        if _ran_out(asked, message) and asked.connections:
            again = self._ask(asked.hostname, asked.request.client_ip, asked.until)
            again.connections = asked.connections
            return
        if message.limited:
            self._limited(asked)
            return
        if not message.ok:
            self._deny(asked.hostname, message.remember, message.denied)
        connections, asked.connections = asked.connections, {}
        for connection in connections:
            self._ended(connection)
        for connection in connections:
            connection.waited()
            if message.ok:
                self._present(connection, asked.hostname)
            else:
                alert = UNRECOGNIZED_NAME if message.denied else INTERNAL_ERROR
                connection.alert(alert, "denied" if message.denied else "no_certificate")

    def _limited(self, asked: _Asked) -> None:
        """The network of the client whose address was told may have no more: nobody else's handshake ends with theirs."""
        theirs = network_of_literal(asked.request.client_ip)
        others: dict[Connection, float] = {}
        for connection, deadline in asked.connections.items():
            if network_of_literal(connection.peer) != theirs:
                others[connection] = deadline
            else:
                self._ended(connection)
                connection.waited()
                connection.alert(INTERNAL_ERROR, "limited")
        if others:
            again = self._ask(asked.hostname, next(iter(others)).peer, asked.until)
            again.connections = others

    def sweep(self, now: float) -> None:
        """Ends waits that are over, and questions that nobody waits for and nobody will answer any more."""
        unix = time.time()
        for asked in list(self._asked.values()):
            for connection in [c for c, deadline in asked.connections.items() if deadline < now]:
                del asked.connections[connection]
                self._ended(connection)
                connection.waited()
                connection.alert(INTERNAL_ERROR, "no_certificate_in_time")
            if not asked.connections and asked.until < unix:
                self._forget(asked)

    def _has_its_share(self, network: bytes) -> bool:
        return self.waiting >= self._bound // 2 and self._waiting_of[network] >= max(self._bound // SHARE, LEAST_SHARE)

    def _ended(self, connection: Connection) -> None:
        """A handshake waits no longer."""
        self.waiting -= 1
        if network := _network(connection):
            self._waiting_of[network] -= 1
            if not self._waiting_of[network]:
                del self._waiting_of[network]

    def _ask(self, hostname: str, client_ip: str, until: float) -> _Asked:
        if len(self._asked) >= self._bound:
            # A stranger may name many hostnames and leave at once. Fewer than the bound wait, so nobody does for some.
            self._forget(next(asked for asked in self._asked.values() if not asked.connections))
        self._last += 1
        request = Obtain(id=self._last, hostname=hostname, client_ip=client_ip, deadline=until)
        asked = self._asked[hostname] = self._by_id[request.id] = _Asked(hostname, request)
        self._send(request)
        return asked

    def _forget(self, asked: _Asked) -> None:
        """No longer expects an answer."""
        del self._asked[asked.hostname]
        del self._by_id[asked.request.id]


def _network(connection: Connection) -> bytes:
    """The client's network; b"" behind a trusted proxy, whose address many clients have."""
    return b"" if connection.trusted else network_of_literal(connection.peer)


def _ran_out(asked: _Asked, message: Obtained) -> bool:
    """Whether the controller only says that the time of the question is over, while some came later and wait on."""
    over = asked.request.deadline <= time.time() + CLOCKS_APART
    return over and asked.until > asked.request.deadline and not (message.ok or message.denied or message.remember)
