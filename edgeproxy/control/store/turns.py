"""Who waits for a certificate, who works on one, and what was spent: so that a restart forgets none of it, and two
machines never order the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import fields, listed, map_key, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.orders import Orders
from edgeproxy.control.store.rows.issuance import Begun, Lease, Order, RateLimit, Spent, Waiting
from edgeproxy.control.store.schema import (
    certificate_names,
    certificates,
    failures,
    leases,
    orders,
    rate_limits,
    spent,
    waiting,
)

MAX_SPENT = 200_000
"""Rows of what was spent; above it the oldest go. Let's Encrypt's limits allow 17,000 orders within the longest window."""

MAX_RATE_LIMITS = 10_000
"""What CAs put off; above it what ends first goes."""


class Turns(Orders):
    """Orders under way, and what decides when the next one may be placed."""

    # Who waits

    async def list_waiting(self, limit: int, after: str = "") -> list[Waiting]:
        """A page of names that wait, behind the name `after`, by name."""
        query = select(waiting).where(waiting.c.name > after).order_by(waiting.c.name).limit(page(limit))
        async with self.database.read() as connection:
            return [Waiting(**fields(row)) for row in await connection.execute(query)]

    async def save_waiting(self, rows: Sequence[Waiting], gone: Sequence[str] = ()) -> None:
        """Makes or replaces the rows of names that wait, and drops those of names that do not any more."""
        async with self.database.write() as write:
            for row in rows:
                values = {name: getattr(row, name) for name in row.__struct_fields__}
                statement = insert(waiting).values(values | {"name": map_key(row.name)})
                await write.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
            if gone:
                await write.connection.execute(delete(waiting).where(waiting.c.name.in_(select(listed(gone).c.value))))

    # Who works

    async def begin_order(
        self,
        order: Order,
        lease: Lease,
        spending: Spent | None,
        *,
        unless_issued: bool,
        after: int,
        affordable: Callable[[Sequence[Spent]], bool],
        now: float,
    ) -> Begun:
        """Saves an order that is about to be placed, takes its name's lease and notes what it spends, all or nothing.

        Refused where another holder has the lease or left an order, where (with `unless_issued`) a certificate is there
        that is not due, and where `affordable`, given what others spent since the entry `after`, says no.
        """
        async with self.database.write() as write:
            refused = await self._refused(write, order.hostname, lease, unless_issued=unless_issued, now=now)
            if refused is not None:
                return refused
            number = 0
            if spending is not None:
                query = select(spent).where(
                    spent.c.number > after, spent.c.directory == order.directory, spent.c.holder != lease.holder
                )
                others = [Spent(**fields(row)) for row in await write.connection.execute(query.order_by(spent.c.number))]
                if not affordable(others):
                    return Begun(refused="spent")
                number = await self._put_spent(write, spending)
            given_up = update(spent).where(
                spent.c.name == order.hostname,
                spent.c.directory == order.directory,
                spent.c.what == "order",
                spent.c.number != number,
            )
            superseded = await write.connection.scalars(given_up.values(what="failed").returning(spent.c.number))
            await self._put_lease(write, lease)
            await self._put_order(write, order, now)
            return Begun(spent=number, superseded=tuple(superseded))

    async def claim(self, lease: Lease, now: float) -> Begun:
        """Takes the lease of a name if an order for it is under way; nothing is written where there is none. Refused where
        another holder has it."""
        async with self.database.read() as connection:
            found = (await connection.execute(_standing(lease.name))).one()
        if found.ordered is None and found.holder is None:
            return Begun()
        async with self.database.write() as write:
            found = (await write.connection.execute(_standing(lease.name))).one()
            if found.holder not in (None, lease.holder) and found.expires > now:
                return Begun(refused="held", until=found.expires)
            await self._put_lease(write, lease)
        return Begun()

    async def prolong_leases(self, holder: str, expires: float) -> set[str]:
        """Prolongs all that a process holds; their names."""
        query = update(leases).where(leases.c.holder == holder).values(expires=expires).returning(leases.c.name)
        async with self.database.write() as write:
            return set((await write.connection.scalars(query)).all())

    async def end_leases(self, machine: str, *, but: str, now: float) -> None:
        """Ends what earlier processes of a machine held, and what nobody prolonged."""
        theirs = (leases.c.machine == machine) & (leases.c.holder != but)
        async with self.database.write() as write:
            await write.connection.execute(delete(leases).where(theirs | (leases.c.expires <= now)))

    async def finish(self, name: str, holder: str, *, waits: bool = False, succeeded: bool = False) -> None:
        """Ends a process's work on a name: its lease goes, its place among those that wait unless it `waits` on; where it
        `succeeded`, what failed before goes too, and its order counts as one that a certificate came of."""
        async with self.database.write() as write:
            await write.connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
            if not waits:
                await write.connection.execute(delete(waiting).where(waiting.c.name == name))
            if succeeded:
                await write.connection.execute(delete(failures).where(failures.c.name == name))
                ordered = update(spent).where(spent.c.name == name, spent.c.what == "order")
                await write.connection.execute(ordered.values(what="issued"))

    # What was spent

    async def list_spent(self, directory: str, since: float, after: int, limit: int) -> list[Spent]:
        """A page of what was spent at a CA since a time, behind the entry `after`, in the order of their numbers."""
        query = select(spent).where(spent.c.directory == directory, spent.c.at > since, spent.c.number > after)
        async with self.database.read() as connection:
            rows = await connection.execute(query.order_by(spent.c.number).limit(page(limit)))
            return [Spent(**fields(row)) for row in rows]

    async def amend_spent(self, *, failed: Sequence[int] = (), never: Sequence[int] = (), add: Sequence[Spent] = ()) -> None:
        """Notes what became of orders: no certificate will come of them, or the CA never took them; and adds entries."""
        async with self.database.write() as write:
            if failed:
                await write.connection.execute(update(spent).where(spent.c.number.in_(failed)).values(what="failed"))
            if never:
                await write.connection.execute(delete(spent).where(spent.c.number.in_(never)))
            for each in add:
                await self._put_spent(write, each)

    async def prune_spent(self, before: float, now: float) -> None:
        """Drops what no longer counts, and rate limits that are over."""
        async with self.database.write() as write:
            await write.connection.execute(delete(spent).where(spent.c.at <= before))
            newest = await write.connection.scalar(select(func.max(spent.c.number))) or 0
            await write.connection.execute(delete(spent).where(spent.c.number <= newest - MAX_SPENT))
            await write.connection.execute(delete(rate_limits).where(rate_limits.c.until <= now))
            first = select(rate_limits.c.until).order_by(rate_limits.c.until.desc()).offset(MAX_RATE_LIMITS).limit(1)
            await write.connection.execute(delete(rate_limits).where(rate_limits.c.until <= first.scalar_subquery()))

    async def rate_limits(self, directory: str, now: float) -> list[RateLimit]:
        """What a CA put off and is not over yet."""
        query = select(rate_limits).where(rate_limits.c.directory == directory, rate_limits.c.until > now)
        async with self.database.read() as connection:
            return [RateLimit(**fields(row)) for row in await connection.execute(query.limit(MAX_RATE_LIMITS))]

    async def save_rate_limit(self, limit: RateLimit) -> None:
        """Makes or replaces what a CA put off."""
        values = {name: getattr(limit, name) for name in limit.__struct_fields__}
        statement = insert(rate_limits).values(values)
        keys = ["directory", "scope", "subject"]
        async with self.database.write() as write:
            await write.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))

    # Within

    async def _refused(self, write: Write, name: str, lease: Lease, *, unless_issued: bool, now: float) -> Begun | None:
        there = (
            select(certificates.c.id)
            .join(certificate_names, certificate_names.c.certificate_id == certificates.c.id)
            .where(certificate_names.c.name == name, certificates.c.superseded_at.is_(None))
            .where((certificates.c.renew_at > now) | certificates.c.renew_at.is_(None), certificates.c.not_after > now)
        )
        found = (
            await write.connection.execute(_standing(name).add_columns(there.limit(1).scalar_subquery().label("id")))
        ).one()
        if found.holder == lease.holder:
            return None
        if found.holder is not None and found.expires > now:
            return Begun(refused="held", until=found.expires)
        if found.ordered is not None:
            return Begun(refused="held", until=now)  # it was left by whoever had the lease: to be continued instead
        return Begun(refused="issued") if unless_issued and found.id is not None else None

    async def _put_lease(self, write: Write, lease: Lease) -> None:
        values = {"machine": lease.machine, "holder": lease.holder, "expires": lease.expires}
        statement = insert(leases).values(name=map_key(lease.name), **values)
        await write.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

    async def _put_spent(self, write: Write, entry: Spent) -> int:
        values = {name: getattr(entry, name) for name in entry.__struct_fields__ if name != "number"}
        return int(await write.connection.scalar(insert(spent).values(values).returning(spent.c.number)) or 0)


def _standing(name: str) -> Select[tuple[str | None, float | None, str | None]]:
    """How it stands with a name, in one row: the holder of its lease, until when, and whether an order is under way."""
    return select(
        select(leases.c.holder).where(leases.c.name == name).scalar_subquery().label("holder"),
        select(leases.c.expires).where(leases.c.name == name).scalar_subquery().label("expires"),
        select(orders.c.hostname).where(orders.c.hostname == name).scalar_subquery().label("ordered"),
    )
