"""Secrets of the edge itself: ticket secrets, the built-in CA's root, and the mark of the key that all are sealed under."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.rows.issuance import InternalCa
from edgeproxy.control.store.schema import secrets
from edgeproxy.errors import MapError, StateError
from edgeproxy.published.records import Tickets

_CA_CONTEXT = b"internal_ca"
_KEY_CHECK = b"key_check"


class Secrets(Part):
    """One row each."""

    async def check_key(self, now: float) -> None:
        """Raises StateError where the state key is not the one that the store was made with.

        With another one every handshake would fail, and what is sealed from then on would open under that one alone. A
        store that has no mark yet gets it, under the key that is there.
        """
        row = await self._get("key_check")
        if row is None:
            async with self.database.write() as write:
                await _put(write, "key_check", self._sealer.seal(_KEY_CHECK, _KEY_CHECK), now)
            return
        try:
            self._sealer.open(row[0], _KEY_CHECK)
        except MapError:
            raise StateError(
                "The state key is not the one that the store was made with, so no private key in it can be opened. Put that "
                "key back from your copy, or the store that belongs to this key. Nothing was overwritten."
            ) from None

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
