"""The demo's DNS: what it says by itself, and that it passes on the rest."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from edgeproxy.control.dns import wire
from edgeproxy.control.dns.wire import Rcode
from edgeproxy.demo import names
from edgeproxy.demo.names import Names
from tests.integration.running import PATIENCE, ROOT

TARGET = "domain.platform.localhost"
TOLD = Names("platform.localhost", TARGET, ["127.0.0.1", "::1"])


def said(name, kind="A"):
    """The rcode and the records of an answer; None: somebody else's to give."""
    query = wire.parse(dns.message.make_query(name, kind).to_wire())
    assert isinstance(query, wire.Query)
    answer = TOLD.answer(query)
    if answer is None:
        return None
    told = dns.message.from_wire(wire.encode(query, answer, wire.UDP_SIZE))
    return answer.rcode, [line for rrset in told.answer for line in rrset.to_text().splitlines()]


@pytest.mark.parametrize(
    "name", ["shop.customer.localhost", "customer.localhost", "SHOP.Customer.localhost", "a.b.c.localhost"]
)
def test_names_lead_to_the_edge(name):
    code, records = said(name)
    assert code is Rcode.NOERROR
    assert [record.split(" ", 1)[1] for record in records] == [f"1 IN CNAME {TARGET}.", "1 IN A 127.0.0.1"]
    assert [record.split(" IN ")[1] for record in said(name, "AAAA")[1]] == [f"CNAME {TARGET}.", "AAAA ::1"]
    assert len(said(name, "CNAME")[1]) == 1


@pytest.mark.parametrize(
    "name", ["pending.localhost", "shop.pending.localhost", "A.b.Pending.Localhost", "_edgeproxy-verify.a.localhost"]
)
@pytest.mark.parametrize("kind", ["A", "AAAA", "CNAME", "TXT", "NS"])
def test_names_that_wait_do_not_exist(name, kind):
    assert said(name, kind) == (Rcode.NXDOMAIN, [])


@pytest.mark.parametrize("name", ["localhost", TARGET, "any.platform.localhost"])
def test_what_is_the_edges_own_has_its_addresses(name):
    assert said(name) == (Rcode.NOERROR, [f"{name}. 1 IN A 127.0.0.1"])


@pytest.mark.parametrize("kind", ["TXT", "NS", "SOA", "CAA"])
def test_there_are_no_other_records(kind):
    assert said("localhost", kind) == (Rcode.NOERROR, [])
    assert len(said("shop.localhost", kind)[1]) == 1  # the CNAME


@pytest.mark.parametrize("name", ["example.com", "localhost.example.com", "notlocalhost", "pending.localhost.example.com", "."])
def test_other_names_are_others_to_answer(name):
    assert said(name) is None


def test_the_systems_resolver_is_the_first_that_is_an_address(tmp_path):
    path = tmp_path / "resolv.conf"
    assert names._nameservers(path) == []
    path.write_text("# nameserver 192.0.2.1\nsearch example.com\nnameserver\nnameserver no-address\nnameserver 2001:db8::53\n")
    assert names._nameservers(path) == ["2001:db8::53"]


def test_the_process_answers_until_its_input_ends():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeproxy.demo.names", str(sock.fileno()), "platform.localhost", TARGET, "127.0.0.1"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=(sock.fileno(),),
        )
    try:
        told = dns.query.udp(dns.message.make_query("shop.customer.localhost", "A"), "127.0.0.1", port=port, timeout=PATIENCE)
        assert [str(rrset[0]) for rrset in told.answer] == [f"{TARGET}.", "127.0.0.1"]
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


class Upstream(asyncio.DatagramProtocol):
    """A resolver that answers everything with one address, first with somebody else's number."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.answer.append(dns.rrset.from_text(answer.question[0].name, 60, "IN", "A", "192.0.2.7"))
        told = answer.to_wire()
        self.transport.sendto(bytes((told[0] ^ 1,)) + told[1:], addr)
        self.transport.sendto(told, addr)


async def asked(server_of):
    """What a demo's DNS says of example.com, and to nonsense nothing."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(server_of, local_addr=("127.0.0.1", 0))
    try:
        port = transport.get_extra_info("sockname")[1]
        query = dns.message.make_query("example.com", "A")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, b"nonsense")
            await loop.sock_sendall(sock, query.to_wire())
            async with asyncio.timeout(PATIENCE):
                return dns.message.from_wire(await loop.sock_recv(sock, 4096))
    finally:
        transport.close()


async def test_other_names_are_passed_on(tmp_path, monkeypatch):
    loop = asyncio.get_running_loop()
    upstream, _ = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
    monkeypatch.setattr(names, "DNS_PORT", upstream.get_extra_info("sockname")[1])
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    try:
        told = await asked(lambda: names.Server(TOLD, tmp_path / "resolv.conf"))
    finally:
        upstream.close()
    assert told.rcode() == dns.rcode.NOERROR
    assert str(told.answer[0][0]) == "192.0.2.7"


async def test_without_a_resolver_nobody_knows():
    told = await asked(lambda: names.Server(TOLD, Path("/nonexistent/resolv.conf")))
    assert told.rcode() == dns.rcode.SERVFAIL
