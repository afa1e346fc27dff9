"""Certificates: immutable, several per name over the years, the newest of a name counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from edgeproxy.control.events import Event
from edgeproxy.control.store.base import covering, fields, listed, map_key, page, parent_of
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.history import History, counts_again, ended
from edgeproxy.control.store.outbox import happened
from edgeproxy.control.store.rows.certificates import CUSTOM, Companion, StoredCertificate
from edgeproxy.control.store.schema import certificate_names, certificates, companions
from edgeproxy.errors import Conflict, InvalidName, NotFound

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


class Certificates(History):
    """Certificate rows and their names."""

    async def add_certificate(
        self, certificate: StoredCertificate, now: float, *, actor: str = "edge", event: Event | None = None
    ) -> int:
        """Adds a certificate, which is from then on the newest for its names; but one of the edge's own stays behind an
        uploaded one that `holds`. An uploaded one takes the place of those uploaded before, whose keys are destroyed; one
        that is there already is only made the newest again. `actor` had it made; `event` is kept with it.

        Returns the change number at which workers have it. Raises Conflict where the id exists, InvalidName where id or
        names do not fit.
        """
        if not _ID.match(certificate.id):
            raise InvalidName("A certificate's id is 1 to 128 letters, digits, dots, hyphens or underscores.")
        if not certificate.names:
            raise InvalidName("A certificate has at least one name.")
        names = tuple(dict.fromkeys(map_key(name) for name in certificate.names))
        async with self.database.write() as write:
            there = await write.connection.scalar(select(certificates.c.id).where(certificates.c.id == certificate.id))
            if there is not None and not certificate.custom:
                raise Conflict(f"There is a certificate with the id {certificate.id} already.")
            older = await load(write.connection, sorted(set((await _newest(write.connection, names)).values())))
            held = [] if certificate.custom else [other for other in older if other.holds(now)]
            number = await write.head() + 1
            if there is None:
                await self._insert(write, certificate, names, number, actor, now)
            else:
                await _to_top(write, certificate, number)
            if certificate.custom:
                for other_id in await _uploaded(write.connection, names, without=certificate.id):
                    await self._remove(write, other_id, now, by=actor, why="another was uploaded")
            for other in held:
                # There are two changes at least, of the certificate and of a name: the number is given to no other.
                await _to_top(write, other, number + 1)
            for other in older:
                why = "the edge's own took its place" if other.custom else "renewed"
                await _settle(write, other.id, now, by=actor, why="one was uploaded" if certificate.custom else why)
            await _settle(write, certificate.id, now, by=actor, why="an uploaded one goes before it")
            write.changed("certificates", certificate.id)
            for name in names:
                write.changed("sites", name)
            await happened(write, now, event)
        return write.number

    async def _insert(
        self, write: Write, certificate: StoredCertificate, names: Sequence[str], number: int, actor: str, now: float
    ) -> None:
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
                serial=certificate.serial,
                auto_renew=certificate.auto_renew,
                challenge=certificate.challenge,
                info_at=certificate.info_at,
                key_type=certificate.key_type,
                companion_at=certificate.companion_at,
            )
        )
        if certificate.companion is not None:
            await put_companion(write, certificate.id, certificate.companion)
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
        await self._begun(write, certificate, names, actor, now)

    async def get_certificate(self, certificate_id: str) -> StoredCertificate | None:
        """A certificate by its id."""
        return next(iter(await self.database.look(lambda connection: loaded(connection, [certificate_id]))), None)

    async def current_certificate(self, hostname: str, now: float = 0.0) -> StoredCertificate | None:
        """The newest certificate that covers a hostname and outlives `now`: its own first, else its wildcard's."""

        def find(connection: Connection) -> list[StoredCertificate]:
            return loaded(connection, [row.id for row in connection.execute(_chosen([hostname], now)) if row.id is not None])

        return next(iter(await self.database.look(find)), None)

    async def current_certificate_ids(self, hostnames: Sequence[str], now: float = 0.0) -> dict[str, str]:
        """The ids of what `current_certificate` gives, for those of the hostnames that have one."""
        return {row.value: row.id for row in await self.database.rows(_chosen(hostnames, now)) if row.id is not None}

    async def list_certificates(self, limit: int, after: str = "") -> list[StoredCertificate]:
        """A page of certificates behind the id `after`, by id; superseded ones too."""
        query = select(certificates.c.id).where(certificates.c.id > after).order_by(certificates.c.id).limit(page(limit))
        async with self.database.read() as connection:
            return await load(connection, (await connection.scalars(query)).all())

    async def count_certificates(self) -> int:
        """How many there are that no newer one has superseded."""
        query = select(func.count()).select_from(certificates).where(certificates.c.superseded_at.is_(None))
        async with self.database.read() as connection:
            return int(await connection.scalar(query) or 0)

    async def remove_certificate(
        self, certificate_id: str, now: float, *, actor: str = "edge", why: str = "removed", event: Event | None = None
    ) -> int:
        """Deletes a certificate with its key; the one before it counts again. `event` is kept with that. Returns the change
        number; raises NotFound."""
        async with self.database.write() as write:
            if not await self._remove(write, certificate_id, now, by=actor, why=why):
                raise NotFound(f"There is no certificate {certificate_id}.")
            await happened(write, now, event)
        return write.number

    async def remove_expired_certificates(self, before: float, now: float, limit: int = 100) -> int:
        """Deletes superseded certificates that expired before a time, or that were revoked, with their keys. How many."""
        rows = certificates.c
        expired = select(rows.id).where(rows.not_after < before, rows.superseded_at.is_not(None)).limit(page(limit))
        revoked = select(rows.id).where(rows.revocation > "", rows.revoked_at.is_not(None), rows.superseded_at.is_not(None))
        async with self.database.write() as write:
            ids = (await write.connection.scalars(expired)).all() or (
                await write.connection.scalars(revoked.limit(page(limit)))
            ).all()
            for certificate_id in ids:
                await self._remove(write, certificate_id, now, by="edge", why="expired")
        return len(ids)

    async def _remove(self, write: Write, certificate_id: str, now: float, *, by: str, why: str) -> bool:
        return await remove(write, certificate_id, now, by=by, why=why)


