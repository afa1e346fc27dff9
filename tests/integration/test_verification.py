"""Names that are to be verified, at a real authoritative server (Knot) and through a real resolver (Unbound)."""

from __future__ import annotations

import time

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.platform import Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.verification import Verification
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.domains.verification.seen import Proof, State
from edgeproxy.control.domains.verification.wanted import workspace_label
from edgeproxy.control.issuance.acme.rfc2136 import DynamicZone
from edgeproxy.model import DomainState
from tests.control.domains import living
from tests.control.domains.verification.cases import PROOF, domain
from tests.control.store.making import opened
from tests.integration.dnsservers import Knot
from tests.integration.resolver import Unbound
from tests.integration.servers import ChallengeTestServer, require

ZONE, TARGET, OURS, STRANGE = "customer.test", "domain.edge.test", "192.0.2.1", "198.51.100.9"
S = DomainState
OWN = f"{workspace_label('spandantest')}.{TARGET}"

REMEMBERED = 900
"""Seconds for which a resolver keeps the record that is changed."""

CUSTOMERS = [
    f"{ZONE}. 3600 A {OURS}",
    f"right.{ZONE}. 300 CNAME {TARGET}.",
    f"own.{ZONE}. 300 CNAME {OWN}.",
    f"long.{ZONE}. 300 CNAME step.{ZONE}.",
    f"step.{ZONE}. 300 CNAME {TARGET}.",
    f"flat.{ZONE}. 300 A {OURS}",
    f"old.{ZONE}. 300 A {STRANGE}",
    f"left.{ZONE}. 300 A {OURS}",
    f"left.{ZONE}. 300 A {STRANGE}",
    f"half.{ZONE}. 300 A {OURS}",
    f"half.{ZONE}. 300 AAAA 2001:db8:9::9",
    f"proxied.{ZONE}. 300 A 104.21.5.6",
    f"proxied.{ZONE}. 300 AAAA 2606:4700:3030::1",
    f"wrong.{ZONE}. 300 CNAME right.edge.test.",
    f"foreign.{ZONE}. 300 CNAME {workspace_label('mallory')}.{TARGET}.",
    f"circle.{ZONE}. 300 CNAME round.{ZONE}.",
    f"round.{ZONE}. 300 CNAME circle.{ZONE}.",
    f"loop.{ZONE}. 300 CNAME loop.edge.test.",
    f"twice.{ZONE}.{ZONE}. 300 CNAME {TARGET}.",
    f"_edgeproxy-verify.proven.{ZONE}. 300 TXT {PROOF}",
    f"_edgeproxy-verify.wild.{ZONE}. 300 TXT {PROOF}",
    f"_edgeproxy-verify.changed.{ZONE}. {REMEMBERED} TXT an-older-proof",
    f"*.wild.{ZONE}. 300 CNAME {TARGET}.",
]

REGISTRY = [
    f"{ZONE}. 300 IN NS ns.{ZONE}.",
    f"ns.{ZONE}. 300 IN A 127.0.0.1",
    "nobody.test. 300 IN NS ns.nobody.test.",
    f"{TARGET}. 300 IN A {OURS}",
    f"*.{TARGET}. 300 IN A {OURS}",
    f"right.edge.test. 300 IN A {STRANGE}",
    f"loop.edge.test. 300 IN CNAME loop.{ZONE}.",
]


class World:
    def __init__(self, knot, unbound):
        self.knot, self.unbound = knot, unbound
        self.config = Config(
            platform=Platform(cname_target=TARGET),
            dns=Dns(resolvers=(f"127.0.0.1:{unbound.port}",)),
            origin=Origin(allow=("127.0.0.0/8",)),
            issuance=Issuance(directory="internal"),  # which may be for names that are in no public DNS
            verification=Verification(preset="prove"),
        )
        self.looker = Looker(self.config, time.time, dns_port=knot.port)

    async def look(self, name, method="cname"):
        return await self.looker.look(domain(f"{name}.{ZONE}" if name else ZONE, method))


@pytest.fixture
async def world(tmp_path):
    require("knotd", "unbound", "dig")
    async with Knot(tmp_path, {ZONE: CUSTOMERS}) as knot:
        with Unbound(tmp_path / "unbound", ZONE, knot.port, "test", REGISTRY) as unbound:
            made = World(knot, unbound)
            yield made
            await made.looker.close()


async def test_names_at_a_real_server_are_told_as_they_are(world):
    for name, proof in (
        ("right", Proof.CNAME),
        ("own", Proof.WORKSPACE_CNAME),
        ("long", Proof.CNAME),
        ("flat", Proof.ADDRESS),
        ("", Proof.ADDRESS),
    ):
        found = await world.look(name)
        assert (name, found.code, found.state, found.proven) == (name, "", State.VERIFIED, {proof})
    codes = {
        "none": "no_record",
        "old": "address_differs",
        "left": "leftover_record",
        "half": "leftover_record",
        "proxied": "proxied",
        "wrong": "cname_differs",
        "foreign": "cname_of_another",
        "circle": "cname_loop",
        "loop": "cname_loop",
        "twice": "record_doubled",
    }
    assert {name: (await world.look(name)).code for name in codes} == codes


