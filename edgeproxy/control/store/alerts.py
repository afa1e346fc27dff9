"""What people were told of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields
from edgeproxy.control.store.rows.telling import Alert
from edgeproxy.control.store.schema import alerts


class Alerts(Part):
    """One row for each condition that was told, until it was over for long enough."""

    async def told_alerts(self) -> list[Alert]:
        """All of them."""
        async with self.database.read() as connection:
            return [Alert(**fields(row)) for row in await connection.execute(select(alerts))]

    async def save_alerts(self, told: Sequence[Alert], *, over_before: float) -> None:
        """Adds or replaces some, and drops those that were told and over before that time."""
        async with self.database.write() as write:
            for each in told:
                values = {"since": each.since, "told_at": each.told_at, "over_at": each.over_at}
                statement = insert(alerts).values(kind=each.kind, subject=each.subject, **values)
                await write.connection.execute(statement.on_conflict_do_update(index_elements=["kind", "subject"], set_=values))
            await write.connection.execute(delete(alerts).where(alerts.c.over_at.is_not(None), alerts.c.told_at < over_before))
