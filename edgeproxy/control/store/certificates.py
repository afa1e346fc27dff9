"""Certificates: immutable, several per name over the years, the newest of a name counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from edgeproxy.control.store.base import Part, fields, listed, map_key, page, parent_of, wildcard
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.rows import StoredCertificate
from edgeproxy.control.store.schema import certificate_names, certificates
from edgeproxy.errors import Conflict, InvalidName, NotFound

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


class Certificates(Part):
    """Certificate rows and their names."""

    async def add_certificate(self, certificate: StoredCertificate, now: float) -> int:
        """Adds a certificate, which is from then on the newest for its names. Returns the change number at which workers
        have it. Raises Conflict where the id exists, InvalidName where id or names do not fit."""
        if not _ID.match(certificate.id):
            raise InvalidName("A certificate's id is 1 to 128 letters, digits, dots, hyphens or underscores.")
        if not certificate.names:
            raise InvalidName("A certificate has at least one name.")
        names = tuple(dict.fromkeys(map_key(name) for name in certificate.names))
        async with self.database.write() as write:
            there = await write.connection.scalar(select(certificates.c.id).where(certificates.c.id == certificate.id))
            if there is not None:
                raise Conflict(f"There is a certificate with the id {certificate.id} already.")
            older = await _newest(write.connection, names)
            await write.connection.execute(
                certificates.insert().values(
                    id=certificate.id,
                    chain=certificate.chain,
                    sealed_key=certificate.sealed_key,
                    not_before=certificate.not_before,
                    not_after=certificate.not_after,
                    renew_at=None if math.isinf(certificate.renew_at) else certificate.renew_at,
                    issuer=certificate.issuer,
                    added_at=now,
                )
            )
            number = await write.head() + 1
            rows = [
                {
                    "name": name,
                    "number": number,
                    "parent": parent_of(name),
                    "not_after": certificate.not_after,
                    "certificate_id": certificate.id,
                    "position": position,
                }
                for position, name in enumerate(names)
            ]
            await write.connection.execute(certificate_names.insert(), rows)
            for other in set(older.values()):
                await _settle(write, other, now)
            write.changed("certificates", certificate.id)
            for name in names:
                write.changed("sites", name)
        return write.number

    async def get_certificate(self, certificate_id: str) -> StoredCertificate | None:
        """A certificate by its id."""
        async with self.database.read() as connection:
            return next(iter(await _load(connection, [certificate_id])), None)

    async def current_certificate(self, hostname: str, now: float = 0.0) -> StoredCertificate | None:
        """The newest certificate that covers a hostname and outlives `now`: its own first, else its wildcard's."""
        async with self.database.read() as connection:
            best = await chosen(connection, [hostname], now)
            return next(iter(await _load(connection, list(best.values()))), None)

    async def current_certificate_ids(self, hostnames: Sequence[str], now: float = 0.0) -> dict[str, str]:
        """The ids of what `current_certificate` gives, for those of the hostnames that have one."""
        async with self.database.read() as connection:
            return await chosen(connection, hostnames, now)

    async def list_certificates(self, limit: int, after: str = "") -> list[StoredCertificate]:
        """A page of certificates behind the id `after`, by id; superseded ones too."""
        query = select(certificates.c.id).where(certificates.c.id > after).order_by(certificates.c.id).limit(page(limit))
        async with self.database.read() as connection:
            return await _load(connection, (await connection.scalars(query)).all())

    async def count_certificates(self) -> int:
        """How many there are that no newer one has superseded."""
        query = select(func.count()).select_from(certificates).where(certificates.c.superseded_at.is_(None))
        async with self.database.read() as connection:
            return int(await connection.scalar(query) or 0)

    async def certificates_to_renew(self, now: float, limit: int) -> list[StoredCertificate]:
        """Certificates that nothing newer has superseded and whose `renew_at` is past, the most urgent first."""
        query = (
            select(certificates.c.id)
            .where(certificates.c.superseded_at.is_(None), certificates.c.renew_at <= now)
            .order_by(certificates.c.renew_at)
            .limit(page(limit))
        )
        async with self.database.read() as connection:
            return await _load(connection, (await connection.scalars(query)).all())

    async def set_renewal(self, certificate_id: str, renew_at: float) -> None:
        """Moves the time from which a certificate is to be renewed (never: math.inf), if there is that certificate."""
        async with self.database.write() as write:
            await write.connection.execute(
                certificates.update()
                .where(certificates.c.id == certificate_id)
                .values(renew_at=None if math.isinf(renew_at) else renew_at)
            )

    async def remove_certificate(self, certificate_id: str, now: float) -> int:
        """Deletes a certificate with its key; the one before it counts again. Returns the change number; raises
        NotFound."""
        async with self.database.write() as write:
            if not await self._remove(write, certificate_id, now):
                raise NotFound(f"There is no certificate {certificate_id}.")
        return write.number

    async def remove_expired_certificates(self, before: float, now: float, limit: int = 100) -> int:
        """Deletes superseded certificates that expired before a time, with their keys. How many."""
        query = (
            select(certificates.c.id)
            .where(certificates.c.not_after < before, certificates.c.superseded_at.is_not(None))
            .limit(page(limit))
        )
        async with self.database.write() as write:
            ids = (await write.connection.scalars(query)).all()
            for certificate_id in ids:
                await self._remove(write, certificate_id, now)
        return len(ids)

    async def _remove(self, write: Write, certificate_id: str, now: float) -> bool:
        query = select(certificate_names.c.name).where(certificate_names.c.certificate_id == certificate_id)
        names = (await write.connection.scalars(query)).all()
        await write.connection.execute(certificates.delete().where(certificates.c.id == certificate_id))
        for other in set((await _newest(write.connection, names)).values()):
            await _settle(write, other, now)
        if names:
            write.changed("certificates", certificate_id)
        for name in names:
            write.changed("sites", name)
        return bool(names)


