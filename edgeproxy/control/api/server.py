"""uvicorn on sockets that were bound for us: signals untouched, peers of the admin socket checked, connections bounded.

The supervisor binds the sockets, so that their permissions are right from the beginning and nothing that waits in their
queue is lost while a controller is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import os
import pwd
import socket
import struct
from collections.abc import Generator
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from edgeproxy.control.api.problems import MEDIA_TYPE, Refused, response
from edgeproxy.errors import EdgeError, Fault

log = structlog.get_logger("api")

CONNECTIONS = 256
"""Open connections of one server. Above it: 503 and closed."""

WORKERS_CONNECTIONS = 1024
"""The same on the socket that workers come to."""

IDLE_LONGER = 30.0
"""Seconds for which a worker's idle connection is kept open longer than the worker keeps it."""

HEAD_BYTES = 32 * 1024
"""Bytes of a request's line and header fields."""

HEAD_SECONDS = 10.0
"""From a connection's beginning, or the answer before, to the next request's head."""

KEEP_ALIVE_SECONDS = 30.0
"""How long an idle connection stays open after an answer."""

LINGER_SECONDS = 1.0
"""How long a refused client may take to read why."""

GRACE_SECONDS = 5
"""How long open requests may take to end when the server is asked to."""

FIRST_SECONDS = 1.0
"""How long who has just come may take then to say what he wants."""

_ACCEPT_TURNS = 3
"""Turns of the loop from the acceptance of a connection until its protocol knows of it."""

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59
_GROUPS_BYTES = 1024  # what Python's getsockopt takes at most: 256 groups


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket, as the kernel tells it."""

    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(sock: socket.socket) -> Peer:
    """Reads SO_PEERCRED and SO_PEERGROUPS (Linux 4.13). Raises OSError where the socket is not a Unix one.

    Of a peer with more than 256 supplementary groups only the primary one is known.
    """
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        raw = b""
    return Peer(pid, uid, frozenset((gid, *struct.unpack(f"{len(raw) // 4}I", raw))))


def _peer(transport: asyncio.BaseTransport) -> Peer | None:
    """Who is at the other end; None where the kernel does not tell."""
    try:
        return peer_of(transport.get_extra_info("socket"))
    except OSError:
        return None


def may_administer(peer: Peer, own_uid: int, group: int | None, worker_uid: int | None = None) -> bool:
    """Whether a peer is the operator: root, the service's own user, or a member of the socket's group.

    Workers that run as a user of their own are members too, since the map is the group's to read; but what strangers could
    make of a worker must never administer.
    """
    if peer.uid in (0, own_uid):
        return True
    return peer.uid != worker_uid and group is not None and group in peer.groups


class BoundedProtocol(H11Protocol):
    """uvicorn's h11 protocol with bounds on connections and time, and problem documents for what never reaches the app."""

    connections_limit = CONNECTIONS
    head_seconds = HEAD_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _refused = False
    _last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio's: a connection came."""
        super().connection_made(transport)
        limit = self.connections_limit
        if len(self.connections) > 2 * limit:
            transport.abort()  # even those that are being refused are too many
            return
        if len(self.connections) > limit:
            self._refuse(Refused(503, f"{limit} connections are open already.", code="busy", retryable=True))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the connection ended."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came. Those of a refused connection are read away: closing over them would be a reset, and
        the client might never see why."""
        if not self._refused:
            super().data_received(data)

    def eof_received(self) -> None:
        """asyncio's: the client sends no more."""
        if self._refused:
            self.transport.close()

    def on_response_complete(self) -> None:
        """uvicorn's: an answer was sent."""
        self._await_head()
        super().on_response_complete()

    def handle_events(self) -> None:
        """uvicorn's: bytes came."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._head_arrived()
            if self._last:
                self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """uvicorn's: the server ends. It would close a connection whose first request is on the way, and nobody can know
        whether that may be sent again."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, which uvicorn's types deny
        if cycle is not None or self._refused:
            super().shutdown()
            return
        self._last = True
        self._head_arrived()
        self._head_timer = self.loop.call_later(FIRST_SECONDS, self._head_late)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's: what came is not HTTP."""
        if not self._answering:
            self._refuse(Refused(400, "What was sent is not a well-formed HTTP/1.1 request.", code="malformed_request"))
        else:
            # An answer is under way: a second one into it could be taken for its body.
            self.transport.abort()

    @property
    def _answering(self) -> bool:
        """Whether an answer is under way. uvicorn's `cycle` is None before the first request, which its types deny."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._head_arrived()
        self._head_timer = self.loop.call_later(self.head_seconds, self._head_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        if self._refused:
            self.transport.abort()
        elif not self._answering and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, error: EdgeError) -> None:
        """Answers without a request, then closes when the client does."""
        answer = response(error)
        body = bytes(answer.body)
        head = (
            f"HTTP/1.1 {answer.status_code} Refused\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._refused = True
        self.transport.write(head.encode("ascii") + body)
        self.transport.write_eof()
        self._head_arrived()
        self._head_timer = self.loop.call_later(LINGER_SECONDS, self._head_late)


class WorkersProtocol(BoundedProtocol):
    """The same on the socket on which workers bring what comes for `api.hostname`: what they say of a client's address is
    believed, so nobody else may come. The socket's file is theirs alone; this is the second lock."""

    connections_limit = WORKERS_CONNECTIONS
    worker_uid: int | None = None
    """Whom the workers run as; None: as this process."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio's: a connection came."""
        super().connection_made(transport)
        if self._refused or transport.is_closing():
            return
        peer = _peer(transport)
        uid = None if peer is None else peer.uid
        if uid is None or uid != (os.geteuid() if self.worker_uid is None else self.worker_uid):
            log.warning("a process that is no worker came to the socket of the API", uid=uid)
            detail = f"Only the edge's workers may speak here; user id {uid} is not theirs. Use https://, with api.hostname."
            refused = Refused(403, detail, code="forbidden", fault=Fault.OPERATOR)
            self._refuse(refused)


