"""Events are kept with what they tell, or not at all."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import select

from edgeproxy.control.store import Store
from edgeproxy.control.store.outbox import emitted
from edgeproxy.control.store.schema import outbox


async def broken_off(store: Store) -> None:
    async with store.database.write() as write:
        await emitted(write, 6.0, "domain.verified", "a.test", "w", {})
        raise ZeroDivisionError


async def test_an_event_is_kept_with_its_transaction(store: Store):
    async with store.database.write() as write:
        event_id = await emitted(write, 5.0, "domain.registered", "a.test", "w", {"domain": "a.test"})
    with pytest.raises(ZeroDivisionError):
        await broken_off(store)
    async with store.database.read() as connection:
        rows = (await connection.execute(select(outbox))).all()
    assert [(row.id, row.type, row.subject, row.workspace_id, row.at) for row in rows] == [
        (event_id, "domain.registered", "a.test", "w", 5.0)
    ]
    assert msgspec.json.decode(rows[0].data) == {"domain": "a.test"}
