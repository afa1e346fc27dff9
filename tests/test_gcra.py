"""Rates, and the rule that holds them, beside a plain model of the same promise."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.gcra import FASTEST, LONGEST, SECOND, Rate, admit, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", Rate(100, 1, 100)),
        ("1000 / m", Rate(1000, 60, 1000)),
        ("20/h burst 5", Rate(20, 3600, 5)),
        ("1/h", Rate(1, 3600, 1)),
        ("100000/s burst 1", Rate(100_000, 1, 1)),
        ("1/h burst 24", Rate(1, 3600, 24)),
    ],
)
def test_a_rate_is_what_is_written(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    "text",
    ["", "100", "s", "0/s", "-1/s", "1.5/s", "100/d", "1/s burst", "1/s burst 0", "100001/s", "1/h burst 25", "١/s", "1/s\n"],
)
def test_what_is_no_rate_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_rate(text)


rates = st.builds(
    lambda count, seconds, burst: Rate(count, seconds, min(burst, LONGEST * count // seconds)),
    st.integers(1, 1000) | st.integers(1, FASTEST),
    st.sampled_from((1, 60, 3600)),
    st.integers(1, 50) | st.integers(1, 100_000),
).filter(lambda rate: rate.count <= FASTEST * rate.seconds)
pauses = st.lists(st.integers(0, 3) | st.integers(0, 3 * SECOND), min_size=1, max_size=60)


class Bucket:
    """The promise in plain words: a bucket of `burst` tokens; each request takes one out, one comes back each interval."""

    def __init__(self, rate: Rate) -> None:
        self.rate, self.tokens, self.at = rate, Fraction(rate.burst), 0

    def take(self, now: int) -> bool:
        self.tokens = min(Fraction(self.rate.burst), self.tokens + Fraction(now - self.at, self.rate.interval))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def asked(rate: Rate, times: list[int]) -> list[bool]:
    """Which of these requests are admitted."""
    arrival, admitted = 0, []
    for now in times:
        ahead = admit(max(0, arrival - now), rate.interval, rate.interval * rate.burst)
        admitted.append(ahead >= 0)
        if ahead >= 0:
            arrival = now + ahead
    return admitted


def clock(pauses: list[int]) -> list[int]:
    return list(itertools.accumulate(pauses))


@given(rates, pauses)
def test_it_admits_what_a_bucket_of_tokens_admits(rate: Rate, pauses: list[int]) -> None:
    times, bucket = clock(pauses), Bucket(rate)
    assert asked(rate, times) == [bucket.take(now) for now in times]


@given(rates, pauses)
def test_in_no_stretch_of_time_more_than_a_burst_and_what_flows_in(rate: Rate, pauses: list[int]) -> None:
    times = clock(pauses)
    admitted = [now for now, yes in zip(times, asked(rate, times), strict=True) if yes]
    for first, began in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert (last - first + 1 - rate.burst) * rate.interval <= admitted[last] - began


@given(rates, st.integers(0, 10 * LONGEST * SECOND))
def test_who_is_refused_is_told_the_first_moment_at_which_he_is_not(rate: Rate, ahead: int) -> None:
    full = rate.interval * rate.burst
    told = admit(ahead, rate.interval, full)
    if told < 0:
        assert admit(ahead + told, rate.interval, full) == full
        assert admit(ahead + told + 1, rate.interval, full) < 0
    else:
        assert told == ahead + rate.interval <= full
