"""Bearer tokens: /api/v1/tokens. A token's text is told once, in the answer to its making."""

from __future__ import annotations

from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Request, Response
from fastapi import Query as InQuery
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from edgeproxy.control.api.access import secret
from edgeproxy.control.api.access.caller import Caller, caller_of, forbidden
from edgeproxy.control.api.context import Context, context_of
from edgeproxy.control.api.forms import HOSTNAME, LINE, WORKSPACE, NameCursor, printable, whole
from edgeproxy.control.api.problems import FieldFault, Refused
from edgeproxy.control.api.shapes import PAGE, PAGE_MAX, Body, Query, certain_moment, from_cursor, moment, to_cursor
from edgeproxy.control.domains.reserved import check_workspace
from edgeproxy.control.issuance.policy import not_registered
from edgeproxy.control.store import Token
from edgeproxy.errors import NotFound
from edgeproxy.model import TokenScope, hostname

router = APIRouter(prefix="/api/v1", tags=["tokens"])
log = structlog.get_logger("api")

SHORTEST_SECONDS = 60
LONGEST_SECONDS = 10 * 366 * 86_400

BROWSER_SECONDS = 15 * 60
"""Life of a token for one domain where nothing else is asked for."""

BROWSER_LONGEST_SECONDS = 60 * 60
"""And at most: it is given to a page, where much can read it."""

_NONE: JsonValue = {"maxLength": 0}


_BY_SCOPE: JsonValue = [
    {
        "properties": {
            "scope": {"enum": ["platform", "operator:read", "operator:write"]},
            "workspace_id": _NONE,
            "domain": _NONE,
        },
        "required": ["scope"],
    },
    {
        "properties": {"scope": {"const": "tenant"}, "workspace_id": WORKSPACE, "domain": _NONE},
        "required": ["scope", "workspace_id"],
    },
    {
        "properties": {
            "scope": {"const": "domain:read"},
            "domain": HOSTNAME,
            "expires_in": {"anyOf": [{"type": "null"}, {"maximum": BROWSER_LONGEST_SECONDS}]},
        },
        "required": ["scope", "domain"],
    },
]
"""Which fields go with which scope."""


class TokenIn(Body):
    """POST /api/v1/tokens."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _BY_SCOPE})

    scope: TokenScope = Field(
        strict=False,
        description="tenant: one workspace's domains; platform: those of all; operator:read and operator:write: the operator "
        "API; domain:read: to look at one domain, for a page in a browser",
    )
    workspace_id: str = Field(default="", max_length=63, description="tenant: whose. A token with a workspace is for that one")
    domain: str = Field(default="", max_length=260, description="domain:read: which")
    label: Annotated[str, Field(max_length=100, json_schema_extra=LINE), AfterValidator(printable)] = Field(
        default="", description="For whoever lists tokens: what it is for"
    )
    expires_in: Annotated[int, Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS), BeforeValidator(whole)] | None = Field(
        default=None,
        description=f"Seconds. null: it does not expire. domain:read: at most {BROWSER_LONGEST_SECONDS}, and null is "
        f"{BROWSER_SECONDS}",
    )


class TokenQuery(Query):
    """GET /api/v1/tokens."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    cursor: NameCursor = Field(default="", description="`next_cursor` of the page before")
    workspace_id: str = Field(default="", max_length=63)
    ended: bool = Field(default=False, description="Also those that are revoked or have expired within the last 30 days")


class TokenOut(BaseModel):
    """A token, without its text."""

    id: str = Field(description="A part of its text that is no secret; names it in the audit log")
    scope: TokenScope
    state: Literal["valid", "expired", "revoked"]
    workspace_id: str | None = Field(description="null: no single one")
    domain: str | None = Field(description="null: no single one")
    label: str
    created_at: str
    created_by: str = Field(description='"uid:0" on the admin socket, "token:ID ADDRESS" otherwise')
    expires_at: str | None = Field(description="null: it does not expire")
    revoked_at: str | None
    last_used_at: str | None = Field(description="To the minute. null: never")


class TokenCreated(TokenOut):
    """The answer to POST /api/v1/tokens."""

    token: str = Field(description="Send it as `Authorization: Bearer TOKEN`. It is not told again")


class TokenPage(BaseModel):
    """A page of tokens, in the order of their ids."""

    tokens: list[TokenOut]
    next_cursor: str | None = None


@router.post("/tokens", status_code=201, summary="Make a token")
async def create_token(request: Request, response: Response, body: TokenIn) -> TokenCreated:
    """Makes a token of a lesser scope than the caller's; on the admin socket of any. Only a digest of it is stored."""
    context, caller = context_of(request), caller_of(request)
    manages = caller.manages()
    if manages is not None and body.scope not in manages:
        raise forbidden(f"This token may not make one with the scope {body.scope.value}. {_may_make(caller)}")
    workspace, domain = await _what_for(context, caller, body)
    now = context.now()
    token_id, text = secret.made()
    lasts = BROWSER_SECONDS if body.expires_in is None and domain else body.expires_in
    token = Token(
        id=token_id,
        digest=secret.digest(text),
        scope=body.scope,
        workspace_id=workspace,
        hostname=domain,
        label=body.label,
        created_at=now,
        created_by=caller.actor,
        expires_at=None if lasts is None else now + lasts,
    )
    await context.open_plane().store.add_token(token)
    log.info("token created", id=token_id, scope=body.scope.value, workspace=workspace, domain=domain, actor=caller.actor)
    response.headers["cache-control"] = "no-store"
    return TokenCreated(token=text, **dict(_view(token, now)))


