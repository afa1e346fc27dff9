"""Where the records of DNS-01 stand: in our own zone, answered by our own server, and in a zone of a real Knot."""

import asyncio
import contextlib

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.machine import State
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.dns.lookup import Lookup
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.issuance.acme import dns01, rfc2136
from edgeproxy.control.issuance.acme.challenges import AnswerFailed, NotApplicable
from edgeproxy.control.issuance.acme.dns01 import Dns01, OwnZone, UpdatedZone, record_name, record_value
from edgeproxy.control.issuance.acme.rfc2136 import UpdateFailed
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.errors import Fault
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from tests.control.store.making import put
from tests.integration.dnsservers import SECRET, Knot, answering
from tests.ports import free_port

OWN, UPDATED, CUSTOMER = "acme.edge.example", "dyn.example", "customer.example"
HOST, WILD, DIRECT = f"own.{CUSTOMER}", f"*.own.{CUSTOMER}", f"shop.{UPDATED}"
VALUE, OTHER = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", "another-value-that-is-as-long-as-a-digest-is"


def label(host, zone):
    return f"{zone_label(host)}.{zone}"


@pytest.fixture(scope="module")
def anyio_backend():
    """One loop for the module, as it has one server."""
    return "asyncio"


@pytest.fixture(scope="module")
async def knot(tmp_path_factory):
    """Has the updated zone, and the customers' zone with their CNAMEs: so it is the resolver too."""
    lines = [
        f"_acme-challenge.{HOST}. 1 CNAME {label(HOST, OWN)}.",
        f"_acme-challenge.dyn.{CUSTOMER}. 1 CNAME {label(f'dyn.{CUSTOMER}', UPDATED)}.",
        f"_acme-challenge.long.{CUSTOMER}. 1 CNAME way.{CUSTOMER}.",
        f"way.{CUSTOMER}. 1 CNAME {label(f'long.{CUSTOMER}', OWN)}.",
        f"_acme-challenge.wrong.{CUSTOMER}. 1 CNAME {label(HOST, OWN)}.",
    ]
    updated = [
        f"_acme-challenge.elsewhere.{UPDATED}. 1 CNAME nobody.example.",
        f"_acme-challenge.to-own.{UPDATED}. 1 CNAME {label(f'to-own.{UPDATED}', OWN)}.",
    ]
    async with Knot(tmp_path_factory.mktemp("knot"), {CUSTOMER: lines, UPDATED: updated}) as server:
        yield server


class World:
    """Store, publisher and our own zone's server."""

    def __init__(self, folder, knot):
        self.folder, self.knot = folder, knot
        self.port = free_port()
        self.sleeps = []

    def config(self, *, own=True, updated=True, resolvers=None, **key):
        return Config(
            state=State(directory=str(self.folder)),
            platform=Platform(cname_target="edge.example"),
            dns=Dns(
                resolvers=(self.knot.address,) if resolvers is None else resolvers,
                zone=OWN if own else "",
                listen=(f"0.0.0.0:{self.port}",) if own else (),
                rfc2136=self.knot.settings(UPDATED, **key) if updated else Dns().rfc2136,
            ),
        )

    async def __aenter__(self):
        self.stack = contextlib.AsyncExitStack()
        config = self.config()
        put(self.folder, config)
        self.store = await Store.open(config, self.folder, Sealer(b"s" * 32), account_sealer=Sealer(b"a" * 32))
        self.stack.push_async_callback(self.store.close)
        writer = MapWriter(self.folder)
        self.stack.callback(writer.close)
        authority = Authority(config, self.store)
        self.publisher = Publisher(self.store, writer, (), on_challenges=authority.follow)
        task = asyncio.create_task(self.publisher.run())
        await self.stack.enter_async_context(answering(config, authority))
        self.stack.push_async_callback(self.end, task)
        return self

    async def __aexit__(self, *_error):
        await self.stack.aclose()

    async def end(self, task):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def clock(self):
        return 1_800_000_000.0

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        await asyncio.sleep(0)

    def dns(self, **settings):
        return Dns01(self.config(**settings), self.store, self.publisher, self.clock, sleep=self.sleep)

    async def seen(self, host, zone=OWN):
        server = f"127.0.0.1:{self.port}" if zone == OWN else self.knot.address
        return sorted(await Lookup((server,)).txt(label(host, zone)))

    async def until_seen(self, host, zone, values):
        """Our own zone follows the store a moment later."""
        async with asyncio.timeout(60):
            while await self.seen(host, zone) != values:
                await asyncio.sleep(0.01)

    async def rows(self):
        return await self.store.keys_of("challenges", "", 100)


