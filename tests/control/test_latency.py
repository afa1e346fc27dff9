"""What workers tell of slow names adds up over the window."""

from __future__ import annotations

import math

import pytest

from edgeproxy.control.latency import NAMES, PIECES, Latency
from edgeproxy.link.sketch import GREATEST, LEAST, Sketch, bucket

SLOW = bucket(3.0)


def test_workers_and_moments_add_up() -> None:
    holder = Latency(300)
    holder.add({"a.test": Sketch(50, {SLOW: 1}, "http://one")}, 0.0, 0.0)
    holder.add({"a.test": Sketch(40, {SLOW: 2, bucket(9.0): 3}, "http://two"), "b.test": Sketch(9, {}, "", 4)}, 0.4, 1.0)
    holder.add({"a.test": Sketch(10, {})}, 0.2, 200.0)
    a, b = holder.waiting(250.0)
    assert (a.name, a.requests, a.origin) == ("a.test", 100, "http://two")
    assert a.seconds == pytest.approx(3.0, rel=0.05)  # six of a hundred, and the fifth slowest from the end is one of the first
    assert a.late == pytest.approx(0.2)
    assert (b.name, b.requests, b.seconds, b.late, b.failed) == ("b.test", 9, 0.0, 0.4, 4)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    holder = Latency(300)
    holder.add({"a.test": Sketch(10, {SLOW: 10})}, 0.0, 0.0)
    holder.add({"a.test": Sketch(10, {})}, 0.0, 100.0)
    assert holder.waiting(300.0)[0].requests == 20
    assert holder.waiting(301.0)[0].requests == 10
    assert holder.waiting(301.0)[0].seconds == 0.0
    assert holder.waiting(401.0) == []


def test_memory_is_bounded_in_names_and_in_time() -> None:
    holder = Latency(300)
    for second in range(320):
        holder.add({f"{second}-{number}.test": Sketch(1, {SLOW: 1}) for number in range(100)}, 0.0, float(second))
    assert len(holder.waiting(320.0)) <= NAMES * (PIECES + 1)


@pytest.mark.parametrize(
    "sketch",
    [
        Sketch(1, {SLOW: 2}),
        Sketch(1, {SLOW: -1}),
        Sketch(-1, {}),
        Sketch(1, {}, "", 2),
        Sketch(1, {}, "", -1),
        Sketch(5, {GREATEST + 1: 1}),
        Sketch(5, {LEAST - 1: 1}),
        Sketch(10**12, {SLOW: 1}),
    ],
)
def test_what_no_worker_can_have_seen_is_left_out(sketch: Sketch) -> None:
    holder = Latency(300)
    holder.add({"a.test": sketch}, 0.0, 0.0)
    holder.add({"x" * 300: Sketch(1, {SLOW: 1})}, 0.0, 0.0)
    assert holder.waiting(1.0) == []


@pytest.mark.parametrize("late", [math.nan, -5.0])
def test_lateness_that_is_none_is_none(late: float) -> None:
    holder = Latency(300)
    holder.add({"a.test": Sketch(1, {SLOW: 1})}, late, 0.0)
    assert holder.waiting(1.0)[0].late == 0.0
