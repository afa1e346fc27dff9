"""The DNS of customers."""

import asyncio
import socket
import sys
import threading

from bench.children import Child, free_ports
from bench.load.nameserver import CNAME, HOSTER, TARGET, World, command
from edgeproxy.control.dns.wire import NS, TXT, A, Query, Rcode


def asked(name: str, kind: int) -> Query:
    return Query(1, True, b"", tuple(label.encode() for label in name.split(".")), kind, 1)


def test_a_customers_name_has_no_record_until_it_is_made():
    world = World()
    name = "shop.customer00001.com"
    assert world.answer(asked(name, A), authoritative=True).rcode is Rcode.NXDOMAIN
    world.right.add(name)
    said = world.answer(asked(name, A), authoritative=True)
    assert (said.rcode, [record.type for record in said.answer]) == (Rcode.NOERROR, [CNAME, A])
    assert b"".join(said.answer[1].owner) == TARGET.replace(".", "").encode()
    assert [record.type for record in world.answer(asked(name, TXT), authoritative=True).answer] == [CNAME]


def test_zones_have_servers_only_where_there_are_some():
    world = World()
    assert world.answer(asked("customer00001.com", NS), authoritative=False).answer == ()
    world.has_authority = True
    for zone in ("customer00001.com", "dead00050.com", "com"):
        assert [record.type for record in world.answer(asked(zone, NS), authoritative=False).answer] == [NS]
    assert world.answer(asked(HOSTER, A), authoritative=False).rcode is Rcode.NOERROR


async def test_it_answers_counts_and_takes_commands(tmp_path):
    resolver, control = free_ports(2)
    arguments = [sys.executable, "-m", "bench.load.nameserver", "--resolver", str(resolver), "--control", str(control)]
    async with Child("dns", arguments, cores="0-1", log=tmp_path / "log") as child:

        def ask() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(0.5)
                sock.connect(("127.0.0.1", resolver))
                for _ in range(100):
                    try:
                        sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\4shop\1x\3com\0\0\1\0\1")
                        return sock.recv(512)
                    except OSError:
                        child.check_alive()
                        threading.Event().wait(0.1)
                raise AssertionError("nobody answers")

        assert (await asyncio.to_thread(ask))[3] & 15 == Rcode.NXDOMAIN
        before = await asyncio.to_thread(command, control, right=["shop.x.com"], forget=True)
        assert before.resolver >= 1
        assert before.busiest >= 1
        assert (await asyncio.to_thread(ask))[3] & 15 == Rcode.NOERROR
        assert (await asyncio.to_thread(command, control)).resolver >= 1
