"""Token buckets for client networks."""

import pytest

from edgeproxy.buckets import SLOTS, Buckets, network_of, network_of_literal, written

SECRET = b"secret"
A, B = network_of_literal("192.0.2.1"), network_of_literal("198.51.100.1")


def taken(buckets, network, count, now):
    return sum(buckets.take(network, now) for _ in range(count))


def test_a_network_has_what_is_in_its_bucket_and_what_flows_in():
    buckets = Buckets(10.0, 20.0, SECRET)
    assert taken(buckets, A, 100, 1.0) == 20
    assert taken(buckets, A, 100, 1.5) == 5
    assert taken(buckets, A, 100, 2.5) == 10
    assert taken(buckets, A, 100, 1000.0) == 20


def test_a_flood_from_one_network_does_not_empty_the_buckets_of_others():
    buckets = Buckets(10.0, 20.0, SECRET)
    taken(buckets, A, 100_000, 1.0)
    others = [bytes((10, high, low)) for high in range(50) for low in range(100)]
    assert all(buckets.take(other, 1.0) for other in others)
    assert taken(buckets, B, 100, 1.0) > 0


def test_addresses_of_one_network_are_one():
    assert network_of(bytes((192, 0, 2, 1))) == network_of(bytes((192, 0, 2, 254))) == A
    assert network_of(bytes((192, 0, 2, 1))) != network_of(bytes((192, 0, 3, 1)))
    one = network_of_literal("2001:db8:0:aa::1")
    assert one == network_of_literal("2001:db8:0:aa:ffff:ffff:ffff:ffff") == network_of_literal("2001:db8:0:ff::%eth0")
    assert one != network_of_literal("2001:db8:0:1aa::1")
    assert network_of_literal("::ffff:192.0.2.9") == A


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2"])
def test_what_is_no_address_has_no_network(text):
    with pytest.raises(ValueError, match="does not appear"):
        network_of_literal(text)


def test_a_network_is_written_as_people_do():
    assert written(A) == "192.0.2.0/24"
    assert written(network_of_literal("2001:db8:0:aa::1")) == "2001:db8::/56"


def test_memory_is_the_same_however_many_networks_come():
    buckets = Buckets(10.0, 20.0, SECRET)
    for number in range(50_000):
        buckets.take(number.to_bytes(3, "big"), 1.0)
    assert len(buckets._tokens) == len(buckets._seen) == 2 * SLOTS


def test_a_clock_that_stands_still_or_goes_back_gives_nothing():
    buckets = Buckets(10.0, 20.0, SECRET)
    taken(buckets, A, 20, 100.0)
    assert taken(buckets, A, 10, 50.0) == 0


def test_where_a_networks_buckets_are_nobody_else_can_compute():
    networks = [number.to_bytes(3, "big") for number in range(1000)]
    assert [Buckets(1.0, 1.0, b"one").place(each) for each in networks] != [
        Buckets(1.0, 1.0, b"two").place(each) for each in networks
    ]
    assert Buckets(1.0, 1.0, b"one").place(A) == Buckets(2.0, 2.0, b"one").place(A)


def test_whether_something_is_left_is_told_without_taking_it():
    buckets = Buckets(1.0, 2.0, SECRET)
    assert [buckets.left(A, 1.0) for _ in range(5)] == [True] * 5
    assert taken(buckets, A, 5, 1.0) == 2
    assert not buckets.left(A, 1.5)
    assert buckets.left(A, 2.0)
    assert buckets.left(B, 1.0)