@router.get("/tokens", summary="List tokens")
async def list_tokens(request: Request, query: Annotated[TokenQuery, InQuery()]) -> TokenPage:
    """A page of tokens: on the admin socket and for the operator's tokens all, else those that the caller may make."""
    context, caller = context_of(request), caller_of(request)
    now = context.now()
    reads_all = caller.may(frozenset((TokenScope.OPERATOR_READ, TokenScope.OPERATOR_WRITE)))
    found = await context.open_plane().store.list_tokens(
        query.limit + 1,
        from_cursor(query.cursor),
        workspace_id=caller.workspace_filter(query.workspace_id),
        scopes=None if reads_all else caller.manages(),
        now=None if query.ended else now,
    )
    page = found[: query.limit]
    return TokenPage(
        tokens=[_view(token, now) for token in page],
        next_cursor=to_cursor(page[-1].id) if len(found) > query.limit else None,
    )


@router.delete("/tokens/{id}", summary="Revoke a token")
async def revoke_token(request: Request, id: str) -> TokenOut:  # noqa: A002 - the name in the path
    """Ends a token at once and for good. A token may revoke those that it may make, and itself."""
    context, caller = context_of(request), caller_of(request)
    store = context.open_plane().store
    token = await store.token(id[:64])
    manages = caller.manages()
    own = caller.token_id == id
    if token is None or not (own or manages is None or token.scope in manages):
        raise NotFound(f"There is no token {id[:64]!r} that could be revoked here. A list of tokens has their ids.")
    if not own:
        caller.owns(token.workspace_id)
    token = await store.revoke_token(token.id, actor=caller.actor, now=context.now())
    log.info("token revoked", id=token.id, scope=token.scope.value, actor=caller.actor)
    return _view(token, context.now())


async def _what_for(context: Context, caller: Caller, body: TokenIn) -> tuple[str, str]:
    """The workspace and the domain of a token that is to be made. Raises Refused, NotFound or InvalidName."""
    if body.scope is TokenScope.DOMAIN_READ:
        return await _for_domain(context, caller, body)
    if body.domain:
        raise _field("domain", 'goes with the scope "domain:read" only')
    if body.scope is not TokenScope.TENANT:
        if body.workspace_id:
            raise _field("workspace_id", f'does not go with the scope "{body.scope.value}", which is for all workspaces')
        return "", ""
    if not body.workspace_id:
        raise _field("workspace_id", "is missing: a tenant's token is for one workspace")
    return check_workspace(body.workspace_id, context.config), ""


async def _for_domain(context: Context, caller: Caller, body: TokenIn) -> tuple[str, str]:
    if not body.domain:
        raise _field("domain", 'is missing: the scope "domain:read" is for one domain')
    if body.expires_in is not None and body.expires_in > BROWSER_LONGEST_SECONDS:
        raise _field("expires_in", f"is too long: a token for one domain lasts {BROWSER_LONGEST_SECONDS} seconds at most")
    name = hostname(body.domain, wildcard=True)
    domain = await context.open_plane().store.get_domain(name)
    if domain is None:
        raise NotFound(not_registered(name))
    caller.owns(domain.workspace_id)
    if body.workspace_id and body.workspace_id != domain.workspace_id:
        raise _field("workspace_id", f"is not that of {name}; leave it out")
    return domain.workspace_id, name


def _field(name: str, what: str) -> Refused:
    fault = FieldFault(field=f"body.{name}", detail=what)
    return Refused(422, f"{fault.field}: {what}.", code="invalid_request", fields=(fault,))


def _may_make(caller: Caller) -> str:
    scopes = sorted(scope.value for scope in caller.manages() or ())
    if not scopes:
        return "It may make none."
    return f"It may make {' and '.join(scopes)}; others are made by `edgeproxy tokens create`."


def _view(token: Token, now: float) -> TokenOut:
    expired = token.expires_at is not None and token.expires_at <= now
    return TokenOut(
        id=token.id,
        scope=token.scope,
        state="revoked" if token.revoked_at is not None else "expired" if expired else "valid",
        workspace_id=token.workspace_id or None,
        domain=token.hostname or None,
        label=token.label,
        created_at=certain_moment(token.created_at),
        created_by=token.created_by,
        expires_at=moment(token.expires_at),
        revoked_at=moment(token.revoked_at),
        last_used_at=moment(token.used_at),
    )
