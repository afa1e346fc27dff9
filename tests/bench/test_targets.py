"""Which targets are reached."""

import dataclasses

import pytest

from bench.denied import Denied
from bench.figures import Sample
from bench.pending import Pending
from bench.rush import Rush
from bench.scale import Scale
from bench.scenarios import SCENARIOS
from bench.slow import ALL, COMING, QUIET, Attacked, Phase
from bench.targets import AIMS, OURS, RATIO_TARGETS, judge, judge_ratios


def rounds(*costs: float) -> list[Sample]:
    return [Sample(requests=1, seconds=1, cpu_us=cost, busiest_us=cost, load=1, foreign=0.05) for cost in costs]


def test_a_ratio_at_its_bound_is_reached_and_one_above_is_not():
    samples = {"h1": {OURS: rounds(16, 16), "HAProxy": rounds(10, 10), "Caddy": rounds(31, 31)}}
    assert [outcome.reached for outcome in judge(samples, {}, None)] == [True, False]


def test_an_aim_is_told_with_how_far_it_is_and_is_no_target():
    samples = {"h1": {OURS: rounds(13, 13), "HAProxy": rounds(10, 10), "Caddy": rounds(40, 40)}}
    assert [(outcome.text, outcome.reached) for outcome in judge_ratios(AIMS, samples)] == [
        ("h1: 1.30 × HAProxy, at most 1.25", False),
        ("h1: 0.33 × Caddy, at most 0.33", True),
    ]
    assert all(outcome.reached for outcome in judge(samples, {}, None))


def test_every_target_and_aim_is_of_a_scenario_and_a_peer_that_there_is():
    peers = {"nginx", "HAProxy", "Caddy"}
    names = {scenario.name for scenario in SCENARIOS}
    assert {(each.scenario in names, each.peer in peers) for each in (*RATIO_TARGETS, *AIMS)} == {(True, True)}


def test_what_was_not_measured_is_not_judged():
    assert judge({"h1": {OURS: rounds(1)}, "h2": {"nginx": rounds(1)}}, {"Caddy": [0.5]}, None) == []


def test_a_new_name_is_judged_by_the_median_of_its_times():
    assert [outcome.reached for outcome in judge({}, {OURS: [0.1, 0.2, 9.0]}, None)] == [True]
    assert [outcome.reached for outcome in judge({}, {OURS: [0.26, 0.26, 0.1]}, None)] == [False]


def scale(**changes: object) -> Scale:
    figures = {
        "start": [0.5, 0.6, 3.0],
        "private": [50_000_000, 60_000_000],
        "cold": [0.003] * 500,
        "added": [0.03],
        "removed": [0.02],
    }
    return Scale(domains=100_000, visited=9, **(figures | changes))  # type: ignore[arg-type]


def test_many_domains_are_judged_by_medians_and_by_the_largest_worker():
    assert [outcome.reached for outcome in judge({}, {}, scale())] == [True] * 5
    assert [outcome.reached for outcome in judge({}, {}, scale(private=[50_000_000, 90_000_000]))] == [
        False,
        True,
        True,
        True,
        True,
    ]
    late = scale(start=[1.1, 1.2, 0.1], added=[0.2], removed=[0.1])
    assert [outcome.reached for outcome in judge({}, {}, late)] == [True, True, False, False, False]
    slow = scale(cold=([0.003] * 98 + [0.006] * 2) * 5)
    assert [outcome.reached for outcome in judge({}, {}, slow)] == [True, False, True, True, True]


def denied(**changes: object) -> Denied:
    figures = {
        "cpu_us": [70.0, 119.0, 500.0],
        "gated_us": [110.0],
        "before": 90_000_000,
        "warm": 100_000_000,
        "after": 102_000_000,
    }
    return Denied(names=1_000_000, **(figures | changes))  # type: ignore[arg-type]


