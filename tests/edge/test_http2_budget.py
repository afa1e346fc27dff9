"""A burst, and a rate behind it."""

from __future__ import annotations

from edgeproxy.edge.http2_budget import Budget


def test_a_burst_is_had_at_once_and_comes_back_at_its_rate() -> None:
    budget = Budget(3, 2)
    assert [budget.take(100.0) for _ in range(4)] == [True] * 3 + [False]
    assert [budget.take(101.0) for _ in range(2)] == [True, False]  # what was refused counted
    assert [budget.take(1_000.0) for _ in range(4)] == [True] * 3 + [False]
    assert not budget.take(999.0)
