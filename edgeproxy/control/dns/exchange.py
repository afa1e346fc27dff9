"""One question to one DNS server, and its answer, with bounds: those who answer may be anybody.

dnspython reads an answer of 64 KiB whole, however it is made: one of records whose names are packed takes it half a second, in
which the process does nothing else. What is asked for here has some hundred bytes.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dns.message import Message

LARGEST = 4096
"""Bytes of an answer that is read."""

RESPONSE, CUT = 0x80, 0x02
"""Flags of a message's third byte: QR and TC (RFC 1035 section 4.1.1)."""


class TooLarge(EOFError):
    """An answer has more than LARGEST bytes."""

    def __init__(self) -> None:
        super().__init__(f"an answer of more than {LARGEST} bytes")


async def exchange(query: Message, address: str, port: int, *, tcp: bool = False) -> Message:
    """Asks a server over UDP, and over TCP where that was cut, or at once. It takes as long as the server does: the caller sets
    the time.

    Raises TooLarge, DNSException for what is no answer, OSError and EOFError.
    """
    import dns.message
    import dns.query

    wire = query.to_wire()
    answer = b"" if tcp else await _by_udp(wire, address, port)
    if tcp or answer[2] & CUT:
        answer = await _by_tcp(wire, address, port)
    if len(answer) > LARGEST:
        raise TooLarge
    response = dns.message.from_wire(answer)
    if not query.is_response(response):
        raise dns.query.BadResponse
    return response


async def _by_udp(wire: bytes, address: str, port: int) -> bytes:
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.create_datagram_endpoint(lambda: _Receiver(wire[:2]), remote_addr=(address, port))
    try:
        transport.sendto(wire)
        return await receiver.answer
    finally:
        transport.abort()


async def _by_tcp(wire: bytes, address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, limit=LARGEST)
    try:
        writer.write(len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await reader.readexactly(2), "big")
        if length > LARGEST:
            raise TooLarge
        return await reader.readexactly(length)
    finally:
        writer.transport.abort()


class _Receiver(asyncio.DatagramProtocol):
    """The first datagram that may be the answer. The socket takes none but the server's."""

    def __init__(self, number: bytes) -> None:
        self._number = number
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: Any) -> None:
        if not self.answer.done() and data[:2] == self._number and len(data) > 2 and data[2] & RESPONSE:
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@functools.cache
def nameserver_class() -> Any:
    """dnspython's class of a resolver that is asked over port 53, with these bounds."""
    import dns.exception
    from dns.nameserver import Do53Nameserver

    class Bounded(Do53Nameserver):
        async def async_query(
            self,
            request: Message,
            timeout: float,  # noqa: ASYNC109 - dnspython's own
            source: str | None,
            source_port: int,
            max_size: bool,
            backend: Any,
            one_rr_per_rrset: bool = False,
            ignore_trailing: bool = False,
        ) -> Message:
            try:
                async with asyncio.timeout(timeout):
                    return await exchange(request, self.address, self.port, tcp=max_size)
            except TimeoutError as error:
                raise dns.exception.Timeout(timeout=timeout) from error  # type: ignore[no-untyped-call]

    return Bounded
