"""How many new names one client network may have certificates obtained for."""

import pytest

from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control import events
from edgeproxy.control.issuance.strangers import SAY_AGAIN_SECONDS, Strangers
from edgeproxy.limits import Limits

LIMIT = 10


class World:
    def __init__(self, trusted=()):
        self.now, self.refused = 1000.0, 0
        config = Config(limits=Limits(new_names=LIMIT), listen=Listen(trusted_proxies=trusted))
        self.strangers = Strangers(config, lambda: self.now, self.count)

    def count(self):
        self.refused += 1

    def begun(self, count, client_ip, source="pattern"):
        """How many of so many names may begin."""
        return sum(self.strangers.refusal(f"n{number}.example", source, client_ip) is None for number in range(count))


@pytest.fixture
def told():
    seen: list[events.Event] = []
    end = events.subscribe(seen.append)
    yield seen
    end()


@pytest.mark.parametrize("source", ["gate", "pattern"])
def test_a_network_may_begin_so_many_names_at_once_and_so_many_an_hour(source):
    world = World()
    assert world.begun(50, "192.0.2.1", source) == LIMIT
    assert world.begun(50, "192.0.2.254", source) == 0
    assert world.refused == 90
    assert world.begun(50, "198.51.100.1", source) == LIMIT
    world.now += 1800
    assert world.begun(50, "192.0.2.1", source) == LIMIT / 2


def test_addresses_of_one_ipv6_network_share_what_it_has():
    world = World()
    assert [world.begun(6, "2001:db8:0:aa::1"), world.begun(6, "2001:db8:0:ab::1")] == [6, 4]
    assert world.begun(6, "2001:db8:0:1aa::1") == 6


@pytest.mark.parametrize("source", ["registered", "edge"])
def test_names_that_somebody_entered_are_not_counted(source):
    world = World()
    assert world.begun(50, "192.0.2.1", source) == 50
    assert world.begun(50, "192.0.2.1") == LIMIT


def test_proxies_of_the_operators_and_the_edge_itself_are_not_counted():
    world = World(trusted=("192.0.2.0/28", "2001:db8::/32"))
    assert world.begun(50, "192.0.2.1") == world.begun(50, "2001:db8::1") == world.begun(50, "") == 50
    assert world.begun(50, "192.0.2.77") == LIMIT


def test_the_refusal_names_the_network_and_the_limit():
    world = World()
    world.begun(LIMIT, "2001:db8::1")
    said = world.strangers.refusal("a.example", "gate", "2001:db8::1")
    assert said is not None
    assert said.startswith("2001:db8::/56 has had certificates obtained for 10 new names within an hour (limits.new_names)")


def test_an_event_tells_of_it_once_a_minute_however_many_networks_are_limited(told):
    world = World()
    world.begun(LIMIT, "192.0.2.1")
    assert told == []
    for third in range(20):
        world.begun(LIMIT + 5, f"198.51.{third}.1")
    assert [(event.name, dict(event.fields)) for event in told] == [
        ("new_names.limited", {"network": "198.51.0.0/24", "hostname": "n10.example", "limit": LIMIT, "refused": 1})
    ]
    world.now += SAY_AGAIN_SECONDS
    world.strangers.refusal("a.example", "gate", "198.51.7.1")
    assert told[-1].fields["refused"] == 100