@pytest.fixture
async def world(tmp_path, knot):
    async with World(tmp_path, knot) as world:
        yield world


def test_name_and_value_are_those_of_the_rfc():
    assert record_name("www.example.org") == record_name("*.www.example.org") == "_acme-challenge.www.example.org"
    # RFC 8555 section 8.4 has the form; the value is that of the key authorization in its section 8.1
    value = record_value("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.nP1qzpXGymHBrUEepNY9HCsQk7K8KhOypzEt62jcerQ")
    assert len(value) == 43
    assert "=" not in value


@pytest.mark.parametrize(
    ("host", "kind", "name"),
    [
        (HOST, OwnZone, label(HOST, OWN)),
        (WILD, OwnZone, label(HOST, OWN)),
        (f"dyn.{CUSTOMER}", UpdatedZone, label(f"dyn.{CUSTOMER}", UPDATED)),
        (f"long.{CUSTOMER}", OwnZone, label(f"long.{CUSTOMER}", OWN)),
        (DIRECT, UpdatedZone, f"_acme-challenge.{DIRECT}"),
        (f"*.{UPDATED}", UpdatedZone, f"_acme-challenge.{UPDATED}"),
        (f"to-own.{UPDATED}", OwnZone, label(f"to-own.{UPDATED}", OWN)),
    ],
)
async def test_the_cname_says_where_a_record_belongs_and_inside_of_the_updated_zone_none_is_needed(world, host, kind, name):
    place = await world.dns().place_for(host)
    assert isinstance(place, kind)
    assert place.name_for(host) == name


@pytest.mark.parametrize(
    ("host", "told"),
    [
        (
            f"none.{CUSTOMER}",
            f"is not a CNAME. Its owner must set it to CNAME {label(f'none.{CUSTOMER}', OWN)}, once and for good.",
        ),
        (
            f"wrong.{CUSTOMER}",
            f"is a CNAME to {label(HOST, OWN)}. Its owner must set it to CNAME {label(f'wrong.{CUSTOMER}', OWN)}",
        ),
        (
            f"elsewhere.{UPDATED}",
            f"is a CNAME to nobody.example. Its owner must set it to CNAME {label(f'elsewhere.{UPDATED}', OWN)}",
        ),
    ],
)
async def test_a_cname_that_is_missing_or_wrong_is_told_with_what_it_must_be(world, host, told):
    with pytest.raises(NotApplicable) as caught:
        await world.dns().place_for(host)
    assert caught.value.detail.startswith(f"_acme-challenge.{host} {told}")
    assert caught.value.fault is Fault.CUSTOMER_DNS


async def test_with_updates_alone_a_cname_inside_of_the_zone_is_in_the_way(world):
    with pytest.raises(NotApplicable, match=r"is a CNAME to nobody\.example\. Its owner must remove that\."):
        await world.dns(own=False).place_for(f"elsewhere.{UPDATED}")


async def test_what_is_not_set_up_is_not_the_customers_to_mend(world):
    with pytest.raises(NotApplicable, match=r"neither dns\.zone nor dns\.rfc2136 is set") as caught:
        await world.dns(own=False, updated=False).place_for(HOST)
    assert caught.value.fault is Fault.OPERATOR


