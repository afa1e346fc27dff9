"""What comes of connections on which nothing happens."""

import dataclasses

import pytest

from bench.errors import BenchError
from bench.idle import IdleMemory, settled
from bench.load.verifier import HTTP1, HTTP2
from bench.targets import OURS


def found(**changes: object) -> IdleMemory:
    figures = {
        "fresh": {"nginx": 4_000_000, OURS: 34_000_000},
        "each": {HTTP1: {"nginx": 10_000.0, OURS: 15_000.0}, HTTP2: {"nginx": 20_000.0, OURS: 40_000.0}},
        "kept": [0.001] * 99 + [0.049],
        "new": [0.002],
    }
    return IdleMemory(connections=3_000, crowd=10_000, crowd_each=14_000.0, **(figures | changes))  # type: ignore[arg-type]


def test_memory_at_its_bound_is_reached_and_more_is_not():
    assert [outcome.reached for outcome in found().outcomes()] == [True] * 4
    more = found(
        fresh={OURS: 35_100_000, "nginx": 1},
        each={HTTP1: {"nginx": 10_000.0, OURS: 15_100.0}, HTTP2: {"nginx": 20_000.0, OURS: 40_100.0}},
        kept=[0.001] * 98 + [0.051] * 2,
    )
    assert [outcome.reached for outcome in more.outcomes()] == [False] * 4


def test_without_nginx_what_is_compared_with_it_is_not_judged():
    alone = found(fresh={OURS: 1}, each={HTTP1: {OURS: 1.0}, HTTP2: {OURS: 1.0}})
    assert len(alone.outcomes()) == 2
    assert alone.tables()[0][1] == ["freshly started, one visitor served", "0.0 MB", "–"]


def test_the_tables_have_a_row_for_each_protocol_and_one_for_the_crowd():
    memory, answers = found().tables()
    assert [row[-1] for row in memory] == [f"{OURS} over nginx", "8.5", "1.50", "2.00", "–"]
    assert memory[4] == ["the same of 10,000, HTTP/1.1", "–", "14.0 KB", "–"]
    assert answers[1] == ["over connections that are kept", "1.0 ms", "49.0 ms", "49.0 ms", "100"]
    assert {len(row) for row in memory} == {4}


def test_it_is_kept_as_plain_data():
    assert IdleMemory(**dataclasses.asdict(found())) == found()


def test_requests_that_were_due_at_first_do_not_count():
    assert settled([(10.0, 0.9), (11.4, 0.8), (11.5, 0.1), (13.0, 0.2)]) == [0.1, 0.2]
    with pytest.raises(BenchError, match="too busy"):
        settled([])
