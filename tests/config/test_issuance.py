"""[issuance] and the tables below it."""

from edgeproxy.config.issuance import Budget, Eab, Issuance, Shares
from edgeproxy.units import Duration


def test_the_budget_is_that_of_the_default_ca() -> None:
    assert "letsencrypt.org" in Issuance().directory
    budget = Budget()  # https://letsencrypt.org/docs/rate-limits/
    assert (budget.orders, budget.orders_window) == (300, Duration(3 * 3600))
    assert (budget.certificates, budget.certificates_window) == (50, Duration(7 * 86400))
    assert (budget.failures, budget.failures_window) == (5, Duration(3600))
    assert (budget.duplicates, budget.duplicates_window) == (5, Duration(7 * 86400))


def test_the_shares_are_a_hundred_percent() -> None:
    shares = Shares()
    assert shares.new + shares.renewals + shares.retries == 100


def test_keys_of_external_accounts_are_not_in_a_repr() -> None:
    shown = repr(Issuance(eab=Eab(key_id="seen", hmac_key="c2VjcmV0", fallback=("https://ca.example/dir k aG1hYw",))))
    assert "'seen'" in shown
    assert "c2VjcmV0" not in shown
    assert "aG1hYw" not in shown