def workers_protocol(worker_user: str, idle: float) -> type[WorkersProtocol]:
    """The protocol for workers that run as `process.worker_user` ("": as this process). `idle`: seconds after which they
    close a connection that they do not use; this end waits longer, so that it never closes one just as they use it."""

    class Guarded(WorkersProtocol):
        worker_uid = _uid(worker_user)
        head_seconds = idle + IDLE_LONGER

    return Guarded


class AdminProtocol(BoundedProtocol):
    """The same on the admin socket: only for the operator, who is named in the audit log."""

    worker_uid: int | None = None
    """Whom the workers run as, where that is a user of their own; see `admin_protocol`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio's: a connection came."""
        super().connection_made(transport)
        if self._refused or transport.is_closing():
            return
        peer = _peer(transport)
        if peer is None or not may_administer(peer, os.geteuid(), _group_of(self.server), self.worker_uid):
            uid = None if peer is None else peer.uid
            log.warning("a process that is not the operator's came to the admin socket", uid=uid, pid=peer and peer.pid)
            detail = (
                "The admin socket is open to root, the user that the edge runs as, and members of the socket's group; "
                f"user id {uid} is none of them."
            )
            refused = Refused(403, detail, code="forbidden")
            refused.fault = Fault.OPERATOR
            self._refuse(refused)
            return
        # What scope["state"] starts from: each request gets a copy.
        self.app_state = {**self.app_state, "actor": f"uid:{peer.uid}"}


def admin_protocol(worker_user: str) -> type[AdminProtocol]:
    """The protocol that keeps this user out, `process.worker_user`; "" is nobody."""

    class Guarded(AdminProtocol):
        worker_uid = _uid(worker_user)

    return Guarded


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid if user else None
    except KeyError:  # the supervisor could not have started workers as somebody who does not exist
        return None


def _group_of(address: tuple[str, int | None] | None) -> int | None:
    """The group of the socket's file; None when it has none or is gone."""
    if address is None or not address[0]:
        return None
    try:
        return Path(address[0]).stat().st_gid
    except OSError:
        return None


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the controller's own decide, and `end()` asks it to finish."""

    def __init__(self, app: ASGIApp, protocol: type[BoundedProtocol], keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                loop="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                workers=1,  # else WEB_CONCURRENCY of the environment counts
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=math.ceil(keep_alive),
                timeout_graceful_shutdown=GRACE_SECONDS,
                backlog=256,
            )
        )
        self._ending = asyncio.Event()
        self.up = asyncio.Event()
        """Set when the sockets are listened on."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """uvicorn's: it would take SIGTERM and SIGINT over."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's: listens."""
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        """uvicorn's, but once a second instead of ten times: it only keeps the Date header right."""
        count = 0
        while not await self.on_tick(count):
            count += 10
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's: ends. Whoever was accepted is served; who comes now waits for the controller after this one."""
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        # A server of asyncio's that is closed forgets whom it accepted in the same turn, and never tells them.
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    def end(self) -> None:
        """Stops accepting and lets open requests end, at most GRACE_SECONDS; `serve` then returns."""
        self.should_exit = True
        self._ending.set()
