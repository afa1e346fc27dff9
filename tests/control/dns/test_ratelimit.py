"""How much is answered over UDP to one network."""

from collections import Counter

from edgeproxy.buckets import SLOTS, network_of
from edgeproxy.control.dns.ratelimit import RateLimit, Verdict

SECRET = b"secret"
A, B = network_of(bytes((192, 0, 2, 1))), network_of(bytes((198, 51, 100, 1)))


def take(limit, network, count, now):
    return Counter(limit.take(network, now) for _ in range(count))


def test_a_network_has_its_rate_and_twice_that_at_once():
    limit = RateLimit(10, SECRET)
    assert take(limit, A, 100, 1.0)[Verdict.ANSWER] == 20
    assert take(limit, A, 100, 1.5)[Verdict.ANSWER] == 5
    assert take(limit, A, 100, 2.5)[Verdict.ANSWER] == 10
    assert take(limit, A, 100, 1000.0)[Verdict.ANSWER] == 20


def test_every_second_question_above_it_gets_the_advice_to_come_by_tcp_beginning_with_the_first():
    limit = RateLimit(1, SECRET)
    take(limit, A, 2, 1.0)
    assert limit.take(A, 1.0) is Verdict.TRUNCATE
    assert limit.take(A, 1.0) is Verdict.DROP
    assert take(limit, A, 1000, 1.0) == {Verdict.TRUNCATE: 500, Verdict.DROP: 500}


def test_a_flood_from_one_network_does_not_limit_others():
    limit = RateLimit(10, SECRET)
    take(limit, A, 100_000, 1.0)
    others = [network_of(bytes((10, high, low, 0))) for high in range(100) for low in range(100)]
    assert all(limit.take(other, 1.0) is Verdict.ANSWER for other in others[:5000])
    assert take(limit, B, 100, 1.0)[Verdict.ANSWER] > 0


def test_memory_is_the_same_however_many_networks_ask():
    limit = RateLimit(10, SECRET)
    for number in range(50_000):
        limit.take(number.to_bytes(3, "big"), 1.0)
    assert len(limit._odd) == SLOTS
