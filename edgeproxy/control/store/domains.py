"""Registered domains, and the audit log of who changed them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, false, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields, map_key, page, parent_of
from edgeproxy.control.store.certificates import remove
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domain_config import domain_of
from edgeproxy.control.store.outbox import became
from edgeproxy.control.store.redirects import check_redirect
from edgeproxy.control.store.rows.access import AuditEntry
from edgeproxy.control.store.rows.domains import Domain, DomainChange
from edgeproxy.control.store.schema import audit, certificate_names, domains, gate_routes, holders
from edgeproxy.errors import Conflict, NotFound, Outdated
from edgeproxy.model import SERVED, DomainState, wildcard_of
from edgeproxy.policies import merged

COLUMNS = [column for column in domains.c if column.name != "parent"]

_DOMAIN = select(*COLUMNS).where(domains.c.hostname == bindparam("name"))
"""Made once: it is asked all the time."""


class Domains(Part):
    """Hostnames are normalised (`model.hostname`) by the caller."""

    async def add_domain(
        self,
        hostname: str,
        workspace_id: str,
        *,
        origin: str = "",
        redirect_to: str = "",
        metadata: str = "",
        policies: str = "",
        partner: str = "",
        state: DomainState,
        actor: str,
        now: float,
        at_most: int | None = None,
    ) -> Domain:
        """Registers a hostname or a wildcard; with it `partner` (its www, or its apex), which redirects to it. Raises Conflict
        where either is registered already, by anybody, or (code `too_many_domains`) the workspace has `at_most` domains, and
        InvalidName for a `redirect_to` that is not possible."""
        domain = Domain(
            hostname=map_key(hostname),
            workspace_id=workspace_id,
            origin=origin,
            redirect_to=redirect_to,
            metadata=metadata,
            policies=policies,
            include_www=bool(partner),
            state=state,
            created_at=now,
            updated_at=now,
            verified_at=now if state in SERVED else None,
        )
        async with self.database.write() as write:
            await register(write, domain, actor, now, at_most)
            if partner:
                beside = msgspec.structs.replace(domain, hostname=partner, redirect_to=hostname)
                await register(write, beside, actor, now, at_most)
        return domain

    async def change_domain(
        self, hostname: str, change: DomainChange, *, actor: str, now: float, versions: Collection[int] | None = None
    ) -> Domain:
        """Changes what its workspace or the operator may change. Raises NotFound, InvalidName for a `redirect_to` that is not
        possible, and, where its version is none of `versions`, Outdated."""
        async with self.database.write() as write:
            before = await _existing(write, hostname)
            if versions is not None and before.version not in versions:
                raise Outdated(f"{hostname} was changed meanwhile. Look at what it is now, and decide anew.")
            wished = msgspec.structs.asdict(change)
            if change.policies is not None:
                wished["policies"] = merged(before.policies, change.policies)
            values = {name: new for name, new in wished.items() if new is not None and new != getattr(before, name)}
            if not values:
                return before
            if target := values.get("redirect_to"):
                await check_redirect(write, hostname, before.workspace_id, target)
            after = msgspec.structs.replace(before, **values, version=before.version + 1, updated_at=now)
            await write.connection.execute(
                domains.update()
                .where(domains.c.hostname == hostname)
                .values(**values, version=after.version, updated_at=after.updated_at)
            )
            await audited(write, now, actor, "domain.changed", hostname, _changes(before, values))
            if values.keys() & {"origin", "redirect_to", "maintenance", "policies"}:
                write.changed("sites", hostname)
        return after

    async def get_domain(self, hostname: str) -> Domain | None:
        """The registration of exactly this name."""
        row = await self.database.first(_DOMAIN, {"name": hostname})
        return None if row is None else domain_of(row)

    async def registration_of(self, hostname: str) -> Domain | None:
        """The registration that decides on a name: its own, else that of the wildcard one label above it."""
        query = select(*COLUMNS).where(domains.c.hostname.in_({hostname, wildcard_of(hostname)}))
        found = {row.hostname: domain_of(row) for row in await self.database.rows(query)}
        return found.get(hostname) or found.get(wildcard_of(hostname))

    async def list_domains(
        self,
        limit: int,
        after: str = "",
        workspace_id: str | None = None,
        state: DomainState | None = None,
        prefix: str = "",
    ) -> list[Domain]:
        """A page of registrations behind the hostname `after`, by hostname."""
        query = select(*COLUMNS).where(domains.c.hostname > after).order_by(domains.c.hostname).limit(page(limit))
        if workspace_id is not None:
            query = query.where(domains.c.workspace_id == workspace_id)
        if state is not None:
            query = query.where(domains.c.state == state.value)
        if prefix:  # a range, which the key's index answers; "~" is behind all that a hostname has
            query = query.where(domains.c.hostname >= prefix, domains.c.hostname < f"{prefix}~")
        async with self.database.read() as connection:
            return [domain_of(row) for row in await connection.execute(query)]

    async def count_domains(self, workspace_id: str | None = None, state: DomainState | None = None) -> int:
        """How many are registered. Counts rows: milliseconds for 100,000."""
        query = select(func.count()).select_from(domains)
        if workspace_id is not None:
            query = query.where(domains.c.workspace_id == workspace_id)
        if state is not None:
            query = query.where(domains.c.state == state.value)
        async with self.database.read() as connection:
            return int(await connection.scalar(query) or 0)

    async def set_domain_state(self, hostname: str, state: DomainState, *, actor: str, now: float) -> Domain:
        """Moves a registration to another state; which moves are allowed is the lifecycle's to know. Raises NotFound."""
        async with self.database.write() as write:
            before = await _existing(write, hostname)
            verified_at = now if before.verified_at is None and state in SERVED else before.verified_at
            await write.connection.execute(
                domains.update()
                .where(domains.c.hostname == hostname)
                .values(state=state.value, updated_at=now, verified_at=verified_at)
            )
            await audited(write, now, actor, "domain.state", hostname, f"{before.state.value} to {state.value}")
            if before.state != state:
                write.changed("sites", hostname)
        return msgspec.structs.replace(before, state=state, updated_at=now, verified_at=verified_at)

    async def remove_domain(self, hostname: str, *, actor: str, now: float, destroy_keys: bool = False) -> Domain:
        """Ends a registration; the name is refused as soon as the change is published. Returns what was registered; raises
        NotFound.

        With `destroy_keys` certificates that nothing else in the store needs go with it, keys and all; without it they stay,
        for a name that is served on other grounds.
        """
        async with self.database.write() as write:
            domain = await _existing(write, hostname)
            await end(write, domain, actor, now)
            if destroy_keys:
                await destroy_keys_of(write, hostname, actor, now)
        return domain

    async def list_audit(self, limit: int, after: int = 0, subject: str | None = None) -> list[AuditEntry]:
        """A page of the audit log behind the entry with this number, oldest first."""
        query = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(page(limit))
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        async with self.database.read() as connection:
            return [AuditEntry(**fields(row)) for row in await connection.execute(query)]


