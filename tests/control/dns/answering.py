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
    """Answers from `zone`: (name, type) → lines of data. Names of `broken` get SERVFAIL, of `silent` nothing, of `cut` a TC
    answer over UDP; a name without any record does not exist. CNAMEs are followed within the zone."""

    def __init__(self) -> None:
        self.port = free_port()
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.cut: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, wire: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = str(question.name).removesuffix(".").lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, way))
        response = dns.message.make_response(query, recursion_available=True)
        if name in self.silent:
            return None
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.cut and way == "udp":
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, kind)
        return response.to_wire()

    def _fill(self, response: Any, name: str, kind: str) -> None:
        for _ in range(10):
            if kind != "CNAME" and (alias := self.zone.get((name, "CNAME"))):
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{alias[0]}."))
                name = alias[0].lower()
                continue
            break
        if data := self.zone.get((name, kind)):
            shown = [f"{value}." for value in data] if kind == "CNAME" else data
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *shown))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """A running server on a port of its own."""
    server = Scripted()
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

    transport, _ = await loop.create_datagram_endpoint(Udp, local_addr=("127.0.0.1", server.port))
    tcp = await asyncio.start_server(serve, "127.0.0.1", server.port)
    try:
        yield server
    finally:
        transport.close()
        tcp.close()
        await tcp.wait_closed()
