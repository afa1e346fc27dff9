"""Certificates with an RSA key beside those with an ECDSA key."""

from __future__ import annotations

import msgspec
from sqlalchemy import select, update

from edgeproxy.control.events import Event
from edgeproxy.control.store.base import page
from edgeproxy.control.store.certificates import Certificates, load, put_companion
from edgeproxy.control.store.history import ended
from edgeproxy.control.store.outbox import happened
from edgeproxy.control.store.rows.certificates import CUSTOM, Companion, StoredCertificate
from edgeproxy.control.store.schema import certificates
from edgeproxy.errors import NotFound

ALONE = ("p256", "p384")
"""Kinds of key that not every client knows."""


class Companions(Certificates):
    """What stands beside a certificate."""

    async def set_companion(
        self, certificate_id: str, companion: Companion, wanted_at: float, now: float, *, event: Event | None = None
    ) -> int:
        """Sets a certificate's companion; the one before it is destroyed, with its key. `wanted_at` is when another is to be
        obtained; `event` is kept with it. Returns the change number at which workers have it; raises NotFound."""
        async with self.database.write() as write:
            found = await load(write.connection, [certificate_id])
            if not found:
                raise NotFound(f"There is no certificate {certificate_id}.")
            stored = found[0]
            if stored.companion is not None:
                await ended(write, [stored.companion.id], "edge", "renewed", now)
            await put_companion(write, certificate_id, companion)
            told = {
                "id": companion.id,
                "serial": companion.serial,
                "issuer": companion.issuer,
                "not_after": companion.not_after,
            }
            await self._begun(write, msgspec.structs.replace(stored, **told), stored.names, "edge", now)
            await write.connection.execute(
                update(certificates).where(certificates.c.id == certificate_id).values(companion_at=wanted_at)
            )
            write.changed("certificates", certificate_id)
            await happened(write, now, event)
        return write.number

    async def put_off_companion(self, certificate_id: str, until: float) -> None:
        """Moves the time at which a companion is to be obtained, if there is that certificate."""
        async with self.database.write() as write:
            await write.connection.execute(
                update(certificates).where(certificates.c.id == certificate_id).values(companion_at=until)
            )

    async def certificates_to_accompany(self, now: float, limit: int) -> list[StoredCertificate]:
        """Certificates in use that lack a companion, or whose companion is to be renewed, and that are not to be replaced
        themselves; those that wait longest first."""
        rows = certificates.c
        query = (
            select(rows.id)
            .where(rows.superseded_at.is_(None), rows.companion_at <= now, rows.key_type.in_(ALONE), rows.issuer != CUSTOM)
            .where(rows.revocation.is_(None), rows.not_after > now, rows.renew_at.is_(None) | (rows.renew_at > now))
            .order_by(rows.companion_at)
            .limit(page(limit))
        )
        async with self.database.read() as connection:
            return await load(connection, (await connection.scalars(query)).all())
