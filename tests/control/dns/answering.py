"""A DNS server within the test's own process, for what real ones cannot be told: to be silent, to cut, to be broken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.ports import free_port


class Scripted:
    """Answers from `zone`: (name, type) → lines of data. Names of `broken`, and "name TYPE" there, get SERVFAIL, of `silent`
    nothing, of `cut` a TC answer over UDP, of `huge` 2,000 addresses; a name without any record does not exist. CNAMEs are
    followed within the zone.

    `bogus` names get SERVFAIL unless checking is off, `signed` ones the AD flag, names in or below one of `refused` REFUSED.
    Below a name of `delegated` (zone → names of servers) there are referrals instead of answers, where recursion is not asked
    for. `ttls`: by name, else 60 s; where there is nothing and it has one, a SOA says so. `authority`: the AA flag."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, authority: bool = False) -> None:
        self.host = host
        self.port = port or free_port()
        self.authority = authority
        self.bogus: set[str] = set()
        self.signed: set[str] = set()
        self.refused: set[str] = set()
        self.delegated: dict[str, list[str]] = {}
        self.ttls: dict[str, int] = {}
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.cut: set[str] = set()
        self.huge: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def answer(self, wire: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = str(question.name).removesuffix(".").lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, way))
        response = dns.message.make_response(query, recursion_available=True)
        if name in self.silent:
            return None
        if {name, f"{name} {kind}"} & self.broken or (name in self.bogus and not query.flags & dns.flags.CD):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif any(_within(name, zone) for zone in self.refused):
            response.set_rcode(dns.rcode.REFUSED)
        elif name in self.huge:
            response.flags |= dns.flags.AA
            addresses = [f"198.18.{n >> 8}.{n & 255}" for n in range(2000)]
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "A", *addresses))
        elif name in self.cut and way == "udp":
            response.flags |= dns.flags.TC
        elif not query.flags & dns.flags.RD and (below := next((z for z in self.delegated if _within(name, z)), None)):
            names = [f"{server}." for server in self.delegated[below]]
            response.authority.append(dns.rrset.from_text(f"{below}.", 60, "IN", "NS", *names))
        else:
            if self.authority:
                response.flags |= dns.flags.AA
            if name in self.signed:
                response.flags |= dns.flags.AD
            self._fill(response, name, kind)
        return response.to_wire()

    def _fill(self, response: Any, name: str, kind: str) -> None:
        for _ in range(10):
            if kind != "CNAME" and (alias := self.zone.get((name, "CNAME"))):
                response.answer.append(dns.rrset.from_text(f"{name}.", self.ttls.get(name, 60), "IN", "CNAME", f"{alias[0]}."))
                name = alias[0].lower()
                continue
            break
        if data := self.zone.get((name, kind)):
            shown = [f"{value}." for value in data] if kind in ("CNAME", "NS") else data
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttls.get(name, 60), "IN", kind, *shown))
            return
        if not any(_within(known, name) for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        if ttl := self.ttls.get(name):
            text = f"ns.{name}. ops.{name}. 1 2 3 4 {ttl}"
            response.authority.append(dns.rrset.from_text(f"{name}.", ttl, "IN", "SOA", text))


def _within(name: str, zone: str) -> bool:
    return name == zone or name.endswith(f".{zone}")


@contextlib.asynccontextmanager
async def scripted(host: str = "127.0.0.1", port: int = 0, *, authority: bool = False) -> AsyncIterator[Scripted]:
    """A running server, by default on a port of its own."""
    server = Scripted(host, port, authority=authority)
    loop = asyncio.get_running_loop()

    class Udp(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            if (answer := server.answer(data, "udp")) is not None:
                self.transport.sendto(answer, addr)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            length = int.from_bytes(await reader.readexactly(2), "big")
            if (answer := server.answer(await reader.readexactly(length), "tcp")) is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        writer.close()

    transport, _ = await loop.create_datagram_endpoint(Udp, local_addr=(host, server.port))
    tcp = await asyncio.start_server(serve, host, server.port)
    try:
        yield server
    finally:
        transport.close()
        tcp.close()
        await tcp.wait_closed()
