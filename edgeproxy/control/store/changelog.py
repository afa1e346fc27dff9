"""The store as the publisher reads it: the log of changes, and all that a record of the map is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, ScalarSelect, Select, bindparam, case, delete, func, select, union

from edgeproxy.control.store import schema
from edgeproxy.control.store.base import Part, listed, newest_of, page, wildcard
from edgeproxy.control.store.rows.certificates import CUSTOM
from edgeproxy.control.store.rows.publishing import LogEntry, SiteFacts, Summary
from edgeproxy.published.records import Certificate, Challenge, Companion

DAY = 86_400.0

UPLOADED_LEFT = ((0, "expired"), (1, "1_day"), (7, "7_days"), (30, "30_days"))
"""Classes of uploaded certificates by what is left of their lives: at most so many days. Above the last: "longer"."""


def _redirects() -> ColumnElement[bool]:
    """Whether a row of `domains` redirects, to a name that its workspace (still) has: what has become of a target that was
    removed is somebody else's to say."""
    domains, targets = schema.domains, schema.domains.alias("targets")
    wanted = domains.c.redirect_to
    own, above = (
        select(targets.c.workspace_id).where(targets.c.hostname == name).correlate(domains).scalar_subquery()
        for name in (wanted, wildcard(wanted))
    )
    return (wanted != "") & (func.coalesce(own, above) == domains.c.workspace_id)


def _served_since(name: ColumnElement[str]) -> ScalarSelect[float]:
    """When the first certificate of a name was added, as a subquery: of those that had not ended before it was registered,
    since what its former owner had says nothing of it."""
    history, registered = schema.certificate_history.c, schema.domains.c.created_at
    return (
        select(func.min(history.added_at))
        .where(
            history.name.in_((name, wildcard(name))),
            func.coalesce(history.ended_at, history.not_after) > func.coalesce(registered, 0.0),
        )
        .scalar_subquery()
    )


def _facts() -> Select[Any]:
    """All that is known of names, a row for each."""
    now: ColumnElement[float] = bindparam("now")
    names, domains, routes = listed(bindparam("names")), schema.domains, schema.gate_routes
    return select(
        names.c.value,
        domains.c.state,
        domains.c.workspace_id,
        domains.c.origin,
        domains.c.method,
        case((_redirects(), domains.c.redirect_to), else_=""),
        domains.c.maintenance,
        domains.c.policies,
        routes.c.workspace_id,
        routes.c.origin,
        routes.c.fresh_until,
        newest_of(names.c.value, now),
        newest_of(wildcard(names.c.value), now),
        domains.c.created_at,
        domains.c.active_at,
        _served_since(names.c.value),
    ).select_from(
        names.outerjoin(domains, domains.c.hostname == names.c.value).outerjoin(routes, routes.c.hostname == names.c.value)
    )


# Made once: they are asked with each change.
_FACTS = _facts()
_CHANGES = (
    select(schema.changes.c.number, schema.changes.c.database, schema.changes.c.key)
    .where(schema.changes.c.number > bindparam("number"))
    .order_by(schema.changes.c.number)
    .limit(bindparam("limit"))
)
_HEAD = select(schema.counters.c.value).where(schema.counters.c.name == "change")


