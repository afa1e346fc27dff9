"""What comes of looking up routes."""

import dataclasses

from bench.routing import Routing

FOUND = Routing(sites=1_000_000, warm=[0.5, 1.0, 9.0], unseen=[4.0, 5.0, 90.0])


def test_medians_count():
    assert [outcome.reached for outcome in FOUND.outcomes()] == [True, True]
    late = dataclasses.replace(FOUND, warm=[1.1], unseen=[5.1])
    assert [outcome.reached for outcome in late.outcomes()] == [False, False]


def test_the_table_tells_how_many_were_timed():
    assert FOUND.tables()[0][2] == ["not seen before", "5.00 µs", "90.00 µs", "90.00 µs", "3 × 100"]
