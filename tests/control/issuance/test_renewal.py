"""When to renew, when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.renewal import (
    DAY,
    INFO_SECONDS,
    Suggestion,
    ask_again_after,
    first_asked_at,
    is_late,
    renew_at,
    renew_within,
    retry_delay,
    urgency,
)


def test_a_long_lived_certificate_is_renewed_with_a_third_of_its_life_left():
    at = renew_at(0, 90 * DAY, "abc")
    assert 60 * DAY - 0.02 * 90 * DAY <= at <= 60 * DAY


def test_a_short_lived_certificate_is_renewed_with_half_of_its_life_left():
    at = renew_at(0, 6 * DAY, "abc")
    assert 3 * DAY - 0.02 * 6 * DAY <= at <= 3 * DAY


@given(st.floats(0, 4e9), st.floats(0, 1e9), st.text())
def test_the_time_lies_within_the_life_and_is_the_same_each_time(start, life, seed):
    at = renew_at(start, start + life, seed)
    assert start - 1 <= at <= start + life
    assert at == renew_at(start, start + life, seed)


def test_certificates_of_one_burst_are_not_renewed_in_one():
    times = {renew_at(0, 90 * DAY, str(number)) for number in range(1000)}
    assert len(times) == 1000
    assert max(times) - min(times) > DAY


def test_a_certificate_with_impossible_dates_is_due():
    assert renew_at(100, 50, "abc") == 50


def test_a_life_of_160_hours_is_renewed_at_about_its_half_and_one_of_ten_days_at_two_thirds():
    assert renew_at(0, 160 * 3600, "abc") == pytest.approx(80 * 3600, rel=0.05)
    assert renew_at(0, 10 * DAY, "abc") == pytest.approx(10 * DAY * 2 / 3, rel=0.05)


@given(st.floats(0, 4e9), st.floats(1, 1e8), st.text())
def test_a_moment_of_the_cas_window_is_chosen_and_always_the_same(start, length, seed):
    window = Suggestion(start, start + length)
    at = renew_within(window, 0, 1e12, seed)
    assert start <= at <= start + length
    assert at == renew_within(window, 0, 1e12, seed)


def test_the_moments_of_many_certificates_fill_the_cas_window():
    moments = sorted(renew_within(Suggestion(1000, 2000), 0, 1e9, str(number)) for number in range(1000))
    assert moments[0] < 1010
    assert moments[-1] > 1990
    assert len(set(moments)) == 1000


def test_a_window_in_the_past_is_a_renewal_now_and_one_that_is_too_late_leaves_time_for_retries():
    assert renew_within(Suggestion(-20, -10), 0, 90 * DAY, "abc") < 0
    assert renew_within(Suggestion(95 * DAY, 96 * DAY), 0, 90 * DAY, "abc") == 81 * DAY


@pytest.mark.parametrize(("said", "seconds"), [(1, 60), (59, 60), (60, 60), (3_600, 3_600), (86_401, 86_400), (1e9, 86_400)])
def test_a_ca_is_asked_again_when_it_says_within_a_minute_and_a_day(said, seconds):
    assert ask_again_after(said, "abc") == seconds


def test_a_ca_that_does_not_say_is_asked_again_after_about_six_hours_not_for_all_at_once():
    delays = {ask_again_after(0, str(number)) for number in range(100)}
    assert min(delays) >= INFO_SECONDS == 21_600
    assert max(delays) <= 1.1 * INFO_SECONDS
    assert len(delays) == 100


@pytest.mark.parametrize(("replaced", "after"), [(None, 0), (-2 * DAY, 0), (-2 * DAY + 1, DAY), (0, DAY)])
def test_a_certificate_that_came_soon_after_another_is_not_asked_about_at_once(replaced, after):
    assert first_asked_at(9 * DAY, None if replaced is None else 9 * DAY + replaced) == 9 * DAY + after


def test_of_renewals_those_about_to_end_come_first_then_the_most_visited_then_the_first_to_end():
    def of(left, heat):
        return urgency((left - 90) * DAY, left * DAY, heat, 0)

    assert of(1, 0) < of(5, 1e6) < of(30, 20) < of(30, 10) < of(30, 0)
    assert urgency(0, 50 * DAY, 3, DAY) < urgency(0, 51 * DAY, 3, DAY)
    assert is_late(0, 100, 91)
    assert not is_late(0, 100, 90)


@pytest.mark.parametrize(("failures", "minutes"), [(0, 1), (1, 1), (2, 10), (3, 100), (4, 1440), (50, 1440)])
def test_retries_come_after_1_10_and_100_minutes_then_daily(failures, minutes):
    assert minutes * 60 <= retry_delay(failures, "a.example") <= minutes * 66
