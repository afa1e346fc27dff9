"""What befalls certificates: uploads that end, warnings of that, revocation."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, and_, or_, select

from edgeproxy.control.events import Event
from edgeproxy.control.store.base import page
from edgeproxy.control.store.certificates import Certificates, load
from edgeproxy.control.store.domains import audited
from edgeproxy.control.store.history import ended
from edgeproxy.control.store.outbox import happened
from edgeproxy.control.store.rows.certificates import CUSTOM, StoredCertificate
from edgeproxy.control.store.schema import certificate_names, certificates
from edgeproxy.errors import NotFound
from edgeproxy.model import wildcard_of

DAY = 86_400.0

_Query = Select[tuple[str]]


class Lifecycle(Certificates):
    """Certificate rows, beyond their being added and found."""

    async def certificates_of(self, name: str) -> list[StoredCertificate]:
        """All certificates that name exactly this, the newest first."""
        query = (
            select(certificate_names.c.certificate_id)
            .where(certificate_names.c.name == name)
            .order_by(certificate_names.c.number.desc())
        )
        return await self._loaded(query)

    async def uploaded_certificate(self, hostname: str) -> StoredCertificate | None:
        """What was uploaded for a name, expired or not; else for the wildcard that covers it."""
        query = _uploaded().where(certificate_names.c.name.in_([hostname, wildcard_of(hostname)]))
        found = {stored.names[0]: stored for stored in await self._loaded(query)}
        return found.get(hostname) or found.get(wildcard_of(hostname))

    async def uploads_ending(self, before: float, limit: int) -> list[StoredCertificate]:
        """The uploaded certificates in use that end before a time, ended ones too, the first to end first."""
        return await self._loaded(_in_use(before).limit(page(limit)))

    async def uploads_to_warn(self, days: Sequence[int], now: float, limit: int) -> list[StoredCertificate]:
        """Those of which a warning is due: at most `days` are left, and none was given for so few."""
        rows = certificates.c
        due = (and_(rows.not_after <= now + each * DAY, or_(rows.warned.is_(None), rows.warned > each)) for each in days)
        return await self._loaded(_in_use(now + max(days) * DAY).where(or_(*due)).limit(page(limit)))

    async def set_warned(self, certificate_id: str, days: int, now: float, *, event: Event | None = None) -> None:
        """Notes of how many days before its end a warning is given, which is kept with that."""
        async with self.database.write() as write:
            await write.connection.execute(certificates.update().where(certificates.c.id == certificate_id).values(warned=days))
            await happened(write, now, event)

    async def begin_revocation(self, certificate_id: str, reason: str, *, actor: str, now: float) -> None:
        """Notes that a certificate is to be revoked, before its CA is asked: whenever this process ends, the next one asks
        again. From now on it is due for renewal. Raises NotFound."""
        async with self.database.write() as write:
            result = await write.connection.execute(
                certificates.update()
                .where(certificates.c.id == certificate_id)
                .values(revocation=reason, renew_at=0.0, look_at=0.0)
            )
            if not result.rowcount:
                raise NotFound(f"There is no certificate {certificate_id}.")
            await audited(write, now, actor, "certificate.revoking", certificate_id, reason)

    async def abandon_revocation(self, certificate_id: str, renew_at: float) -> None:
        """Takes that back: the CA refused for good."""
        async with self.database.write() as write:
            await write.connection.execute(
                certificates.update()
                .where(certificates.c.id == certificate_id, certificates.c.revoked_at.is_(None))
                .values(revocation=None, renew_at=renew_at)
            )

    async def revoked(self, certificate_id: str, reason: str, *, actor: str, now: float, event: Event | None = None) -> None:
        """Notes that the CA has revoked it; `event` is kept with that."""
        async with self.database.write() as write:
            await write.connection.execute(
                certificates.update()
                .where(certificates.c.id == certificate_id)
                .values(revocation=reason, revoked_at=now, renew_at=0.0, look_at=0.0)
            )
            await ended(write, [certificate_id], actor, f"revoked: {reason}", now)
            await audited(write, now, actor, "certificate.revoked", certificate_id, reason)
            await happened(write, now, event)

    async def revocations(self, limit: int = 100) -> list[StoredCertificate]:
        """Certificates that are to be revoked, and whose CA has not taken it yet."""
        rows = certificates.c
        query = select(rows.id).where(rows.revocation > "", rows.revoked_at.is_(None))
        return await self._loaded(query.order_by(rows.id).limit(page(limit)))

    async def note(self, action: str, subject: str, detail: str, *, actor: str, now: float) -> None:
        """An entry of the audit log."""
        async with self.database.write() as write:
            await audited(write, now, actor, action, subject, detail)

    async def _loaded(self, query: _Query) -> list[StoredCertificate]:
        async with self.database.read() as connection:
            return await load(connection, (await connection.scalars(query)).all())


def _in_use(before: float) -> _Query:
    """The ids of uploaded certificates that nothing has superseded and that end before a time."""
    rows = certificates.c
    query = select(rows.id).where(rows.issuer == CUSTOM, rows.superseded_at.is_(None), rows.not_after <= before)
    return query.order_by(rows.not_after)


def _uploaded() -> _Query:
    """The ids of uploaded certificates, the newest first."""
    return (
        select(certificates.c.id)
        .join(certificate_names, certificate_names.c.certificate_id == certificates.c.id)
        .where(certificates.c.issuer == CUSTOM)
        .order_by(certificate_names.c.number)
    )
