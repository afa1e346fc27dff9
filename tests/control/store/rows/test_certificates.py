"""Rows of certificates: how long an uploaded one goes before the edge's own."""

import msgspec

from edgeproxy.control.store.rows.certificates import CUSTOM, replace_at
from tests.control.store.making import DAY, NOW, certificate


def test_the_edges_own_takes_over_a_day_before_the_end_or_later_where_the_life_is_short() -> None:
    assert replace_at(NOW, NOW + 90 * DAY) == NOW + 89 * DAY
    assert replace_at(NOW, NOW + 5 * DAY) == NOW + 4.5 * DAY
    assert replace_at(NOW, NOW - DAY) == NOW - DAY


def test_only_an_uploaded_one_goes_before_the_edges_own_and_to_its_very_end_where_nobody_may_take_its_place() -> None:
    own = certificate("one", "a.example.com", until=NOW + 90 * DAY)
    assert not own.custom
    assert not own.holds(NOW)
    uploaded = msgspec.structs.replace(own, issuer=CUSTOM)
    moment = replace_at(uploaded.not_before, uploaded.not_after)
    assert uploaded.custom
    assert (uploaded.holds(moment - 1), uploaded.holds(moment)) == (True, False)
    kept = msgspec.structs.replace(uploaded, auto_renew=False)
    assert (kept.holds(kept.not_after - 1), kept.holds(kept.not_after)) == (True, False)
