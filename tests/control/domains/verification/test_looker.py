"""Who is asked what, and in which order: servers on loopback addresses of one port."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.records import record
from edgeproxy.control.domains.verification import looker as module
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.domains.verification.seen import Dnssec, Proof, State
from edgeproxy.errors import EdgeError, Fault
from tests.control.dns.answering import scripted
from tests.control.domains.verification.cases import PROOF, domain
from tests.ports import free_port

HOST, ZONE, TARGET, OURS, STRANGE = "gallery.customer.test", "customer.test", "domain.edge.test", "192.0.2.1", "198.51.100.9"
TEXT = f"_edgeproxy-verify.{HOST}"
SOA = ["ns1.customer.test. ops.customer.test. 1 2 3 4 5"]


class Ca:
    """What a CA's directory says."""

    def __init__(self):
        self.error: EdgeError | None = None

    async def identities(self):
        if self.error is not None:
            raise self.error
        return ("ca.example",), ""


class World:
    """Two resolvers, the registry of "test", and two servers of customer.test, which say the same."""

    def __init__(self, resolver, other, registry, first, second):
        self.resolver, self.other, self.registry, self.first, self.second = resolver, other, registry, first, second
        for each in (resolver, other):
            each.zone = {
                ("test", "NS"): ["a.nic.test"],
                ("a.nic.test", "A"): ["127.0.0.2"],
                ("ns1.customer.test", "A"): ["127.0.0.3"],
                ("ns2.customer.test", "A"): ["127.0.0.4"],
                (ZONE, "SOA"): SOA,
                (TARGET, "A"): [OURS],
            }
        registry.zone = {("test", "SOA"): SOA}
        registry.delegated = {ZONE: ["ns1.customer.test", "ns2.customer.test"]}
        for each in (first, second):
            each.zone = {(ZONE, "NS"): ["ns1.customer.test", "ns2.customer.test"], (ZONE, "SOA"): SOA}
        self.ca = Ca()
        self.lookers: list[Looker] = []

    @property
    def all(self):
        return (self.resolver, self.other, self.registry, self.first, self.second)

    def put(self, name, kind, *values, everywhere=True):
        """Makes a record at the zone's servers, and lets resolvers see it."""
        for server in (self.first, self.second, *((self.resolver, self.other) if everywhere else ())):
            server.zone[name, kind] = list(values)

    def looker(self, *, web_port=80, **changes):
        made = {
            "platform": Platform(cname_target=TARGET),
            "dns": Dns(resolvers=(self.resolver.address, self.other.address)),
            "origin": Origin(allow=("127.0.0.0/8",)),
        }
        port = self.resolver.port
        looker = Looker(Config(**{**made, **changes}), time.time, self.ca, dns_port=port, web_ports=(web_port, 443))
        self.lookers.append(looker)
        return looker

    async def look(self, host=HOST, method="cname", **changes):
        return await self.looker(**changes).look(domain(host, method))

    def asked(self, *servers):
        """Names that these were asked for."""
        return {name for server in servers for name, *_ in server.asked}


@pytest.fixture
async def world():
    port = free_port()
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(scripted(f"127.0.0.{n}", port, authority=n in (2, 3, 4))) for n in (1, 5, 2, 3, 4)
        ]
        made = World(*hosts)
        yield made
        for looker in made.lookers:
            await looker.close()


async def test_a_right_cname_is_verified_where_all_see_it(world):
    world.put(HOST, "CNAME", TARGET)
    found = await world.look()
    assert (found.state, found.points, found.proven) == (State.VERIFIED, Points.HERE, {Proof.CNAME})
    assert {HOST, TEXT} <= world.asked(world.first)
    assert HOST in world.asked(world.resolver)
    assert HOST in world.asked(world.other)
    assert TEXT not in world.asked(world.resolver, world.other)  # the zone's servers have none


async def test_resolvers_are_not_asked_for_what_is_not_there_yet(world):
    found = await world.look()
    assert (found.state, found.code) == (State.PENDING, "no_record")
    assert not {name for name in world.asked(world.resolver, world.other) if name.endswith(HOST)}
    world.put(HOST, "CNAME", TARGET)
    assert (await world.lookers[0].look(domain(HOST))).state is State.VERIFIED


async def test_a_wrong_record_is_told_with_what_is_there(world):
    world.put(HOST, "A", STRANGE)
    found = await world.look()
    assert (found.state, found.code, found.present) == (State.WRONG, "address_differs", f"A {STRANGE}")
    assert found.records[0].seen == (f"A {STRANGE}",)


