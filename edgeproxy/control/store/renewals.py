"""Which certificates are to be renewed, and what decides when: what their CA says, failures, the DNS, visits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, case, delete, func, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.events import Event
from edgeproxy.control.store.base import listed, page, wildcard
from edgeproxy.control.store.certificates import Certificates, load
from edgeproxy.control.store.domains import audited
from edgeproxy.control.store.outbox import happened
from edgeproxy.control.store.rows.certificates import CUSTOM, StoredCertificate
from edgeproxy.control.store.schema import certificate_names, certificates, companions, visits

_FARTHEST = 10 * 86_400.0
"""Seconds: no look and no question is put off for longer, unless the clock was ahead."""

_LAST_PART = 10
"""The part of a life at whose beginning a renewal is late (`issuance.renewal.is_late`)."""


_NEVER = 1e12
"""Unix time after all that certificates have."""


class Renewals(Certificates):
    """Certificate rows, as far as their renewal is concerned."""

    async def certificates_to_renew(self, now: float, limit: int) -> list[StoredCertificate]:
        """Certificates that nothing newer has superseded, that are due and may be looked at: the order is that of
        `issuance.renewal.urgency`."""
        rows = certificates.c
        late = rows.not_after - now < (rows.not_after - rows.not_before) / _LAST_PART
        query = (
            select(rows.id)
            .where(rows.superseded_at.is_(None), rows.renew_at <= now, or_(rows.look_at <= now, rows.look_at > now + _FARTHEST))
            .order_by(case((late, rows.not_after), else_=_NEVER), _visited().desc(), rows.not_after, rows.renew_at)
            .limit(page(limit))
        )
        async with self.database.read() as connection:
            return await load(connection, (await connection.scalars(query)).all())

    async def set_renewal(self, certificate_id: str, renew_at: float) -> None:
        """Moves the time from which a certificate is to be renewed (never: math.inf), if there is that certificate; it is
        looked at then."""
        await self._set(certificate_id, renew_at=None if math.isinf(renew_at) else renew_at, look_at=0.0)

    async def put_off(self, certificate_id: str, look_at: float) -> None:
        """A certificate's renewal, though due, is not looked at before a time."""
        await self._set(certificate_id, look_at=look_at)

    # What the CA says

    async def certificates_to_ask_about(self, issuer: str, now: float, limit: int) -> list[StoredCertificate]:
        """Those of an issuer whose renewal it is to be asked about, the longest due first."""
        rows = certificates.c
        query = select(rows.id).where(rows.superseded_at.is_(None), rows.issuer == issuer)
        query = query.where(or_(rows.info_at <= now, rows.info_at > now + _FARTHEST))
        query = query.where(rows.not_after > now).order_by(rows.info_at).limit(page(limit))
        async with self.database.read() as connection:
            return await load(connection, (await connection.scalars(query)).all())

    async def asked_about(self, answers: Mapping[str, tuple[float, float | None]]) -> None:
        """Notes for certificates when to ask again, and from when to renew them; None: as before. A renewal that was asked
        for (0) or ruled out stays as it is."""
        rows = certificates.c
        again = update(certificates).where(rows.id == bindparam("one")).values(info_at=bindparam("again"))
        moved = update(certificates).where(rows.id == bindparam("one"), rows.renew_at > 0.0, rows.revocation.is_(None))
        asked = [{"one": one, "again": info_at} for one, (info_at, _) in answers.items()]
        renewed = [{"one": one, "renew": renew_at} for one, (_, renew_at) in answers.items() if renew_at is not None]
        async with self.database.write() as write:
            if asked:
                await write.connection.execute(again, asked)
            if renewed:
                await write.connection.execute(moved.values(renew_at=bindparam("renew")), renewed)

    async def bring_forward(self, serials: Sequence[str], *, actor: str, now: float) -> set[str]:
        """Makes certificates due at once, by their serial numbers in lower-case hex; those of the numbers that are of
        certificates in use, and not uploaded, or of their companions."""
        rows, wanted = certificates.c, listed([serial for serial in serials if serial])
        in_use = func.coalesce(rows.superseded_at, 0.0) == 0.0  # as an expression, or SQLite would go through all that are
        query = select(rows.id, rows.serial).join_from(wanted, certificates, rows.serial == wanted.c.value)
        theirs = companions.c
        beside = (
            select(rows.id, theirs.serial)
            .join_from(wanted, companions, theirs.serial == wanted.c.value)
            .join(certificates, rows.id == theirs.certificate_id)
        )
        sooner = update(certificates).where(rows.id == bindparam("one")).values(renew_at=0.0, look_at=0.0)
        sooner_beside = update(certificates).where(rows.id == bindparam("one")).values(companion_at=0.0)
        async with self.database.write() as write:
            matches = (await write.connection.execute(query.where(in_use, rows.issuer != CUSTOM))).all()
            found = {match.serial for match in matches}
            accompanied = (await write.connection.execute(beside.where(in_use))).all()
            found |= {match.serial for match in accompanied}
            if matches:
                await write.connection.execute(sooner, [{"one": match.id} for match in matches])
            if accompanied:
                await write.connection.execute(sooner_beside, [{"one": match.id} for match in accompanied])
            if found:
                await audited(write, now, actor, "certificate.brought_forward", "", f"{len(found)} certificates")
        return found

    # What the DNS says

    async def went_astray(
        self,
        certificate_id: str,
        since: float | None,
        parked_at: float | None,
        look_at: float,
        now: float,
        *,
        event: Event | None = None,
    ) -> None:
        """Notes since when a certificate's name does not point here, and when its renewal was parked (None: neither), and
        when that is looked at again. `event` is kept with that."""
        values = {"astray_since": since, "parked_at": parked_at, "look_at": look_at}
        async with self.database.write() as write:
            await write.connection.execute(certificates.update().where(certificates.c.id == certificate_id).values(values))
            await happened(write, now, event)

    # Visits

    async def counted_names(self, hostnames: Sequence[str]) -> dict[str, str]:
        """The name of a certificate under which a visit of each hostname counts: its own, or the wildcard above it. What has
        neither is left out: it is nobody's."""
        named = select(certificate_names.c.name)
        asked = listed(hostnames)
        own, above = asked.c.value, wildcard(asked.c.value)
        query = select(own.label("name"), case((own.in_(named), own), (above.in_(named), above)).label("counted"))
        async with self.database.read() as connection:
            return {row.name: row.counted for row in await connection.execute(query) if row.counted is not None}

    async def visits(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """How much those of the names are visited that are at all, and when they were last (Unix time)."""
        query = select(visits).where(visits.c.name.in_(select(listed(names).c.value)))
        async with self.database.read() as connection:
            return {row.name: (row.heat, row.seen_at) for row in await connection.execute(query)}

    async def save_visits(self, heats: Mapping[str, float], now: float) -> None:
        """Notes how much names are visited that just were."""
        rows = [{"name": name, "heat": heat, "seen_at": now} for name, heat in heats.items()]
        statement = insert(visits)
        newer = {"heat": statement.excluded.heat, "seen_at": now}
        if rows:
            async with self.database.write() as write:
                await write.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=newer), rows)

    async def prune_visits(self) -> None:
        """Drops what is noted of names that have no certificate any more."""
        async with self.database.write() as write:
            await write.connection.execute(delete(visits).where(visits.c.name.not_in(select(certificate_names.c.name))))

    async def _set(self, certificate_id: str, **values: Any) -> None:
        query = certificates.update().where(certificates.c.id == certificate_id).values(**values)
        async with self.database.write() as write:
            await write.connection.execute(query)


def _visited() -> ColumnElement[float]:
    """How much a certificate's names are visited."""
    names = certificate_names.c
    query = select(func.max(visits.c.heat)).join(certificate_names, names.name == visits.c.name)
    query = query.where(names.certificate_id == certificates.c.id).correlate(certificates)
    return func.coalesce(query.scalar_subquery(), literal(0.0))
