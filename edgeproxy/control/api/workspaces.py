"""What workspaces are entitled to: /api/v1/infrastructure/workspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import structlog
from fastapi import APIRouter, Request
from fastapi import Query as InQuery
from pydantic import BaseModel, BeforeValidator, Field

from edgeproxy.control.api.context import Context, actor_of, context_of
from edgeproxy.control.api.forms import NameCursor, WorkspacePath, whole
from edgeproxy.control.api.infrastructure import wait_published
from edgeproxy.control.api.shapes import PAGE, PAGE_MAX, Body, Query, from_cursor, moment, to_cursor
from edgeproxy.control.domains.entitlement import MOST_DOMAINS, Standing
from edgeproxy.control.domains.reserved import check_workspace
from edgeproxy.errors import NotFound

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane
    from edgeproxy.control.store import Workspace

router = APIRouter(prefix="/api/v1/infrastructure", tags=["workspaces"])
log = structlog.get_logger("api")


class WorkspaceIn(Body):
    """PUT …/workspaces/{id}."""

    paid: bool = Field(description="Whether the workspace may have domains of its own")
    max_domains: Annotated[int, Field(ge=0, le=MOST_DOMAINS), BeforeValidator(whole)] | None = Field(
        default=None, description="How many; null: limits.domains_per_workspace"
    )


class WorkspaceOut(BaseModel):
    """A workspace, and what follows for its domains."""

    workspace_id: str
    paid: bool
    max_domains: int
    domains: int = Field(description="How many it has")
    source: Literal["api", "config", "platform", "default"] = Field(
        description='Who says so. "default": nobody, so that all may, or, while the platform cannot be asked, '
        "entitlement.on_error counts"
    )
    trouble: str | None = Field(description="Why the platform could not be asked now; null: it was, or did not have to be")
    checked_at: str | None = Field(description="When it was said last; null: it is in the configuration")
    unpaid_since: str | None
    suspended_from: str | None = Field(description="When its domains are suspended unless it pays; null: they are not to be")


class WorkspaceQuery(Query):
    """GET …/workspaces."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    cursor: NameCursor = Field(default="", description="`next_cursor` of the page before")


class WorkspacePage(BaseModel):
    """A page of workspaces, in the order of their ids."""

    workspaces: list[WorkspaceOut]
    next_cursor: str | None = None


@router.get("/workspaces", summary="List workspaces")
async def list_workspaces(request: Request, query: Annotated[WorkspaceQuery, InQuery()]) -> WorkspacePage:
    """A page of the workspaces that have domains, or of which something was said, each as it was said last: the platform is not
    asked for a list."""
    plane = context_of(request).open_plane()
    found = await plane.store.list_workspaces(query.limit + 1, from_cursor(query.cursor))
    page = found[: query.limit]
    return WorkspacePage(
        workspaces=[_out(plane, one, plane.entitlements.known(one, row), row, domains) for one, row, domains in page],
        next_cursor=to_cursor(page[-1][0]) if len(found) > query.limit else None,
    )


@router.get("/workspaces/{id}", summary="Show what a workspace is entitled to")
async def show_workspace(request: Request, id: WorkspacePath) -> WorkspaceOut:  # noqa: A002 - the name in the path
    """What counts for a workspace now. The platform is asked where its last answer no longer does."""
    context = context_of(request)
    return await _view(context, check_workspace(id[:100], context.config))


@router.put("/workspaces/{id}", summary="Say what a workspace is entitled to")
async def put_workspace(request: Request, id: WorkspacePath, body: WorkspaceIn) -> WorkspaceOut:  # noqa: A002 - the name in the path
    """This word goes before the configuration and the platform. Domains of a workspace that pays again are served when this
    answers, up to a hundred of them; those of one that does not are suspended after entitlement.grace."""
    context, actor = context_of(request), actor_of(request)
    plane = context.open_plane()
    workspace = check_workspace(id[:100], context.config)
    await plane.entitlements.say(workspace, paid=body.paid, max_domains=body.max_domains, actor=actor)
    await wait_published(plane)
    log.info("workspace set", workspace=workspace, paid=body.paid, max_domains=body.max_domains, actor=actor)
    return await _view(context, workspace)


@router.delete("/workspaces/{id}", summary="Take back what was said of a workspace")
async def delete_workspace(request: Request, id: WorkspacePath) -> WorkspaceOut:  # noqa: A002 - the name in the path
    """From now on the configuration or the platform decides on it again."""
    context, actor = context_of(request), actor_of(request)
    plane = context.open_plane()
    workspace = check_workspace(id[:100], context.config)
    if not await plane.entitlements.unsay(workspace, actor=actor):
        raise NotFound(f"Nothing was set for the workspace {workspace}, so there is nothing to take back.")
    await wait_published(plane)
    log.info("workspace unset", workspace=workspace, actor=actor)
    return await _view(context, workspace)


async def _view(context: Context, workspace_id: str) -> WorkspaceOut:
    plane = context.open_plane()
    standing = await plane.entitlements.standing(workspace_id)
    row = await plane.store.workspace(workspace_id)
    return _out(plane, workspace_id, standing, row, await plane.store.count_domains(workspace_id=workspace_id))


def _out(plane: Plane, workspace_id: str, standing: Standing, row: Workspace | None, domains: int) -> WorkspaceOut:
    since = None if row is None or standing.paid else row.unpaid_since
    return WorkspaceOut(
        workspace_id=workspace_id,
        paid=standing.paid,
        max_domains=standing.max_domains,
        domains=domains,
        source=standing.source,
        trouble=standing.trouble or None,
        checked_at=None if row is None or standing.source != row.source else moment(row.checked_at),
        unpaid_since=moment(since),
        suspended_from=None if since is None else moment(since + plane.entitlements.terms.grace),
    )