async def test_a_resolver_that_does_not_answer_is_told_and_no_hindrance_inside_of_the_updated_zone(world):
    broken = world.dns(resolvers=(f"127.0.0.1:{free_port()}",))
    broken._lookup._patience = 0.3
    with pytest.raises(NotApplicable, match="cannot be seen"):
        await broken.place_for(HOST)
    assert isinstance(await broken.place_for(DIRECT), UpdatedZone)


@pytest.mark.parametrize(("host", "zone"), [(HOST, OWN), (f"dyn.{CUSTOMER}", UPDATED)])
async def test_a_hostname_and_its_wildcard_have_their_records_beside_each_other(world, host, zone):
    dns = world.dns(resolvers=())
    place = next(place for place in dns.places if place.name_for(host).endswith(zone))
    for _ in range(2):
        await place.put(host, VALUE)
        await place.put(f"*.{host}", OTHER)
    assert await world.seen(host, zone) == sorted([VALUE, OTHER])
    assert await place.left_behind() == sorted([host, f"*.{host}"])
    await place.clear(host)
    await world.until_seen(host, zone, [OTHER])
    for _ in range(2):
        await place.remove(f"*.{host}", OTHER)
    await world.until_seen(host, zone, [])
    assert await world.rows() == []


async def test_a_record_is_put_only_when_the_resolvers_see_it(world, knot):
    dns = world.dns()
    await dns.put(await dns.place_for(DIRECT), DIRECT, VALUE)
    assert await Lookup((knot.address,)).txt(f"_acme-challenge.{DIRECT}") == (VALUE,)
    await dns.clear(DIRECT)
    # Knot does not follow the CNAME out of the customer's zone, and so stands for a resolver that does not find our zone
    with pytest.raises(AnswerFailed, match=rf"The resolver {knot.address} \(dns\.resolvers\) does not see .* it has no record"):
        await dns.put(await dns.place_for(HOST), HOST, VALUE)
    assert sum(world.sleeps) >= dns01.RESOLVER_TIME
    await dns.clear(HOST)
    assert await world.rows() == []


async def test_a_server_of_our_own_that_is_silent_is_told(world, monkeypatch):
    config = world.config()
    quiet = OwnZone(config, world.store, world.publisher, world.clock, sleep=world.sleep)
    quiet._servers = [f"127.0.0.1:{free_port()}"]
    monkeypatch.setattr(dns01, "OWN_TIME", 0.0)
    monkeypatch.setattr(dns01, "OWN_PATIENCE", 0.2)
    with pytest.raises(AnswerFailed, match=r"The DNS server of this edge does not answer .* \(dns\.listen\)") as caught:
        await quiet.put(HOST, VALUE)
    assert caught.value.fault is Fault.EDGE


async def test_what_an_earlier_process_left_is_swept_but_not_what_is_under_way(world):
    dns = world.dns(resolvers=())
    for place in dns.places:
        await place.put(HOST, VALUE)
        await place.put(WILD, OTHER)
    asked = []

    async def under_way(name):
        asked.append(name)
        return name == HOST

    await world.dns(resolvers=()).sweep(under_way)
    assert sorted(asked) == sorted([HOST, WILD] * 2)
    await world.until_seen(HOST, OWN, [VALUE])
    await world.until_seen(HOST, UPDATED, [VALUE])
    await dns.clear(HOST)
    assert await world.rows() == []


async def test_what_could_not_be_removed_is_remembered_until_it_can(world, monkeypatch):
    await world.dns(resolvers=()).places[1].put(DIRECT, VALUE)
    away = world.dns(resolvers=(), server=f"127.0.0.1:{free_port()}")
    await away.places[0].put(DIRECT, OTHER)
    monkeypatch.setattr(rfc2136, "TRY_TIME", 0.3)
    with pytest.raises(UpdateFailed, match="cannot be reached"):
        await away.clear(DIRECT)
    monkeypatch.undo()
    assert await world.rows() == [f"rfc2136:_acme-challenge.{DIRECT}/{VALUE}"], "the other place was cleared all the same"
    await world.dns(resolvers=()).clear(DIRECT)
    assert await world.rows() == []
    assert SECRET not in repr(away.__dict__)
