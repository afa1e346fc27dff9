"""The daily look at every name, over a real store and a real TLS server in the place of our listener."""

import asyncio
import time
from datetime import timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control import events
from edgeproxy.control.issuance.certificates import certificate_id
from edgeproxy.control.probe import daily
from edgeproxy.control.probe.daily import DAY, Probe
from edgeproxy.control.store import GateRoute, InternalCa, Store, StoredCertificate
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer
from tests.control.probe.chains import Authority, tls_server
from tests.control.store.making import put


class World:
    def __init__(self, store, port, authority, leaf):
        self.store, self.authority, self.now, self.slept = store, authority, time.time(), []
        self.leaf = leaf
        self.config = Config(
            listen=Listen(https=(f"127.0.0.1:{port}",)),
            issuance=Issuance(directory="internal", allow=Allow(patterns=("*.p.example",))),
        )
        self.probe = Probe(self.config, store, lambda: self.now, self.sleep)

    async def sleep(self, seconds):
        self.slept.append(seconds)

    async def add(self, name, leaf, *, register=True):
        if register:
            await self.store.add_domain(name, "ws", state=DomainState.VERIFIED, actor="test", now=self.now)
        stored = StoredCertificate(
            id=certificate_id(leaf),
            names=(name,),
            chain=leaf.public_bytes(Encoding.PEM),
            sealed_key=b"",
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            renew_at=leaf.not_valid_after_utc.timestamp() - 30 * DAY,
            issuer="internal",
        )
        await self.store.add_certificate(stored, self.now)
        return stored


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
async def world(tmp_path, authority):
    """Every name is served under one certificate, for a.example and *.p.example."""
    sealer = Sealer(b"s" * 32)
    put(tmp_path)
    store = await Store.open(Config(), tmp_path, sealer, account_sealer=sealer)
    await store.save_internal_ca(InternalCa(certificate=authority.pem, key=b"unused"), time.time())
    leaf, key = authority.sign("a.example", "*.p.example")
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        yield World(store, port, authority, leaf)
    await store.close()


async def test_every_name_is_graded_once_a_round(world):
    await world.add("a.example", world.leaf)
    wrong, _ = world.authority.sign("b.example")
    await world.add("b.example", wrong)
    await world.probe.round()
    assert world.probe.counts == {"good": 1, "wrong_name": 1}
    (worst,) = world.probe.worst(10)
    assert (worst.name, worst.graded.grade.value, worst.at) == ("b.example", "wrong_name", world.now)
    assert world.slept == [1.0, 1.0]
    world.slept.clear()
    await world.probe.round()
    assert world.slept == [DAY / 2, DAY / 2]


async def test_names_that_are_not_ours_are_left_alone(world):
    await world.add("left-over.example", world.authority.sign("left-over.example")[0], register=False)
    await world.probe.round()
    assert world.probe.counts == {}


async def test_a_wildcard_and_a_pattern_are_looked_at_too(world):
    await world.add("*.p.example", world.leaf)
    await world.probe.round()
    assert world.probe.counts == {"good": 1}


async def test_a_name_of_the_gates_is_ours_while_its_route_lasts(world):
    allow = Allow(gate="http://127.0.0.1:1/")
    settings = msgspec.structs.replace(world.config, issuance=Issuance(directory="internal", allow=allow))
    world.probe = Probe(settings, world.store, lambda: world.now, world.sleep)
    await world.add("a.example", world.leaf, register=False)
    await world.probe.round()
    assert world.probe.counts == {}
    await world.store.put_gate_route(GateRoute(hostname="a.example", fresh_until=world.now + 60), world.now)
    await world.probe.round()
    assert world.probe.counts == {"good": 1}


async def test_only_the_newest_certificate_of_a_name_is_expected(world):
    await world.add("a.example", world.leaf)
    newer, _ = world.authority.sign("a.example")
    await world.add("a.example", newer, register=False)
    await world.probe.round()
    assert world.probe.counts == {"other": 1}


