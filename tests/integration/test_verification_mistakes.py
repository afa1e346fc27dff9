"""What people and zones get wrong, at real servers: a registry and its zones (Knot), and real resolvers (Unbound)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.verification import looker as module
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.domains.verification.seen import Dnssec, Proof, State
from edgeproxy.errors import Fault
from tests.control.domains.verification.cases import PROOF, domain
from tests.integration.dnsservers import Knot
from tests.integration.resolver import Unbound
from tests.integration.running import PATIENCE
from tests.integration.servers import ChallengeTestServer, require
from tests.ports import free_port

ZONE, TARGET, OURS = "customer.test", "domain.edge.test", "192.0.2.1"

DEEP = 12
"""CNAMEs, one after the other: more than anybody follows."""

CUSTOMERS = [
    f"right.{ZONE}. 300 CNAME {TARGET}.",
    f"_edgeproxy-verify.twice.{ZONE}.{ZONE}. 300 TXT {PROOF}",
    *(f"d{n}.{ZONE}. 300 CNAME d{n + 1}.{ZONE}." for n in range(DEEP)),
    f"d{DEEP}.{ZONE}. 300 A {OURS}",
    f"strict.{ZONE}. 300 A {OURS}",
    f'strict.{ZONE}. 300 CAA 0 issue "strange.example"',
    f'open.{ZONE}. 300 CAA 0 issue "ca.example"',
    f"open.{ZONE}. 300 A {OURS}",
    f"site.{ZONE}. 300 A 127.0.0.1",
]

REGISTRY = [
    f"{ZONE}. 300 NS ns.{ZONE}.",
    f"ns.{ZONE}. 300 A 127.0.0.1",
    "moved.test. 300 NS ns.old.test.",
    "lame.test. 300 NS ns.old.test.",
    "ns.old.test. 300 A 127.0.0.1",
    f"{TARGET}. 300 A {OURS}",
]


class Ca:
    """One that CAA records may name."""

    async def identities(self):
        return ("ca.example",), ""


@contextlib.asynccontextmanager
async def looking(*resolvers, port, ca=None, web_port=80):
    config = Config(
        platform=Platform(cname_target=TARGET),
        dns=Dns(resolvers=tuple(f"127.0.0.1:{each}" for each in resolvers)),
        origin=Origin(allow=("127.0.0.0/8",)),
    )
    looker = Looker(config, time.time, ca, dns_port=port, web_ports=(web_port, 443))
    try:
        yield looker
    finally:
        await looker.close()


async def seen(looker, name, method="cname", **wanted):
    """What is said of a name, asked again for a while where it is something else: a machine that is slow is no answer."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await looker.look(domain(name, method))
        said = {part: getattr(found, part) for part in wanted}
        if said == wanted or time.monotonic() > deadline:
            assert said == wanted
            return found
        await asyncio.sleep(0.2)


async def test_what_the_registry_has_wrong_is_told_by_its_name(tmp_path):
    require("knotd", "unbound", "dig")
    port = free_port()
    zones = {ZONE: CUSTOMERS, "moved.test": []}
    stubs = {"moved.test": port, "lame.test": port}
    async with (
        Knot(tmp_path / "zones", zones, port=port),
        Knot(tmp_path / "registry", {"test": REGISTRY}, host="127.0.0.2", port=port),
    ):
        with Unbound(tmp_path / "unbound", ZONE, port, "test", REGISTRY, more=stubs, nameserver="127.0.0.2") as unbound:
            async with looking(unbound.port, port=port) as looker:
                await seen(looker, f"right.{ZONE}", state=State.VERIFIED, code="", proven={Proof.CNAME})
                moved = {"present": "ns.old.test", "wanted": "ns.moved.test"}
                await seen(looker, "shop.moved.test", state=State.WRONG, code="nameservers_differ", **moved)
                lame = await seen(looker, "shop.lame.test", state=State.WRONG, code="zone_not_served")
                assert "sends all questions for lame.test to ns.old.test, but they do not serve it" in lame.detail
                await seen(looker, "shop.missing.test", state=State.PENDING, code="domain_missing")


async def test_what_a_zone_has_wrong_is_told_by_its_name(tmp_path):
    require("knotd", "unbound", "dig")
    async with Knot(tmp_path, {ZONE: CUSTOMERS}) as knot:
        with Unbound(tmp_path / "unbound", ZONE, knot.port, "test", REGISTRY) as unbound:
            async with looking(unbound.port, port=knot.port, ca=Ca()) as looker:
                await seen(looker, f"twice.{ZONE}", "dns", code="record_doubled", wanted="_edgeproxy-verify.twice")
                await seen(looker, f"d0.{ZONE}", state=State.WRONG, code="cname_loop")
                strange = f'strict.{ZONE} CAA 0 issue "strange.example"'
                await seen(looker, f"strict.{ZONE}", state=State.WRONG, code="caa_forbids", caa_records=(strange,))
                ours = f'open.{ZONE} CAA 0 issue "ca.example"'
                await seen(looker, f"open.{ZONE}", state=State.VERIFIED, caa_records=(ours,))


