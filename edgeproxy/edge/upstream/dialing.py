"""How one connection to an origin is made: where its name points, TCP, what goes before everything, TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeproxy.edge.upstream.names import Addresses, connect_first
from edgeproxy.edge.upstream.pins import check
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
        self.addresses = Addresses(target.host, target.port)

    async def dial(self, connection: OriginConnection, preface: bytes = b"") -> None:
        """Connects; the first bytes of the connection are `preface`, before TLS. Raises OSError or ssl.SSLError."""
        target, loop = self._target, self._worker.loop
        if target.unix:
            await loop.create_unix_connection(lambda: connection, target.unix)
        elif not target.tls:
            await self._connect(lambda: connection)
        else:
            await self._dial_tls(connection, preface)
            return
        if preface:
            connection.send(preface)

    async def _dial_tls(self, connection: OriginConnection, preface: bytes) -> None:
        worker, target = self._worker, self._target
        context = worker.platform_tls() if target.platform else worker.origin_tls()
        over = TlsTransport(worker.loop, connection, context, target.host, worker.ciphertext, preface)
        await self._connect(lambda: over)
        try:
            await over.ready
            if target.platform and (pins := worker.config.origin.pins):
                check(over.certificate, pins)
        except BaseException:
            over.abort()
            raise

    async def _connect(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        loop, port, allowed = self._worker.loop, self._target.port, await self.allowed()
        if len(allowed) == 1:
            await loop.create_connection(protocol, allowed[0], port)
            return
        sock = await connect_first(allowed, port)
        try:
            await loop.create_connection(protocol, sock=sock)
        except BaseException:
            sock.close()
            raise

    async def allowed(self) -> list[str]:
        """The addresses that may be dialled, at least one. Raises OSError."""
        target, worker = self._target, self._worker
        addresses = await self.addresses.get(worker.resolve, worker.loop.time())
        if not target.restricted or target.host in worker.config.origin.allow:
            return addresses
        allowed = [each for each in addresses if address_allowed(each, worker.origin_networks)]
        if not allowed:
            raise OSError(f"{target.host} resolves to no public address and is not in origin.allow")
        return allowed