async def test_a_cname_that_leads_out_of_the_zone_is_followed(world):
    world.put(HOST, "CNAME", "alias.other.test")
    for each in (world.resolver, world.other):
        each.zone["alias.other.test", "CNAME"] = [TARGET]
    assert (await world.look()).state is State.VERIFIED
    for each in (world.resolver, world.other):
        each.zone["alias.other.test", "CNAME"] = ["cdn.other.test"]
        each.zone["cdn.other.test", "A"] = [STRANGE]
    found = await world.look()
    assert (found.code, found.present) == ("cname_differs", f"CNAME alias.other.test, A {STRANGE}")


async def test_an_apex_with_our_addresses_is_verified_and_a_leftover_beside_them_is_not(world):
    world.put(ZONE, "A", OURS)
    assert (await world.look(ZONE)).proven == {Proof.ADDRESS}
    world.put(ZONE, "AAAA", "2001:db8::9")
    found = await world.look(ZONE)
    assert (found.code, found.wanted) == ("leftover_record", f"only A {OURS}")


async def test_what_a_resolver_remembers_still_is_waited_for(world):
    world.put(HOST, "CNAME", TARGET)
    world.other.zone.pop((HOST, "CNAME"))
    world.other.ttls[HOST] = 900
    before = time.time()
    found = await world.look()
    assert (found.state, found.code) == (State.PENDING, "propagating")
    assert found.visible_by is not None
    assert before + 900 <= found.visible_by <= time.time() + 900
    assert world.other.address in found.detail
    assert "visible everywhere by" in found.detail


async def test_a_doubled_zone_is_found_unless_a_wildcard_answers_for_all(world):
    world.put(f"{HOST}.{ZONE}", "CNAME", TARGET)
    found = await world.look()
    assert (found.code, found.wanted) == ("record_doubled", "gallery")
    world.put(f"edgeproxy-probe.edgeproxy-probe.{ZONE}", "CNAME", TARGET)
    assert (await world.look()).code == "no_record"
    world.put(f"{TEXT}.{ZONE}", "TXT", PROOF)
    assert (await world.look(method="dns")).code == "record_doubled"
    assert not {name for name in world.asked(world.resolver) if name.endswith(f"{ZONE}.{ZONE}")}


async def test_a_registry_that_names_other_servers_is_told(world):
    world.put(ZONE, "NS", "ns1.new.test", "ns2.new.test")
    found = await world.look()
    assert (found.state, found.code) == (State.WRONG, "nameservers_differ")
    assert (found.present, found.wanted) == ("ns1.customer.test and ns2.customer.test", "ns1.new.test and ns2.new.test")


async def test_a_zone_that_nobody_serves_and_a_domain_that_does_not_exist_are_told(world):
    for server in (world.first, world.second):
        server.refused.add(ZONE)
    for resolver in (world.resolver, world.other):
        resolver.broken |= {HOST, TEXT}
    assert (await world.look()).code == "zone_not_served"
    found = await world.look("shop.nobody.test")
    assert (found.state, found.code) == (State.PENDING, "domain_missing")
    assert "shop.nobody.test" not in world.asked(*world.all)


@pytest.mark.parametrize(("trouble", "code"), [("broken", "dns_error"), ("silent", "dns_silent")])
async def test_servfail_and_silence_are_not_yet(world, monkeypatch, trouble, code):
    if trouble == "silent":
        monkeypatch.setattr(module, "PATIENCE", 1.0)
    world.put(HOST, "CNAME", TARGET)
    getattr(world.other, trouble).add(HOST)
    found = await world.look()
    assert (found.state, found.code) == (State.UNSURE, code)
    assert world.other.address in found.detail or "SERVFAIL" in found.detail


async def test_broken_signatures_are_told_apart_from_other_trouble(world):
    world.put(HOST, "CNAME", TARGET)
    for resolver in (world.resolver, world.other):
        resolver.bogus |= {HOST, ZONE}
    found = await world.look()
    assert (found.state, found.code, found.dnssec) == (State.UNSURE, "dnssec_bogus", Dnssec.BOGUS)
    for resolver in (world.resolver, world.other):
        resolver.bogus.clear()
        resolver.signed.add(HOST)
    assert (await world.look()).dnssec is Dnssec.SIGNED
    world.resolver.signed.clear()
    world.other.signed.clear()
    assert (await world.look()).dnssec is Dnssec.UNSIGNED