async def audited(write: Write, now: float, actor: str, action: str, subject: str, detail: str) -> None:
    """An entry of the audit log, in the transaction of what it tells."""
    await write.connection.execute(audit.insert().values(at=now, actor=actor, action=action, subject=subject, detail=detail))


async def destroy_keys_of(write: Write, hostname: str, actor: str, now: float) -> None:
    """Deletes the certificates of a name that is no longer registered, keys and all, but for those that something else in the
    store needs."""
    for certificate_id in await _needed_by_nobody(write, hostname):
        await remove(write, certificate_id, now, by=actor, why="its domain was removed")


async def put(write: Write, domain: Domain) -> None:
    """Makes the row of a registration. Raises Conflict where the name is registered already."""
    hostname = map_key(domain.hostname)
    values = {name: getattr(domain, name) for name in domain.__struct_fields__}
    statement = insert(domains).values(**(values | {"state": domain.state.value, "parent": parent_of(hostname)}))
    if not (await write.connection.execute(statement.on_conflict_do_nothing())).rowcount:
        raise registered_already(hostname)
    write.changed("sites", hostname)


def registered_already(hostname: str) -> Conflict:
    """The answer to who wants a name that somebody has."""
    return Conflict(
        f"{hostname} is registered already. `edgeproxy domains show {hostname}` says for whom; to give it to "
        f"another workspace, remove it first: `edgeproxy domains remove {hostname}`."
    )


