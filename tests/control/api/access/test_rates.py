"""How often a token may ask."""

import pytest

from edgeproxy.control.api.access import rates as module
from edgeproxy.control.api.access.rates import AT_ONCE, Rates
from edgeproxy.limits import Limits


def test_two_thousand_domains_are_looked_at_every_thirty_seconds_with_one_token():
    rate = float(Limits().token_requests)
    for spread in (0.0, 0.0001, 0.015):  # in one go, in a fifth of a second, evenly
        rates = Rates()
        waits = [rates.take("t", rate, 30.0 * turn + spread * n) for turn in range(40) for n in range(2_000)]
        assert not any(waits)


def test_above_the_rate_it_is_told_how_long_to_wait():
    rates = Rates()
    assert [rates.take("t", 2.0, 5.0) for _ in range(2 * AT_ONCE)] == [0.0] * 2 * AT_ONCE
    assert rates.take("t", 2.0, 5.0) == pytest.approx(0.5)
    assert rates.take("t", 2.0, 5.25) == pytest.approx(0.25)
    assert rates.take("t", 2.0, 5.5) == 0.0
    assert rates.take("t", 2.0, 5.5) == pytest.approx(0.5)
    assert rates.take("other", 2.0, 5.5) == 0.0
    assert sum(not rates.take("t", 2.0, 1e6) for _ in range(1000)) == 2 * AT_ONCE
    assert rates.take("t", 2.0, 0.0) > 0, "a clock that goes back gives nothing"


def test_what_is_remembered_has_a_bound_and_those_that_rest_go_first(monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", 3)
    rates = Rates()
    rates.take("rests", 1.0, 0.0)
    for _ in range(AT_ONCE):
        assert rates.take("busy", 1.0, 100.0) == 0.0
    rates.take("third", 1.0, 100.0)
    rates.take("fourth", 1.0, 100.0)
    assert rates.take("busy", 1.0, 100.0) == pytest.approx(1.0), "it is still remembered"
    for number in range(100):
        rates.take(str(number), 1.0, 100.0)
        assert len(rates._left) <= 3
