"""A zone's own servers, and who they are: from servers on loopback addresses of one port."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from edgeproxy.control.dns.lookup import Answer, Lookup, Said
from edgeproxy.control.domains.verification import servers as module
from edgeproxy.control.domains.verification.seen import Nameserver, Serving, Zone
from edgeproxy.control.domains.verification.servers import Referral, Servers, read
from tests.control.dns.answering import scripted
from tests.ports import free_port

HOST = "gallery.customer.test"


class World:
    """A resolver, the registry of "test", and two servers of customer.test. `allowed` addresses are asked."""

    def __init__(self, resolver, registry, first, second):
        self.resolver, self.registry, self.first, self.second = resolver, registry, first, second
        resolver.zone = {
            ("test", "NS"): ["a.nic.test"],
            ("a.nic.test", "A"): ["127.0.0.2"],
            ("ns1.customer.test", "A"): ["127.0.0.3"],
            ("ns2.customer.test", "A"): ["127.0.0.4"],
        }
        registry.zone = {("test", "SOA"): ["a.nic.test. ops.test. 1 2 3 4 5"]}
        registry.delegated = {"customer.test": ["ns1.customer.test", "ns2.customer.test"]}
        for server in (first, second):
            server.zone = {
                ("customer.test", "NS"): ["ns1.customer.test", "ns2.customer.test"],
                (HOST, "A"): ["192.0.2.1"],
            }
        self.forbidden: set[str] = set()
        lookup = Lookup([resolver.address], patience=60)
        self.servers = Servers(lookup.ask, lambda address: address not in self.forbidden, time.monotonic, port=resolver.port)

    async def look(self, name: str = HOST, kind: str = "A"):
        zone = await self.servers.zone_of(name)
        assert zone is not None
        return await self.servers.answers(zone, [(name, kind)])


@pytest.fixture
async def world():
    port = free_port()
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(scripted(f"127.0.0.{n}", port, authority=n > 1)) for n in range(1, 5)]
        made = World(*hosts)
        yield made
        await made.servers.close()


async def test_the_registry_says_who_serves_a_zone_and_each_is_asked(world):
    zone, answers = await world.look()
    assert (zone.name, zone.delegated) == ("customer.test", ("ns1.customer.test", "ns2.customer.test"))
    assert [(server.address, server.serving) for server in zone.servers] == [
        ("127.0.0.3", Serving.SERVES),
        ("127.0.0.4", Serving.SERVES),
    ]
    assert [answer.records for (answer,) in answers] == [("192.0.2.1",)] * 2
    assert HOST not in {name for name, *_ in world.resolver.asked}
    assert await world.servers.own(zone) == ("ns1.customer.test", "ns2.customer.test")
    assert (await world.servers.one(zone, f"none.{HOST}", "A")).said is Said.NO_NAME


async def test_who_serves_a_zone_is_remembered_for_a_while(world, monkeypatch):
    await world.look()
    before = len(world.registry.asked)
    await world.look()
    assert len(world.registry.asked) == before
    monkeypatch.setattr(module, "ZONE_SECONDS", 0.0)
    world.servers._zones._values.clear()
    await world.look()
    await world.look()
    assert len(world.registry.asked) == before + 2


async def test_a_part_that_is_delegated_further_is_followed(world):
    for server in (world.first, world.second):
        server.delegated = {HOST: ["ns1.part.test"]}
    world.resolver.zone["ns1.part.test", "A"] = ["127.0.0.1"]
    world.resolver.authority = True
    world.resolver.zone[HOST, "A"] = ["192.0.2.7"]
    zone, answers = await world.look()
    assert (zone.name, zone.delegated) == (HOST, ("ns1.part.test",))
    assert [answer.records for (answer,) in answers] == [("192.0.2.7",)]


async def test_delegations_in_a_circle_end(world):
    for server in (world.first, world.second):
        server.delegated = {HOST: ["ns1.customer.test"]}
    zone, answers = await world.look()
    assert [answer.said for (answer,) in answers] in ([], [Said.BROKEN])
    assert all(server.serving is not Serving.SERVES for server in zone.servers)


async def test_a_domain_that_the_registry_does_not_know_is_missing(world):
    zone = await world.servers.zone_of("shop.nobody.test")
    assert zone == Zone(name="nobody.test", exists=False)
    world.resolver.zone["inner.test", "SOA"] = ["ns.inner.test. ops.inner.test. 1 2 3 4 5"]
    assert await world.servers.zone_of("shop.inner.test") is None


async def test_servers_that_refuse_are_silent_or_do_not_exist_are_told_apart(world, monkeypatch):
    world.registry.delegated["customer.test"] += ["ns3.customer.test"]
    world.first.refused.add("customer.test")
    world.second.silent.add(HOST)
    assert await world.servers.zone_of(HOST) is not None
    monkeypatch.setattr(module, "TRY_SECONDS", 1.0)
    zone, answers = await world.look()
    assert [server.serving for server in zone.servers] == [Serving.REFUSES, Serving.SILENT, Serving.NOWHERE]
    assert [answer.said for (answer,) in answers] == [Said.BROKEN, Said.SILENT]
    assert "answers REFUSED" in answers[0][0].detail
    assert await world.servers.one(zone, HOST, "A") is None


async def test_a_silent_server_is_not_waited_for_again_and_again(world, monkeypatch):
    assert await world.servers.zone_of(HOST) is not None
    monkeypatch.setattr(module, "TRY_SECONDS", 0.3)
    world.first.silent |= {HOST, "other.customer.test"}
    world.second.silent |= {HOST, "other.customer.test"}
    for _ in range(3):
        await world.look()
    before = len(world.first.asked) + len(world.second.asked)
    zone, _ = await world.look("other.customer.test")
    assert [server.serving for server in zone.servers] == [Serving.SILENT] * 2
    assert len(world.first.asked) + len(world.second.asked) == before


async def test_a_server_without_authority_serves_nothing(world):
    world.first.authority = world.second.authority = False
    world.first.zone = world.second.zone = {}
    zone, answers = await world.look()
    assert {server.serving for server in zone.servers} == {Serving.REFUSES}
    assert "does not serve the zone customer.test" in answers[0][0].detail


async def test_private_addresses_are_not_asked(world):
    world.forbidden = {"127.0.0.4"}
    zone, answers = await world.look()
    assert [server.serving for server in zone.servers] == [Serving.SERVES, Serving.UNASKED]
    assert len(answers) == 1
    assert not world.second.asked


async def test_where_the_registry_is_not_known_the_resolver_names_the_servers(world):
    world.resolver.zone.pop(("test", "NS"))
    world.resolver.zone["customer.test", "NS"] = ["ns2.customer.test"]
    zone, answers = await world.look()
    assert (zone.delegated, [server.name for server in zone.servers]) == ((), ["ns2.customer.test"])
    assert len(answers) == 1
    assert await world.servers.zone_of("shop.other.test") is None


async def test_an_answer_that_was_cut_is_asked_for_over_tcp(world):
    world.first.cut.add(HOST)
    _, answers = await world.look()
    assert answers[0][0].records == ("192.0.2.1",)


def message(name: str, kind: str, *, authority: list[str], flags: int = 0, zone: str = "test"):
    response = dns.message.make_response(dns.message.make_query(f"{name}.", kind, flags=0))
    response.flags |= flags
    response.authority.append(dns.rrset.from_text(f"{zone}.", 60, "IN", "NS", *authority))
    return response


@pytest.mark.parametrize("owner", ["test", "customer.test", "other.customer.test", "."])
def test_a_server_that_points_upwards_or_aside_serves_nothing(owner):
    response = message(HOST, "A", authority=["ns.evil.test."], zone=owner.removesuffix("."))
    found = read(response, HOST, "A", "customer.test", "ns1")
    assert isinstance(found, Answer)
    assert found.said is Said.BROKEN


def test_a_referral_brings_the_addresses_of_its_servers():
    response = message(HOST, "A", authority=["ns1.customer.test."], zone="customer.test")
    response.additional.append(dns.rrset.from_text("ns1.customer.test.", 60, "IN", "A", "192.0.2.5"))
    assert read(response, HOST, "A", "test", "a.nic.test") == Referral(
        "customer.test", ("ns1.customer.test",), {"ns1.customer.test": "192.0.2.5"}
    )
    assert Nameserver(name="x").serving is Serving.UNASKED


async def test_a_huge_answer_is_an_error_and_no_reason_to_ask_again(world, monkeypatch):
    monkeypatch.setattr(module, "TRY_SECONDS", 20.0)
    world.first.huge.add(HOST)
    world.second.huge.add(HOST)
    zone, answers = await world.look()
    assert [(answer.said, answer.records) for (answer,) in answers] == [(Said.BROKEN, ())] * 2
    assert "ns1.customer.test (127.0.0.3) of customer.test sends answers of more than 4096 bytes" in answers[0][0].detail
    assert zone.servers[0].serving is Serving.REFUSES
    assert sum(name == HOST for name, *_ in world.first.asked) == 1


async def test_a_name_that_is_too_long_to_be_one_is_not_there(world):
    long = ".".join(["a" * 60] * 4) + ".customer.test"
    _, answers = await world.look(long)
    assert [(answer.said, answer.certain) for (answer,) in answers] == [(Said.NO_NAME, True)] * 2
