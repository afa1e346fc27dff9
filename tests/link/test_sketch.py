"""Sketches of durations: near enough, and adding up."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from edgeproxy.link.sketch import GREATEST, LEAST, LONGEST, SHORTEST, Sketch, bucket, quantile, seconds_of


def of(durations: list[float]) -> dict[int, int]:
    waits: dict[int, int] = {}
    for each in durations:
        waits[bucket(each)] = waits.get(bucket(each), 0) + 1
    return waits


@pytest.mark.parametrize("seconds", [0.001, 0.0123, 0.5, 1.0, 2.999, 60.0, 599.0])
def test_a_bucket_knows_its_durations_to_within_five_percent(seconds: float) -> None:
    assert seconds_of(bucket(seconds)) == pytest.approx(seconds, rel=0.05)


def test_what_is_no_sensible_duration_has_a_bucket_too() -> None:
    assert bucket(0.0) == bucket(-1.0) == bucket(SHORTEST) == LEAST
    assert bucket(math.inf) == bucket(LONGEST) == GREATEST
    assert GREATEST - LEAST < 150


def test_a_quantile_is_that_of_the_durations_though_only_slow_ones_are_counted() -> None:
    chance = random.Random(7)
    durations = sorted(chance.lognormvariate(0, 1) for _ in range(10_000))
    slow = [each for each in durations if each >= 1.0]
    for part in (0.6, 0.9, 0.95, 0.99):
        exact = durations[math.ceil(part * len(durations)) - 1]
        assert quantile(part, len(durations), of(slow)) == pytest.approx(exact, rel=0.05)
    assert quantile(0.4, len(durations), of(slow)) == 0.0


def test_one_in_twenty_is_not_yet_above_the_quantile_and_more_are() -> None:
    assert quantile(0.95, 100, of([2.0] * 5)) == 0.0
    assert quantile(0.95, 100, of([2.0] * 6)) == pytest.approx(2.0, rel=0.05)
    assert quantile(0.95, 0, {}) == 0.0


def test_sums_of_sketches_are_sketches_of_sums() -> None:
    one, other = of([1.0, 2.0, 2.0]), of([2.0, 5.0])
    assert {number: one.get(number, 0) + other.get(number, 0) for number in one | other} == of([1.0, 2.0, 2.0, 2.0, 5.0])


def test_a_sketch_travels_in_few_bytes() -> None:
    sketch = Sketch(1_000, of([2.0] * 60), "http://10.0.0.1:3000")
    data = msgspec.msgpack.encode(sketch)
    assert msgspec.msgpack.decode(data, type=Sketch) == sketch
    assert len(data) < 40