async def test_caa_is_shown_and_one_that_forbids_is_told(world):
    world.put(HOST, "CNAME", TARGET)
    world.put(ZONE, "CAA", '0 issue "ca.example"')
    found = await world.look()
    assert (found.state, found.caa_records) == (State.VERIFIED, (f'{ZONE} CAA 0 issue "ca.example"',))
    world.put(ZONE, "CAA", '0 issue "strange.example"')
    found = await world.look()
    assert (found.state, found.code) == (State.WRONG, "caa_forbids")
    world.ca.error = EdgeError("The CA is away.", fault=Fault.CA)
    assert (await world.look()).state is State.VERIFIED
    world.resolver.broken.add(ZONE)
    assert (await world.look()).state is State.VERIFIED


async def test_a_text_is_proof_before_the_name_points_here(world):
    world.put(HOST, "A", STRANGE)
    world.put(TEXT, "TXT", f'"{PROOF}"')
    found = await world.look(method="dns")
    assert (found.state, found.points, found.proven) == (State.VERIFIED, Points.ELSEWHERE, {Proof.TXT})
    assert HOST not in world.asked(world.other)
    world.other.zone.pop((TEXT, "TXT"))
    assert (await world.look(method="dns")).code == "propagating"


async def test_a_wildcard_is_proven_by_text(world):
    world.put(f"_edgeproxy-verify.{ZONE}", "TXT", PROOF)
    world.put(f"edgeproxy-probe.{ZONE}", "CNAME", TARGET)
    found = await world.look(f"*.{ZONE}")
    assert (found.state, found.points) == (State.VERIFIED, Points.HERE)
    assert Proof.TXT in found.proven


async def test_the_file_is_fetched_from_where_the_name_points(world):
    port = free_port()

    async def serve(reader, writer):
        with contextlib.suppress(EOFError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(PROOF)}\r\n\r\n{PROOF}".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        assert (await world.look(method="file", web_port=port)).code == "no_record"
        world.put(HOST, "A", "127.0.0.1")
        found = await world.look(method="file", web_port=port)
        assert (found.state, found.proven, found.points) == (State.VERIFIED, {Proof.FILE}, Points.ELSEWHERE)
        world.put(HOST, "A", "10.0.0.1")
        assert (await world.look(method="file", web_port=port)).code == "file_refused"
    finally:
        server.close()
        await server.wait_closed()


async def test_a_look_ends_in_time_whatever_the_dns_does(world, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.5)
    world.put(HOST, "CNAME", TARGET)
    for server in world.all:
        server.silent |= {"test", "a.nic.test", ZONE, TARGET, HOST}
    found = await world.look()
    assert (found.state, found.code) == (State.UNSURE, "look_too_slow")
    assert found.records[0].value == TARGET


async def test_what_somebody_waits_for_does_not_stand_behind_the_schedule(world, monkeypatch):
    monkeypatch.setattr(module, "LOOKS", 1)
    world.put(HOST, "CNAME", TARGET)
    looker = world.looker()
    async with looker._looks:
        assert (await looker.look(domain(HOST), urgent=True)).state is State.VERIFIED


async def test_many_pending_names_are_worked_through_with_few_questions_to_resolvers(world):
    looker = world.looker()
    names = [f"shop-{number}.{ZONE}" for number in range(300)]
    found = await asyncio.gather(*(looker.look(domain(name)) for name in names))
    assert {each.code for each in found} == {"no_record"}
    assert len(world.resolver.asked) < 20
    assert len(world.registry.asked) == 1


async def test_without_name_servers_to_be_found_the_resolvers_decide(world):
    world.registry.delegated = {}
    for resolver in (world.resolver, world.other):
        resolver.zone.pop(("test", "NS"))
        resolver.zone[HOST, "CNAME"] = [TARGET]
    found = await world.look()
    assert (found.state, found.dnssec) == (State.VERIFIED, Dnssec.UNKNOWN)


async def test_the_targets_own_trouble_is_the_operators(world):
    world.put(HOST, "A", STRANGE)
    world.resolver.broken.add(TARGET)
    world.other.broken.add(TARGET)
    found = await world.look()
    assert (found.state, found.fault) == (State.UNSURE, Fault.OPERATOR)
    assert TARGET in found.detail


