"""Who is let in: the connections of one worker, counted together with those of the others, and bounded."""

from __future__ import annotations

import asyncio
import functools
import itertools
import resource
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal

from edgeproxy.buckets import network_of
from edgeproxy.edge.accept import BATCH, Accepted, Acceptor, packed
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.forwarding import is_trusted
from edgeproxy.edge.plain import PlainConnection
from edgeproxy.edge.preface import REFUSED, PlainPreface, Preface, TlsPreface
from edgeproxy.link.table import Table

if TYPE_CHECKING:
    from edgeproxy.edge.worker import Worker

ABOVE_MEAN = 1.25
SLACK = 4
"""A worker with more than ABOVE_MEAN × mean + SLACK connections lets the others accept first."""

SLOTS = 10_000
"""Addresses whose place in the shared table is remembered: finding it costs 0.8 µs."""

SHED_LOOK = 64
"""Connections looked at, oldest first, for an idle one that can make room. By so many at most the bound is exceeded: while
those that were closed for it are not gone yet they are looked at too."""

SHED_SECONDS = 2.0
"""How long one that was closed to make room may take to be gone: its client need not read the last words."""

SILENT_SECONDS = 1.0
"""How long a client has to say what it wants before its connection is the first to go where room is needed: a round trip, and
one packet lost on the way."""

FILES_SHARE = 0.75
"""Of the files that a worker may open, the part for its clients: the rest is for origins, the map, and certificates on their
way into OpenSSL, so that those who are let in are served."""

SAY_AGAIN_SECONDS = 60.0

STATES_BLOCK = 1_000
"""After so many connections were counted others have their turn: ten thousand in one go took 9 ms."""

DRAIN_BLOCK, DRAIN_REST, DRAIN_SHARE = 40, 0.01, 0.25
"""So many connections are told to end in one go when a worker drains; then others have their turn, for so many seconds, or less
where all would take more than this share of `timeouts.drain`. Each has its final word a while after, by a timer of its own:
those of ten thousand that were told in one go stopped the worker for 0.4 s."""

AnyConnection = Connection | PlainConnection | Preface


