"""CAA records in a real DNS server, and a real CA that says by which names they know it."""

from __future__ import annotations

import json

import msgspec

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from tests.control.domains.verification.cases import domain
from tests.control.test_plane import opened
from tests.integration.caexchange import Answer, Exchange
from tests.integration.caproxy import CaProxy
from tests.integration.issuing import Issuing
from tests.integration.servers import Pebble, require


async def with_identities(exchange: Exchange) -> Answer:
    """The directory as pebble gives it, and the CA's name in CAA records."""
    answer = await exchange.pass_on()
    directory = json.loads(answer.body)
    return answer.with_json({**directory, "meta": {**directory.get("meta", {}), "caaIdentities": ["ca.example"]}})


async def test_a_name_whose_caa_forbids_costs_no_order_and_one_that_cannot_be_asked_is_left_to_the_ca(tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path, environ={"PEBBLE_VA_ALWAYS_VALID": "1"}) as pebble, CaProxy(tmp_path, pebble) as ca:
        ca.always("directory", with_identities)
        dns = pebble.dns
        forbidden = {"tag": "issue", "value": "strange.example"}
        await dns.manage("add-caa", host="example.com.", policies=[forbidden])
        await dns.manage("add-caa", host="c.example.com.", policies=[{"tag": "issue", "value": "ca.example"}])
        await dns.manage("set-servfail", host="b.example.com.")
        edge = Issuing(tmp_path, ca)
        edge.config = msgspec.structs.replace(edge.config, dns=Dns(resolvers=(f"127.0.0.1:{dns.dns_port}",)))
        async with edge:
            outcome = await edge.obtain("a.example.com")
            assert not outcome.ok
            assert outcome.detail == (
                'The record example.com CAA 0 issue "strange.example" does not let the CA ca.example issue for a.example.com. '
                'Add the record example.com CAA 0 issue "ca.example" there, or remove all CAA records of example.com.'
            )
            assert ca.count("newOrder") == 0
            assert (await edge.obtain("b.example.com")).ok
            assert (await edge.obtain("c.example.com")).ok
            assert ca.count("newOrder") == 2


async def test_a_domain_that_is_verified_is_told_of_caa_that_forbids_before_anything_is_ordered(tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path) as pebble, CaProxy(tmp_path, pebble) as ca:
        ca.always("directory", with_identities)
        manage = pebble.dns.manage
        await manage("add-a", host="domain.edge.test.", addresses=["127.0.0.1"])
        await manage("set-cname", host="shop.example.com.", target="domain.edge.test.")
        await manage("add-caa", host="example.com.", policies=[{"tag": "issue", "value": "strange.example"}])
        config = Config(
            state=State(directory=str(tmp_path / "state"), key="ab" * 32),
            issuance=Issuance(directory=ca.directory, ca_bundle=str(ca.ca_bundle), agree_terms=True),
            platform=Platform(cname_target="domain.edge.test"),
            dns=Dns(resolvers=(f"127.0.0.1:{pebble.dns.dns_port}",)),
        )
        (tmp_path / "state").mkdir()
        async with opened(config) as plane:
            found = await plane.looker.look(domain("shop.example.com"))
            assert (found.state, found.code) == ("wrong", "caa_forbids")
            await manage("clear-caa", host="example.com.")
            assert (await plane.looker.look(domain("shop.example.com"))).state == "verified"
        assert ca.count("newOrder") == 0
