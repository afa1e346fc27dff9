"""Real DNS servers for tests, on free loopback ports."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

from edgeproxy.config.dns import Rfc2136
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.dns.server import Server as ZoneServer
from edgeproxy.control.metrics import Metrics
from edgeproxy.supervision.identity import Identities
from edgeproxy.supervision.listeners import Listeners, wanted
from tests.integration.servers import Server, require
from tests.ports import free_port

SECRET = base64.b64encode(b"a secret of thirty-two bytes ....").decode()


class Knot(Server):
    """Knot with one or more zones. The key "edge-key" may update TXT records, "idle-key" nothing.

    `zones`: zone → lines of its zone file beside SOA and NS; those of `signed` are signed by it. It listens at `host`, where
    the zones' own server is.
    """

    def __init__(
        self,
        folder: Path,
        zones: Mapping[str, Sequence[str]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        signed: Collection[str] = (),
    ) -> None:
        require("knotd")
        super().__init__(folder, "knot")
        self.host = host
        self.port = port or free_port()
        self._zones = zones
        self._signed = signed

    @property
    def address(self) -> str:
        """For `dns.rfc2136.server` and `dns.resolvers`."""
        return f"{self.host}:{self.port}"

    def settings(self, domain: str, **others: str) -> Rfc2136:
        """`dns.rfc2136` for one of the zones."""
        values = {"server": self.address, "zone": domain, "key_name": "edge-key", "key_secret": SECRET} | others
        return Rfc2136(**values)  # type: ignore[arg-type]

    async def __aenter__(self) -> Self:
        storage = self.folder / "knot"
        storage.mkdir(exist_ok=True, parents=True)
        keys = "".join(
            f"  - id: {name}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n" for name in ("edge-key", "idle-key")
        )
        zones = ""
        for zone, lines in self._zones.items():
            file = storage / f"{zone}.zone"
            soa = f"{zone}. 3600 SOA ns.{zone}. ops.{zone}. 1 3600 600 86400 1"
            file.write_text("\n".join([soa, f"{zone}. 3600 NS ns.{zone}.", f"ns.{zone}. 3600 A {self.host}", *lines, ""]))
            zones += (
                f"  - domain: {zone}\n    file: {file}\n    acl: updates\n    zonefile-sync: -1\n    journal-content: changes\n"
                f"    dnssec-signing: {'on' if zone in self._signed else 'off'}\n"
            )
        config = storage / "knot.conf"
        config.write_text(
            f"server:\n    rundir: {storage}\n    listen: {self.host}@{self.port}\n    udp-workers: 1\n    tcp-workers: 1\n"
            "    background-workers: 1\n"
            f"log:\n  - target: stderr\n    any: info\n"
            f"database:\n    storage: {storage}\n"
            f"key:\n{keys}"
            "acl:\n  - id: updates\n    key: edge-key\n    action: update\n    update-type: TXT\n"
            f"zone:\n{zones}"
        )
        await self.start(_program("knotd"), "-c", str(config))
        await self.listening(self.port, self.host)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()


def _program(name: str) -> str:
    """Debian keeps servers where a user's PATH may not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or name


@contextlib.asynccontextmanager
async def answering(config: Config, authority: Authority) -> AsyncIterator[None]:
    """Our own zone, answered where `dns.listen` says, within this process."""
    listeners = Listeners()
    wants = [want for want in wanted(config, Identities(None, None)) if "dns" in want.role]
    listeners.prepare(wants)
    server = ZoneServer(authority, listeners.controller_sockets(wants), rate=1_000_000, metrics=Metrics("1", 10))
    task = asyncio.create_task(server.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listeners.close()
