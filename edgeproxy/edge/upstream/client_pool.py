"""A pool for an origin that gets the PROXY protocol: each connection is of one client, and lent for nobody else's requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from edgeproxy.edge.accept import peer_of
from edgeproxy.edge.proxy_protocol import Endpoints, build
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.pool import Pool

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.exchange import Exchange
    from edgeproxy.edge.upstream.pool import Waiter
    from edgeproxy.edge.upstream.target import Target
    from edgeproxy.edge.worker import Worker

NOWHERE: Final = "0.0.0.0"  # noqa: S104 - said, not bound


class ClientPool(Pool):
    """Connections are kept by the client's address, under the bounds that all clients share. `idle` stays empty, so that every
    request comes to `wait`, which knows whose it is. A client's connections say the port of the one that they were made for."""

    def __init__(self, worker: Worker, target: Target) -> None:
        super().__init__(worker, target)
        self._kept: dict[OriginConnection, str] = {}
        """Whose idle connections there are, the oldest first."""
        self._kept_of: dict[str, list[OriginConnection]] = {}
        self._owners: dict[OriginConnection, str] = {}
        self._making: dict[OriginConnection, str] = {}
        """Attempts under way, and for whom."""
        self._attempts: dict[str, int] = {}
        """How many of a client there are."""

    def wait(self, waiter: Waiter) -> None:
        if self._leaves_alone(waiter):
            return
        if kept := self._kept_of.get(_client(waiter).peer):
            connection = kept[-1]
            self._take(connection)
            waiter.connected(connection)
            return
        if self._kept and self._room() <= 0:
            next(iter(self._kept)).abandon()  # somebody else's, who does not need it now
        self._queue(waiter)

    def release(self, connection: OriginConnection) -> None:
        self.answered()
        self._offer(connection)

    def gone(self, connection: OriginConnection) -> None:
        self._take(connection)
        self._owners.pop(connection, None)
        super().gone(connection)

    def _take(self, connection: OriginConnection) -> None:
        owner = self._kept.pop(connection, None)
        if owner is not None:
            kept = self._kept_of[owner]
            kept.remove(connection)
            if not kept:
                del self._kept_of[owner]

    def _offer(self, connection: OriginConnection) -> None:
        owner = self._owners[connection]
        for entry in self._waiting:
            if _client(entry[1]).peer == owner:
                self._waiting.remove(entry)
                entry[1].connected(connection)
                return
        if self._worker.draining or self.breaker.open or (self._waiting and self._room() <= 0):
            connection.abandon()  # its place is another client's
            return
        if len(self._kept) >= self._idle_limit:
            next(iter(self._kept)).abandon()
        self._kept[connection] = owner
        self._kept_of.setdefault(owner, []).append(connection)

    def _connect_for_waiting(self) -> None:
        room = self._room()
        if room <= 0:
            return
        begun: dict[str, int] = {}
        for _, waiter in list(self._waiting):
            client = _client(waiter)
            begun[client.peer] = begun.get(client.peer, 0) + 1
            if begun[client.peer] > self._attempts.get(client.peer, 0):
                self._attempts[client.peer] = begun[client.peer]
                preface = build(self._worker.config.origin.proxy_protocol, endpoints(client))
                connection = OriginConnection(self._worker, self)
                self._owners[connection] = self._making[connection] = client.peer
                self._begin(connection, preface)
                room -= 1
                if not room:
                    return

    def _ended(self, connection: OriginConnection) -> None:
        owner = self._making.pop(connection)
        if connection not in self.open:
            self._owners.pop(connection, None)
        if left := self._attempts[owner] - 1:
            self._attempts[owner] = left
        else:
            del self._attempts[owner]

    def _next_for(self, connection: OriginConnection) -> Waiter | None:
        owner = self._making[connection]
        for entry in self._waiting:
            if _client(entry[1]).peer == owner:
                self._waiting.remove(entry)
                return entry[1]
        return None


def _client(waiter: Waiter) -> Connection:
    return cast("Exchange", waiter).connection


def endpoints(client: Connection) -> Endpoints:
    """Both ends of a client's connection: what a balancer said, or what the kernel says."""
    if client.proxied is not None:
        return client.proxied
    transport = client.transport
    port = (transport.get_extra_info("peername") or ("", 0))[1]
    here = transport.get_extra_info("sockname") or (NOWHERE, 0)
    return Endpoints(client.peer, port, peer_of(here), here[1])
