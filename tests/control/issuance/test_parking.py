"""Names whose DNS does not point here any more."""

import msgspec
import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Api, Platform
from edgeproxy.control import events
from edgeproxy.control.dns.pointing import Pointing, Points
from edgeproxy.control.issuance.parking import LOOK_AGAIN_SECONDS, Parking
from edgeproxy.control.issuance.upkeep import Upkeep
from edgeproxy.control.store import Failure
from tests.control.dns.answering import scripted
from tests.control.issuance.conftest import changed, until
from tests.control.store.making import NOW, certificate

DAY, HOUR = 86_400.0, 3_600.0
NAME = "a.example"


class Pointer:
    knows = True

    def __init__(self):
        self.says, self.asked = Points.ELSEWHERE, []

    async def look(self, hostname):
        self.asked.append(hostname)
        return Pointing(self.says, "It is at 198.51.100.9.")


class Case:
    def __init__(self, world, config=None):
        self.store, self.now, self.pointer = world.store, NOW, Pointer()
        self.parking = Parking(config or world.config(), world.store, lambda: self.now, pointer=self.pointer)  # type: ignore[arg-type]

    async def add(self, name=NAME):
        row = msgspec.structs.replace(certificate("c1", name, renew=NOW), serial="c1")
        await self.store.add_certificate(row, NOW)

    async def lets(self, after=0.0):
        self.now += after
        stored = await self.store.get_certificate("c1")
        return await self.parking.lets(stored), await self.store.get_certificate("c1")


@pytest.fixture
def case(world):
    return Case(world)


@pytest.fixture
def told():
    found: list[events.Event] = []
    end = events.subscribe(found.append)
    yield found
    end()


async def test_a_name_that_points_elsewhere_is_not_renewed_and_looked_at_hourly(case, told):
    await case.add()
    lets, stored = await case.lets()
    assert not lets
    assert (stored.astray_since, stored.parked_at) == (NOW, None)
    assert NOW + LOOK_AGAIN_SECONDS <= stored.look_at <= NOW + 1.1 * LOOK_AGAIN_SECONDS
    assert await case.store.certificates_to_renew(NOW, 10) == []
    assert told == []


async def test_after_a_while_it_is_parked_and_that_is_told_once(case, told):
    await case.add()
    await case.lets()
    await case.lets(7 * DAY - 1)
    assert told == []
    _, stored = await case.lets(2)
    assert stored.parked_at == case.now
    await case.lets(HOUR)
    assert [event.name for event in told] == ["certificate.parked"]
    assert told[0].fields["hostname"] == NAME
    assert told[0].fields["since"] == NOW
    assert told[0].fields["detail"] == "It is at 198.51.100.9."


async def test_it_is_unparked_by_itself_when_it_returns(case, told):
    await case.add()
    await case.lets()
    await case.lets(8 * DAY)
    case.pointer.says = Points.HERE
    lets, stored = await case.lets(HOUR)
    assert lets
    assert (stored.astray_since, stored.parked_at, stored.look_at) == (None, None, 0.0)
    assert [event.name for event in told] == ["certificate.parked", "certificate.unparked"]
    await case.lets()
    assert len(told) == 2


async def test_no_answer_is_no_reason_to_park_nor_to_unpark(case):
    await case.add()
    case.pointer.says = Points.UNKNOWN
    assert (await case.lets())[0]
    case.pointer.says = Points.ELSEWHERE
    await case.lets()
    case.pointer.says = Points.UNKNOWN
    lets, stored = await case.lets(HOUR)
    assert lets
    assert stored.astray_since == NOW
    case.pointer.says = Points.ELSEWHERE
    await case.lets(8 * DAY)
    case.pointer.says = Points.UNKNOWN
    lets, stored = await case.lets(HOUR)
    assert not lets
    assert stored.parked_at is not None
    assert stored.look_at > case.now


async def test_a_name_that_visitors_still_reach_is_renewed_whatever_the_dns_says(case, told):
    await case.add()
    await case.lets()
    await case.lets(8 * DAY)
    await case.store.save_visits({NAME: 9.0}, case.now)
    assert (await case.lets(DAY - 1))[0]
    assert [event.name for event in told] == ["certificate.parked", "certificate.unparked"]
    assert not (await case.lets(2))[0]


@pytest.mark.parametrize("name", ["*.example", "api.example.net", "target.example.net"])
async def test_wildcards_and_the_edges_own_names_are_not_asked_about(world, name):
    config = changed(world.config(), api=Api(hostname="api.example.net"), platform=Platform(cname_target="target.example.net"))
    case = Case(world, config)
    await case.add(name)
    assert (await case.lets())[0]
    assert case.pointer.asked == []


async def test_the_built_in_ca_and_a_configuration_that_does_not_say_what_is_ours_ask_nobody(world):
    internal = Case(world, world.config("internal"))
    await internal.add()
    assert (await internal.lets())[0]
    unset = Parking(world.config(), world.store, lambda: NOW)
    assert await unset.lets(await world.store.get_certificate("c1"))
    assert internal.pointer.asked == []


async def test_the_ca_hears_nothing_of_a_name_that_went_away_until_it_is_back(world, service):
    async with scripted() as dns:
        config = changed(world.config(), platform=Platform(addresses=("192.0.2.1",)), dns=Dns(resolvers=(dns.address,)))
        await world.register(NAME)
        one = service(config)
        dns.zone[NAME, "A"] = ["192.0.2.1"]
        first = await one.issue(NAME)
        await until(lambda: not one.pending)
        keeper = Upkeep(one, world.store, one._issuer, world.clock, Parking(config, world.store, world.clock))
        world.clock.ahead = 61 * DAY
        dns.zone[NAME, "A"] = ["198.51.100.9"]
        orders = len(world.ca.orders)
        await keeper.renew_due()
        world.clock.ahead += 8 * DAY
        await keeper.renew_due()
        assert len(world.ca.orders) == orders
        assert (await world.store.current_certificate(NAME)).parked_at is not None
        now = world.clock()
        failed = Failure(name=NAME, count=4, next_try=now + DAY, detail="The CA reached another server.", updated_at=now)
        await world.store.save_failure(failed, now)  # a visitor's try, say
        world.clock.ahead += 2 * HOUR
        await keeper.renew_due()
        assert len(world.ca.orders) == orders
        assert await world.store.failure(NAME) is not None
        dns.zone[NAME, "A"] = ["192.0.2.1"]
        world.clock.ahead += 2 * HOUR
        await keeper.renew_due()
        assert (await world.store.current_certificate(NAME)).id != first.id
