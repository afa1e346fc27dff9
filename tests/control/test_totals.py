"""Totals over worker processes that come and go."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control import totals
from edgeproxy.control.totals import Busiest, Totals
from edgeproxy.link.counters import SERIES_PER_NAME
from edgeproxy.link.messages import Report

H1 = ("requests_total", ("2xx", "h1"))


def report(worker: int, pid: int, requests: float = 0, **more: float) -> Report:
    return Report(worker=worker, pid=pid, counters={"requests_total|2xx|h1": requests, **more})


def test_counters_of_several_workers_are_summed():
    sums = Totals()
    sums.report(report(0, 10, 5), 1.0)
    sums.report(report(1, 11, 7), 1.0)
    assert sums.sums()[H1] == 12


def test_a_later_report_replaces_the_one_before():
    sums = Totals()
    sums.report(report(0, 10, 5), 1.0)
    sums.report(report(0, 10, 9), 2.0)
    assert sums.sums()[H1] == 9


def test_a_worker_that_ended_still_counts_when_its_successor_starts_at_zero():
    sums = Totals()
    sums.report(report(0, 10, 5), 1.0)
    sums.ended(0, 10)
    assert sums.sums()[H1] == 5
    sums.report(report(0, 20, 2), 2.0)
    assert sums.sums()[H1] == 7


def test_a_worker_whose_link_was_only_replaced_is_not_counted_twice():
    sums = Totals()
    sums.report(report(0, 10, 5), 1.0)
    sums.ended(0, 10)
    sums.report(report(0, 10, 6), 2.0)
    assert sums.sums()[H1] == 6


def test_a_worker_counts_as_serving_from_its_link_on_and_keeps_its_counters():
    sums = Totals()
    sums.linked(0, 10, 100.0)
    assert sums.serving(101.0, silent=5.0) == 1
    sums.report(report(0, 10, 5), 102.0)
    sums.ended(0, 10)
    sums.linked(0, 10, 103.0)
    assert sums.sums()[H1] == 5
    assert sums.serving(104.0, silent=5.0) == 1
    sums.linked(0, 10, 104.0)
    assert sums.sums()[H1] == 5


def test_the_end_of_a_process_never_heard_of_changes_nothing():
    sums = Totals()
    sums.ended(3, 33)
    assert sums.sums() == {}


def test_gauges_count_only_living_workers():
    sums = Totals()
    sums.report(Report(worker=0, pid=10, counters={"connections|idle": 4, "connections|active": 1}), 1.0)
    sums.report(Report(worker=1, pid=11, counters={"connections|idle": 3}), 1.0)
    assert sums.sums()["connections", ("idle",)] == 7
    assert [seen.connections for seen in sums.workers()] == [5, 3]
    sums.ended(0, 10)
    assert sums.sums()["connections", ("idle",)] == 3


def test_unknown_names_and_numbers_that_would_poison_the_sums_are_ignored():
    sums = Totals()
    flat = {"unheard_of|x": 1.0, "requests_total|2xx|h1": float("nan"), "requests_total|3xx|h1": -1.0, "sent_bytes_total": 9.0}
    sums.report(Report(worker=0, pid=10, counters=flat), 1.0)
    assert sums.sums() == {("sent_bytes_total", ()): 9.0}
    assert sums.ignored == 3


def test_one_worker_cannot_make_a_name_grow_without_bound():
    sums = Totals()
    sums.report(Report(worker=0, pid=10, counters={f"handshakes_total|r{n}": 1.0 for n in range(1000)}), 1.0)
    assert len(sums.sums()) == SERIES_PER_NAME


def test_only_workers_heard_of_lately_and_not_draining_serve():
    sums = Totals()
    sums.report(Report(worker=0, pid=10, counters={}), 100.0)
    sums.report(Report(worker=1, pid=11, counters={}, draining=True), 100.0)
    assert sums.serving(103.0, silent=5.0) == 1
    assert sums.serving(106.0, silent=5.0) == 0


@given(st.lists(st.integers(0, 4), max_size=300), st.randoms(use_true_random=False))
def test_the_sum_never_falls_however_workers_come_and_go(actions: list[int], chance: random.Random):
    sums = Totals()
    counted: dict[tuple[int, int], int] = {}
    next_pid = 100
    before = 0.0
    for action in actions:
        if action == 0 or not counted:
            next_pid += 1
            counted[next_pid % 4, next_pid] = 0
        process = chance.choice(list(counted))
        if action in (1, 2):
            counted[process] += chance.randrange(5)
            sums.report(report(*process, counted[process]), 0.0)
        elif action == 4:
            sums.linked(*process, 0.0)
        elif action == 3:
            sums.ended(*process)
            if chance.random() < 0.7:
                del counted[process]
        total = sums.sums().get(H1, 0.0)
        assert total >= before
        before = total


def test_memory_stays_bounded_over_many_ended_workers_and_nothing_is_lost():
    sums = Totals()
    for pid in range(5 * totals.ENDED_REMEMBERED):
        sums.report(report(0, pid, 1), 0.0)
        sums.ended(0, pid)
    assert sums.sums()[H1] == 5 * totals.ENDED_REMEMBERED
    assert len(sums._ended) == totals.ENDED_REMEMBERED


def test_only_the_busiest_names_are_shown():
    busiest = Busiest(top=2)
    for name, count in [("a", 3), ("b", 10), ("c", 1), ("b", 5), ("d", 4)]:
        busiest.add(name, count)
    assert busiest.top() == [("b", 15), ("d", 4)]


def test_a_flood_of_names_neither_grows_memory_nor_displaces_the_busiest():
    busiest = Busiest(top=5)
    for n in range(20_000):
        busiest.add("busy", 2)
        busiest.add(f"random-{n}", 1)
    assert busiest.top()[0] == ("busy", 40_000)
    assert len(busiest._counts) <= 51


def test_no_names_are_kept_when_none_are_to_be_shown():
    busiest = Busiest(top=0)
    busiest.add("a", 1)
    assert busiest.top() == []
