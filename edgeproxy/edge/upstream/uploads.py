"""Requests whose body has yet to come: how many of an origin's connections they may hold, and who waits for a place.

The origin hears of a request when its head is here, so that a body costs no memory and no delay; so a client that brings its
body slowly holds a connection for as long as it may be slow. Such requests have their share of the connections together, and
a client network its share of that: whoever sends no body, or has sent all of it, never waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from edgeproxy.limits import UPLOADS_SHARE

if TYPE_CHECKING:
    from edgeproxy.edge.exchange import Exchange
    from edgeproxy.edge.upstream.connection import OriginConnection
    from edgeproxy.edge.upstream.pool import Pool, Waiter
    from edgeproxy.edge.worker import Worker

SHARE: Final = 4
"""Once half of the places are taken, a client network that has a SHAREth of all gets no more."""
LEAST_SHARE: Final = 8
"""Places that a network may always have, as far as there are any."""
GRANTS: Final = 64
"""Requests that go on in one turn of the loop: where the origin is left alone each costs a page at once."""


class Uploads:
    """The places of one pool. A place is an exchange's until it has its connection, and that connection's from then on:
    it ends with the body, or with the connection."""

    def __init__(self, worker: Worker, pool: Pool) -> None:
        self._worker = worker
        self._pool = pool
        self._most = max(1, worker.limits.origin_connections // UPLOADS_SHARE)
        self._holders: dict[Waiter | OriginConnection, bytes] = {}
        """And the network of each; b"" behind a trusted proxy, whose address many clients have."""
        self._held_by: dict[bytes, int] = {}
        self._waiting: dict[bytes, dict[Exchange, float]] = {}
        """Until when who waits, by network: they take turns, so that no crowd of one makes others wait for all of it."""
        self._due = False

    @property
    def unused(self) -> bool:
        """Nobody has a place, or waits for one."""
        return not (self._holders or self._waiting)

    def begin(self, exchange: Exchange) -> None:
        """A request with a body is to be sent: now, or when there is a place for it, or its body is here before that."""
        if exchange.request.upgrade or exchange.request_whole:  # a WebSocket has no end to come
            self._go_on(exchange)
            return
        network = exchange.network
        if network not in self._waiting and self._has_place(network):
            self._place(exchange, network)
        else:
            until = self._worker.now + self._worker.timeouts.origin_connect
            self._waiting.setdefault(network, {})[exchange] = until

    def came(self, exchange: Exchange) -> None:
        """The whole body is here before there was a connection for it: it needs no place."""
        if self._waiting and self._forget(exchange):
            self._go_on(exchange)
        else:
            self.ended(exchange)

    def lent(self, exchange: Exchange, connection: OriginConnection) -> None:
        """The exchange has its connection; the body comes by and by."""
        network = self._holders.pop(exchange, None)
        if network is not None:
            self._holders[connection] = network

    def ended(self, holder: Waiter | OriginConnection) -> None:
        """The body is whole, or nobody wants it any more. For those without a place: nothing."""
        network = self._holders.pop(holder, None)
        if network is None:
            return
        left = self._held_by[network] - 1
        if left:
            self._held_by[network] = left
        else:
            del self._held_by[network]
        self._grant_soon()

    def gone(self, waiter: Waiter) -> bool:
        """A request of any kind is over before it had a connection. Whether it waited here, and so nowhere else."""
        waited = bool(self._waiting) and self._forget(cast("Exchange", waiter))
        if not waited:
            self.ended(waiter)
        return waited

    def sweep(self, now: float) -> None:
        """Ends waits that took too long."""
        for network, waiting in list(self._waiting.items()):
            while waiting and next(iter(waiting.values())) < now:
                exchange = next(iter(waiting))
                del waiting[exchange]
                exchange.displaced(f"slow uploads have their share of the connections to {self._pool.target}")
            if not waiting:
                del self._waiting[network]

    def _has_place(self, network: bytes) -> bool:
        """Whether a request of this network may go on."""
        taken, most = len(self._holders), self._most
        if taken >= most:
            return False
        crowded = bool(network) and taken >= most // 2
        return not (crowded and self._held_by.get(network, 0) >= max(most // SHARE, LEAST_SHARE))

    def _place(self, exchange: Exchange, network: bytes) -> None:
        self._holders[exchange] = network
        self._held_by[network] = self._held_by.get(network, 0) + 1
        self._go_on(exchange)

    def _go_on(self, exchange: Exchange) -> None:
        pool = self._pool
        if pool.idle:
            exchange.connected(pool.idle.pop())
        else:
            pool.wait(exchange)

    def _forget(self, exchange: Exchange) -> bool:
        """Takes the exchange from those who wait; whether it was one."""
        network = exchange.network
        waiting = self._waiting.get(network)
        if waiting is None or waiting.pop(exchange, None) is None:
            return False
        if not waiting:
            del self._waiting[network]
        return True

    def _grant_soon(self) -> None:
        """In a turn of its own: who goes on may be refused at once, which leaves its place again."""
        if self._waiting and not self._due:
            self._due = True
            self._worker.loop.call_soon(self._grant)

    def _grant(self) -> None:
        self._due = False
        for _ in range(GRANTS):
            if len(self._holders) >= self._most:
                return
            network = next(filter(self._has_place, self._waiting), None)  # few networks can have their share, and no more
            if network is None:
                return
            waiting = self._waiting.pop(network)
            exchange = next(iter(waiting))
            del waiting[exchange]
            if waiting:
                self._waiting[network] = waiting  # behind the others
            self._place(exchange, network)
        self._grant_soon()
