"""Which certificates a name had: who had each made, since when, and why it ended. Outlives the certificates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, select

from edgeproxy.control.store.base import Part, fields, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.rows.certificates import HistoryEntry, StoredCertificate
from edgeproxy.control.store.schema import certificate_history as history

PER_NAME = 50
"""Entries kept of one name: ten years of 90-day certificates, a year of six-day ones."""

MAX_ENTRIES = 1_000_000
"""Entries in all, some 200 MB; above it the oldest go."""


class History(Part):
    """Entries are written with what they tell of, in one transaction."""

    async def history_of(self, name: str, limit: int = PER_NAME) -> list[HistoryEntry]:
        """What is known of exactly this name, the newest first."""
        query = select(history).where(history.c.name == name).order_by(history.c.number.desc()).limit(page(limit))
        async with self.database.read() as connection:
            return [HistoryEntry(**fields(row)) for row in await connection.execute(query)]

    async def _begun(self, write: Write, certificate: StoredCertificate, names: Sequence[str], actor: str, now: float) -> None:
        """A certificate was added."""
        entry = {
            "certificate_id": certificate.id,
            "serial": certificate.serial,
            "issuer": certificate.issuer,
            "not_after": certificate.not_after,
            "added_at": now,
            "added_by": actor,
        }
        await write.connection.execute(history.insert(), [entry | {"name": name} for name in names])
        for name in names:
            mine = select(history.c.number).where(history.c.name == name).order_by(history.c.number.desc())
            await write.connection.execute(delete(history).where(history.c.number.in_(mine.offset(PER_NAME))))
        if self._clean_due("certificate_history"):
            newest = await write.connection.scalar(select(func.max(history.c.number))) or 0
            await write.connection.execute(delete(history).where(history.c.number <= newest - MAX_ENTRIES))


async def ended(write: Write, ids: Collection[str], by: str, why: str, now: float) -> None:
    """Certificates are no longer the newest of their names. What ended before stays as it was told then."""
    await write.connection.execute(
        history.update()
        .where(history.c.certificate_id.in_(list(ids)), history.c.ended_at.is_(None))
        .values(ended_at=now, ended_by=by, ended_why=why)
    )


async def counts_again(write: Write, certificate_id: str) -> None:
    """A certificate is the newest again: what came after it is gone."""
    await write.connection.execute(
        history.update().where(history.c.certificate_id == certificate_id).values(ended_at=None, ended_by="", ended_why="")
    )
