"""Whether many hostnames cost more than one."""

import dataclasses
import json

from bench.figures import Sample
from bench.spread import HANDSHAKES, MEASUREMENT, REQUESTS, Spread


def rounds(*costs: float) -> list[Sample]:
    return [Sample(requests=1, seconds=1, cpu_us=cost, busiest_us=cost, load=1, foreign=0.05) for cost in costs]


def found(handshakes: float, requests: float) -> Spread:
    one = {HANDSHAKES: rounds(100, 200), REQUESTS: rounds(10, 20)}
    many = {HANDSHAKES: rounds(handshakes, 2 * handshakes), REQUESTS: rounds(requests, 2 * requests)}
    return Spread(names=100_000, one=one, many=many)


def test_the_rounds_ratios_count():
    assert [outcome.reached for outcome in found(130, 12.5).outcomes()] == [True, True]
    assert [outcome.reached for outcome in found(131, 12.6).outcomes()] == [False, False]


def test_the_table_has_both_costs():
    assert found(130, 12.5).tables()[0][1][1:] == ["150 [100–200]", "195 [130–260]", "1.30", "100%, 100%"]


def test_it_is_kept_as_plain_data():
    assert MEASUREMENT.read(json.loads(json.dumps(dataclasses.asdict(found(130, 12.5))))) == found(130, 12.5)