async def test_records_of_the_ca_are_compared_with_what_is_there(world, monkeypatch):
    monkeypatch.setattr(module, "DIFFERING_SECONDS", 0.0)
    name, value = f"_acme-challenge.{ZONE}", "label.acme.edge.test"
    wanted = record("acme", "CNAME", name, value, required=True, reason="Lets this edge answer.")
    looker = world.looker()
    (missing,) = await looker.compare([wanted])
    assert (missing.ok, missing.seen, missing.reason) == (False, (), "Lets this edge answer.")
    world.put(name, "CNAME", "other.test", everywhere=False)
    (wrong,) = await looker.compare([wanted])
    assert (wrong.ok, wrong.seen) == (False, ("other.test",))
    assert wrong.reason.startswith(f"{name} has CNAME other.test. Change it to CNAME {value}.")
    world.put(name, "CNAME", value, everywhere=False)
    (right,) = await looker.compare([wanted])
    assert (right.ok, right.seen) == (True, (value,))
    for server in (world.first, world.second):
        server.refused.add(ZONE)
    assert await world.looker().compare([wanted]) == [wanted]
    assert name not in world.asked(world.resolver, world.other)


async def test_what_stands_for_a_record_of_the_ca_is_asked_once_for_all_who_are_shown_it(world):
    name = f"_acme-challenge.{ZONE}"
    wanted = record("acme", "CNAME", name, "label.acme.edge.test", required=True)
    world.put(name, "CNAME", "label.acme.edge.test", everywhere=False)
    looker = world.looker()
    shown = await asyncio.gather(*(looker.compare([wanted]) for _ in range(20)))
    assert [each.ok for (each,) in shown] == [True] * 20
    assert sum(asked == name for asked, *_ in world.first.asked) == 1
    other = record("acme", "CNAME", name, "another.acme.edge.test", required=True)
    assert [each.ok for each in await looker.compare([wanted, other])] == [True, False]


async def test_comparing_ends_in_time(world, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.3)
    world.resolver.silent |= {"test", ZONE}
    world.other.silent |= {"test", ZONE}
    wanted = record("acme", "CNAME", f"_acme-challenge.{ZONE}", "label.acme.edge.test", required=True)
    assert await world.looker().compare([wanted]) == [wanted]


# Who means harm


@pytest.mark.parametrize("method", ["cname", "dns", "file"])
async def test_a_name_so_long_that_its_text_record_cannot_be_is_looked_at_all_the_same(world, method):
    host = f"{'.'.join(['a' * 60] * 3 + ['b' * 46])}.{ZONE}"
    assert len(host) == 243
    found = await world.look(host, method=method)
    assert (found.state, found.code) == (State.PENDING, "no_record")


async def test_cnames_in_a_circle_across_zones_are_told(world):
    world.put(HOST, "CNAME", "alias.other.test", everywhere=False)
    for each in (world.resolver, world.other):
        each.zone["alias.other.test", "CNAME"] = [HOST]
        each.zone[HOST, "CNAME"] = ["alias.other.test"]
        each.broken |= {f"{name} {kind}" for name in (HOST, "alias.other.test") for kind in ("A", "AAAA")}  # as of a circle
    found = await world.look()
    assert (found.state, found.code) == (State.WRONG, "cname_loop")
    assert f"{HOST} → alias.other.test → {HOST}" in found.detail
    assert sum(kind == "CNAME" for each in (world.resolver, world.other) for _, kind, _ in each.asked) <= 4


STEERING = "\\027[2J<b>"
"""In a zone file: bytes that steer a terminal, and marks of HTML."""


@pytest.mark.parametrize("method", ["cname", "dns"])
async def test_what_others_wrote_into_their_zone_steers_no_terminal_and_no_page(world, method):
    label = STEERING + "x" * 55
    world.put(HOST, "CNAME", ".".join([label] * 4))
    world.put(TEXT, "TXT", f'"\\027]0;gotcha\\007 {"y" * 200}" "{"z" * 255}"', *(f'"{n}{"v" * 250}"' for n in range(9)))
    world.put(ZONE, "NS", f"{STEERING}.elsewhere.test", "ns2.elsewhere.test")
    found = await world.look(method=method)
    assert found.state is State.WRONG
    shown = [found.detail, found.what, found.present, found.wanted, *(text for each in found.records for text in each.seen)]
    shown += [each.reason for each in found.records]
    assert any("·" in text for text in shown)
    assert [text for text in shown if not text.isprintable() or "<b>" in text] == []
    assert max(map(len, shown)) <= 2000
    assert max(len(text) for each in found.records for text in each.seen) <= 260
    assert sum(len(each.seen) for each in found.records) <= 16


async def test_chains_of_the_longest_names_make_no_long_sentences(world):
    names = [".".join([f"{n}" + "\\001" * 60] * 4) for n in range(9)]
    for name, following in zip([HOST, *names], [*names, HOST], strict=True):
        world.put(name, "CNAME", following)
    found = await world.look()
    assert (found.code, found.state) == ("cname_loop", State.WRONG)
    assert len(found.detail) <= 2000
    assert found.detail.isprintable()
