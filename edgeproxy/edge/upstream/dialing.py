"""How one connection to an origin is made: where its name points, TCP, what goes before everything, TLS."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from edgeproxy.edge.upstream.target import Target, address_allowed
from edgeproxy.edge.upstream.tls import TlsTransport

if TYPE_CHECKING:
    from edgeproxy.edge.upstream.connection import OriginConnection
    from edgeproxy.edge.worker import Worker


class Dialer:
    """Makes connections to one target."""

    def __init__(self, worker: Worker, target: Target) -> None:
        self._worker = worker
        self._target = target

    async def dial(self, connection: OriginConnection, preface: bytes = b"") -> None:
        """Connects; the first bytes of the connection are `preface`, before TLS. Raises OSError or ssl.SSLError."""
        target, loop = self._target, self._worker.loop
        if target.unix:
            await loop.create_unix_connection(lambda: connection, target.unix)
        elif not target.tls:
            await loop.create_connection(lambda: connection, await self._host(), target.port)
        else:
            await self._dial_tls(connection, preface)
            return
        if preface:
            connection.send(preface)

    async def _dial_tls(self, connection: OriginConnection, preface: bytes) -> None:
        worker, target = self._worker, self._target
        over = TlsTransport(worker.loop, connection, worker.origin_tls(), target.host, worker.ciphertext, preface)
        await worker.loop.create_connection(lambda: over, await self._host(), target.port)
        try:
            await over.ready
        except BaseException:
            over.abort()
            raise

    async def _host(self) -> str:
        target = self._target
        if target.restricted:
            return await self._checked_address()
        if target.host == "localhost" or target.host.endswith(".localhost"):
            return "127.0.0.1"  # RFC 6761 section 6.3; the system's resolver may not know
        return target.host

    async def _checked_address(self) -> str:
        target, worker = self._target, self._worker
        found = await worker.loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        for *_, address in found:
            if address_allowed(str(address[0]), worker.origin_networks) or target.host in worker.config.origin.allow:
                return str(address[0])
        raise OSError(f"{target.host} resolves to no public address and is not in origin.allow")