class ChangeLog(Part):
    """What happened since a number, and what is so now."""

    async def changes_after(self, number: int, limit: int) -> list[LogEntry]:
        """Entries behind a number, in order. Compare `oldest_change` to know whether the log goes back far enough."""
        rows: Sequence[Any] = await self.database.rows(_CHANGES, {"number": number, "limit": page(limit)})
        return [LogEntry(number=row[0], database=row[1], key=row[2]) for row in rows]

    async def head_change(self) -> int:
        """The number of the newest change; 0 in a new store."""
        row = await self.database.first(_HEAD)
        return 0 if row is None else int(row[0])

    async def oldest_change(self) -> int:
        """The number of the oldest entry that the log still has; 0 where it is empty."""
        async with self.database.read() as connection:
            return int(await connection.scalar(select(func.min(schema.changes.c.number))) or 0)

    async def prune_changes(self, reached: int, keep: int) -> None:
        """Drops entries that the map has reached, but for the last `keep` of them."""
        query = delete(schema.changes).where(schema.changes.c.number <= reached - keep)
        await self.database.note(lambda connection: connection.execute(query))

    async def summary(self, now: float) -> Summary:
        """Counts for status and metrics. Counts rows: some tens of milliseconds for 100,000."""
        domains, rows = schema.domains.c, schema.certificates.c
        parked = (rows.renew_at <= now) & rows.parked_at.is_not(None)
        state = case((rows.not_after <= now, "expired"), (parked, "parked"), (rows.renew_at <= now, "due"), else_="valid")
        grouped = select(state.label("state"), func.count().label("rows")).where(rows.superseded_at.is_(None)).group_by(state)
        soonest = select(func.min(rows.not_after)).where(rows.not_after > now, rows.superseded_at.is_(None))
        left = case(*((rows.not_after <= now + days * DAY, text) for days, text in UPLOADED_LEFT), else_="longer")
        uploaded = select(left.label("left"), func.count().label("rows")).where(
            rows.issuer == CUSTOM, rows.superseded_at.is_(None)
        )
        async with self.database.read() as connection:
            by_state = await connection.execute(select(domains.state, func.count().label("rows")).group_by(domains.state))
            certificates = {"valid": 0, "due": 0, "expired": 0} | {
                row.state: row.rows for row in await connection.execute(grouped)
            }
            return Summary(
                domains={row.state: row.rows for row in by_state},
                certificates=certificates,
                soonest_expiry=await connection.scalar(soonest),
                gate_routes=await connection.scalar(select(func.count()).select_from(schema.gate_routes)) or 0,
                orders=await connection.scalar(select(func.count()).select_from(schema.orders)) or 0,
                failures=await connection.scalar(select(func.count()).select_from(schema.failures)) or 0,
                uploaded=dict.fromkeys([text for _, text in UPLOADED_LEFT] + ["longer"], 0)
                | {row.left: row.rows for row in await connection.execute(uploaded.group_by(left))},
            )

    async def site_facts(self, hostnames: Sequence[str], now: float) -> list[SiteFacts]:
        """What is known of each hostname, from one state of the store; an entry for each, in no certain order."""
        rows: Sequence[Any] = await self.database.rows(_FACTS, {"names": msgspec.json.encode(hostnames).decode(), "now": now})
        return [
            SiteFacts(
                hostname=row[0],
                state=row[1],
                workspace_id=row[2],
                origin=row[3],
                method=row[4],
                redirect_to=row[5],
                maintenance=row[6],
                policies=row[7],
                gate_workspace_id=row[8],
                gate_origin=row[9],
                fresh_until=row[10],
                own_certificate=row[11],
                wildcard_certificate=row[12],
                created_at=row[13],
                active_at=row[14],
                served_since=row[15],
            )
            for row in rows
        ]

    async def names_beneath(self, parent: str | None, after: str, limit: int) -> list[str]:
        """A page of names behind `after`, in order, that may have a site: registered, learnt, or named by a certificate;
        exactly one label below `parent`, or, with None, all."""
        queries = []
        for column, above in (
            (schema.domains.c.hostname, schema.domains.c.parent),
            (schema.gate_routes.c.hostname, schema.gate_routes.c.parent),
            (schema.certificate_names.c.name, schema.certificate_names.c.parent),
        ):
            # Each part is a page of its own: the database reads at most three pages however large the tables.
            query = select(column.label("name")).where(column > after).distinct().order_by(column).limit(page(limit))
            part = (query if parent is None else query.where(above == parent)).subquery()
            queries.append(select(part.c.name))
        async with self.database.read() as connection:
            return list((await connection.scalars(union(*queries).order_by("name").limit(page(limit)))).all())

    async def published_certificates(self, ids: Sequence[str]) -> dict[str, Certificate]:
        """Records of those of the certificates that exist."""
        wanted, rows, names = listed(ids), schema.certificates, schema.certificate_names
        async with self.database.read() as connection:
            found = (
                await connection.execute(
                    select(
                        wanted.c.value, rows.c.chain, rows.c.sealed_key, rows.c.not_before, rows.c.not_after, rows.c.key_type
                    ).join_from(wanted, rows, rows.c.id == wanted.c.value)
                )
            ).all()
            rsa = schema.companions
            beside = {
                row.certificate_id: Companion(
                    id=row.id,
                    chain=row.chain,
                    sealed_key=row.sealed_key,
                    not_before=row.not_before,
                    not_after=row.not_after,
                )
                for row in await connection.execute(select(rsa).join_from(wanted, rsa, rsa.c.certificate_id == wanted.c.value))
            }
            named: dict[str, list[str]] = {}
            query = (
                select(names.c.certificate_id, names.c.name)
                .join_from(wanted, names, names.c.certificate_id == wanted.c.value)
                .order_by(names.c.certificate_id, names.c.position)
            )
            for certificate_id, name in (await connection.execute(query)).all():
                named.setdefault(certificate_id, []).append(name)
        return {
            row[0]: Certificate(
                names=tuple(named.get(row[0], ())),
                chain=row[1],
                sealed_key=row[2],
                not_before=row[3],
                not_after=row[4],
                key_type=row[5],
                companion=beside.get(row[0]),
            )
            for row in found
        }

    async def published_challenges(self, keys: Sequence[str]) -> dict[str, Challenge]:
        """Records of those of the challenges that are pending."""
        table = schema.challenges
        async with self.database.read() as connection:
            rows = (await connection.execute(select(table.c.key, table.c.record).where(table.c.key.in_(keys)))).all()
        return {row.key: msgspec.msgpack.decode(row.record, type=Challenge) for row in rows}

    async def keys_of(self, database: str, after: str, limit: int) -> list[str]:
        """A page of the ids of certificates, or of the keys of challenges, behind `after`, in order."""
        column = {"certificates": schema.certificates.c.id, "challenges": schema.challenges.c.key}[database]
        query = select(column).where(column > after).order_by(column).limit(page(limit))
        async with self.database.read() as connection:
            return list((await connection.scalars(query)).all())
