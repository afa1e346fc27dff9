"""What people were told of."""

from __future__ import annotations

from edgeproxy.control.store import Alert, Store
from tests.control.store.making import NOW


async def test_what_was_told_is_kept_replaced_and_dropped_when_it_is_old(store: Store) -> None:
    one = Alert(kind="issuance", subject="a.test", since=NOW - 9, told_at=NOW)
    other = Alert(kind="queue", subject="", since=NOW, told_at=NOW)
    await store.save_alerts([one, other], over_before=NOW)
    assert await store.told_alerts() == [one, other]
    over = Alert(kind="issuance", subject="a.test", since=NOW - 9, told_at=NOW, over_at=NOW + 5)
    await store.save_alerts([over], over_before=NOW)
    assert await store.told_alerts() == [over, other]
    await store.save_alerts([], over_before=NOW + 1)
    assert await store.told_alerts() == [other]
