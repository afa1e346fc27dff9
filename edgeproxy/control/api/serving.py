"""The controller's HTTP servers: the admin socket, the API's socket where `api.hostname` is configured, and the metrics
listener where one is."""

from __future__ import annotations

import socket

import anyio
from anyio.abc import TaskGroup

from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.api.app import admin_app, metrics_app, tokens_app
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.server import BoundedProtocol, Server, admin_protocol, workers_protocol


class Listeners:
    """Runs a server for each socket of the controller's that has one."""

    def __init__(self, context: Context, sockets: dict[str, socket.socket]) -> None:
        """`sockets`: "admin" and "api" (Unix), and "metrics" (TCP) where it is configured; others are left alone."""
        self._uses: Uses | None = None
        self._servers: list[tuple[Server, socket.socket]] = []
        if "admin" in sockets:
            protocol = admin_protocol(context.config.process.worker_user)
            self._servers.append((Server(admin_app(context), protocol), sockets["admin"]))
        if "api" in sockets and context.config.api.hostname:
            self._uses = Uses(context)
            idle = context.config.timeouts.origin_idle
            for_workers = workers_protocol(context.config.process.worker_user, idle)
            server = Server(tokens_app(context, self._uses), for_workers, for_workers.head_seconds)
            self._servers.append((server, sockets["api"]))
        if "metrics" in sockets:
            self._servers.append((Server(metrics_app(context), BoundedProtocol), sockets["metrics"]))
        self._running = 0
        self._ended = anyio.Event()

    async def up(self, tasks: TaskGroup) -> None:
        """Starts them in the task group; returns when all answer."""
        for server, sock in self._servers:
            self._running += 1
            tasks.start_soon(self._run, server, sock)
        for server, _ in self._servers:
            await server.up.wait()
        if self._uses is not None:
            tasks.start_soon(self._uses.run)

    async def end(self) -> None:
        """Stops accepting, lets open requests end (at most `server.GRACE_SECONDS`), returns when all have ended."""
        for server, _ in self._servers:
            server.end()
        if self._running:
            await self._ended.wait()
        if self._uses is not None:
            await self._uses.end()

    async def _run(self, server: Server, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            await server.serve(sockets=[sock])
        finally:
            self._running -= 1
            if not self._running:
                self._ended.set()
