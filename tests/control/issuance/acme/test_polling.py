"""How long to wait between two looks."""

import itertools

from edgeproxy.control.issuance.acme.polling import EAGER, FIRST, LONGEST, next_delay


def looks(limit, retry_after=0.0):
    spent, times = 0.0, []
    while (delay := next_delay(spent, retry_after, limit)) is not None:
        spent += delay
        times.append(spent)
    return times


def test_the_first_looks_are_quick_and_later_ones_rare():
    times = looks(120.0)
    assert times[0] == FIRST
    assert len([time for time in times if time < EAGER]) < 20
    assert len(times) < 60
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= LONGEST + 1e-9


def test_the_limit_is_kept():
    assert 120.0 <= looks(120.0)[-1] <= 120.0 + FIRST
    assert next_delay(120.0, 0.0, 120.0) is None


def test_a_retry_after_counts_once_the_eager_time_is_over():
    times = looks(30.0, retry_after=3.0)
    assert len([time for time in times if time <= EAGER]) > 3
    late = [time for time in times if time > 2 * EAGER]
    assert all(later - earlier >= 2.9 for earlier, later in itertools.pairwise(late[:-1]))


def test_a_retry_after_never_overstays_the_limit():
    assert looks(10.0, retry_after=3600.0)[-1] <= 10.0 + FIRST
