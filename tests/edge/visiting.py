"""A visitor who asks by either protocol, and what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import msgspec

from edgeproxy.edge.exchange import Exchange
from edgeproxy.published.records import Site
from tests.edge import client1, client2
from tests.edge.client1 import Client1, request
from tests.edge.client2 import Client2
from tests.edge.harness import Edge

Fields = tuple[tuple[bytes, bytes], ...]


class Outcome(msgspec.Struct):
    """What a client got, by either protocol."""

    status: int
    body: bytes
    complete: bool
    fields: list[tuple[bytes, bytes]]

    def field(self, name: bytes) -> bytes | None:
        """The only value of a field; None where there is none."""
        values = [value for each, value in self.fields if each == name]
        assert len(values) < 2
        return values[0] if values else None


class Visitor:
    """Asks on one connection, by either protocol."""

    def __init__(self, client: Client1 | Client2, hostname: str) -> None:
        self._client = client
        self._hostname = hostname

    async def __call__(self, target: str = "/", *, host: str = "", method: str = "GET", fields: Fields = ()) -> Outcome:
        client, host = self._client, host or self._hostname
        got: client1.Answer | client2.Answer
        if isinstance(client, Client2):
            got = await client.get(client2.get(target, *fields, host=host, method=method))
        else:
            lines = [b"%b: %b" % field for field in fields]
            client.send(request(f"{method} {target}".encode(), *lines, host=host.encode()))
            got = await client.answer(method.encode())
        return Outcome(got.status, got.body, got.complete, got.fields)

    def leave(self) -> None:
        """Drops the connection."""
        cast(asyncio.Transport, self._client.writer.transport).abort()


@contextlib.asynccontextmanager
async def visiting(edge: Edge, protocol: str, hostname: str = "gallery.test") -> AsyncIterator[Visitor]:
    """A visitor on a connection of its own."""
    connected = client2.connected if protocol == "h2" else client1.connected
    async with connected(edge, hostname) as client:
        yield Visitor(client, hostname)


def following(edge: Edge) -> list[Exchange]:
    """The exchanges that are over, as they are told."""
    told: list[Exchange] = []
    edge.worker.record, edge.worker.record_whole = told.append, told.extend
    return told


def gallery(**how: object) -> tuple[str, str, Site]:
    """The site of gallery.test, as it is now."""
    return "sites", "gallery.test", Site(workspace="spandantest", certificate="cert-gallery.test", **how)  # type: ignore[arg-type]