def newest_of(name: ColumnElement[str], now: float) -> ScalarSelect[str]:
    """The id of the newest certificate of a name that outlives `now`, as a subquery."""
    columns = certificate_names.c
    query = select(columns.certificate_id).where(columns.name == name, columns.not_after > now)
    return query.order_by(columns.number.desc()).limit(1).scalar_subquery()


async def chosen(connection: AsyncConnection, hostnames: Sequence[str], now: float) -> dict[str, str]:
    """For each hostname that has one, the id of the certificate that covers it: its own first, else its wildcard's."""
    names = listed(hostnames)
    query = select(
        names.c.value, func.coalesce(newest_of(names.c.value, now), newest_of(wildcard(names.c.value), now)).label("id")
    )
    return {row.value: row.id for row in await connection.execute(query) if row.id is not None}


async def _newest(connection: AsyncConnection, names: Iterable[str]) -> dict[str, str]:
    """The id of the newest certificate of each name, expired or not."""
    columns = certificate_names.c
    query = select(columns.name, columns.certificate_id).where(columns.name.in_(list(names))).order_by(columns.number)
    return {row.name: row.certificate_id for row in await connection.execute(query)}


async def _settle(write: Write, certificate_id: str, now: float) -> None:
    """Notes whether a certificate is the newest for any of its names."""
    query = select(certificate_names.c.name).where(certificate_names.c.certificate_id == certificate_id)
    names = (await write.connection.scalars(query)).all()
    counts = certificate_id in (await _newest(write.connection, names)).values()
    await write.connection.execute(
        certificates.update()
        .where(
            certificates.c.id == certificate_id,
            certificates.c.superseded_at.is_not(None) if counts else certificates.c.superseded_at.is_(None),
        )
        .values(superseded_at=None if counts else now)
    )


async def _load(connection: AsyncConnection, ids: Any) -> list[StoredCertificate]:
    """Certificates with their names, in the order of their ids given."""
    if not ids:
        return []
    rows = {row.id: row for row in await connection.execute(select(certificates).where(certificates.c.id.in_(list(ids))))}
    columns = certificate_names.c
    query = (
        select(columns.certificate_id, columns.name)
        .where(columns.certificate_id.in_(list(rows)))
        .order_by(columns.certificate_id, columns.position)
    )
    names: dict[str, list[str]] = {}
    for certificate_id, name in await connection.execute(query):
        names.setdefault(certificate_id, []).append(name)
    return [
        StoredCertificate(
            **(
                fields(rows[one])
                | {
                    "names": tuple(names.get(one, ())),
                    "renew_at": math.inf if rows[one].renew_at is None else rows[one].renew_at,
                }
            )
        )
        for one in ids
        if one in rows
    ]
