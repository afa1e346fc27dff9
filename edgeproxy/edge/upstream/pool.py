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
from edgeproxy.edge.upstream import breaker, names
from edgeproxy.edge.upstream.budget import RetryBudget
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.dialing import Dialer
from edgeproxy.edge.upstream.pins import PinError
from edgeproxy.edge.upstream.shares import crowd
from edgeproxy.edge.upstream.target import Target
from edgeproxy.edge.upstream.trust import what_broke
from edgeproxy.edge.upstream.uploads import Uploads
from edgeproxy.errors import EdgeError, Fault

if TYPE_CHECKING:
    from edgeproxy.edge.worker import Worker

LOOK_MOST = 1_024
"""Connections that are looked at in one sweep; of more, each has its turn in a later one (worker.SWEEP_MOST)."""

IDLE_POOL_SECONDS = 300.0
"""An origin that nobody asked for this long is forgotten with its pool."""


class Waiter(Protocol):
    """Who waits for a connection (exchange.Exchange)."""

    @property
    def network(self) -> bytes:
        """Of the client, packed; b"" where many have its address."""

    def displaced(self, reason: str) -> None:
        """Its client's network has more than its share."""

    def connected(self, connection: OriginConnection) -> None:
        """Here is one; call `lend` on it at once."""

    def not_connected(self, reason: str, *, timeout: bool) -> None:
        """There is none to be had."""

    def left_alone(self, reason: str, seconds: int) -> None:
        """There is none, and nobody tries: the origin has failed too often. It is tried again in so many seconds."""


