"""What a second worker is worth."""

import dataclasses

import pytest

from bench.further import FURTHER
from bench.two import Two, busiest_part

MEASURED = Two(one_us=[50.0, 60.0, 50.0], two_us=[50.0, 60.0, 52.0], busiest=[0.5, 0.6, 0.55])


def test_two_workers_are_worth_what_they_can_do_until_the_busier_one_is_full():
    assert MEASURED.worth == pytest.approx([2.0, 1 / 0.6, 50 / (52 * 0.55)])
    (outcome,) = MEASURED.outcomes()
    assert (outcome.text, outcome.reached) == ("two: two workers are worth 1.75 × one, at least 1.8", False)
    assert Two(one_us=[50.0], two_us=[51.0], busiest=[0.52]).outcomes()[0].reached


def test_the_table_has_the_figures_and_what_is_made_of_them():
    (rows,) = MEASURED.tables()
    assert rows[1:] == [
        ["CPU per request, one worker", "50.0 µs", "50.0 µs", "60.0 µs"],
        ["CPU per request, two workers", "52.0 µs", "50.0 µs", "60.0 µs"],
        ["the busier worker's part of the two's CPU", "55.0 %", "50.0 %", "60.0 %"],
        ["times one worker", "1.75", "1.67", "2.00"],
    ]
    assert FURTHER["two"].read(dataclasses.asdict(MEASURED)) == MEASURED


def test_a_workers_part_is_that_of_what_was_used_meanwhile():
    assert busiest_part({1: 1000, 2: 10}, {1: 1040, 2: 70}) == 0.6
    with pytest.raises(ValueError, match="nobody"):
        busiest_part({1: 5}, {1: 5})
