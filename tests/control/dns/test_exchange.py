"""One question to one server, whatever it answers."""

from __future__ import annotations

import asyncio
import contextlib

import dns.exception
import dns.message
import dns.rrset
import pytest

from edgeproxy.control.dns.exchange import LARGEST, TooLarge, exchange
from edgeproxy.control.dns.lookup import Lookup, Said
from tests.control.dns.answering import scripted
from tests.ports import free_port

HOST = "gallery.customer.test"


def query():
    return dns.message.make_query(f"{HOST}.", "A")


def response(asked, *addresses):
    made = dns.message.make_response(asked)
    made.answer.append(dns.rrset.from_text(f"{HOST}.", 60, "IN", "A", *addresses))
    return made.to_wire()


@contextlib.asynccontextmanager
async def saying(*datagrams, stream=b""):
    """A server that answers each datagram with these, and each connection with these bytes. Its port."""
    loop, port = asyncio.get_running_loop(), free_port()

    class Udp(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, _data, addr):
            for each in datagrams:
                self.transport.sendto(each, addr)

    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        with contextlib.suppress(OSError):
            writer.write(stream)
            await writer.drain()
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    transport, _ = await loop.create_datagram_endpoint(Udp, local_addr=("127.0.0.1", port))
    tcp = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield port
    finally:
        transport.close()
        tcp.close()
        await tcp.wait_closed()
        await asyncio.gather(*(each for each in serving if each is not None))


async def test_what_is_cut_is_asked_for_again_over_tcp():
    async with scripted() as server:
        server.zone = {(HOST, "A"): ["192.0.2.1"]}
        assert [str(each) for each in (await exchange(query(), server.host, server.port)).answer[0]] == ["192.0.2.1"]
        server.cut.add(HOST)
        assert [str(each) for each in (await exchange(query(), server.host, server.port)).answer[0]] == ["192.0.2.1"]
        assert [way for *_, way in server.asked] == ["udp", "udp", "tcp"]


async def test_what_is_not_the_answer_is_passed_over():
    asked = query()
    right = response(asked, "192.0.2.1")
    strange = bytes([right[0] ^ 1]) + right[1:]
    async with saying(b"", b"\0", strange, asked.to_wire(), right) as port:
        assert [str(each) for each in (await exchange(asked, "127.0.0.1", port)).answer[0]] == ["192.0.2.1"]


async def test_a_huge_answer_is_not_read():
    asked = query()
    huge = response(asked, *(f"192.0.2.{n}" for n in range(256)))
    assert len(huge) > LARGEST
    async with saying(huge) as port:
        with pytest.raises(TooLarge):
            await exchange(asked, "127.0.0.1", port)
    cut = bytearray(response(asked, "192.0.2.1"))
    cut[2] |= 2
    async with saying(bytes(cut), stream=b"\xff\xff") as port:  # it says that 64 KiB follow, and sends nothing
        with pytest.raises(TooLarge):
            await exchange(asked, "127.0.0.1", port)


async def test_nonsense_and_the_answer_to_another_question_are_no_answers():
    asked = query()
    other = dns.message.make_query("other.customer.test.", "A", id=asked.id)
    for answer in (asked.to_wire()[:2] + b"\x80\x00\xff\xff\xff\xff", response(other, "192.0.2.1")):
        async with saying(answer) as port:
            with pytest.raises(dns.exception.DNSException):
                await exchange(asked, "127.0.0.1", port)


async def test_where_nobody_listens_it_is_said_at_once():
    with pytest.raises(OSError, match="refused"):
        await exchange(query(), "127.0.0.1", free_port())


async def test_a_resolver_that_brings_a_huge_answer_is_broken_and_not_read():
    async with scripted() as server:
        server.huge.add(HOST)
        found = await Lookup([server.address], patience=60).ask(HOST, "A")
        assert (found.said, found.records) == (Said.BROKEN, ())
        assert f"an answer of more than {LARGEST} bytes" in found.detail
