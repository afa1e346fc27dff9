"""Secrets of the edge itself: ticket secrets and the built-in CA's root."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.rows import InternalCa
from edgeproxy.control.store.schema import secrets
from edgeproxy.published.records import Tickets

_CA_CONTEXT = b"internal_ca"


class Secrets(Part):
    """One row each."""

    async def tickets(self) -> Tickets | None:
        """The session ticket secrets, each sealed under the map's key as in the map; None before the first."""
        row = await self._get("tickets")
        return None if row is None else msgspec.msgpack.decode(row[0], type=Tickets)

    async def save_tickets(self, tickets: Tickets, now: float) -> int:
        """Replaces them: what is no longer among them is destroyed. Returns the change number."""
        async with self.database.write() as write:
            await _put(write, "tickets", msgspec.msgpack.encode(tickets), now)
            write.changed("tickets", "current")
        return write.number

    async def internal_ca(self) -> InternalCa | None:
        """The built-in CA's root; None before it was made."""
        row = await self._get("internal_ca")
        if row is None:
            return None
        certificate, sealed_key = msgspec.msgpack.decode(row[0], type=tuple[bytes, bytes])
        return InternalCa(certificate=certificate, key=self._sealer.open(sealed_key, _CA_CONTEXT), created_at=row[1])

    async def save_internal_ca(self, ca: InternalCa, now: float) -> None:
        """Makes or replaces it."""
        record = msgspec.msgpack.encode((ca.certificate, self._sealer.seal(ca.key, _CA_CONTEXT)))
        async with self.database.write() as write:
            await _put(write, "internal_ca", record, now)

    async def _get(self, name: str) -> tuple[bytes, float] | None:
        query = select(secrets.c.record, secrets.c.updated_at).where(secrets.c.name == name)
        async with self.database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else (row.record, row.updated_at)


async def _put(write: Write, name: str, record: bytes, now: float) -> None:
    statement = insert(secrets).values(name=name, record=record, updated_at=now)
    await write.connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"record": record, "updated_at": now})
    )
