"""The tenant API, /api/domains: what customers' dashboards call. Its shapes are older than this program and never change.

Every answer has `status` and `message`; errors have nothing else (`problems.tenants_answer`). Beside it the operator API has
the same domains, with all that is known of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from edgeproxy.control.api.access.caller import caller_of
from edgeproxy.control.api.context import Context, actor_of, context_of
from edgeproxy.control.api.forms import NAME, WORKSPACE, DomainPath
from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.records import records_of
from edgeproxy.control.domains.mail_proof import ProofRefused, TooManyMails
from edgeproxy.control.domains.pairs import partner_of
from edgeproxy.control.domains.reserved import check_reserved
from edgeproxy.control.domains.service import METHODS, AlreadyRegistered, Checked
from edgeproxy.control.issuance.registered import registered_domain
from edgeproxy.control.mail import MailFailed
from edgeproxy.control.store import Domain
from edgeproxy.errors import Conflict, EntitlementDenied, EntitlementUnknown, InvalidName, NotFound
from edgeproxy.model import SERVED, DomainState, hostname, workspace_id

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane

router = APIRouter(prefix="/api/domains", tags=["tenant"])
log = structlog.get_logger("api")

INVALID_FORMAT = "Invalid domain format"
UNPAID = "Custom domains require a paid subscription"
NOT_REGISTERED = "Domain not registered"
ALREADY_REGISTERED = "Domain already registered"
REGISTERED = "Please set the DNS record to complete domain validation"
MAILED = "Please check your email for domain validation"
VERIFIED = "Domain verified and mapped successfully"
CERTIFICATE = "Domain verified. Its certificate is being obtained."
CUTOVER = "Domain verified. Point it here when you are ready to go live."
UNSURE = "Could not verify domain. Check DNS configuration."
SUSPENDED = "Domain suspended. Ask the platform why."


class RegisterIn(BaseModel):
    """A domain that a customer wants."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subdomain: str = Field(
        default="", max_length=253, description='The part before `domain`. "" or "@": the domain itself; "*": all beneath it'
    )
    domain: str = Field(max_length=253, json_schema_extra=NAME, description="The customer's domain: client-domain.com")
    workspace_id: str = Field(
        alias="workspaceId", max_length=63, json_schema_extra=WORKSPACE, description="The workspace that its visitors shall see"
    )
    method: str = Field(
        default="cname",
        max_length=16,
        json_schema_extra={"enum": [*METHODS, "email"]},
        description=f"How it is proven: {', '.join(METHODS)}, email",
    )
    include_www: bool = Field(alias="includeWww", default=False, description="Its www, or for a www its domain, redirects here")


class RegisterOut(BaseModel):
    """It is registered."""

    status: Literal["pending_validation"] = "pending_validation"
    message: str
    dns_records: list[dict[str, Any]]
    warnings: list[str] | None = Field(default=None, description="Only where there are some: sentences for the platform")


class VerifyOut(BaseModel):
    """How it stands with a domain."""

    status: Literal["verified", "pending_validation", "invalid_cname", "error"]
    message: str
    state: DomainState
    dns_records: list[dict[str, Any]]


class TenantError(BaseModel):
    """What every error of this API is."""

    status: Literal["error"] = "error"
    message: str


_ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": TenantError, "description": "Why not, in two fields"}}


@router.post("/register", summary="Register a customer's domain", responses=_ERRORS, response_model_exclude_none=True)
async def register(request: Request, body: RegisterIn) -> RegisterOut:
    """Registers a domain. It verifies by itself once its DNS record is there; GET verify looks at once. 409 where it is
    registered, with `dns_records` where it is the same workspace's; where another one registered it and never proved it,
    `dns_records` is the TXT record with which it is had all the same. With `includeWww` the records of both names are there."""
    context = context_of(request)
    plane = context.open_plane()
    try:
        workspace = workspace_id(body.workspace_id)
    except InvalidName as error:
        raise Refused(400, error.detail, code="invalid_workspace") from None
    caller_of(request).owns(workspace)
    try:
        at_most = await plane.entitlements.allowance(workspace)
    except EntitlementUnknown:
        raise
    except EntitlementDenied as error:
        raise Refused(403, UNPAID, code=error.code) from None
    try:
        name = hostname(name_of(body.subdomain, body.domain), wildcard=True)
        partner = partner_of(name, registered_domain) if body.include_www else ""
        if partner:
            check_reserved(partner, context.config)
        by_mail = body.method == "email" and plane.mail_proving.is_set
        method = "cname" if by_mail else body.method  # what proves it first counts
        registered = await plane.domains.register(
            name, workspace, actor=actor_of(request), method=method, partner=partner, at_most=at_most
        )
    except InvalidName as error:
        known = error.code != InvalidName.code
        raise Refused(400, error.detail if known else INVALID_FORMAT, code=error.code) from None
    except AlreadyRegistered as error:
        return await _conflict(context, error)  # type: ignore[return-value]  # a response, which goes out as it is
    except Conflict as error:
        raise Refused(409, error.detail, code=error.code, retryable=error.retryable) from None
    log.info("domain registered", domain=name, workspace=workspace, actor=actor_of(request))
    mailed = by_mail and await _mailed(plane, registered.domain, actor_of(request))
    return RegisterOut(
        message=MAILED if mailed else REGISTERED,
        dns_records=[*await _shown(context, registered.domain), *await _partners(context, partner)],
        warnings=list(registered.warnings) or None,
    )


