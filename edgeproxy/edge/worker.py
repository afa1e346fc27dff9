"""The worker: one process of the data plane. Its loop, what its connections share, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import uvloop

from edgeproxy.config.structs import Config
from edgeproxy.edge import pace, tickets
from edgeproxy.edge.access import Access
from edgeproxy.edge.certificate import Certificates, Cold, Found, Missing
from edgeproxy.edge.collector import Collector
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.cookies import shared_domains
from edgeproxy.edge.encoded import RouteEncodings
from edgeproxy.edge.error_pages import ErrorPages
from edgeproxy.edge.headers import RequestHead, RequestLines, ResponseLines
from edgeproxy.edge.http2 import unindexed
from edgeproxy.edge.http2_fields import RequestFields
from edgeproxy.edge.instead import notices
from edgeproxy.edge.obtain import Obtaining
from edgeproxy.edge.presenting import Presenting
from edgeproxy.edge.rates import RateLimits
from edgeproxy.edge.reception import AnyConnection, Reception
from edgeproxy.edge.route import Route, Routes
from edgeproxy.edge.upstream.client_pool import ClientPool
from edgeproxy.edge.upstream.names import Resolve, system
from edgeproxy.edge.upstream.pool import Pool, networks
from edgeproxy.edge.upstream.target import Target
from edgeproxy.edge.upstream.trust import origin_context
from edgeproxy.errors import EdgeError, LinkError, MapError
from edgeproxy.limits import RELAY_BUFFER
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Drain, Greeting, LinkEnd, LinkMessage, Obtained, Ready, Refresh, Report, Request, Slow
from edgeproxy.link.peer import Link
from edgeproxy.link.start import WorkerStart
from edgeproxy.link.table import Table
from edgeproxy.log import Log
from edgeproxy.published.reader import MapReader
from edgeproxy.published.seal import Sealer

if TYPE_CHECKING:
    from edgeproxy.edge.exchange import Exchange
    from edgeproxy.edge.plain import PlainConnection

SWEEP_SECONDS = 0.25
"""How often deadlines are looked at: one coarse sweep instead of timers that every request would set and cancel."""

SWEEP_MOST = 2_500
"""Connections whose deadlines are looked at in one sweep. Of more, each has its turn in a later one: ten thousand at once took
27 ms (`bench/`, scenario slow), and a limit in seconds may be kept a second late."""

SWEEP_BLOCK = 128
"""After so many of them it is asked whether others have waited for long enough."""

SWEEP_SLICE = 0.002
"""Seconds for which they are looked at, and those that are past their deadline are ended, in one go. Ten thousand that came
together go together, a second's work; others' requests are answered in between."""

SWEEP_ENDED = 32
"""Of those, so many at most: what each has is freed in the same turn of the loop, which takes longer (0.15 ms)."""

FREED_ROUTES = 500
"""Forgotten routes that are freed in one sweep."""

REPORT_SECONDS = 1.0

HEAD_BOUNDS = {414: "request_line", 431: "request_head"}
"""The bound that a request's head has gone beyond, by the status that says so."""

LINK_PATIENCE_SECONDS = 3.0
MAP_WAIT_SECONDS = 0.02
MAP_PATIENCE_SECONDS = 5.0
REFRESH_PAUSE = 5.0
POOLS = 10_000
"""Origins that are remembered, with how they fare. Where workspaces are parts of origins' names anybody can make some up."""

POOLS_LOOK = 64
"""Of those that are there the longest so many are looked at, for some that nobody uses."""

IDLE_GRACE = 2.0
"""How long a draining worker keeps an idle HTTP/1.1 connection: a request that is on its way is served, and told that it is
the last. Closed at once, each of 40 busy connections lost a request over 20 reloads."""


