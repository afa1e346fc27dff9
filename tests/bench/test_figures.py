"""Medians, spreads, ratios."""

import pytest

from bench.figures import Sample, ratio, summarise, worst_hundredth


def sample(cpu_us: float, requests: int = 100, seconds: float = 2.0) -> Sample:
    return Sample(requests=requests, seconds=seconds, cpu_us=cpu_us, busiest_us=cpu_us / 2, load=0.5, foreign=0.05)


def test_a_figure_is_the_median_with_its_spread():
    figure = summarise([sample(30), sample(20), sample(90)])
    assert (figure.median, figure.low, figure.high, figure.busiest, figure.rate) == (30, 20, 90, 15, 50)


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_a_ratio_pairs_rounds_so_that_a_disturbance_cancels_out():
    assert ratio([10, 40, 10], [5, 20, 5]) == 2
    assert ratio([10, 400, 10], [10, 200, 10]) == 1


def test_rounds_without_a_partner_are_an_error():
    with pytest.raises(ValueError, match="argument 2"):
        ratio([1, 2], [1])
    with pytest.raises(ValueError, match="no rounds"):
        ratio([], [])


def test_the_99th_percentile_is_not_that_of_a_moment_in_which_the_machine_was_busy():
    quiet = [1.0] * 98 + [2.0, 3.0]
    assert worst_hundredth(quiet * 5) == 3.0
    assert worst_hundredth([9.0] * 100 + quiet * 4) == 3.0
    assert worst_hundredth([1.0, 2.0, 3.0]) == 2.0
    with pytest.raises(ValueError, match="median"):
        worst_hundredth([])