async def test_one_that_is_well_again_is_no_longer_among_the_worst(world):
    wrong, _ = world.authority.sign("a.example")
    stored = await world.add("a.example", wrong)
    await world.probe.round()
    assert world.probe.counts == {"other": 1}
    await world.store.remove_certificate(stored.id, world.now)
    await world.add("a.example", world.leaf, register=False)
    await world.probe.again()
    assert (world.probe.counts, world.probe.worst(10)) == ({"good": 1}, [])


async def test_one_whose_domain_is_removed_is_forgotten(world):
    await world.add("b.example", world.authority.sign("b.example")[0])
    await world.probe.round()
    await world.store.remove_domain("b.example", actor="test", now=world.now)
    await world.probe.again()
    assert (world.probe.counts, world.probe.worst(10)) == ({}, [])


async def test_what_is_asked_for_now_leaves_out_what_was_cured_since(world):
    for name in ("b.example", "c.example"):
        await world.add(name, world.authority.sign(name)[0])
    stored = await world.add("a.example", world.authority.sign("a.example")[0])
    await world.probe.round()
    assert [seen.name for seen in await world.probe.worst_now(10)] == ["b.example", "c.example", "a.example"]
    await world.store.remove_domain("b.example", actor="test", now=world.now)
    await world.store.remove_certificate(stored.id, world.now)
    await world.add("a.example", world.leaf, register=False)
    assert [seen.name for seen in await world.probe.worst_now(10)] == ["c.example"]
    assert world.probe.counts == {"good": 1, "wrong_name": 1}


async def test_two_who_ask_at_once_count_a_name_once(world):
    wrong, _ = world.authority.sign("a.example")
    stored = await world.add("a.example", wrong)
    await world.probe.round()
    await world.store.remove_certificate(stored.id, world.now)
    await world.add("a.example", world.leaf, register=False)
    await asyncio.gather(world.probe.again(), world.probe.again())
    assert world.probe.counts == {"good": 1}


async def test_an_end_that_nears_is_told_once_a_day(world):
    told: list[events.Event] = []
    end = events.subscribe(told.append)
    late, _ = world.authority.sign("a.example", age=timedelta(days=85))
    stored = await world.add("a.example", late)
    world.now = stored.not_after + 60  # it has ended; no handshake is made for it
    await world.probe.round()
    await world.probe.round()
    assert [event.name for event in told] == ["certificate.expired"]
    assert told[0].fields["hostname"] == "a.example"
    assert told[0].fields["seconds_left"] == -60
    world.now += DAY
    await world.probe.round()
    end()
    assert len(told) == 2


async def test_what_is_remembered_is_bounded_and_the_worst_stay(world, monkeypatch):
    monkeypatch.setattr(daily, "REMEMBERED", 2)
    for name in ("b.example", "c.example", "d.example"):
        await world.add(name, world.authority.sign(name)[0])
    old = await world.add("a.example", world.authority.sign("a.example", age=timedelta(days=100))[0])
    assert old.not_after < world.now
    await world.probe.round()
    assert world.probe.counts == {"wrong_name": 3, "expired": 1}
    assert [seen.name for seen in world.probe.worst(10)] == ["a.example", "b.example"]


async def test_it_runs_until_it_is_ended(world):
    class Enough(Exception):
        pass

    await world.add("a.example", world.leaf)

    async def sleep(seconds):
        if seconds == daily.AGAIN_SECONDS:
            await asyncio.Event().wait()
        world.slept.append(seconds)
        if seconds > DAY / 2:
            raise Enough
        await asyncio.sleep(0)

    world.probe = Probe(world.config, world.store, lambda: world.now, sleep)
    with pytest.raises(BaseExceptionGroup) as caught:
        await world.probe.run()
    assert caught.group_contains(Enough)
    assert world.slept[0] == daily.START_SECONDS
    assert world.probe.counts == {"good": 1}


def test_the_row_of_a_certificate_is_looked_at_as_it_is_stored(authority):
    leaf, _ = authority.sign("a.example")
    chain = leaf.public_bytes(Encoding.PEM) + authority.pem
    row = StoredCertificate(id="x", names=(), chain=chain, sealed_key=b"", not_before=0, not_after=0, renew_at=0)
    assert daily._der(msgspec.structs.replace(row)) == leaf.public_bytes(Encoding.DER)
