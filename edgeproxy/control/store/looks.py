"""Who looks at domains, and what of a look is noted where nothing came of it.

Looks are what the store is written for most: thousands of domains wait, and are looked at every few minutes. So each of these
is one short transaction (`Database.note`), and one of them has the notes of many looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, literal, select, update
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, map_key, page
from edgeproxy.control.store.domain_config import domain_of
from edgeproxy.control.store.domain_life import renewed
from edgeproxy.control.store.domains import COLUMNS
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.control.store.rows.issuance import Lease
from edgeproxy.control.store.schema import domains, leases

AHEAD_SECONDS = 60.0
"""A row that was looked at by so much later than now was so by a clock that was ahead."""

NOTED = (
    *("looks", "next_look", "looking_since", "looked_at", "updated_at", "version"),
    *("error_code", "error_detail", "error_fault", "must_prove"),
)
"""Fields that a note may change: neither workers nor webhooks are told of them."""


class Note(msgspec.Struct, frozen=True):
    """What a look brought, and whether it was the last that its process does for the domain just now."""

    hostname: str
    before: Domain | None = None
    """The row that was seen; None: there is nothing to note, but that the look is over."""
    after: Domain | None = None
    """What it is to be: another only in fields of NOTED."""
    release: bool = False
    """Ends the lease."""


class Looks(Part):
    """Hostnames are normalised (`model.hostname`) by the caller."""

    async def claim_due_domains(self, lease: Lease, now: float, limit: int, *, young: float = math.inf) -> list[Domain]:
        """Takes domains whose next look is due, the longest due first, so that nobody else looks at them until the lease
        ends. `lease.name` does not matter. Half of them, if there are so many, are those whose looks began after `young`: they
        do not stand behind thousands that have waited for days."""
        query = select(*COLUMNS).where(domains.c.next_look <= now)
        first = query.where(domains.c.looking_since > young, ~_leased(now)).order_by(domains.c.next_look)

        def claim(connection: Connection) -> list[Domain]:
            found = []
            if young < now:
                found = [domain_of(row) for row in connection.execute(first.limit(page((limit + 1) // 2)))]
            others = query.where(domains.c.hostname.not_in([each.hostname for each in found]), ~_leased(now))
            if limit > len(found):
                rest = others.order_by(domains.c.next_look).limit(page(limit - len(found)))
                found += [domain_of(row) for row in connection.execute(rest)]
            _put_leases(connection, [domain.hostname for domain in found], lease)
            return found

        return await self.database.note(claim)

    async def claim_domain(self, hostname: str, lease: Lease, now: float) -> Domain | None:
        """Takes one domain, due or not; None where there is none or somebody else looks at it."""
        query = select(*COLUMNS).where(domains.c.hostname == hostname, ~_leased(now, but=lease.holder))

        def claim(connection: Connection) -> Domain | None:
            row = connection.execute(query).first()
            if row is None:
                return None
            _put_leases(connection, [hostname], lease)
            return domain_of(row)

        return await self.database.note(claim)

    async def note_looks(self, notes: Sequence[Note], holder: str, now: float) -> list[Domain | None]:
        """Notes what looks brought, all or none. For each the domain as it is now, or None: its row is no longer `before`, and
        stays as it is; or there was nothing to note."""

        def write(connection: Connection) -> list[Domain | None]:
            found = [_noted(connection, each, now) for each in notes]
            ended = [{"lease": lease_name(each.hostname), "ours": holder} for each in notes if each.release]
            if ended:
                connection.execute(_RELEASE, ended)
            return found

        return await self.database.note(write)

    async def release_domain(self, hostname: str, holder: str) -> None:
        """Ends a lease; nothing where it is not ours any more."""
        await self.note_looks([Note(hostname, release=True)], holder, 0.0)

    async def next_due_domain(self, now: float) -> float | None:
        """When the next look is due that nobody has taken; None where none is."""
        query = select(domains.c.next_look).where(domains.c.next_look.is_not(None), ~_leased(now))
        row = await self.database.first(query.order_by(domains.c.next_look).limit(1))
        return None if row is None else float(row.next_look)

    async def recall_looks(self, now: float) -> int:
        """Makes due at once what was looked at by a clock that was ahead; how many."""
        late = and_(domains.c.looked_at > now + AHEAD_SECONDS, domains.c.next_look.is_not(None))
        values = {"next_look": now, "looking_since": now, "looked_at": now}
        return await self.database.note(
            lambda connection: connection.execute(update(domains).where(late).values(values)).rowcount
        )


def lease_name(hostname: str) -> str:
    """Under which name of `leases` a look at a domain is noted: beside those of issuance, which have the hostnames' own."""
    return f"look:{hostname}"


# Made once: these are done for each look.
_NOTE = (
    update(domains)
    .where(
        domains.c.hostname == bindparam("seen_hostname"),
        domains.c.created_at == bindparam("seen_created_at"),
        domains.c.version == bindparam("seen_version"),
        domains.c.state == bindparam("seen_state"),
    )
    .values({name: bindparam(f"new_{name}") for name in NOTED})
)
_RELEASE = delete(leases).where(leases.c.name == bindparam("lease"), leases.c.holder == bindparam("ours"))


def _noted(connection: Connection, note: Note, now: float) -> Domain | None:
    seen = note.before
    if seen is None or note.after is None:
        return None
    after = renewed(seen, note.after, now)
    values: dict[str, Any] = {f"new_{name}": getattr(after, name) for name in NOTED}
    values |= {f"seen_{name}": getattr(seen, name) for name in ("hostname", "created_at", "version")}
    return after if connection.execute(_NOTE, values | {"seen_state": seen.state.value}).rowcount else None


def _leased(now: float, but: str = "") -> ColumnElement[bool]:
    """Whether somebody has taken a domain."""
    name = literal(lease_name("")) + domains.c.hostname
    query = select(leases.c.name).where(leases.c.name == name, leases.c.expires > now, leases.c.holder != but)
    return query.exists()


def _put_leases(connection: Connection, hostnames: Sequence[str], lease: Lease) -> None:
    if not hostnames:
        return
    values = {"machine": lease.machine, "holder": lease.holder, "expires": lease.expires}
    rows = [values | {"name": map_key(lease_name(hostname))} for hostname in hostnames]
    statement = insert(leases)
    replaced = {name: statement.excluded[name] for name in values}
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=replaced), rows)