async def test_texts_prove_a_name_and_a_wildcard(world):
    proven = await world.look("proven", "dns")
    assert (proven.state, proven.points) == (State.VERIFIED, Points.ELSEWHERE)
    wild = await world.look("*.wild")
    assert (wild.state, wild.points) == (State.VERIFIED, Points.HERE)
    assert (await world.look("old", "dns")).code == "no_record"


async def test_a_record_is_seen_as_soon_as_it_is_there(world):
    """The resolver was never asked for it, and so does not remember that there was none."""
    assert (await world.look("soon", "dns")).code == "no_record"
    zone = DynamicZone(world.knot.settings(ZONE))
    await zone.add(f"_edgeproxy-verify.soon.{ZONE}", PROOF)
    assert (await world.look("soon", "dns")).state is State.VERIFIED


async def test_what_the_resolver_remembers_is_waited_for(world):
    zone, name = DynamicZone(world.knot.settings(ZONE)), f"_edgeproxy-verify.changed.{ZONE}"
    assert world.unbound.ask(name).values == ['"an-older-proof"']
    asked = time.time()
    assert (await world.look("changed", "dns")).code == "txt_differs"
    await zone.add(name, PROOF)
    await zone.remove(name, "an-older-proof")
    found = await world.look("changed", "dns")
    assert (found.state, found.code) == (State.PENDING, "propagating")
    assert found.visible_by is not None
    assert asked < found.visible_by <= asked + REMEMBERED + 2
    assert 'still remembers "an-older-proof"' in found.detail


async def test_domains_that_nobody_serves_or_knows(world):
    found = await world.looker.look(domain("shop.nobody.test"))
    assert found.state in (State.UNSURE, State.WRONG)
    assert found.code in ("dns_error", "dns_silent", "zone_not_served")
    found = await world.looker.look(domain("shop.missing.test"))
    assert found.state is not State.VERIFIED


async def test_a_name_that_led_here_before_its_registration_is_proven_by_text_or_its_workspaces_own_target(world, tmp_path):
    async with opened(tmp_path, world.config) as store:
        life = living.World(world.config, store, zone=world.looker)
        try:
            by_text = await life.register(f"right.{ZONE}", "spandantest")
            assert (by_text.state, by_text.must_prove, by_text.error_code) == (S.PENDING_VALIDATION, True, "proof_needed")
            assert (await life.look(by_text.hostname)).error_code == "no_record"
            shown = life.reconciler.verdict(by_text.hostname)
            assert shown is not None
            offered = {(each.type, each.name, each.value, each.required, each.ok) for each in shown.records}
            text = f"_edgeproxy-verify.{by_text.hostname}"
            assert ("TXT", text, by_text.proof, True, False) in offered
            assert ("CNAME", by_text.hostname, OWN, False, False) in offered
            await DynamicZone(world.knot.settings(ZONE)).add(text, by_text.proof)
            assert (await life.look(by_text.hostname)).state is S.ACTIVE
            by_own = await life.register(f"own.{ZONE}", "spandantest")
            assert (by_own.state, by_own.must_prove) == (S.ACTIVE, True)
            foreign = await life.register(f"foreign.{ZONE}", "spandantest")
            assert (foreign.state, foreign.error_code) == (S.PENDING_VALIDATION, "cname_of_another")
        finally:
            await life.reconciler.close()


async def test_a_resolver_without_name_servers_behind_it_decides_alone(tmp_path):
    """As in the tests of whoever uses Let's Encrypt's own test server."""
    require("pebble-challtestsrv")
    async with ChallengeTestServer(tmp_path) as server:
        await server.manage("set-default-ipv4", ip="")
        await server.manage("add-a", host=f"{TARGET}.", addresses=[OURS])
        await server.manage("set-cname", host=f"right.{ZONE}.", target=f"{TARGET}.")
        await server.manage("set-servfail", host=f"broken.{ZONE}.")
        settings = Config(platform=Platform(cname_target=TARGET), dns=Dns(resolvers=(f"127.0.0.1:{server.dns_port}",)))
        looker = Looker(settings, time.time)
        begun = time.monotonic()
        assert (await looker.look(domain(f"right.{ZONE}"))).state is State.VERIFIED
        took = time.monotonic() - begun
        assert (await looker.look(domain(f"none.{ZONE}"))).code == "no_record"
        assert (await looker.look(domain(f"broken.{ZONE}"))).state is State.UNSURE
        await looker.close()
    assert took < 60