def test_refused_handshakes_are_judged_by_the_median_and_by_what_memory_grew_when_caches_were_full():
    assert [outcome.reached for outcome in judge({}, {}, None, denied())] == [True, True, True]
    assert [outcome.reached for outcome in judge({}, {}, None, denied(cpu_us=[121.0]))] == [False, True, True]
    assert [outcome.reached for outcome in judge({}, {}, None, denied(gated_us=[121.0]))] == [True, False, True]
    assert [outcome.reached for outcome in judge({}, {}, None, denied(after=104_000_000))] == [True, True, False]


def rush(**changes: object) -> Rush:
    figures = {"one": [0.2] * 100, "orders": 1, "many": [1.0] * 49 + [4.9]}
    return Rush(**(figures | changes))  # type: ignore[arg-type]


def test_a_rush_is_judged_by_the_orders_that_it_made_and_by_who_was_served_last():
    assert [outcome.reached for outcome in judge({}, {}, None, None, rush())] == [True, True]
    assert [outcome.reached for outcome in judge({}, {}, None, None, rush(orders=2))] == [False, True]
    assert [outcome.reached for outcome in judge({}, {}, None, None, rush(many=[1.0] * 49 + [5.0]))] == [True, False]
    assert [outcome.reached for outcome in judge({}, {}, None, None, rush(many=[1.0] * 49))] == [True, False]


def pending(**changes: object) -> Pending:
    figures = {
        "seconds": 110.0,
        "look_cpu_ms": 4.0,
        "asked_resolver": 3.0,
        "asked_authority": 8.0,
        "busiest": 310,
        "at_once": 60,
        "poll_cpu_ms": 2.0,
        "polls": [0.01] * 300,
        "visits": [0.2] * 20,
        "registered": [0.5],
        "registered_meanwhile": [0.6],
        "appeared": [1.8],
        "appeared_meanwhile": [2.1],
    }
    return Pending(domains=10_000, **(figures | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missed", "changes"),
    [
        (None, {}),
        (0, {"seconds": 301.0}),
        (1, {"busiest": 601}),
        (2, {"poll_cpu_ms": 4.1}),
        (3, {"polls": [0.01] * 96 + [0.6] * 4}),
        (4, {"visits": [0.2] * 19 + [2.5]}),
        (5, {"registered": [2.1]}),
        (6, {"registered_meanwhile": [2.1]}),
        (7, {"appeared": [5.1]}),
        (8, {"appeared_meanwhile": [5.1]}),
    ],
)
def test_domains_that_wait_are_judged_by_their_looks_and_by_who_waits_meanwhile(missed: int | None, changes: dict[str, object]):
    reached = [outcome.reached for outcome in judge({}, {}, None, None, None, pending(**changes))]
    assert reached == [number != missed for number in range(9)]


@pytest.mark.parametrize(
    ("changes", "there", "missed"),
    [
        ({}, {}, None),
        ({}, {"kept": [0.01] * 98 + [0.06] * 2}, 0),
        ({}, {"new": [0.01] * 98 + [0.06] * 2}, 1),
        ({"peak": 1_500_000_000}, {}, 2),
        ({"ended": 102}, {}, 3),
    ],
)
def test_slow_clients_are_judged_by_what_others_notice_while_all_are_there(
    changes: dict[str, object], there: dict[str, object], missed: int | None
):
    quiet = Phase(kept=[0.2], new=[0.2], late=[0.0], cpu=0.1, waited=0.0)
    busy = Phase(kept=[0.01] * 199 + [0.2], new=[0.01] * 199 + [0.2], late=[0.0], cpu=0.1, waited=0.0)
    phases = {QUIET: quiet, COMING: quiet, ALL: dataclasses.replace(busy, **there)}  # type: ignore[arg-type]
    figures = {"clients": 10_000, "came": 10_100, "ended": 100, "peak": 900_000_000, "proportional": 1, "kernel": 1} | changes
    found = judge({}, {}, None, slow={"head": Attacked(phases=phases, **figures)})  # type: ignore[arg-type]
    assert [outcome.reached for outcome in found] == [number != missed for number in range(4)]
