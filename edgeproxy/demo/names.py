"""The demo's DNS: names under .localhost lead to the edge, but those under .pending.localhost do not exist.

`python -m edgeproxy.demo.names FD ADDRESS…` answers on the UDP socket FD until its standard input ends. The edge asks it as it
asks any resolver (`dns.resolvers`), so that nothing in the edge knows of the demo. Other names it passes on to the system's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from edgeproxy.control.dns import wire
from edgeproxy.control.dns.wire import Answer, Labels, Query, Rcode, Record

PENDING = "pending.localhost"
"""It and all beneath it never lead here."""

TTL = 1
"""Seconds. Nothing here changes, and nobody has to wait for what they try."""

PASSED_ON = 64
"""Questions of other names under way at once; more are not answered."""

PATIENCE = 3.0
"""Seconds that the system's resolver has for one."""

DNS_PORT = 53

RESOLV_CONF = Path("/etc/resolv.conf")

_CNAME = 5
_LOCAL, _PENDING = wire.labels_of("localhost"), wire.labels_of(PENDING)
_SOA = wire.wire_name(_LOCAL) + wire.wire_name((b"nobody", b"invalid")) + struct.pack(">5I", 1, 1, 1, 1, TTL)
_NO_MORE = (Record(_LOCAL, wire.SOA, TTL, _SOA),)


class Names:
    """What is said of names under .localhost. Pure."""

    def __init__(self, platform: str, target: str, addresses: Sequence[str]) -> None:
        """`target` is what customers' names are aliases of; it and all beneath `platform` have the edge's `addresses`."""
        self._platform = wire.labels_of(platform)
        self._target = wire.labels_of(target)
        self._addresses = [ipaddress.ip_address(address) for address in addresses]

    def answer(self, query: Query) -> Answer | None:
        """None: the name is not under .localhost, and somebody else's to answer."""
        labels = query.labels
        if labels[-1:] != _LOCAL or query.klass != wire.IN:
            return None
        if labels[-2:] == _PENDING or any(label.startswith(b"_") for label in labels):
            return Answer(Rcode.NXDOMAIN, authority=_NO_MORE)
        if labels == _LOCAL or labels[-len(self._platform) :] == self._platform:
            found = self._of(labels, query.type)
        else:
            alias = Record(labels, _CNAME, TTL, wire.wire_name(self._target))
            found = (alias, *(self._of(self._target, query.type) if query.type != _CNAME else ()))
        there = any(record.type == query.type for record in found)
        return Answer(Rcode.NOERROR, answer=found, authority=() if there else _NO_MORE)

    def _of(self, owner: Labels, kind: int) -> tuple[Record, ...]:
        version = {wire.A: 4, wire.AAAA: 6}.get(kind)
        return tuple(Record(owner, kind, TTL, each.packed) for each in self._addresses if each.version == version)


class Server(asyncio.DatagramProtocol):
    """Answers datagrams."""

    def __init__(self, names: Names, resolv_conf: Path = RESOLV_CONF) -> None:
        self._names = names
        self._resolv_conf = resolv_conf
        self._transport: asyncio.DatagramTransport | None = None
        self._asking: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio."""
        query = wire.parse(data)
        if query is None:
            return
        if not isinstance(query, Query):
            self._send(wire.rejection(query), addr)
        elif (answer := self._names.answer(query)) is not None:
            self._send(wire.encode(query, answer, min(query.size, wire.UDP_SIZE)), addr)
        elif len(self._asking) < PASSED_ON:
            task = asyncio.get_running_loop().create_task(self._pass_on(query, data, addr))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _pass_on(self, query: Query, data: bytes, addr: tuple[str, int]) -> None:
        """The system's resolver answers; where it does not, nobody knows."""
        told = b""
        for server in _nameservers(self._resolv_conf):
            with contextlib.suppress(OSError, TimeoutError):
                told = await _ask(server, data)
        self._send(told or wire.encode(query, Answer(Rcode.SERVFAIL, authoritative=False), wire.UDP_PLAIN), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)


async def _ask(server: str, data: bytes) -> bytes:
    """One question to one server, as it came. Raises OSError and TimeoutError."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (server, DNS_PORT))
        async with asyncio.timeout(PATIENCE):
            await loop.sock_sendall(sock, data)
            while (told := await loop.sock_recv(sock, 65_535))[:2] != data[:2]:
                pass
            return told


def _nameservers(resolv_conf: Path) -> list[str]:
    """The first that is an address, alone; none where there is no such file."""
    with contextlib.suppress(OSError):
        for line in resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            with contextlib.suppress(ValueError):
                if len(words) > 1 and words[0] == "nameserver":
                    ipaddress.ip_address(words[1])
                    return [words[1]]
    return []


async def main(descriptor: int, platform: str, target: str, addresses: Sequence[str]) -> None:
    """Answers on the socket until standard input ends."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    transport, _ = await loop.create_datagram_endpoint(lambda: Server(Names(platform, target, addresses)), sock=sock)
    ended = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin.buffer)
    try:
        await ended.read()
    finally:
        transport.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
