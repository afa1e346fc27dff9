"""What can be had before a name leads here."""

from __future__ import annotations

import msgspec

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.ahead import Ahead, awaits_cutover
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState
from tests.control.issuance.conftest import World
from tests.ports import free_port

NAME = "a.client-domain.com"


def made(world: World, config: Config) -> Ahead:
    return Ahead(config, world.store, world.publisher, world.clock)


async def test_without_dns_01_nothing_is_provable_and_nobody_is_asked(world: World) -> None:
    assert not await made(world, world.config()).provable(NAME)
    zone = Dns(zone="acme.edge.test", resolvers=("127.0.0.1:1",))
    by_address = msgspec.structs.replace(world.config(challenges=("http-01",)), dns=zone)
    assert not await made(world, by_address).provable(NAME)


async def test_where_the_dns_does_not_answer_nothing_is(world: World) -> None:
    zone = Dns(zone="acme.edge.test", resolvers=(f"127.0.0.1:{free_port()}",))
    assert not await made(world, msgspec.structs.replace(world.config(), dns=zone)).provable(NAME)


async def test_the_built_in_ca_wants_no_proof(world: World) -> None:
    assert await made(world, Config(issuance=Issuance(directory="internal"))).provable(NAME)


async def test_only_what_is_proven_and_leads_elsewhere_awaits_its_cutover(world: World) -> None:
    store: Store = world.store
    assert not await awaits_cutover(store, NAME)
    await world.register(NAME, state=DomainState.AWAITING_CUTOVER)
    assert await awaits_cutover(store, NAME)
    await store.set_domain_state(NAME, DomainState.ISSUING, actor="t", now=world.clock())
    assert not await awaits_cutover(store, NAME)
