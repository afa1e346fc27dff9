"""How long answers take when a worker is busy but not full."""

import dataclasses

from bench.latency import Latency, settled
from bench.targets import OURS

QUICK, SLOW = [0.001] * 98 + [0.002] * 2, [0.001] * 98 + [0.004] * 2


def found(ours: list[list[float]]) -> Latency:
    both = {"nginx": [1.0, 1.0], OURS: [1.0, 1.0]}
    seconds = {"nginx": [QUICK, QUICK], OURS: ours}
    return Latency(
        saturation=20_000.0, share=0.7, rate=14_000.0, sent=both, load=both, seconds=seconds, late={OURS: [0.0001, 0.0003]}
    )


def test_the_ratio_of_the_rounds_worst_hundredth_counts():
    assert [(outcome.text, outcome.reached) for outcome in found([QUICK, SLOW]).outcomes()] == [
        ("latency: 1.50 × nginx's 99th percentile at 70% of our saturation, at most 2", True)
    ]
    assert not found([SLOW, [0.001] * 98 + [0.005] * 2]).outcomes()[0].reached


def test_at_a_lower_rate_than_was_meant_nothing_is_reached():
    (outcome,) = dataclasses.replace(found([QUICK, SLOW]), share=0.5).outcomes()
    assert (outcome.reached, "70% was meant" in outcome.text) == (False, True)


def test_without_nginx_nothing_is_judged():
    alone = dataclasses.replace(found([QUICK]), seconds={OURS: [QUICK]})
    assert alone.outcomes() == []
    assert len(alone.tables()[0]) == 2


def test_the_table_tells_both_percentiles_and_what_came():
    heading, nginx, ours = found([QUICK, SLOW]).tables()[0]
    assert heading[0] == f"answers' time at 14,000 requests/s, 70% of what {OURS} can serve on one core"
    assert nginx == ["nginx", "1.00 ms", "2.00 ms", "2.00–2.00 ms", "–", "1", "100%", "200"]
    assert ours[1:5] == ["1.00 ms", "3.00 ms", "2.00–4.00 ms", "0.20 ms"]


def test_answers_of_the_first_moments_do_not_count():
    assert settled([0.1, 0.2, 0.3, 0.4], settle=1.0, seconds=3.0) == [0.2, 0.3, 0.4]
