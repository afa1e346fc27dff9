"""When an origin is left alone, and when it is tried again."""

from __future__ import annotations

from edgeproxy.edge.upstream.breaker import LONGEST, Breaker


def opened(failures: int = 3, now: float = 100.0) -> Breaker:
    breaker = Breaker(failures, 5.0)
    assert [breaker.failed(now) for _ in range(failures)] == [False] * (failures - 1) + [True]
    return breaker


def test_it_opens_by_failures_in_a_row_alone() -> None:
    breaker = Breaker(3, 5.0)
    for _ in range(10):
        assert not breaker.failed(1.0)
        assert not breaker.failed(1.0)
        assert not breaker.answered()
    assert breaker.admits(1.0)
    assert opened().open


def test_many_failures_at_once_are_one_hostile_client_and_not_a_fault_of_the_origin() -> None:
    breaker = Breaker(3, 5.0, 2.0)
    assert not any(breaker.failed(100.0 + number / 1_000) for number in range(1_000))
    assert not breaker.answered()
    assert not any(breaker.failed(now) for now in (101.5, 102.5, 103.4))
    assert breaker.failed(103.5)
    assert not breaker.admits(103.6)
    breaker.answered()
    assert not any(breaker.failed(104.0) for _ in range(10))


def test_open_it_lets_one_pass_after_each_pause() -> None:
    breaker = opened()
    assert not breaker.admits(100.0)
    assert not breaker.admits(104.9)
    assert breaker.seconds_left(100.5) == 5
    assert breaker.admits(105.0)
    assert not breaker.admits(105.0)
    assert breaker.admits(110.0)  # of the first nobody heard again


def test_the_pause_grows_with_each_probe_that_fails_and_with_nothing_else() -> None:
    breaker = opened()
    for _ in range(100):
        assert not breaker.failed(101.0)  # they were under way
    assert breaker.admits(105.0)
    assert not breaker.failed(106.0)
    assert not breaker.admits(115.9)
    now = 116.0
    for _ in range(10):
        assert breaker.admits(now)
        breaker.failed(now)
        now += LONGEST
    assert breaker.admits(now)


def test_the_first_answer_closes_it_and_all_is_as_before() -> None:
    breaker = opened()
    breaker.admits(105.0)
    breaker.failed(105.0)
    assert breaker.answered()
    assert not breaker.answered()
    assert breaker.admits(105.0)
    assert [breaker.failed(200.0) for _ in range(3)] == [False, False, True]
    assert breaker.seconds_left(200.0) == 5
    assert breaker.seconds_left(300.0) == 1


def test_without_a_threshold_it_never_opens() -> None:
    breaker = Breaker(0, 5.0)
    assert not any(breaker.failed(1.0) for _ in range(1_000))
    assert breaker.admits(1.0)
