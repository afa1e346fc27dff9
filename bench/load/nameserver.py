"""The DNS of customers: a resolver and, where port 53 may be had, the registry and the hoster of their zones; it counts what it
is asked. A process: `python -m bench.load.nameserver`.

Each answer takes DELAY, as on the way to a server abroad. Names of customers have no record until `Command.right` says so; the
zones of some are at a server that never answers.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import ipaddress
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence

from edgeproxy.control.dns.wire import NS, SOA, UDP_SIZE, A, Answer, Labels, Query, Rcode, Record, encode, parse, wire_name

DELAY = 0.02
CNAME = 5
AUTHORITY, REGISTERED, SILENT = "127.53.0.1", "127.53.0.3", "127.53.0.2"
"""Where the hoster and the registry answer on port 53, and where nobody does."""

TARGET = "edge.platform.com"
HOSTER, DEAD, REGISTRY = "ns.hoster.net", "ns.dead.net", "a.registry.net"
DEAD_MARK = "dead"
"""Customers' domains that begin so are at the server that never answers."""

_TTL = 30
_SOA = b"\0\0" + (1).to_bytes(4, "big") * 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for so far."""

    resolver: int
    authority: int
    busiest: int
    """Questions to the resolver in its busiest second."""
    busiest_authority: int
    at_once: int
    """Questions under way at most."""
    has_authority: bool


class World:
    """What is in the DNS, and what was asked."""

    def __init__(self) -> None:
        self.right: set[str] = set()
        self.seconds: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}
        self.has_authority = False
        self.under_way = self.at_once = 0

    def asked(self) -> Asked:
        """The counts."""
        ours, theirs = self.seconds[False], self.seconds[True]
        return Asked(
            resolver=ours.total(),
            authority=theirs.total(),
            busiest=max(ours.values(), default=0),
            busiest_authority=max(theirs.values(), default=0),
            at_once=self.at_once,
            has_authority=self.has_authority,
        )

    def forget(self) -> None:
        """Counts from now on."""
        self.seconds = {False: Counter(), True: Counter()}
        self.at_once = self.under_way

    def answer(self, query: Query, *, authoritative: bool) -> Answer:
        """What is said to a question."""
        name = b".".join(query.labels).decode("ascii", "replace")
        records = tuple(
            Record(_labels(owner), kind, _TTL, data) for owner, kind, data in self._records(name) if kind in (query.type, CNAME)
        )
        there = bool(records) or self._exists(name)
        zone = ".".join(name.split(".")[-2:])
        denied = () if records else (Record(_labels(zone), SOA, _TTL, _SOA),)
        return Answer(Rcode.NOERROR if there else Rcode.NXDOMAIN, authoritative, records, denied)

    def _exists(self, name: str) -> bool:
        return name.count(".") < 2 or name in (TARGET, HOSTER, DEAD, REGISTRY)

    def _records(self, name: str) -> list[tuple[str, int, bytes]]:
        if name in (TARGET, HOSTER, DEAD, REGISTRY):
            address = {TARGET: "127.0.0.1", DEAD: SILENT, REGISTRY: REGISTERED}.get(name, AUTHORITY)
            return [(name, A, ipaddress.ip_address(address).packed)]
        if name == "com":
            return [(name, NS, wire_name(_labels(REGISTRY)))] if self.has_authority else []
        if name.count(".") == 1 and name.endswith(".com"):
            server = DEAD if name.startswith(DEAD_MARK) else HOSTER
            soa = [(name, SOA, wire_name(_labels(server)) + b"\0" + (1).to_bytes(4, "big") * 5)]
            return [*soa, (name, NS, wire_name(_labels(server)))] if self.has_authority else soa
        if name in self.right:
            return [(name, CNAME, wire_name(_labels(TARGET))), *self._records(TARGET)]
        return []


def _labels(name: str) -> Labels:
    return tuple(label.encode() for label in name.split("."))


class Answering(asyncio.DatagramProtocol):
    """Answers on one socket."""

    def __init__(self, world: World, *, authoritative: bool) -> None:
        self._world = world
        self._authoritative = authoritative
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio."""
        query = parse(data)
        if not isinstance(query, Query):
            return
        world = self._world
        world.seconds[self._authoritative][int(time.monotonic())] += 1
        world.under_way += 1
        world.at_once = max(world.at_once, world.under_way)
        asyncio.get_running_loop().call_later(DELAY, self._say, query, addr)

    def _say(self, query: Query, addr: tuple[str, int]) -> None:
        self._world.under_way -= 1
        said = self._world.answer(query, authoritative=self._authoritative)
        if self._transport is not None:
            self._transport.sendto(encode(query, said, UDP_SIZE), addr)


class Commanded(asyncio.DatagramProtocol):
    """Takes commands: JSON with `right` (names that from now on have the right record) and `forget`; answers `Asked`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio."""
        command = json.loads(data)
        self._world.right.update(command.get("right", ()))
        said = self._world.asked()
        if command.get("forget"):
            self._world.forget()
        if self._transport is not None:
            self._transport.sendto(json.dumps(dataclasses.asdict(said)).encode(), addr)


def command(port: int, *, right: Sequence[str] = (), forget: bool = False) -> Asked:
    """Has it done, and what was asked so far. Blocks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10.0)
        sock.connect(("127.0.0.1", port))
        sock.send(json.dumps({"right": list(right), "forget": forget}).encode())
        return Asked(**json.loads(sock.recv(65536)))


async def _run(resolver: int, control: int) -> None:
    loop, world = asyncio.get_running_loop(), World()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        silent.bind((SILENT, 53))
        for address in (AUTHORITY, REGISTERED):
            await loop.create_datagram_endpoint(lambda: Answering(world, authoritative=True), local_addr=(address, 53))
        world.has_authority = True
    except OSError:
        sys.stderr.write("Port 53 cannot be had: the resolver decides alone.\n")
    await loop.create_datagram_endpoint(lambda: Answering(world, authoritative=False), local_addr=("127.0.0.1", resolver))
    await loop.create_datagram_endpoint(lambda: Commanded(world), local_addr=("127.0.0.1", control))
    await loop.create_future()


def main() -> None:
    """Until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--resolver", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    values = parser.parse_args()
    asyncio.run(_run(values.resolver, values.control))


if __name__ == "__main__":
    main()