class Worker:
    """What the connections of one process share. Everything runs on one event loop; nothing here is thread-safe."""

    def __init__(self, start: WorkerStart, log: Log, *, share_tickets: bool = False) -> None:
        self.config: Config = start.config
        self.limits = start.config.limits
        self.timeouts = start.config.timeouts
        self.log = log
        self.draining = False
        self.now = time.monotonic()
        """Monotonic seconds, as of the last sweep."""
        self.buffer = memoryview(bytearray(RELAY_BUFFER))
        """Where every read of the process lands; used up before the next read."""
        self.ciphertext = memoryview(bytearray(RELAY_BUFFER))
        """The same for what origins send over TLS."""
        self.notices = notices(start.config.pages)
        self.error_pages = ErrorPages(start.config.pages)
        rates = start.config.rates
        self.request_lines = RequestLines(start.config.origin.header, rates.exempt_header if rates.exempt_tokens else "")
        self.response_lines = ResponseLines(
            unindexed,
            removed=start.config.http.remove_headers,
            shared=shared_domains(start.config.platform.name, start.config.issuance.allow.patterns),
        )
        self.request_fields = RequestFields(self.request_lines, self.limits)
        self.byte_seconds = pace.byte_seconds(self.limits.client_rate)
        """Seconds that a client gains with each byte that it brings or takes (limits.client_rate)."""
        self.trusted = networks(start.config.listen.trusted_proxies)
        self.balancers = networks(start.config.listen.proxy_protocol)
        self.origin_networks = networks(start.config.origin.allow)
        self.resolve: Resolve = system
        """Where origins' names point."""
        self.rates = RateLimits(rates, start.arrivals, self.trusted, networks(rates.exempt))
        self._start = start
        self.reception = Reception(self, Table(start.table), start.column, lambda: self._over.set())
        self.connections = self.reception.connections
        self._round: list[AnyConnection] = []
        """Whose deadlines are looked at next; emptied from the end."""
        self.presenting = Presenting(self)
        self._share_tickets = share_tickets
        self._pools: dict[Target, Pool] = {}
        self._link: Link | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._request_ids = request_ids(os.urandom(6).hex())
        self.next_request_id: Callable[[], bytes] = self._request_ids.__next__
        """Unique for this machine and beyond: random per worker, counted within it."""
        self.own_host = start.config.origin.host == "origin" or start.config.origin.routing == "subdomain"
        """Whether origins get their own Host instead of the client's."""
        self._stamp = -1
        self._over = asyncio.Event()
        self._origin_tls: ssl.SSLContext | None = None
        self._platform_tls: ssl.SSLContext | None = None
        self._fault_said = 0.0
        self._reported = self.now
        self.collector = Collector()
        self.access = Access(start.config, log.error)
        self.count_handshake: Callable[[str], None] = self.access.handshake
        """A handshake ended so."""
        self.record: Callable[[Exchange], None] = self.access.answered
        """An exchange is over."""
        self.record_whole: Callable[[Sequence[Exchange]], None] = self.access.answered_whole
        """Several of one connection are, each answered in one read."""

    # life

    async def run(self) -> None:
        """Serves until drained."""
        self.loop = asyncio.get_running_loop()
        # systemd stops a service by SIGTERM to all its processes: this one drains, whoever asks.
        self.loop.add_signal_handler(signal.SIGTERM, self.drain)
        channel = self._channel = Channel(self._start.channel)
        follow = self.task(self._follow(channel))
        if not await self._open_map():
            return
        rates, codings = self.rates.of_route, RouteEncodings(self.config).of_route
        self.routes = Routes(self.config, self.reader.site, self.access.map_lookup, rates, codings)
        self.obtaining = Obtaining(
            send=self._tell,
            present=functools.partial(self.presenting.present, asked=True),
            deny=self.presenting.deny,
            wait=self.config.issuance.handshake_wait,
            bound=self.limits.waiting_handshakes,
            unknown=self.limits.unknown_names,
            secret=os.urandom(32),
        )
        self.reception.open(self._start.sockets)
        self.access.begin()
        self.collector.begin(self.now)
        channel.send(Ready())
        sweep = self.task(self._sweep())
        report = self.task(self._report())
        await self._over.wait()
        for task in (sweep, report, follow):
            task.cancel()
        self._send_report(await self.reception.states())
        for connection in list(self.connections):
            connection.abort()
        for pool in self._pools.values():
            pool.close()
        if self._link is not None:
            self._link.close()
        self.access.close()
        self.certificates.close()
        self.reader.close()
        channel.close()

    async def _open_map(self) -> bool:
        """Waits for the controller to make the map, on a first start; False when the worker is to end before."""
        waited = 0.0
        while True:
            try:
                self.reader = MapReader(self._start.state_directory)
            except MapError as error:
                if self.draining:
                    return False
                waited += MAP_WAIT_SECONDS
                if waited > MAP_PATIENCE_SECONDS:  # on a first start the controller makes it in a second or two
                    self.now = self.loop.time()
                    self.fault(error)
                await asyncio.sleep(MAP_WAIT_SECONDS)
            else:
                break
        self.certificates = Certificates(
            self.reader,
            Sealer(self._start.map_key),
            self.config,
            share_tickets=self._share_tickets,
            on_fault=self.fault,
        )
        return True

    async def _follow(self, channel: Channel) -> None:
        """What the supervisor says. Its end is a reason to drain: nobody would replace or stop this process any more."""
        while True:
            try:
                received = await channel.receive()
            except LinkError as error:
                self.log.warning(error.detail)
                continue
            if received is None:
                self.log.warning("The supervisor is gone: this worker finishes what is open and ends.")
                self.drain()
                return
            if isinstance(received.message, LinkEnd) and received.sockets:
                await self._take_link(received.sockets[0])
            elif isinstance(received.message, Drain):
                self.drain()

    def drain(self) -> None:
        """Closes the listeners, lets open requests end within `timeouts.drain`, then ends."""
        if self.draining:
            return
        self.draining = True
        self.reception.close()
        if self.reception.empty:
            self._over.set()
        else:
            self.loop.call_later(self.timeouts.drain, self._over.set)

    def task(self, coroutine: object) -> asyncio.Task[object]:
        """Runs a coroutine beside everything else, and tells when it fails."""
        task: asyncio.Task[object] = self.loop.create_task(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error(f"An unexpected error in a worker's task: {error!r}")

    @property
    def idle_grace(self) -> float:
        """How long a connection on which nothing is under way may stay when the worker drains, in seconds."""
        return min(IDLE_GRACE, self.timeouts.drain / 2)

    # the published map

    def notice(self) -> None:
        """Takes notice of what changed in the map: one comparison when nothing did."""
        if self.reader.stamp() != self._stamp:
            self._notice_change()

    def _notice_change(self) -> None:
        try:
            stamp = self.reader.stamp()
            changes = self.reader.changes()
        except MapError as error:
            self.fault(error)
            return
        self._stamp = stamp
        self.routes.drop(changes)
        self.certificates.drop(changes)

    def find_route(self, host: str) -> Route | None:
        """Where requests for a host go, as of the last `notice`; None for nowhere. Raises MapError where nobody can tell."""
        route = self.routes.find(host)
        if route is not None and route.fresh_until and not route.refreshing and route.fresh_until < time.time():
            # Served stale; the answer comes by the map, and a new Route with it.
            route.refreshing = True
            self._tell(Refresh(hostname=host))
            self.loop.call_later(REFRESH_PAUSE, self._refreshed, route)
        return route

    @staticmethod
    def _refreshed(route: Route) -> None:
        route.refreshing = False

    def may_serve(self, host: str) -> bool:
        """Whether https would be answered for a host: it has a site, or may get one at the handshake."""
        self.notice()
        try:
            found = self.certificates.find(host, time.time()) if host else None
        except MapError:
            return False
        return isinstance(found, Found | Cold | Missing)

    # the controller

    async def _take_link(self, sock: socket.socket) -> None:
        if self._link is not None:
            self._link.close()
        self._link = await Link.open(sock, self._heard, self._link_lost)
        self._link.send(Greeting(worker=self._start.index, pid=os.getpid()))
        if hasattr(self, "obtaining"):
            self.obtaining.again()

    def _link_lost(self, reason: LinkError | None) -> None:
        self._link = None
        if reason is not None:
            self.log.warning(reason.detail)
        self.loop.call_later(LINK_PATIENCE_SECONDS, self._ask_for_link)

    def _ask_for_link(self) -> None:
        """The supervisor brings a link with every new controller. Where both live and it broke all the same, it is asked."""
        if self._link is None and not self._over.is_set():
            try:
                self._channel.send(Request(id=0, action="link"))
            except LinkError:
                return  # the supervisor is gone, which `_follow` notices
            self.loop.call_later(LINK_PATIENCE_SECONDS, self._ask_for_link)

    def _heard(self, message: LinkMessage) -> None:
        if isinstance(message, Obtained):
            self.obtaining.answered(message)

    def _tell(self, message: LinkMessage) -> bool:
        return self._link is not None and self._link.send(message)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._send_report(await self.reception.states())

    def _send_report(self, states: Mapping[str, int]) -> None:
        now = time.monotonic()
        late, self._reported = max(0.0, now - self._reported - REPORT_SECONDS), now
        if slow := self.access.slow_names(self.routes.name_of, now):
            self._tell(Slow(names=slow, late=late))
        self._tell(
            Report(
                worker=self._start.index,
                pid=os.getpid(),
                counters=self._counters(states),
                hosts=self.access.top_hosts(),
                generation=self._start.generation,
                draining=self.draining,
            )
        )

    def _counters(self, states: Mapping[str, int]) -> dict[str, float]:
        counters = self.access.snapshot(states)
        counters["map_lookups_total|hit"] = self.routes.hits
        counters.update(self.rates.counters())
        return counters

    # the origin

    def pool(self, target: Target) -> Pool:
        """The connections to an origin."""
        pool = self._pools.get(target)
        if pool is None:
            if len(self._pools) >= POOLS:
                self._forget_unused()
            kind = ClientPool if target.platform and self.config.origin.proxy_protocol else Pool
            pool = self._pools[target] = kind(self, target)
        return pool

    def _forget_unused(self) -> None:
        for target, pool in list(itertools.islice(self._pools.items(), POOLS_LOOK)):
            if pool.unused:
                pool.close()
                del self._pools[target]

    def origin_tls(self) -> ssl.SSLContext:
        """For origins by https: verified against the system's roots, or `origin.ca_bundle`."""
        if self._origin_tls is None:
            self._origin_tls = origin_context(self.config.origin, platform=False)
        return self._origin_tls

    def platform_tls(self) -> ssl.SSLContext:
        """The same for `origin.url`, with the edge's own certificate where it has one."""
        if self._platform_tls is None:
            self._platform_tls = origin_context(self.config.origin, platform=True)
        return self._platform_tls

    # deadlines

    async def _sweep(self) -> None:
        second = 0.0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.now = self.loop.time()
            await self._expire(now)
            self.obtaining.sweep(now)
            await self._sweep_pools(now)
            self.routes.free(FREED_ROUTES)
            if now >= second + 1.0:
                second = now
                self.reception.beat(now)
                self.rates.sweep(now)
                self.request_lines.sections.sweep(now)
                self._check_map()
                self.collector.beat(now, len(self.connections), len(self.routes), len(self.certificates))

    async def _expire(self, now: float) -> None:
        """Ends connections that are past their deadline, of those whose turn it is."""
        begun = time.perf_counter()
        waiting = self._round = self._round or [*reversed(self.connections)]
        turn = waiting[-SWEEP_MOST:]
        del waiting[-SWEEP_MOST:]
        ended = 0
        for number, connection in enumerate(reversed(turn), 1):
            late = connection.deadline < now or connection.write_deadline < now
            if (late or not number % SWEEP_BLOCK) and (ended >= SWEEP_ENDED or time.perf_counter() - begun > SWEEP_SLICE):
                await asyncio.sleep(0)
                begun, ended = time.perf_counter(), 0
            if late and connection in self.connections:  # else it has ended meanwhile
                connection.expired()
                ended += 1

    async def _sweep_pools(self, now: float) -> None:
        begun = time.perf_counter()
        for number, (target, pool) in enumerate(list(self._pools.items()), 1):
            if not number % SWEEP_BLOCK and time.perf_counter() - begun > SWEEP_SLICE:
                await asyncio.sleep(0)
                begun = time.perf_counter()
            if not pool.sweep(now) and self._pools.get(target) is pool:
                pool.close()
                del self._pools[target]

    def _check_map(self) -> None:
        try:
            if self.reader.check_current():
                self._stamp = self.reader.stamp()
                self.reader.changes()
                self.routes.drop(None)
                self.certificates.drop(None)
        except MapError as error:
            self.fault(error)

    # records

    def record_refused(
        self, connection: Connection | PlainConnection, status: int, reason: str, request_id: bytes, size: int
    ) -> None:
        """Something that never became a request was answered."""
        if status in HEAD_BOUNDS:
            self.access.limit(HEAD_BOUNDS[status])
        tls, protocol, peer = connection.tls_version, connection.protocol, connection.peer
        self.access.record(connection.server_name, b"-", b"-", status, size, 0.0, request_id, tls, protocol, peer, reason)

    def record_plain(
        self, connection: PlainConnection, request: RequestHead, status: int, size: int, request_id: bytes
    ) -> None:
        """A request on port 80 was answered."""
        method, target, peer = request.method, request.target, connection.peer
        self.access.record(request.host, method, target, status, size, 0.0, request_id, "", "http", peer, "")

    def count_timeout(self, what: str) -> None:
        """A client was too slow in the middle of something."""
        self.access.timeout(what)

    def fault(self, error: EdgeError) -> None:
        """Tells of it in the log, but for what would only be told again."""
        if self.now > self._fault_said + 10:
            self._fault_said = self.now
            self.log.warning(error.detail)


_SUFFIXES = [b"%03x" % number for number in range(4096)]


def request_ids(prefix: str) -> Iterator[bytes]:
    """`prefix`, a hyphen and a hexadecimal number that counts up. Each is one call into C."""
    blocks = (f"{prefix}-{number:x}".encode("ascii") for number in itertools.count())
    return itertools.chain.from_iterable(map(block.__add__, _SUFFIXES) for block in blocks)


def main(start: WorkerStart) -> int:
    """The process. Called in the fresh child; returns its exit status."""
    log = start.log
    share_tickets = tickets.trial_in_fork()
    if not share_tickets:
        log.warning("Sessions resume only in the worker that began them: this interpreter's OpenSSL takes no ticket keys.")

    async def run() -> None:
        await Worker(start, log, share_tickets=share_tickets).run()

    uvloop.run(run())
    return 0
