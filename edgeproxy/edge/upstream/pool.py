"""Keep-alive connections to one origin, bounded, with a queue of who waits for one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import ssl
from collections import deque
from typing import TYPE_CHECKING, Protocol

from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.dialing import Dialer
from edgeproxy.edge.upstream.target import Target

if TYPE_CHECKING:
    from edgeproxy.edge.worker import Worker

IDLE_POOL_SECONDS = 300.0
"""An origin that nobody asked for this long is forgotten with its pool."""


class Waiter(Protocol):
    """Who waits for a connection (exchange.Exchange)."""

    def connected(self, connection: OriginConnection) -> None:
        """Here is one; call `lend` on it at once."""

    def not_connected(self, reason: str, *, timeout: bool) -> None:
        """There is none to be had."""


class Pool:
    """The connections of one worker to one target."""

    def __init__(self, worker: Worker, target: Target) -> None:
        self._worker = worker
        self._idle_limit = worker.limits.origin_idle
        self.target = target
        self._dialer = Dialer(worker, target)
        self.idle: list[OriginConnection] = []
        """Last used last. Take one from the end, so that the rest can grow old and go; where there is none, `wait`."""
        self.open: set[OriginConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[float, Waiter]] = deque()
        self.beginning = Beginning()
        """What its answers have in common."""
        self.used_at = worker.now
        self.closed = False

    def wait(self, waiter: Waiter) -> None:
        """Calls `waiter` back when a connection is there, or cannot be had in `timeouts.origin_connect`."""
        self._waiting.append((self._worker.now + self._worker.timeouts.origin_connect, waiter))
        self._connect_for_waiting()

    def forget(self, waiter: Waiter) -> None:
        """The waiter has gone."""
        for entry in self._waiting:
            if entry[1] is waiter:
                self._waiting.remove(entry)
                return

    def release(self, connection: OriginConnection) -> None:
        """A connection whose answer is complete."""
        if self._waiting:
            self._waiting.popleft()[1].connected(connection)
        elif len(self.idle) < self._idle_limit and not self._worker.draining:
            self.idle.append(connection)
        else:
            connection.abandon()

    def gone(self, connection: OriginConnection) -> None:
        """A connection that is closed."""
        self.open.discard(connection)
        with contextlib.suppress(ValueError):
            self.idle.remove(connection)
        if self._waiting:
            self._connect_for_waiting()

    def sweep(self, now: float) -> bool:
        """Ends what is past its deadline; False when the whole pool is of no more use."""
        while self._waiting and self._waiting[0][0] < now:
            self._waiting.popleft()[1].not_connected(f"no connection to {self.target} within the time allowed", timeout=True)
        for connection in list(self.open):
            connection.look(now)
        if self.open or self._waiting or self._connecting:
            self.used_at = now
        return now - self.used_at < IDLE_POOL_SECONDS

    def close(self) -> None:
        """Ends connections that nobody uses and attempts to connect; the pool is not used any more."""
        self.closed = True
        for connection in [each for each in self.open if each.borrower is None]:
            connection.abandon()
        for task in list(self._connecting):
            task.cancel()

    def _connect_for_waiting(self) -> None:
        for _ in range(min(self._room(), len(self._waiting) - len(self._connecting))):
            self._begin(OriginConnection(self._worker, self))

    def _room(self) -> int:
        """Further connections that may be made."""
        return self._worker.limits.origin_connections - len(self.open) - len(self._connecting)

    def _begin(self, connection: OriginConnection, preface: bytes = b"") -> None:
        task = self._worker.loop.create_task(self._connect(connection, preface))
        self._connecting.add(task)
        task.add_done_callback(functools.partial(self._attempted, connection))

    def _attempted(self, connection: OriginConnection, task: asyncio.Task[None]) -> None:
        """An attempt has ended. Who began to wait while it counted as one under way has none yet."""
        self._connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._worker.log.error(f"An unexpected error while {self.target} was connected to: {error!r}")
            self._failed(
                connection, f"{self.target} cannot be reached", timeout=False
            )  # or it would be tried again without a pause
        self._ended(connection)
        if self._waiting and not self.closed:
            self._connect_for_waiting()

    async def _connect(self, connection: OriginConnection, preface: bytes) -> None:
        try:
            async with asyncio.timeout(self._worker.timeouts.origin_connect):
                await self._dialer.dial(connection, preface)
        except TimeoutError:
            self._failed(connection, f"{self.target} did not accept a connection in time", timeout=True)
        except ssl.SSLError as error:
            detail = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or str(error)
            self._failed(connection, f"TLS with {self.target} failed: {detail}", timeout=False)
        except OSError as error:
            self._failed(connection, f"{self.target} cannot be reached: {error.strerror or error}", timeout=False)
        else:
            if connection.alive:
                self.open.add(connection)
                self._offer(connection)
            else:
                self._failed(connection, f"{self.target} closed the connection at once", timeout=False)

    def _failed(self, connection: OriginConnection, reason: str, *, timeout: bool) -> None:
        # One failed attempt fails one waiter: the others have attempts of their own.
        waiter = self._next_for(connection)
        if waiter is not None:
            waiter.not_connected(reason, timeout=timeout)

    # what a pool does otherwise that keeps clients apart

    def _offer(self, connection: OriginConnection) -> None:
        """A connection on which nothing was asked yet."""
        self.release(connection)

    def _ended(self, connection: OriginConnection) -> None:
        """The attempt to make this connection is over."""

    def _next_for(self, connection: OriginConnection) -> Waiter | None:
        """Whom the failure to make this connection is told, taken from the queue."""
        return self._waiting.popleft()[1] if self._waiting else None


def networks(allow: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The CIDRs among the entries of `origin.allow`; the others are names."""
    found = []
    for entry in allow:
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_network(entry))
    return found
