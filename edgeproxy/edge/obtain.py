"""Handshakes that wait for a certificate, and what the worker asks the controller for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.link.messages import LinkMessage, Obtain, Obtained

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection


class _Asked:
    """One name that was asked for, and the connections that wait for it."""

    __slots__ = ("connections", "deadlines", "hostname", "request")

    def __init__(self, hostname: str, request: Obtain) -> None:
        self.hostname = hostname
        self.request = request
        self.connections: dict[Connection, float] = {}


class Obtaining:
    """One question per hostname however many handshakes wait for it, asked again whenever the controller is another one.

    `send` gives a message to the controller if there is one; `present` goes on with a handshake when its name may have a
    certificate now; `deny` remembers an answer for some seconds. `wait` is how long a handshake may wait, in seconds, and
    `bound` how many may wait at once.
    """

    def __init__(
        self,
        *,
        send: Callable[[LinkMessage], bool],
        present: Callable[[Connection, str], None],
        deny: Callable[[str, float, bool], None],
        wait: float,
        bound: int,
    ) -> None:
        self._send = send
        self._present = present
        self._deny = deny
        self._wait = wait
        self._bound = bound
        self._asked: dict[str, _Asked] = {}
        self._by_id: dict[int, _Asked] = {}
        self._last = 0
        self.waiting = 0

    def join(self, connection: Connection, now: float) -> None:
        """A handshake for `connection.server_name` waits from now on; or is ended, when too many do."""
        if self.waiting >= self._bound:
            connection.alert(INTERNAL_ERROR, "overloaded")
            return
        hostname = connection.server_name
        asked = self._asked.get(hostname)
        if asked is None:
            self._last += 1
            request = Obtain(id=self._last, hostname=hostname, client_ip=connection.peer, deadline=time.time() + self._wait)
            asked = self._asked[hostname] = self._by_id[request.id] = _Asked(hostname, request)
            self._send(request)
        connection.waits()
        asked.connections[connection] = now + self._wait
        self.waiting += 1

    def leave(self, connection: Connection) -> None:
        """The client of a waiting handshake has gone. The question stands: the next visitor will want the answer."""
        asked = self._asked.get(connection.server_name)
        if asked is not None and asked.connections.pop(connection, None) is not None:
            self.waiting -= 1

    def again(self) -> None:
        """There is another controller: it is asked what the last one did not answer."""
        for asked in self._asked.values():
            self._send(asked.request)

    def answered(self, message: Obtained) -> None:
        """The controller's answer."""
        asked = self._by_id.pop(message.id, None)
        if asked is None:
            return
        del self._asked[asked.hostname]
        if not message.ok:
            self._deny(asked.hostname, message.remember, message.denied)
        connections, asked.connections = asked.connections, {}
        self.waiting -= len(connections)
        for connection in connections:
            connection.waited()
            if message.ok:
                self._present(connection, asked.hostname)
            else:
                alert = UNRECOGNIZED_NAME if message.denied else INTERNAL_ERROR
                connection.alert(alert, "denied" if message.denied else "no_certificate")

    def sweep(self, now: float) -> None:
        """Ends waits that are over, and questions that nobody waits for and nobody will answer any more."""
        unix = time.time()
        for asked in list(self._asked.values()):
            for connection in [c for c, deadline in asked.connections.items() if deadline < now]:
                del asked.connections[connection]
                self.waiting -= 1
                connection.waited()
                connection.alert(INTERNAL_ERROR, "no_certificate_in_time")
            if not asked.connections and asked.request.deadline < unix:
                del self._asked[asked.hostname]
                self._by_id.pop(asked.request.id, None)