async def remove(write: Write, certificate_id: str, now: float, *, by: str, why: str) -> bool:
    """Deletes a certificate with its key, within a transaction; whether there was one."""
    query = select(certificate_names.c.name).where(certificate_names.c.certificate_id == certificate_id)
    names = (await write.connection.scalars(query)).all()
    beside = select(companions.c.id).where(companions.c.certificate_id == certificate_id)
    gone = [certificate_id, *(await write.connection.scalars(beside)).all()]
    await write.connection.execute(certificates.delete().where(certificates.c.id == certificate_id))
    await ended(write, gone, by, why, now)
    for other in set((await _newest(write.connection, names)).values()):
        await _settle(write, other, now)
    if names:
        write.destroyed()
        write.changed("certificates", certificate_id)
    for name in names:
        write.changed("sites", name)
    return bool(names)


def _chosen(hostnames: Sequence[str], now: float) -> Select[Any]:
    """For each hostname (`value`) the `id` of the certificate that covers it: its own first, else its wildcard's; or NULL."""
    names = listed(hostnames)
    return select(names.c.value, covering(names.c.value, now).label("id"))


async def _newest(connection: AsyncConnection, names: Iterable[str]) -> dict[str, str]:
    """The id of the newest certificate of each name, expired or not."""
    columns = certificate_names.c
    query = select(columns.name, columns.certificate_id).where(columns.name.in_(list(names))).order_by(columns.number)
    return {row.name: row.certificate_id for row in await connection.execute(query)}


async def _uploaded(connection: AsyncConnection, names: Iterable[str], *, without: str) -> list[str]:
    """The ids of uploaded certificates of names, but one."""
    query = (
        select(certificates.c.id)
        .join(certificate_names, certificate_names.c.certificate_id == certificates.c.id)
        .where(certificate_names.c.name.in_(list(names)), certificates.c.issuer == CUSTOM, certificates.c.id != without)
        .distinct()
    )
    return list((await connection.scalars(query)).all())


async def _to_top(write: Write, certificate: StoredCertificate, number: int) -> None:
    """Makes a certificate that is there the newest of its names, with the settings that it comes with."""
    await write.connection.execute(
        certificate_names.update().where(certificate_names.c.certificate_id == certificate.id).values(number=number)
    )
    await write.connection.execute(
        certificates.update()
        .where(certificates.c.id == certificate.id)
        .values(
            auto_renew=certificate.auto_renew,
            renew_at=None if math.isinf(certificate.renew_at) else certificate.renew_at,
        )
    )
    for name in certificate.names:
        write.changed("sites", name)


async def _settle(write: Write, certificate_id: str, now: float, *, by: str = "edge", why: str = "replaced") -> None:
    """Notes whether a certificate is the newest for any of its names."""
    query = select(certificate_names.c.name).where(certificate_names.c.certificate_id == certificate_id)
    names = (await write.connection.scalars(query)).all()
    counts = certificate_id in (await _newest(write.connection, names)).values()
    result = await write.connection.execute(
        certificates.update()
        .where(
            certificates.c.id == certificate_id,
            certificates.c.superseded_at.is_not(None) if counts else certificates.c.superseded_at.is_(None),
        )
        .values(superseded_at=None if counts else now)
    )
    if result.rowcount and counts:
        await counts_again(write, certificate_id)
    elif result.rowcount:
        await ended(write, [certificate_id], by, why, now)


async def put_companion(write: Write, certificate_id: str, companion: Companion) -> None:
    """Sets a certificate's companion, within a transaction. One that was another certificate's is moved; one that was this
    one's is destroyed."""
    rows = companions.c
    await write.connection.execute(
        companions.delete().where((rows.certificate_id == certificate_id) | (rows.id == companion.id))
    )
    values = {name: getattr(companion, name) for name in companion.__struct_fields__}
    await write.connection.execute(companions.insert().values(certificate_id=certificate_id, **values))
    write.destroyed()


async def load(connection: AsyncConnection, ids: Any) -> list[StoredCertificate]:
    """Certificates with their names, in the order of their ids given."""
    return await connection.run_sync(loaded, ids) if ids else []


def loaded(connection: Connection, ids: Any) -> list[StoredCertificate]:
    """The same, where the connection has a thread of its own (`Database.look`)."""
    if not ids:
        return []
    rows = {row.id: row for row in connection.execute(select(certificates).where(certificates.c.id.in_(list(ids))))}
    columns = certificate_names.c
    query = (
        select(columns.certificate_id, columns.name)
        .where(columns.certificate_id.in_(list(rows)))
        .order_by(columns.certificate_id, columns.position)
    )
    names: dict[str, list[str]] = {}
    for certificate_id, name in connection.execute(query):
        names.setdefault(certificate_id, []).append(name)
    beside = connection.execute(select(companions).where(companions.c.certificate_id.in_(list(rows))))
    accompanied = {row.certificate_id: Companion(**fields(row, "certificate_id")) for row in beside}
    return [
        StoredCertificate(
            **(
                fields(rows[one])
                | {
                    "names": tuple(names.get(one, ())),
                    "companion": accompanied.get(one),
                    "renew_at": math.inf if rows[one].renew_at is None else rows[one].renew_at,
                }
            )
        )
        for one in ids
        if one in rows
    ]
