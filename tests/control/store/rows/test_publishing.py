"""Rows of what is read of the whole store."""

from edgeproxy.control.store.rows.publishing import Summary


def summary() -> Summary:
    return Summary(domains={}, certificates={}, soonest_expiry=None, gate_routes=0, orders=0, failures=0)


def test_what_one_summary_counts_is_not_in_another() -> None:
    one, other = summary(), summary()
    one.uploaded["expired"] = 1
    assert other.uploaded == {}
