"""When a CA is left alone and tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.breaker import BELIEVED, FAILURES, FIRST_PAUSE, PAUSE_MAX, Breaker

NOW = 1_800_000_000.0


def opened(now: float = NOW) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.begin(now)
        breaker.failed(now, "refused")
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    assert [breaker.failed(NOW, "refused") for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert (breaker.state(NOW), breaker.allows(NOW), breaker.since, breaker.reason) == ("open", False, NOW, "refused")


def test_what_works_in_between_begins_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            assert not breaker.failed(NOW, "refused")
        breaker.worked()
    assert breaker.allows(NOW)
    assert (breaker.failures, breaker.reason) == (0, "")


def test_after_a_pause_one_order_is_let_through() -> None:
    breaker = opened()
    assert not breaker.allows(NOW + FIRST_PAUSE - 1)
    assert breaker.allows(NOW + FIRST_PAUSE)
    assert breaker.state(NOW + FIRST_PAUSE) == "half_open"
    breaker.begin(NOW + FIRST_PAUSE)
    assert not breaker.allows(NOW + FIRST_PAUSE)
    breaker.left()
    assert breaker.allows(NOW + FIRST_PAUSE), "nothing was learnt: another one may try"
    breaker.begin(NOW + FIRST_PAUSE)
    breaker.worked()
    assert (breaker.state(NOW + FIRST_PAUSE), breaker.since) == ("closed", 0.0)


def test_trials_that_fail_come_less_and_less_often() -> None:
    breaker, now, pauses = opened(), NOW, []
    for _ in range(12):
        pauses.append(breaker.next_trial - now)
        now = breaker.next_trial
        breaker.begin(now)
        assert breaker.failed(now, "refused"), "one failure is enough"
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == PAUSE_MAX
    assert breaker.since == NOW
    breaker.begin(breaker.next_trial)
    breaker.worked()
    assert not breaker.failed(now, "refused")
    assert opened(now).next_trial == now + FIRST_PAUSE


@pytest.mark.parametrize(("asked", "kept"), [(7200.0, 7200.0), (1.0, FIRST_PAUSE), (1e9, BELIEVED)])
def test_a_pause_that_it_asks_for_is_kept(asked: float, kept: float) -> None:
    breaker = Breaker()
    assert breaker.failed(NOW, "too many orders", asked)
    assert breaker.next_trial == NOW + kept


def test_what_was_under_way_when_it_opened_lengthens_nothing() -> None:
    breaker = opened()
    for _ in range(50):
        assert breaker.failed(NOW + 1, "refused")
    assert breaker.next_trial == NOW + FIRST_PAUSE
    breaker.worked()
    assert breaker.allows(NOW + 1), "an answer is an answer"


@given(st.lists(st.tuples(st.sampled_from(["begin", "left", "worked", "failed"]), st.floats(0, 5000)), max_size=60))
def test_it_is_never_left_alone_for_ever(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), NOW
    for event, seconds in events:
        now += seconds
        if event == "begin":
            if breaker.allows(now):
                breaker.begin(now)
        elif event == "failed":
            breaker.failed(now, "refused")
        else:
            getattr(breaker, event)()
    breaker.left()
    assert breaker.allows(now + PAUSE_MAX)


def test_a_clock_that_was_ahead_and_is_set_back_does_not_keep_it_open() -> None:
    breaker = opened(NOW + 86_400)
    assert breaker.allows(NOW)
