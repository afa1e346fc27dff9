"""How many requests may be sent twice."""

from __future__ import annotations

from edgeproxy.edge.upstream.budget import FLOOR, SHARE, WINDOW, RetryBudget


def taken(budget: RetryBudget, now: float) -> int:
    """How many there are to be had."""
    count = 0
    while budget.take(now):
        count += 1
    return count


def test_a_few_are_always_to_be_had() -> None:
    assert taken(RetryBudget(), 1000.0) == FLOOR


def test_of_many_requests_a_share() -> None:
    budget = RetryBudget()
    budget.asked(1_000, 1000.0)
    assert taken(budget, 1000.0) == 1_000 * SHARE
    budget.asked(100, 1001.0)
    assert taken(budget, 1002.0) == 100 * SHARE


def test_what_was_counts_for_a_window_more_and_then_not() -> None:
    budget = RetryBudget()
    budget.asked(1_000, 1000.0)
    assert taken(budget, 1000.0) == 200
    assert taken(budget, 1000.0 + WINDOW) == 0
    budget.asked(500, 1001.0 + WINDOW)
    assert taken(budget, 1001.0 + WINDOW) == 100
    assert taken(budget, 1000.0 + 5 * WINDOW) == FLOOR