class Pool:
    """The connections of one worker to one target."""

    def __init__(self, worker: Worker, target: Target) -> None:
        self._worker = worker
        self._idle_limit = self._idle_room = worker.limits.origin_idle
        """How many are kept; and 0 for the latter where the next answer is news, so that it costs nothing where none is."""
        self.target = target
        # The controller behind the API is back in a moment, and has words of its own.
        threshold = 0 if target.unix == worker.config.admin.api_socket else worker.limits.origin_failures
        self.breaker = breaker.Breaker(threshold, worker.timeouts.origin_retry, breaker.PERSISTENT)
        self._retries = RetryBudget()
        self.asked = 0
        """Requests that its connections were asked, as far as that was counted."""
        self._asked_gone = 0
        """Requests that connections which are gone had been asked since they were last looked at."""
        self._round: list[OriginConnection] = []
        """Who is looked at next; emptied from the end."""
        self._dialer = Dialer(worker, target)
        self.idle: list[OriginConnection] = []
        """Last used last. Take one from the end, so that the rest can grow old and go; where there is none, `wait`."""
        self.open: set[OriginConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[float, Waiter]] = deque()
        self.uploads = Uploads(worker, self)
        """Where a request begins that has a body."""
        self.beginning = Beginning()
        """What its answers have in common."""
        self.used_at = worker.now
        self._look_at = worker.now + names.LOOK_SECONDS
        self.closed = False

    @property
    def unused(self) -> bool:
        """Nothing is connected, and nobody waits."""
        return not (self.open or self._waiting or self._connecting) and self.uploads.unused

    def wait(self, waiter: Waiter) -> None:
        """Calls `waiter` back when a connection is there, or cannot be had in `timeouts.origin_connect`."""
        if not self._leaves_alone(waiter):
            self._queue(waiter)

    def _queue(self, waiter: Waiter) -> None:
        self._waiting.append((self._worker.now + self._worker.timeouts.origin_connect, waiter))
        self._connect_for_waiting()

    def forget(self, waiter: Waiter) -> None:
        """The waiter has gone."""
        if self.uploads.gone(waiter):
            return
        for entry in self._waiting:
            if entry[1] is waiter:
                self._waiting.remove(entry)
                return

    def release(self, connection: OriginConnection) -> None:
        """A connection whose answer is complete."""
        if self._waiting:
            self.answered()
            self._waiting.popleft()[1].connected(connection)
        elif len(self.idle) < self._idle_room and not self._worker.draining:
            self.idle.append(connection)
        else:
            self.answered()
            self._offer(connection)

    def answered(self) -> None:
        """A request was answered: told by connections that do not come back; for others see `release`."""
        if self.breaker.failures:
            self._idle_room = self._idle_limit
            if self.breaker.answered():
                self._worker.access.circuit("closed")
                self._worker.log.info(f"{self.target} answers again.")

    def failed(self, reason: str) -> None:
        """A request was not answered, by the origin's fault."""
        worker = self._worker
        self._idle_room = 0
        if not self.breaker.failed(worker.now):
            return
        worker.access.circuit("opened")
        worker.log.warning(
            f"{self.target} has failed {self.breaker.failures} times in a row: it is left alone but for one request every "
            f"{worker.timeouts.origin_retry}, and others get 503, until it answers. Look there; the last reason was: {reason}."
        )
        waiting, self._waiting = self._waiting, deque()
        for connection in [each for each in self.open if each.borrower is None]:
            connection.abandon()
        for _, waiter in waiting:
            self.uploads.ended(waiter)
            waiter.left_alone(self._left_alone, self.breaker.seconds_left(worker.now))

    def retry(self) -> bool:
        """Whether a request may be sent once more."""
        allowed = self._retries.take(self._worker.now)
        self._worker.access.retry("sent" if allowed else "refused")
        return allowed

    @property
    def _left_alone(self) -> str:
        return f"{self.target} has failed {self.breaker.failures} times in a row and is left alone for a moment"

    def _leaves_alone(self, waiter: Waiter) -> bool:
        """Whether the origin is not to be asked now, and the waiter was told."""
        now = self._worker.now
        if self.breaker.admits(now):
            return False
        self.uploads.ended(waiter)
        waiter.left_alone(self._left_alone, self.breaker.seconds_left(now))
        return True

    def gone(self, connection: OriginConnection) -> None:
        """A connection that is closed."""
        if connection in self.open:  # told twice of most
            self.open.remove(connection)
            if not connection.request_sent:
                self.uploads.ended(connection)
            self._asked_gone += connection.newly_asked()
        with contextlib.suppress(ValueError):
            self.idle.remove(connection)
        if self._waiting:
            self._connect_for_waiting()

    def sweep(self, now: float) -> bool:
        """Ends what is past its deadline; False when the whole pool is of no more use."""
        while self._waiting and self._waiting[0][0] < now:
            self._fail(self._waiting.popleft()[1], f"no connection to {self.target} within the time allowed", timeout=True)
        self.uploads.sweep(now)
        if self._waiting and self._room() <= 0:
            self._share()
        self._look(now)
        if not self.unused:
            self.used_at = now
        if now >= self._look_at and not self._dialer.addresses.fixed:
            self._look_at = now + names.LOOK_SECONDS
            if self.open:
                self._worker.task(self._follow())
        return now - self.used_at < IDLE_POOL_SECONDS

    def _share(self) -> None:
        """Has the network that holds too many connections give some back to those who wait: first those whose clients take
        nothing of their answers. What it has waiting itself is turned away, or would get them again."""
        lent = [(each, each.borrower) for each in self.open if each.borrower is not None]
        network, surplus = crowd(
            (borrower.network for _, borrower in lent),
            (waiter.network for _, waiter in self._waiting),
            self._worker.limits.origin_connections,
        )
        if not surplus:
            return
        reason = f"the client's network has more than its share of the connections to {self.target}"
        waiting = list(self._waiting)
        self._waiting = deque(entry for entry in waiting if entry[1].network != network)
        for _, waiter in waiting:
            if waiter.network == network:
                waiter.displaced(reason)
        holders = [pair for pair in lent if pair[1].network == network]
        holders.sort(key=lambda pair: (not pair[0].paused, pair[0].since))
        for _, borrower in holders[:surplus]:
            borrower.displaced(reason)

    def _look(self, now: float) -> None:
        """Ends connections whose origin says nothing for too long, of those whose turn it is; counts what they were asked."""
        asked, self._asked_gone = self._asked_gone, 0
        waiting = self._round = self._round or list(self.open)
        for _ in range(min(len(waiting), LOOK_MOST)):
            connection = waiting.pop()
            if connection in self.open:
                asked += connection.newly_asked()
                connection.look(now)
        if asked:
            self.asked += asked
            self._retries.asked(asked, now)

    async def _follow(self) -> None:
        """Has connections to addresses that are not the origin's any more serve no further request."""
        try:
            addresses = await self._dialer.allowed()
        except OSError:  # new connections will tell; those that are there are good until then
            return
        for connection in list(self.open):
            if connection.address not in addresses:
                connection.retire()

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
            # Or it would be tried again without a pause.
            self._failed(connection, f"{self.target} cannot be reached", timeout=False)
        self._ended(connection)
        if self._waiting and not self.closed:
            self._connect_for_waiting()

    async def _connect(self, connection: OriginConnection, preface: bytes) -> None:
        try:
            async with asyncio.timeout(self._worker.timeouts.origin_connect):
                await self._dialer.dial(connection, preface)
        except TimeoutError:
            self._failed(connection, f"{self.target} did not accept a connection in time", timeout=True)
        except PinError as error:
            reason = f"TLS with {self.target} failed: {error}"
            self._worker.fault(EdgeError(reason + ".", code="origin_pin", fault=Fault.ORIGIN))
            self._failed(connection, reason, timeout=False)
        except ssl.SSLError as error:
            detail = getattr(error, "verify_message", "") or what_broke(error)
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
        self.failed(reason)
        if waiter is not None:
            self._fail(waiter, reason, timeout=timeout)

    def _fail(self, waiter: Waiter, reason: str, *, timeout: bool) -> None:
        self.uploads.ended(waiter)
        waiter.not_connected(reason, timeout=timeout)

    # what a pool does otherwise that keeps clients apart

    def _offer(self, connection: OriginConnection) -> None:
        """A connection on which nothing was asked yet."""
        if self._waiting:
            self._waiting.popleft()[1].connected(connection)
        elif len(self.idle) < self._idle_limit and not self._worker.draining and not self.breaker.open:
            self.idle.append(connection)
        else:
            connection.abandon()

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
