"""Our zone in the DNS, asked with dig and through a real resolver."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import pytest

from edgeproxy.control.dns.zone import zone_label
from tests.integration.resolver import Dug, Unbound, dig, put_challenges
from tests.integration.running import Running, wait_for
from tests.integration.servers import require
from tests.ports import free_port

ZONE = "acme.edge.test"
HOST, CROWDED = "gallery.customer.test", "crowded.customer.test"
NAME, CROWDED_NAME = f"{zone_label(HOST)}.{ZONE}", f"{zone_label(CROWDED)}.{ZONE}"
VALUE = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
MANY = [f"{number:043d}" for number in range(40)]


def tables(port: int, **dns: Any) -> dict[str, dict[str, Any]]:
    return {
        "platform": {"addresses": ["192.0.2.1", "2001:db8::1"]},
        "dns": {"zone": ZONE, "listen": [f"127.0.0.1:{port}"], **dns},
    }


class Edge(Running):
    """A running program that answers a zone, with challenges in its store from the beginning."""

    def __init__(self, folder: Path) -> None:
        self.dns_port = free_port()
        super().__init__(folder, tables(self.dns_port), workers=1)
        put_challenges(self.state, {HOST: [VALUE], CROWDED: MANY})

    def dig(self, *arguments: str) -> Dug:
        return dig(self.dns_port, *arguments)

    def counted(self, name: str, **labels: str) -> float:
        """A counter of /metrics."""
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        _, text = self.api("GET", "/metrics")
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"edgeproxy_{name}{{{shown}}}"))


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    require("dig")
    with Edge(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


def test_dig_gets_the_challenge_over_udp_and_tcp_with_and_without_edns(edge: Edge) -> None:
    for options in ([], ["+tcp"], ["+noedns"], ["+dnssec"], ["+bufsize=512"]):
        found = edge.dig(NAME, "TXT", *options)
        assert (found.status, found.values) == ("NOERROR", [f'"{VALUE}"'])
        assert "aa" in found.flags
        assert not {"ra", "tc", "ad"} & found.flags
        assert "WARNING: Message" not in found.text


def test_dig_gets_by_tcp_what_is_too_much_for_udp(edge: Edge) -> None:
    cut = edge.dig(CROWDED_NAME, "TXT", "+ignore")
    assert (cut.status, cut.answer) == ("NOERROR", ())
    assert "tc" in cut.flags
    assert edge.dig(CROWDED_NAME, "TXT").values == [f'"{value}"' for value in MANY]


@pytest.mark.parametrize(
    ("arguments", "status", "values"),
    [
        ((ZONE, "NS"), "NOERROR", [f"ns.{ZONE}."]),
        ((f"ns.{ZONE}", "A"), "NOERROR", ["192.0.2.1"]),
        ((f"ns.{ZONE}", "AAAA"), "NOERROR", ["2001:db8::1"]),
        ((ZONE, "CAA"), "NOERROR", ['0 issue ";"']),
        ((NAME, "ANY"), "NOERROR", [f'"{VALUE}"']),
        ((NAME, "A"), "NOERROR", []),
        ((ZONE, "TXT"), "NOERROR", []),
        ((f"{zone_label('other.test')}.{ZONE}", "TXT"), "NXDOMAIN", []),
        (("edge.test", "SOA"), "REFUSED", []),
        (("example.com", "A"), "REFUSED", []),
        (("version.bind", "CH", "TXT"), "REFUSED", []),
        ((ZONE, "SOA", "+opcode=NOTIFY"), "NOTIMP", []),
        ((ZONE, "SOA", "+opcode=UPDATE"), "NOTIMP", []),
        ((ZONE, "SOA", "+edns=1", "+noednsnegotiation"), "BADVERS", []),
    ],
)
def test_dig_gets_the_right_answer(edge: Edge, arguments: tuple[str, ...], status: str, values: list[str]) -> None:
    found = edge.dig(*arguments)
    assert (found.status, found.values) == (status, values), found.text


def test_the_soa_is_in_the_answer_or_beside_none(edge: Edge) -> None:
    (soa,) = edge.dig(ZONE, "SOA").values
    assert soa.startswith(f"ns.{ZONE}. hostmaster.{ZONE}. ")
    assert f"{ZONE}." in edge.dig(f"none.{ZONE}", "TXT").text.split("AUTHORITY SECTION")[1]


def test_the_zone_is_not_transferred(edge: Edge) -> None:
    for kind in ("AXFR", "IXFR=1"):
        assert "Transfer failed" in edge.dig(ZONE, kind).text


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_real_resolver_finds_the_challenge_through_the_customers_cname(edge: Edge, tmp_path: Path, tcp: bool) -> None:
    require("unbound")
    records = [
        f"_acme-challenge.{HOST}. 60 IN CNAME {NAME}.",
        f"_acme-challenge.{CROWDED}. 60 IN CNAME {CROWDED_NAME}.",
        f"_acme-challenge.other.customer.test. 60 IN CNAME {zone_label('other.customer.test')}.{ZONE}.",
    ]
    before = edge.counted("dns_queries_total", rcode="noerror", transport="tcp")
    with Unbound(tmp_path / "unbound", ZONE, edge.dns_port, "customer.test", records, tcp=tcp) as resolver:
        found = resolver.ask(f"_acme-challenge.{HOST}")
        assert found.status == "NOERROR", found.text
        assert found.values == sorted([f'"{VALUE}"', f"{NAME}."])
        # More than fits into a datagram it fetches by TCP.
        assert len(resolver.ask(f"_acme-challenge.{CROWDED}").answer) == 1 + len(MANY)
        assert resolver.ask(f"_acme-challenge.{HOST}", "A").status == "NOERROR"
        assert resolver.ask(ZONE, "SOA").status == "NOERROR"
        assert edge.counted("dns_queries_total", rcode="noerror", transport="tcp") > before
        # What comes a moment after somebody asked for it is found soon.
        late = "_acme-challenge.other.customer.test"
        assert resolver.ask(late).status == "NXDOMAIN"
        value = "tcp" if tcp else "udp"
        put_challenges(edge.state, {"other.customer.test": [value]})
        try:
            wait_for(lambda: f'"{value}"' in resolver.ask(late).values, "the resolver sees the new answer")
        finally:
            forget(edge, "other.customer.test")


def forget(edge: Edge, host: str) -> None:
    put_challenges(edge.state, {host: []}, remove=True)
    wait_for(lambda: edge.dig(f"{zone_label(host)}.{ZONE}", "TXT").status == "NXDOMAIN", "the answer is gone")


def test_a_controller_that_is_killed_loses_no_answer_and_no_question(edge: Edge) -> None:
    (controller,) = [pid for pid, name in edge.children().items() if name == "edgeproxy ctl"]
    edge.kill(controller)
    # Sent while nobody is there: it waits in the socket that the supervisor holds.
    query = dns.message.make_query(NAME, "TXT")
    answer = dns.query.udp(query, "127.0.0.1", 60, edge.dns_port)
    assert answer.answer[0][0].strings == (VALUE.encode(),)
    assert controller not in edge.children()
    assert edge.dig(NAME, "TXT", "+tcp").values == [f'"{VALUE}"']


def test_a_flood_from_one_network_is_limited_while_another_is_answered(edge: Edge) -> None:
    query = dns.message.make_query(NAME, "TXT").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind(("127.0.9.1", 0))
        flood.setblocking(False)
        whole = advice = answered = 0
        deadline = time.monotonic() + 60
        while (advice < 20 or answered < 5) and time.monotonic() < deadline:
            for _ in range(200):
                with contextlib.suppress(BlockingIOError):
                    flood.sendto(query, ("127.0.0.1", edge.dns_port))
            for _ in range(200):
                with contextlib.suppress(BlockingIOError):
                    truncated = dns.message.from_wire(flood.recv(4096)).flags & dns.flags.TC
                    whole, advice = whole + (not truncated), advice + bool(truncated)
            answered += edge.dig("-b", "127.0.0.1", NAME, "TXT", "+time=1", "+tries=20").values == [f'"{VALUE}"']
    assert whole
    assert advice >= 20
    assert answered >= 5
    assert edge.counted("dns_limited_total", action="dropped") > 0
    # Who is really there is answered by TCP.
    assert edge.dig("-b", "127.0.9.1", NAME, "TXT").values == [f'"{VALUE}"']


def test_a_reload_moves_the_server_and_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    require("dig")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, Edge(tmp_path) as edge:
        first, second = edge.dns_port, free_port()
        edge.configure(tables(second))
        edge.cli("reload", check=True)
        edge.dns_port = second
        wait_for(lambda: edge.dig(NAME, "TXT", "+time=1").values == [f'"{VALUE}"'], "the new port answers")

        def released() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", first))
                return True
            return False

        wait_for(released, "the old port is free")
        other.bind(("127.0.0.1", first))
        edge.configure(tables(first))
        refused = edge.cli("reload")
        assert refused.returncode == 1
        assert f"UDP port {first} on 127.0.0.1 is in use by process" in refused.stderr
        assert "change dns.listen" in refused.stderr
        assert edge.dig(NAME, "TXT").values == [f'"{VALUE}"']
        status, listing = edge.api("GET", "/api/v1/admin/status")
        assert status == 200
        assert {f"dns udp 127.0.0.1:{second}", f"dns tcp 127.0.0.1:{second}"} <= set(listing["supervisor"]["listeners"])