class Reception:
    """Accepts for a worker, and knows its connections.

    `emptied` is called whenever the last connection of a worker that accepts no more has ended.
    """

    def __init__(self, worker: Worker, table: Table, column: int, emptied: Callable[[], None]) -> None:
        self._worker = worker
        self._table = table
        self._column = table.column(column)
        self._emptied = emptied
        limits = worker.limits
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = limits.connections if files < 0 else min(limits.connections, int(files * FILES_SHARE))
        self._per_network = max(limits.connections_per_network, limits.connections_per_address)
        self._slots: dict[str, int] = {}
        self._acceptors: list[Acceptor] = []
        self._exhausted_said = self._unannounced_said = float("-inf")
        self.connections: dict[AnyConnection, None] = {}
        """Oldest first, but for those that were busy when room was needed."""
        self._silent: dict[AnyConnection, float] = {}
        """Those of them whose ClientHello, or first request on port 80, has not come whole; and since when they are here, by
        the worker's last sweep."""

    def open(self, sockets: Mapping[str, socket.socket]) -> None:
        """Accepts from sockets keyed "https HOST:PORT" and "http HOST:PORT"."""
        for role, sock in sockets.items():
            admit = self._admission_of(Connection, TlsPreface)
            if not role.startswith("https "):
                admit = self._admission_of(PlainConnection, PlainPreface)
            self._acceptors.append(Acceptor(self._worker.loop, sock, admit, self._crowded, self._no_room))

    def close(self) -> None:
        """Accepts no more; has every connection end as soon as it may."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._column.drain()
        waiting = [*reversed(self.connections)]
        self._drain(waiting)
        if waiting:
            self._worker.task(self._drain_slowly(waiting))

    def _drain(self, waiting: list[AnyConnection]) -> None:
        """Has some of them end, those at the list's end first, and takes them out of it."""
        told = waiting[-DRAIN_BLOCK:]
        del waiting[-DRAIN_BLOCK:]
        for connection in reversed(told):
            if connection in self.connections:  # else it has ended meanwhile
                connection.drain()

    async def _drain_slowly(self, waiting: list[AnyConnection]) -> None:
        rest = min(DRAIN_REST, self._worker.timeouts.drain * DRAIN_SHARE * DRAIN_BLOCK / len(waiting))
        while waiting:
            await asyncio.sleep(rest)
            self._drain(waiting)

    @property
    def empty(self) -> bool:
        """Whether nobody is there, those included whose transport is still being made."""
        return not self._column.connections

    def beat(self, now: float) -> None:
        """A sign of life, for the supervisor's watchdog."""
        self._column.beat(now)

    def opened(self, connection: AnyConnection) -> None:
        """A connection's transport is there."""
        self.connections[connection] = None
        self._silent[connection] = self._worker.now
        if self._worker.draining:
            connection.drain()

    def heard(self, connection: AnyConnection) -> None:
        """A client has said what it wants."""
        self._silent.pop(connection, None)

    def closed(self, connection: AnyConnection) -> None:
        """A connection is gone."""
        self.connections.pop(connection, None)
        self._silent.pop(connection, None)
        self._leave(connection.slot)

    def moved(self, preface: Preface, address: str) -> int:
        """A balancer's connection is of a client with this address: counts it there. -1 when there are too many."""
        self._column.leave(preface.slot)
        preface.slot = slot = self._slot(address)
        crowd = self._crowd(slot, address)
        if crowd:
            self._worker.count_handshake(crowd)
            return -1
        return slot

    def _crowd(self, slot: int, address: str) -> str:
        """Counts a connection in; of whom there are too many then, as it is told; "" where there are not."""
        if self._column.enter(slot) > self._worker.limits.connections_per_address:
            return "too_many_from_address"
        if self._table.network(slot) > self._per_network and not is_trusted(address, self._worker.trusted):
            return "too_many_from_network"
        return ""

    def handed_over(self, preface: Preface) -> None:
        """Another protocol has its transport, and will say `opened` and `closed`."""
        self.connections.pop(preface, None)
        self._silent.pop(preface, None)

    def unannounced(self, preface: Preface, reason: str) -> None:
        """A balancer's connection began with something else than a header of the PROXY protocol."""
        worker = self._worker
        worker.count_handshake(REFUSED)
        if worker.now > self._unannounced_said + SAY_AGAIN_SECONDS:
            self._unannounced_said = worker.now
            worker.log.warning(
                f"A connection from {preface.peer} was closed: {reason}. That address is in listen.proxy_protocol: have it "
                "send the PROXY protocol on this port, or take it from the list."
            )

    async def states(self) -> dict[str, int]:
        """How many connections are in which state, for the metrics."""
        states = {"handshake": 0, "idle": 0, "active": 0}
        for number, connection in enumerate(list(self.connections), 1):
            states[_state(connection)] += 1
            if not number % STATES_BLOCK:
                await asyncio.sleep(0)
        return states

    def _admission_of(self, kind: type[AnyConnection], behind_proxy: type[Preface]) -> Callable[[Accepted, str], None]:
        """What takes in connections of a port. Where there are no balancers nobody is asked whether he is one."""
        direct, balancers = self._admission(kind), self._worker.balancers
        if not balancers:
            return direct
        announced = self._admission(behind_proxy)

        def admit(accepted: Accepted, peer: str) -> None:
            (announced if is_trusted(peer, balancers) else direct)(accepted, peer)

        return admit

    def _admission(self, kind: type[AnyConnection]) -> Callable[[Accepted, str], None]:
        worker, connect = self._worker, self._worker.loop.connect_accepted_socket
        limited = not issubclass(kind, Preface)

        def admit(accepted: Accepted, peer: str) -> None:
            slot = self._enter(accepted, peer, limited=limited)
            if slot < 0:
                return
            # What the loop calls a socket here need only look like one.
            making = connect(functools.partial(kind, worker, peer, slot), accepted)  # type: ignore[arg-type,type-var]
            try:
                _drive(making)
            except OSError:  # gone before it was here
                self._leave(slot)
                accepted.refuse()

        return admit

    def _slot(self, address: str) -> int:
        slot = self._slots.get(address)
        if slot is None:
            if len(self._slots) >= SLOTS:
                self._slots.clear()
            key = packed(address)
            slot = self._slots[address] = self._table.slot(key, network_of(key))
        return slot

    def _enter(self, accepted: Accepted, peer: str, *, limited: bool = True) -> int:
        """Counts a connection in; -1 when there is no room for it, and then it is closed. `limited`: addresses have shares."""
        slot = self._slot(peer)
        crowd = self._crowd(slot, peer)
        if crowd and limited:
            self._worker.count_handshake(crowd)
        elif not self._room():
            self._worker.count_handshake("too_many_connections")
        else:
            return slot
        self._leave(slot)
        accepted.refuse()
        return -1

    def _leave(self, slot: int) -> None:
        self._column.leave(slot)
        if self._worker.draining and self.empty:
            self._emptied()

    def _room(self) -> bool:
        """Whether one more, counted in already, may stay. Counted are also those whose transport is still being made: a rush
        is accepted faster than that."""
        if self._column.connections <= self._most:
            return True
        if self._most < self._worker.limits.connections:
            self._say_exhausted(f"this process may open too few files for more than {self._most} connections")
        return self._shed()

    def _shed(self) -> bool:
        """Closes the connection that is the least loss: one that says nothing, else one that is idle."""
        return self._shed_silent() or self._shed_idle()

    def _shed_silent(self) -> bool:
        """Drops the oldest connection whose client has had time to say something and has not."""
        connection, since = next(iter(self._silent.items()), (None, 0.0))
        if connection is None or self._worker.now - since < SILENT_SECONDS:
            return False
        del self._silent[connection]
        if not connection.closing:
            self._worker.count_handshake("shed")
            connection.abort()
        return True

    def _shed_idle(self) -> bool:
        """Closes the oldest idle connection, if one is near. One that is closing already, or whose client still takes the end
        of an answer, is not idle. Who is busy goes behind the others: else a few slow clients that came first would hide all
        who are idle."""
        for connection in list(itertools.islice(self.connections, SHED_LOOK)):
            if connection.closing:
                continue
            if _state(connection) == "idle" and not connection.transport.get_write_buffer_size():
                if isinstance(connection, Connection) and connection.untaken:
                    # The kernel still has the end of an answer, which a reset would take along, and a client of HTTP/2 speaks
                    # as long as it reads.
                    connection.close(linger=True)
                else:
                    connection.close()
                connection.deadline = min(connection.deadline, self._worker.now + SHED_SECONDS)
                return True
            self.connections[connection] = self.connections.pop(connection)
        return False

    def _crowded(self) -> bool:
        connections = self._column.connections
        return connections > SLACK and connections > self._table.mean_connections() * ABOVE_MEAN + SLACK

    def _no_room(self, error: OSError) -> None:
        if self._shed_silent():
            for _ in range(BATCH - 1):  # as many as are then accepted at once: silence costs an attacker nothing
                self._shed_silent()
        else:
            self._shed_idle()
        self._say_exhausted(error.strerror or str(error))

    def _say_exhausted(self, reason: str) -> None:
        worker = self._worker
        if worker.now > self._exhausted_said + SAY_AGAIN_SECONDS:
            self._exhausted_said = worker.now
            worker.log.error(
                f"No new connections for a moment: {reason}. Raise the limit of open files (LimitNOFILE=), or lower "
                "limits.connections."
            )


def _drive(coroutine: Coroutine[Any, Any, object], _: object = None) -> None:
    """Runs a coroutine that waits for futures of the loop alone, as a task would: a task for each new connection is a
    twentieth of what such a connection costs. What the coroutine raises before it first waits is the caller's."""
    try:
        future = coroutine.send(None)
    except StopIteration:
        return
    future.add_done_callback(functools.partial(_drive, coroutine))


def _state(connection: AnyConnection) -> Literal["handshake", "idle", "active"]:
    if isinstance(connection, PlainConnection):
        return "idle" if connection.idle else "active"
    front = connection.front
    return "handshake" if front is None else "idle" if front.idle else "active"
