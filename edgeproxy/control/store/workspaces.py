"""What workspaces are entitled to, and the domains for which something follows from it."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, union
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domain_config import domain_of
from edgeproxy.control.store.domains import COLUMNS, audited
from edgeproxy.control.store.rows.domains import Domain, Workspace
from edgeproxy.control.store.schema import domains, workspaces
from edgeproxy.model import DomainState

KEPT_SECONDS = 30 * 86_400.0
"""How long it is kept what the platform said of a workspace without domains."""

_SUSPENDED = domains.c.state == DomainState.SUSPENDED.value


class Workspaces(Part):
    """Ids are checked (`model.workspace_id`) by the caller."""

    async def workspace(self, workspace_id: str) -> Workspace | None:
        """What was said of a workspace last."""
        row = await self.database.first(select(workspaces).where(workspaces.c.workspace_id == workspace_id))
        return None if row is None else Workspace(**fields(row))

    async def put_workspace(self, said: Workspace, *, actor: str, now: float) -> Workspace:
        """Notes what is said of a workspace now; the row as it is then. Its `unpaid_since` is not taken from `said`: it is now,
        or stays what it was where it did not pay before."""
        async with self.database.write() as write:
            before = await _row(write, said.workspace_id)
            since = None if said.paid else now
            if since is not None and before is not None and before.unpaid_since is not None:
                since = min(before.unpaid_since, now)
            after = msgspec.structs.replace(said, unpaid_since=since)
            values = msgspec.structs.asdict(after)
            statement = insert(workspaces).values(**values)
            await write.connection.execute(statement.on_conflict_do_update(index_elements=["workspace_id"], set_=values))
            if before is None or _word(before) != _word(after):
                most = "" if after.max_domains is None else f", {after.max_domains} domains at most"
                action = "workspace.paid" if after.paid else "workspace.unpaid"
                await audited(write, now, actor, action, after.workspace_id, f"says the {after.source}{most}")
            if self._clean_due("workspaces"):
                await _forget_old(write, now)
        return after

    async def delete_workspace(self, workspace_id: str, *, actor: str, now: float) -> Workspace | None:
        """Forgets what was said of a workspace; what that was."""
        async with self.database.write() as write:
            before = await _row(write, workspace_id)
            if before is not None:
                await write.connection.execute(delete(workspaces).where(workspaces.c.workspace_id == workspace_id))
                await audited(write, now, actor, "workspace.forgotten", workspace_id, f"said the {before.source}")
        return before

    async def workspaces_with_domains(self, limit: int, after: str = "") -> list[tuple[str, Workspace | None]]:
        """A page of the workspaces that have domains, behind the id `after`, with what was said of each."""
        ids = select(domains.c.workspace_id).where(domains.c.workspace_id > after).distinct()
        listed = ids.order_by(domains.c.workspace_id).limit(page(limit)).subquery()
        query = select(listed.c.workspace_id.label("listed"), *workspaces.c).outerjoin(
            workspaces, workspaces.c.workspace_id == listed.c.workspace_id
        )
        async with self.database.read() as connection:
            rows = (await connection.execute(query.order_by(listed.c.workspace_id))).all()
        return [(row.listed, _said(row)) for row in rows]

    async def list_workspaces(self, limit: int, after: str = "") -> list[tuple[str, Workspace | None, int]]:
        """A page of the workspaces that have domains or of which something was said, behind the id `after`: each with what was
        said, and how many domains it has."""
        one, other = (
            select(table.c.workspace_id).where(table.c.workspace_id > after).distinct().order_by(table.c.workspace_id)
            for table in (domains, workspaces)
        )
        ids = union(*(select(each.limit(page(limit)).subquery()) for each in (one, other))).subquery()
        listed = select(ids.c.workspace_id).order_by(ids.c.workspace_id).limit(page(limit)).subquery()
        count = select(func.count()).select_from(domains).where(domains.c.workspace_id == listed.c.workspace_id)
        query = select(listed.c.workspace_id.label("listed"), count.scalar_subquery().label("held"), *workspaces.c).outerjoin(
            workspaces, workspaces.c.workspace_id == listed.c.workspace_id
        )
        async with self.database.read() as connection:
            rows = (await connection.execute(query.order_by(listed.c.workspace_id))).all()
        return [(row.listed, _said(row), row.held) for row in rows]

    async def domains_of_unpaid(
        self, limit: int, *, suspended: bool, since: float, suspended_before: float, certain_at: float
    ) -> list[tuple[Domain, Workspace]]:
        """Domains of workspaces that have not paid since `since` or longer, by the word of somebody or by an answer of the
        platform that counted at `certain_at`: those that are suspended, since `suspended_before` or longer, or the others."""
        wanted = and_(_SUSPENDED, domains.c.suspended_at <= suspended_before) if suspended else ~_SUSPENDED
        certain = or_(workspaces.c.source != "platform", workspaces.c.fresh_until >= certain_at)
        return await self._with_workspaces(and_(workspaces.c.unpaid_since <= since, certain, wanted), limit)

    async def next_unpaid(self, after: float) -> float | None:
        """When the first of those workspaces stopped paying that did so later than `after`; None: none did."""
        since = workspaces.c.unpaid_since
        row = await self.database.first(select(since).where(since > after).order_by(since).limit(1))
        return None if row is None else float(row.unpaid_since)

    async def suspended_domains_of_paid(self, limit: int, *, since: float) -> list[Domain]:
        """Suspended domains of workspaces that pay, or have not paid for a shorter time than since `since`, or of which nothing
        was said."""
        unpaid = exists().where(workspaces.c.workspace_id == domains.c.workspace_id, workspaces.c.unpaid_since <= since)
        query = select(*COLUMNS).where(_SUSPENDED, ~unpaid).order_by(domains.c.hostname).limit(page(limit))
        async with self.database.read() as connection:
            return [domain_of(row) for row in await connection.execute(query)]

    async def _with_workspaces(self, which: ColumnElement[bool], limit: int) -> list[tuple[Domain, Workspace]]:
        mine = [column.label(f"of_{column.name}") for column in workspaces.c]
        query = select(*COLUMNS, *mine).join(workspaces, workspaces.c.workspace_id == domains.c.workspace_id)
        query = query.where(which).order_by(workspaces.c.unpaid_since, domains.c.workspace_id, domains.c.hostname)
        async with self.database.read() as connection:
            rows = (await connection.execute(query.limit(page(limit)))).all()
        names = [f"of_{column.name}" for column in workspaces.c]
        found = []
        for row in rows:
            values: dict[str, Any] = {name.removeprefix("of_"): getattr(row, name) for name in names}
            kept = {name: value for name, value in row._mapping.items() if name not in names}
            found.append((Domain(**(kept | {"state": DomainState(row.state)})), Workspace(**values)))
        return found


def _said(row: Any) -> Workspace | None:
    """The columns of `workspaces` in a row that has more, all null where nothing was said."""
    return (
        None if row.workspace_id is None else Workspace(**{column.name: getattr(row, column.name) for column in workspaces.c})
    )


def _word(workspace: Workspace) -> tuple[bool, int | None, bool]:
    return workspace.paid, workspace.max_domains, workspace.source == "api"


async def _row(write: Write, workspace_id: str) -> Workspace | None:
    query = select(workspaces).where(workspaces.c.workspace_id == workspace_id)
    row = (await write.connection.execute(query)).first()
    return None if row is None else Workspace(**fields(row))


async def _forget_old(write: Write, now: float) -> None:
    """Whoever may register for any workspace can have the platform asked about any number of them."""
    has_some = exists().where(domains.c.workspace_id == workspaces.c.workspace_id)
    old = and_(workspaces.c.source != "api", workspaces.c.checked_at <= now - KEPT_SECONDS, ~has_some)
    await write.connection.execute(delete(workspaces).where(old))
