"""When to renew, when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.renewal import DAY, renew_at, retry_delay


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


@pytest.mark.parametrize(("failures", "minutes"), [(0, 1), (1, 1), (2, 10), (3, 100), (4, 1440), (50, 1440)])
def test_retries_come_after_1_10_and_100_minutes_then_daily(failures, minutes):
    assert minutes * 60 <= retry_delay(failures, "a.example") <= minutes * 66