async def test_the_file_is_fetched_from_where_a_real_dns_says_that_the_name_is(tmp_path):
    require("knotd", "unbound", "dig")
    web_port, serving = free_port(), list[asyncio.Task[None] | None]()

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        with contextlib.suppress(EOFError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(PROOF)}\r\nconnection: close\r\n\r\n{PROOF}".encode())
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with Knot(tmp_path, {ZONE: CUSTOMERS}) as knot:
        with Unbound(tmp_path / "unbound", ZONE, knot.port, "test", REGISTRY) as unbound:
            async with looking(unbound.port, port=knot.port, web_port=web_port) as looker:
                await seen(looker, f"site.{ZONE}", "file", state=State.UNSURE, code="file_unreachable")
                async with await asyncio.start_server(serve, "127.0.0.1", web_port):
                    found = {"state": State.VERIFIED, "proven": {Proof.FILE}, "points": Points.ELSEWHERE}
                    await seen(looker, f"site.{ZONE}", "file", **found)
                await asyncio.gather(*(each for each in serving if each is not None))


async def test_signatures_are_told_of_as_resolvers_see_them(tmp_path):
    require("knotd", "unbound", "dig")
    zones = {each: [f"right.{each}. 300 CNAME {TARGET}."] for each in (ZONE, "signed.test", "bogus.test")}
    async with Knot(tmp_path, zones, signed=("signed.test", "bogus.test")) as knot:
        with Unbound(tmp_path / "plain", ZONE, knot.port, "test", REGISTRY, more={"signed.test": knot.port}) as plain:
            async with asyncio.timeout(PATIENCE):
                while not (keys := plain.ask("signed.test", "DNSKEY").answer):
                    await asyncio.sleep(0.05)
        anchors = [*keys, f"bogus.test. IN DS 4711 13 2 {'5' * 64}"]
        more = {"signed.test": knot.port, "bogus.test": knot.port}
        with Unbound(tmp_path / "unbound", ZONE, knot.port, "test", REGISTRY, more=more, anchors=anchors) as unbound:
            async with looking(unbound.port, port=knot.port) as looker:
                await seen(looker, "right.signed.test", state=State.VERIFIED, dnssec=Dnssec.SIGNED)
                await seen(looker, f"right.{ZONE}", state=State.VERIFIED, dnssec=Dnssec.UNSIGNED)
                bogus = {"state": State.UNSURE, "code": "dnssec_bogus", "dnssec": Dnssec.BOGUS}
                assert "change the DS record" in (await seen(looker, "right.bogus.test", **bogus)).detail


async def test_all_resolvers_have_to_agree_and_one_that_is_broken_or_silent_is_not_yet(tmp_path, monkeypatch):
    require("knotd", "unbound", "dig", "pebble-challtestsrv")
    name = f"right.{ZONE}"
    async with Knot(tmp_path, {ZONE: CUSTOMERS}) as knot, ChallengeTestServer(tmp_path) as other:
        await other.manage("set-default-ipv4", ip="")
        await other.manage("add-a", host=f"{TARGET}.", addresses=[OURS])
        await other.manage("add-a", host=f"ns.{ZONE}.", addresses=["127.0.0.1"])
        with Unbound(tmp_path / "unbound", ZONE, knot.port, "test", REGISTRY) as unbound:
            async with looking(unbound.port, other.dns_port, port=knot.port) as looker:
                behind = await seen(looker, name, state=State.PENDING, code="propagating")
                assert f"the resolver 127.0.0.1:{other.dns_port} still remembers that there was none" in behind.detail
                await other.manage("set-cname", host=f"{name}.", target=f"{TARGET}.")
                await seen(looker, name, state=State.VERIFIED)
                await other.manage("set-servfail", host=f"{name}.")
                await seen(looker, name, state=State.UNSURE, code="dns_error", fault=Fault.CUSTOMER_DNS)
                await other.manage("clear-servfail", host=f"{name}.")
            monkeypatch.setattr(module, "PATIENCE", 1.0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.bind(("127.0.0.1", 0))
                async with looking(unbound.port, silent.getsockname()[1], port=knot.port) as looker:
                    await seen(looker, name, state=State.UNSURE, code="dns_silent")
