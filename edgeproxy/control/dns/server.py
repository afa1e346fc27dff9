"""The DNS server's sockets: datagrams and streams in, what the authority says out. Everything that a stranger can grow has
its bound here.

The supervisor holds the sockets. What comes while a controller is replaced waits in them, and is answered by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from edgeproxy.buckets import network_of
from edgeproxy.control.dns import wire
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.dns.ratelimit import RateLimit, Verdict
from edgeproxy.control.dns.zone import Reply
from edgeproxy.control.metrics import Metrics
from edgeproxy.limits import LISTEN_BACKLOG

log = structlog.get_logger("dns")

DATAGRAMS = 32
"""Datagrams that are answered before the rest of the control plane has its turn: about a millisecond."""

CONNECTIONS = 256
"""Open connections. Above it the one goes that has said nothing for longest (RFC 7766 section 6.2.2)."""

CONNECTIONS_PER_NETWORK = 32
"""Open connections of one client network. Above it new ones are closed at once."""

QUERIES = 256
"""Queries on one connection, after which it is closed; they may be sent without waiting for answers."""

IDLE_SECONDS = 10.0
"""From a connection's beginning, or the query before, to the end of the next query; and for an answer to be taken."""

LIFE_SECONDS = 60.0
"""From a connection's beginning to its end."""

_CONTROL = 64
"""Bytes of control messages: an in6_pktinfo with its header has 40."""

_IP_PKTINFO = 8  # ip(7); Python 3.11 does not name it
_PKTINFO4 = struct.Struct("=I4s4s")
_PKTINFO6 = struct.Struct("=16sI")

_Control = list[tuple[int, int, bytes]]


class Server:
    """One run of the server, on the sockets of a controller."""

    def __init__(
        self,
        authority: Authority,
        sockets: Mapping[str, socket.socket],
        *,
        rate: int,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sockets` by role: "dns udp …" and "dns tcp …" are used, others left alone. `rate`: `limits.dns_answers`."""
        self._authority = authority
        self._datagrams = [sock for role, sock in sockets.items() if role.startswith("dns udp ")]
        self._streams = [sock for role, sock in sockets.items() if role.startswith("dns tcp ")]
        self._limit = RateLimit(rate, secrets.token_bytes(32))
        self._metrics = metrics
        self._monotonic = monotonic
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """The open ones; who spoke last is last."""
        self._networks: Counter[bytes] = Counter()

    async def run(self) -> None:
        """Answers until it is cancelled, from when the authority has what the store has. May be run again then."""
        await self._authority.loaded.wait()
        log.info("our DNS zone is answered", delegation="; ".join(self._authority.delegation))
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._end_connections)
            # Copies: closing a socket of asyncio's would close the one that the next run needs.
            for sock in [each.dup() for each in self._streams]:
                sock.setblocking(False)
                server = await asyncio.start_server(self._connected, sock=sock, limit=wire.MESSAGE, backlog=LISTEN_BACKLOG)
                stack.callback(server.close)
            for sock in self._datagrams:
                sock.setblocking(False)
                loop.add_reader(sock, self._readable, sock)
                stack.callback(loop.remove_reader, sock)
            await asyncio.Event().wait()

    # datagrams

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(DATAGRAMS):
            try:
                data, control, _, address = sock.recvmsg(wire.MESSAGE + 1, _CONTROL)
            except OSError:  # nothing there, or what became of an earlier answer: nobody waits to hear of it
                return
            reply = self._replied(data, address[0])
            if reply.data:
                # UDP promises nothing: where there is no room, or no way to there, the client asks again.
                with contextlib.suppress(OSError):
                    sock.sendmsg((reply.data,), from_where_it_came(control), 0, address)

    def _replied(self, data: bytes, client: str) -> Reply:
        verdict = self._limit.take(network_of(_packed(client)), self._monotonic())
        if verdict is Verdict.DROP:
            reply = Reply(b"")
        else:
            reply = self._authority.respond(data, udp=True, limited=verdict is Verdict.TRUNCATE)
        if verdict is Verdict.ANSWER:
            self._count(reply, "udp")
        else:
            self._metrics.dns_limited(verdict.value)
        return reply

    # streams

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = writer.get_extra_info("peername")
        if task is None or not peer:  # the client was gone before it was accepted
            writer.transport.abort()
            return
        network = network_of(_packed(peer[0]))
        if self._networks[network] >= CONNECTIONS_PER_NETWORK:
            writer.transport.abort()
            return
        if len(self._connections) >= CONNECTIONS:
            self._drop(next(iter(self._connections)))
        self._networks[network] += 1
        self._connections[task] = writer
        try:
            async with asyncio.timeout(LIFE_SECONDS):
                await self._converse(task, reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            # It says no more, takes no more, its place is another's, or the server ends. What it did not take nobody waits for.
            writer.transport.abort()
        finally:
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]
            self._connections.pop(task, None)
            writer.close()

    async def _converse(self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # An answer is with the kernel, whole, before the next query is read.
        writer.transport.set_write_buffer_limits(high=0)
        for _ in range(QUERIES):
            async with asyncio.timeout(IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2), "big")
                if length > wire.MESSAGE:
                    return
                data = await reader.readexactly(length)
            reply = self._authority.respond(data, udp=False)
            self._count(reply, "tcp")
            if not reply.data:
                return
            self._connections[task] = self._connections.pop(task, writer)
            writer.write(len(reply.data).to_bytes(2, "big") + reply.data)
            async with asyncio.timeout(IDLE_SECONDS):
                await writer.drain()
            # What was sent ahead is there already, and reading it would not let anybody else have a turn.
            await asyncio.sleep(0)

    def _drop(self, task: asyncio.Task[None]) -> None:
        """Ends a connection; its place is free at once."""
        self._connections.pop(task, None)
        task.cancel()

    async def _end_connections(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _count(self, reply: Reply, transport: str) -> None:
        self._metrics.dns_query("none" if reply.rcode is None else reply.rcode.name.lower(), transport)


def from_where_it_came(control: _Control) -> _Control:
    """For sendmsg, from what recvmsg gave: the answer leaves from the address that was asked, or the client would not know it.
    Pure."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) == _PKTINFO4.size:
            _, local, _ = _PKTINFO4.unpack(data)
            return [(level, kind, _PKTINFO4.pack(0, local, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) == _PKTINFO6.size:
            address, interface = _PKTINFO6.unpack(data)
            # An address of one link only means something together with its interface; any other goes where routes lead.
            link_local = ipaddress.IPv6Address(address).is_link_local
            return [(level, kind, _PKTINFO6.pack(address, interface if link_local else 0))]
    return []


def _packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address.partition("%")[0])