async def register(write: Write, domain: Domain, actor: str, now: float, at_most: int | None = None) -> None:
    """Makes a registration, notes it and tells `domain.registered`. Raises Conflict where the name is registered already or the
    workspace has `at_most` domains, and InvalidName for a `redirect_to` that is not possible."""
    hostname, workspace_id = domain.hostname, domain.workspace_id
    if at_most is not None:
        await within(write, workspace_id, at_most)
    await put(write, domain)
    if domain.redirect_to:  # by now it is there itself: a wildcard may redirect to a name that it covers
        await check_redirect(write, hostname, workspace_id, domain.redirect_to)
    await audited(write, now, actor, "domain.added", hostname, f"workspace {workspace_id}, {domain.state.value}")
    await became(write, now, "domain.registered", domain)


async def end(write: Write, domain: Domain, actor: str, now: float, detail: str = "") -> None:
    """Ends a registration: its row goes, who held the name is noted, and `domain.removed` is told."""
    hostname = domain.hostname
    await write.connection.execute(domains.delete().where(domains.c.hostname == hostname))
    await note_holder(write, domain, now)
    await audited(write, now, actor, "domain.removed", hostname, detail or f"workspace {domain.workspace_id}")
    removed = msgspec.structs.replace(domain, state=DomainState.REMOVED)
    await became(write, now, "domain.removed", removed)
    write.changed("sites", hostname)


def _changes(before: Domain, values: Mapping[str, Any]) -> str:
    """What was changed, for the audit log. What a workspace keeps in its metadata is its own."""
    told = []
    for name, new in values.items():
        old = getattr(before, name)
        told.append(name if name == "metadata" else f"{name}: {_told(old)} to {_told(new)}")
    return ", ".join(told)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) or "none"


async def within(write: Write, workspace_id: str, at_most: int) -> None:
    """Raises Conflict where a workspace may not have one more domain."""
    query = select(func.count()).select_from(domains).where(domains.c.workspace_id == workspace_id)
    if int(await write.connection.scalar(query) or 0) >= at_most:  # it may have far more: allowed less lately, or half a pair
        raise Conflict(
            f"The workspace {workspace_id} may have {at_most} domains at most; this would be one too many. Remove one first.",
            code="too_many_domains",
        )


async def note_holder(write: Write, domain: Domain, now: float) -> None:
    """Who never proved a name never held it, or anybody could make a name hard to claim for whom it belongs to."""
    if domain.verified_at is None:
        return
    values: dict[str, Any] = {"was_active": domain.active_at is not None, "ended_at": now}
    statement = insert(holders).values(hostname=domain.hostname, workspace_id=domain.workspace_id, **values)
    values["was_active"] = or_(holders.c.was_active, statement.excluded.was_active)
    keys = ["hostname", "workspace_id"]
    await write.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


async def _existing(write: Write, hostname: str) -> Domain:
    row = (await write.connection.execute(select(*COLUMNS).where(domains.c.hostname == hostname))).first()
    if row is None:
        raise NotFound(f"{hostname} is not registered.")
    return domain_of(row)


async def _needed_by_nobody(write: Write, hostname: str) -> list[str]:
    """The ids of certificates of a name that none of their names needs: no domain and no route of the gate is under it, nor,
    for a wildcard, beneath it."""
    mine = select(certificate_names.c.certificate_id).where(certificate_names.c.name == hostname)
    query = select(certificate_names.c.certificate_id, certificate_names.c.name).where(
        certificate_names.c.certificate_id.in_(mine)
    )
    needed: dict[str, bool] = {}
    for certificate_id, name in (await write.connection.execute(query)).all():
        needed[certificate_id] = needed.get(certificate_id, False) or await _in_use(write, name)
    return [certificate_id for certificate_id, use in needed.items() if not use]


async def _in_use(write: Write, name: str) -> bool:
    for table in (domains, gate_routes):
        beneath = table.c.parent == name[2:] if name.startswith("*.") else false()
        query = select(table.c.hostname).where(or_(table.c.hostname == name, beneath)).limit(1)
        if await write.connection.scalar(query) is not None:
            return True
    return False