@router.get("/verify/{domain}", summary="Look at a domain's record now", responses=_ERRORS)
async def verify(request: Request, domain: DomainPath) -> VerifyOut:
    """Looks at what the DNS says, at most every 5 s for all who ask and within 30 s, and tells how it stands."""
    context = context_of(request)
    plane = context.open_plane()
    try:
        existing = await plane.domains.get(domain)
    except InvalidName:
        raise Refused(400, INVALID_FORMAT, code="invalid_name") from None
    except NotFound:
        raise Refused(404, NOT_REGISTERED, code="not_registered") from None
    caller_of(request).owns(existing.workspace_id, existing.hostname)
    checked = await plane.domains.verify(existing.hostname, actor=actor_of(request))
    status, message = standing(checked, context.config.platform.cname_target)
    return VerifyOut(
        status=status,
        message=message,
        state=checked.domain.state,
        dns_records=await _shown(context, checked.domain, compare=True),
    )


async def _mailed(plane: Plane, domain: Domain, actor: str) -> bool:
    """Whether a mail was sent that proves a domain. Where none can be, its records do."""
    try:
        await plane.mail_proving.send(domain, actor=actor)
    except (MailFailed, ProofRefused, TooManyMails) as error:
        log.warning("no mail was sent to prove a domain", domain=domain.hostname, detail=error.detail)
        return False
    return True


def name_of(subdomain: str, domain: str) -> str:
    """The hostname that a customer means. Pure."""
    label, base = subdomain.strip(), domain.strip()
    return base if label in ("", "@") else f"{label}.{base}"


def standing(
    checked: Checked, cname_target: str
) -> tuple[Literal["verified", "pending_validation", "invalid_cname", "error"], str]:
    """What this API says of a domain: its status and message. Pure."""
    domain, verdict = checked.domain, checked.verdict
    if domain.state is DomainState.SUSPENDED:
        return "error", SUSPENDED
    if domain.state is DomainState.ACTIVE or (not domain.method and domain.state in SERVED):
        return "verified", VERIFIED
    said = "" if verdict is None else verdict.state
    if said == "wrong":
        target = f"Please ensure CNAME points to {cname_target}" if cname_target else "Please check the DNS record"
        return "invalid_cname", target
    if said == "unsure":
        return "error", UNSURE
    if domain.state is DomainState.AWAITING_CUTOVER:
        return "pending_validation", CUTOVER
    return "pending_validation", REGISTERED if domain.verified_at is None else CERTIFICATE


async def _conflict(context: Context, error: AlreadyRegistered) -> JSONResponse:
    """To its own workspace with its records; to another one, where it was never proven, with the record by which it is had all
    the same. The message stays what dashboards know."""
    answer: dict[str, Any] = {"status": "error", "message": ALREADY_REGISTERED}
    if error.domain is not None:
        answer["dns_records"] = await _shown(context, error.domain)
    elif error.proofs:
        answer["dns_records"] = [each.shown() for each in error.proofs]
    return JSONResponse(answer, status_code=409)


async def _partners(context: Context, partner: str) -> list[dict[str, Any]]:
    """The records of the other name of a pair just registered, which its customer has to set as well; none without one."""
    if not partner:
        return []
    try:
        return await _shown(context, await context.open_plane().domains.get(partner))
    except NotFound:  # removed in this very moment
        return []


async def _shown(context: Context, domain: Domain, *, compare: bool = False) -> list[dict[str, Any]]:
    found = await records_of(context, context.open_plane(), domain, compare=compare)
    return [each.shown() for each in found]
