"""The life of domains: registered, moved from state to state, removed and brought back.

Each step is one transaction with its entry of the audit log, the event that is told of it and the change of the map. A
step says which row it saw: where that row has changed meanwhile, nothing is done.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domain_config import domain_of
from edgeproxy.control.store.domains import COLUMNS, audited, destroy_keys_of, end, put, register, within
from edgeproxy.control.store.outbox import became
from edgeproxy.control.store.rows.domains import Domain, Holder, Removal
from edgeproxy.control.store.schema import domains, holders, removals
from edgeproxy.errors import Conflict, Fault, NotFound

_PUBLISHED = ("workspace_id", "origin", "redirect_to", "maintenance", "policies", "state")
"""Fields that workers may have to know."""

_UNTOLD = ("looks", "next_look", "looking_since", "looked_at", "updated_at", "version")
"""Fields that are not shown to anybody: no new version comes of their change."""

_TOLD = tuple(name for name in Domain.__struct_fields__ if name not in _UNTOLD)


class DomainLife(Part):
    """Hostnames are normalised (`model.hostname`) by the caller."""

    # Registering

    async def register_domain(
        self,
        domain: Domain,
        *,
        actor: str,
        now: float,
        at_most: int | None = None,
        proven: Collection[str] = (),
        partner: Domain | None = None,
    ) -> Domain:
        """Registers a domain as it is given, and with it its `partner`, both or neither. Raises Conflict where a name is
        registered already, or (code `too_many_domains`) the workspace would have more than `at_most` domains, or (code
        `contended`) `must_prove` is not set and should be by now, and InvalidName for a `redirect_to` that is not possible.

        `proven`: those of the names whose TXT record was seen for the workspace. Registrations of them by others that were
        never verified give way; whose they were is told.
        """
        async with self.database.write() as write:
            for each in (domain, partner):
                if each is None:
                    continue
                if each.hostname in proven:
                    await _give_way(write, each, actor, now)
                await register(write, each, actor, now, at_most)
                if each.method and not each.must_prove:
                    await _check_nobody_held(write, each)
                if each.hostname in proven:
                    await audited(write, now, actor, "domain.state", each.hostname, f"{each.state.value}, proven by TXT record")
                    await became(write, now, "domain.verified", each)
        return domain

    async def holders_of(self, hostname: str) -> list[Holder]:
        """The workspaces that held a name, verified, and do not any more; the last one first."""
        query = select(holders).where(holders.c.hostname == hostname).order_by(holders.c.ended_at.desc())
        return [Holder(**fields(row)) for row in await self.database.rows(query)]

    # What becomes of it

    async def advance_domain(
        self, before: Domain, after: Domain, *, emits: str = "", action: str = "", detail: str = "", actor: str, now: float
    ) -> Domain | None:
        """Replaces a row by another one for the same hostname; what it is now, or None where it is no longer `before`.

        `emits` is the event that is told of it, `action` what the audit log says; empty: neither. What the API shows of it
        being another, the row gets another version.
        """
        after = renewed(before, after, now)
        values = {name: value for name in Domain.__struct_fields__ if (value := getattr(after, name)) != getattr(before, name)}
        if not values:
            return after
        if "state" in values:
            values["state"] = after.state.value
        async with self.database.write() as write:
            if not await _is_still(write, before):
                return None
            await write.connection.execute(update(domains).where(domains.c.hostname == before.hostname).values(values))
            if action:
                await audited(write, now, actor, action, before.hostname, detail)
            if emits:
                await became(write, now, emits, after)
            if any(name in values for name in _PUBLISHED):
                write.changed("sites", before.hostname)
        return after

    # Going and coming back

    async def withdraw_domain(self, before: Domain, *, actor: str, now: float, final_at: float) -> Domain | None:
        """Ends a registration that can be brought back until `final_at`: the name is refused as soon as the change is
        published, its keys stay until then. None where the row is no longer `before`."""
        async with self.database.write() as write:
            if not await _is_still(write, before):
                return None
            values = {"domain": msgspec.json.encode(before), "removed_at": now, "removed_by": actor, "final_at": final_at}
            statement = insert(removals).values(hostname=before.hostname, workspace_id=before.workspace_id, **values)
            keys = ["hostname", "workspace_id"]
            await write.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))
            await end(write, before, actor, now)
        return before

    async def restore_domain(
        self, removal: Removal, domain: Domain, *, actor: str, now: float, at_most: int | None = None
    ) -> Domain:
        """Brings back a removed domain, as `domain` says. Raises Conflict where the name is registered again by now, or (code
        `too_many_domains`) the workspace would have more than `at_most` domains, or (code `held_meanwhile`) another workspace
        held the name since, and NotFound where its time is over."""
        hostname, workspace = domain.hostname, domain.workspace_id
        mine = (removals.c.hostname == hostname) & (removals.c.workspace_id == workspace)
        async with self.database.write() as write:
            there = delete(removals).where(mine, removals.c.removed_at == removal.removed_at, removals.c.final_at > now)
            if not (await write.connection.execute(there)).rowcount:
                raise NotFound(f"{hostname} cannot be brought back any more. Register it again.")
            if at_most is not None:
                await within(write, workspace, at_most)
            await _check_nobody_held_since(write, removal)
            await put(write, domain)
            held = (holders.c.hostname == hostname) & (holders.c.workspace_id == workspace)
            await write.connection.execute(delete(holders).where(held, holders.c.ended_at == removal.removed_at))
            await audited(write, now, actor, "domain.restored", hostname, f"workspace {workspace}, {domain.state.value}")
            await became(write, now, "domain.registered", domain)
        return domain

    async def removals_of(self, hostname: str) -> list[Removal]:
        """Removed domains of a name that can still be brought back, the last one first."""
        return await self._removals(select(removals).where(removals.c.hostname == hostname), 100)

    async def removals_ending(self, now: float, limit: int) -> list[Removal]:
        """Removed domains whose time is over."""
        return await self._removals(select(removals).where(removals.c.final_at <= now), limit)

    async def end_removal(self, removal: Removal, *, keep_keys: bool, now: float) -> bool:
        """Makes a removal final: the keys of its name are destroyed, unless somebody else has registered it or `keep_keys`
        (it is served on other grounds). What the history says stays. Whether it was still to be done."""
        name, workspace = removal.domain.hostname, removal.domain.workspace_id
        mine = (removals.c.hostname == name) & (removals.c.workspace_id == workspace)
        async with self.database.write() as write:
            there = delete(removals).where(mine, removals.c.removed_at == removal.removed_at)
            if not (await write.connection.execute(there)).rowcount:
                return False
            if not keep_keys:
                await destroy_keys_of(write, name, removal.removed_by, now)
        return True

    async def _removals(self, query: Select[Any], limit: int) -> list[Removal]:
        query = query.order_by(removals.c.removed_at.desc()).limit(page(limit))
        async with self.database.read() as connection:
            return [
                Removal(
                    domain=msgspec.json.decode(row.domain, type=Domain),
                    removed_at=row.removed_at,
                    removed_by=row.removed_by,
                    final_at=row.final_at,
                )
                for row in await connection.execute(query)
            ]


async def _check_nobody_held(write: Write, domain: Domain) -> None:
    """Whoever registers a name at the moment at which it is removed has looked for its holders too early. Raises Conflict."""
    others = or_(holders.c.was_active, holders.c.workspace_id != domain.workspace_id)
    query = select(holders.c.hostname).where(holders.c.hostname == domain.hostname, others).limit(1)
    if await write.connection.scalar(query) is not None:
        raise Conflict(f"{domain.hostname} was removed at this moment. Try again.", code="contended", retryable=True)


async def _check_nobody_held_since(write: Write, removal: Removal) -> None:
    """What proved a name before its removal says nothing after another workspace proved it: its record may still be there.
    Raises Conflict."""
    name, workspace = removal.domain.hostname, removal.domain.workspace_id
    since = (holders.c.workspace_id != workspace) & (holders.c.ended_at >= removal.removed_at)
    query = select(holders.c.hostname).where(holders.c.hostname == name, since).limit(1)
    if await write.connection.scalar(query) is not None:
        raise Conflict(
            f"{name} cannot be brought back: another workspace has proved since that it is its own, and removed it. Register "
            "it again, and prove it by its TXT record.",
            code="held_meanwhile",
        )


async def _give_way(write: Write, to: Domain, actor: str, now: float) -> None:
    """Ends a registration that was never verified for another workspace, which has shown the name's TXT record."""
    query = select(*COLUMNS).where(
        domains.c.hostname == to.hostname, domains.c.verified_at.is_(None), domains.c.workspace_id != to.workspace_id
    )
    row = (await write.connection.execute(query)).first()
    if row is None:
        return
    before = msgspec.structs.replace(
        domain_of(row),
        error_code="claimed",
        error_detail=f"Another workspace has shown by a TXT record that {to.hostname} is its own; it was never verified here.",
        error_fault=Fault.CLIENT.value,
        next_look=None,
    )
    detail = f"workspace {before.workspace_id}, which never proved it, gives way to {to.workspace_id}"
    await end(write, before, actor, now, detail)


def renewed(before: Domain, after: Domain, now: float) -> Domain:
    """A row that is to take the place of `before`, as another version where the API shows it otherwise. Pure."""
    if all(getattr(before, name) == getattr(after, name) for name in _TOLD):
        return after
    return msgspec.structs.replace(after, updated_at=now, version=before.version + 1)


async def _is_still(write: Write, seen: Domain) -> bool:
    """Whether a row is the one that was seen, whatever looks were noted of it meanwhile."""
    query = select(domains.c.hostname).where(
        domains.c.hostname == seen.hostname,
        domains.c.created_at == seen.created_at,
        domains.c.version == seen.version,
        domains.c.state == seen.state.value,
    )
    return await write.connection.scalar(query) is not None
