"""The operator API for domains: /api/v1/infrastructure/domains."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Header, Query, Request, Response

from edgeproxy import policies
from edgeproxy.control.api.access.caller import Caller, caller_of
from edgeproxy.control.api.adding import checked_origin, registered_to_prove, stored_metadata, wanted_of
from edgeproxy.control.api.context import Context, actor_of, context_of
from edgeproxy.control.api.forms import DomainPath
from edgeproxy.control.api.policy_shapes import PoliciesIn
from edgeproxy.control.api.preconditions import etag_of, versions_of
from edgeproxy.control.api.records import records_of
from edgeproxy.control.api.shapes import (
    DomainAdded,
    DomainChanged,
    DomainIn,
    DomainOut,
    DomainPage,
    DomainPatch,
    DomainQuery,
    DomainRemoved,
    DomainVerified,
    ErrorOut,
    RestoreIn,
    VerifyIn,
    certain_moment,
    from_cursor,
    moment,
    to_cursor,
)
from edgeproxy.control.domains.cautions import cautions
from edgeproxy.control.domains.mail_proof import ProofRefused, TooManyMails
from edgeproxy.control.domains.pairing import Pairing
from edgeproxy.control.issuance.policy import not_registered
from edgeproxy.control.issuance.scheduler import described
from edgeproxy.control.mail import MailFailed
from edgeproxy.control.store import DomainChange, Sheet
from edgeproxy.errors import EdgeError, NotFound
from edgeproxy.model import ANSWERED, DomainState, hostname

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeproxy.control.domains.records import DnsRecord
    from edgeproxy.control.plane import Plane
    from edgeproxy.control.store import Domain, Failure, Removal

router = APIRouter(prefix="/api/v1/infrastructure", tags=["domains"])
owners_router = APIRouter(prefix="/api/v1/infrastructure", tags=["domains"])
"""What a workspace may do with its own domains, too: who may call it is wider, and whose the domain is, is looked at."""
log = structlog.get_logger("api")

PUBLISH_SECONDS = 5.0
"""How long an answer waits for the published map. After it the change is stored and follows, and the answer says so."""


@router.post("/domains", status_code=201, summary="Add a domain")
async def add_domain(request: Request, response: Response, body: DomainIn) -> DomainAdded:
    """Registers a domain for a workspace. Unless `verify` is true every worker serves it when this answers, whatever the
    workspace is entitled to."""
    context = context_of(request)
    plane = context.open_plane()
    wanted = wanted_of(context, caller_of(request), body)
    actor = actor_of(request)
    if body.verify:
        domain = await registered_to_prove(plane, wanted, body, actor)
        published = await wait_published(plane)
        view = await _view(context, plane, domain)
    else:
        domain, number, certificate_id = await plane.domains.adding.add(wanted.entry(actor, context.now()))
        published = await wait_published(plane, number)
        acme = (await plane.issuance.records([domain.hostname]))[domain.hostname]
        view = _shown(context, plane, domain, Sheet(domain, certificate_id, None), acme)
    response.headers["etag"] = etag_of(domain)
    log.info("domain added", domain=wanted.name, workspace=wanted.workspace, state=domain.state.value, actor=actor)
    sent_to, unsent = await _mailed(plane, domain, actor) if body.method == "email" else ([], [])
    return DomainAdded(
        domain_config=view,
        verification_required=body.verify,
        published=published,
        also=[wanted.partner] if wanted.partner else [],
        warnings=[*cautions(wanted.name, context.config), *unsent],
        mail_sent_to=sent_to,
    )


@router.get("/domains", summary="List domains")
async def list_domains(request: Request, query: Annotated[DomainQuery, Query()]) -> DomainPage:
    """A page of domains in the order of their names, filtered by workspace, state and how the name begins."""
    context = context_of(request)
    plane = context.open_plane()
    after = from_cursor(query.cursor)
    workspace = caller_of(request).workspace_filter(query.workspace_id)
    found = await plane.store.list_domains(
        query.limit + 1, after, workspace_id=workspace, state=query.state, prefix=query.prefix.lower()
    )
    page = found[: query.limit]
    return DomainPage(
        domains=await _views(context, plane, page),
        next_cursor=to_cursor(page[-1].hostname) if len(found) > query.limit else None,
    )


@router.get("/domains/{domain}", summary="Show a domain")
async def show_domain(request: Request, response: Response, domain: DomainPath) -> DomainOut:
    """One domain. Its ETag is what If-Match of a change may have."""
    context = context_of(request)
    plane = context.open_plane()
    name = hostname(domain[:512], wildcard=True)
    sheet = await plane.store.sheet(name, context.now())
    if sheet is None:
        raise _unknown(name, to_add=True)
    existing = sheet.domain
    caller_of(request).owns(existing.workspace_id, existing.hostname)
    response.headers["etag"] = etag_of(existing)
    acme = await plane.domains.compared((await plane.issuance.records([name]))[name])
    mistake = plane.issuance.mistake(name)  # those by a wrong setting are not in the store
    if mistake is not None:
        sheet = msgspec.structs.replace(sheet, failure=mistake)
    view = _shown(context, plane, existing, sheet, acme)
    turn = await plane.issuance.turn_of(name, existing)
    view.queued = None if turn is None else described(turn)
    return view


@router.patch("/domains/{domain}", summary="Change a domain")
async def change_domain(
    request: Request,
    response: Response,
    domain: DomainPath,
    body: DomainPatch,
    if_match: Annotated[
        str | None, Header(max_length=1_024, description="Only where the domain has this ETag; else 412")
    ] = None,
) -> DomainChanged:
    """Changes where a domain's requests go and what its visitors see. Every worker does so when this answers."""
    context = context_of(request)
    plane = context.open_plane()
    existing = await _existing(plane, domain, to_add=True)
    given = body.model_fields_set
    change = DomainChange(
        origin=checked_origin(context, caller_of(request), body.origin or "") if "origin" in given else None,
        redirect_to=(hostname(body.redirect_to) if body.redirect_to else "") if "redirect_to" in given else None,
        maintenance=body.maintenance if "maintenance" in given else None,
        metadata=stored_metadata(body.metadata or {}) if "metadata" in given else None,
        policies=_policies(body.policies) if "policies" in given else None,
    )
    versions = versions_of(if_match, existing)  # last: RFC 9110 section 13.2.1
    changed = await plane.store.change_domain(
        existing.hostname,
        change,
        actor=actor_of(request),
        now=context.now(),
        versions=versions,
    )
    published = await wait_published(plane)
    log.info("domain changed", domain=existing.hostname, changed=sorted(given), actor=actor_of(request))
    response.headers["etag"] = etag_of(changed)
    return DomainChanged(domain_config=await _view(context, plane, changed), published=published)


@owners_router.post("/domains/{domain}/verify", summary="Look at a domain's records now")
async def verify_domain(request: Request, domain: DomainPath, body: VerifyIn | None = None) -> DomainVerified:
    """Looks afresh, within 30 s, and wakes a domain that was parked. Many who ask at once share one look, and one that is less
    than 5 s old counts. With `method` the domain is proven by that from now on; "email" sends a mail with a link and a
    code, which POST …/verify/code takes. A token of scope tenant may do so with domains of its workspace."""
    context = context_of(request)
    plane = context.open_plane()
    existing = await _own(request, plane, domain)
    if body is not None and body.method == "email":
        await plane.mail_proving.send(existing, actor=actor_of(request))
    elif body is not None and body.method is not None:
        await plane.domains.change_method(existing.hostname, body.method, actor=actor_of(request))
    checked = await plane.domains.verify(existing.hostname, actor=actor_of(request))
    view = await _compared(context, plane, checked.domain)
    return DomainVerified(verified=checked.domain.verified_at is not None, dns_records=view.dns_records, domain_config=view)


@owners_router.post("/domains/{domain}/restore", summary="Bring a removed domain back")
async def restore_domain(request: Request, domain: DomainPath, body: RestoreIn | None = None) -> DomainAdded:
    """Undoes the removal of a domain that was verified here or was to be, within `verification.undo`. It is served as before
    when this answers, and looked at afresh. The other one of its pair comes back with it if both went together.

    A token of scope tenant may do so with domains of its workspace. Of tenants' and platforms' tokens, the workspace has to be
    entitled to one domain more."""
    context = context_of(request)
    plane = context.open_plane()
    caller = caller_of(request)
    removal = await _removal(caller, plane, domain, "" if body is None else body.workspace_id)
    workspace = removal.domain.workspace_id
    at_most = await plane.entitlements.allowance(workspace) if caller.acts_for_customers else None
    pairing = _pairing(context, plane)
    restored, other = await pairing.undo(domain, workspace, actor=actor_of(request), at_most=at_most)
    published = await wait_published(plane)
    return DomainAdded(
        domain_config=await _view(context, plane, restored),
        verification_required=restored.verified_at is None,
        published=published,
        also=[other] if other else [],
    )


@owners_router.delete("/domains/{domain}", summary="Remove a domain")
async def remove_domain(request: Request, domain: DomainPath) -> DomainRemoved:
    """Removes a domain. Every worker refuses it when this answers. One that was added on the operator's word is gone with its
    certificates and their keys; any other can be brought back for `verification.undo`, after which they are destroyed.

    Of a pair (`include_www`) the name that redirects goes with the other; by itself it goes alone, and the other stays. A token
    of scope tenant may remove domains of its workspace."""
    context = context_of(request)
    plane = context.open_plane()
    existing = await _own(request, plane, domain)
    other = await _pairing(context, plane).remove(existing, actor=actor_of(request))
    published = await wait_published(plane)
    log.info("domain removed", domain=existing.hostname, also=other, workspace=existing.workspace_id, actor=actor_of(request))
    view = await _view(context, plane, existing)
    removed = view.model_copy(update={"state": DomainState.REMOVED})
    return DomainRemoved(domain_config=removed, published=published, also=[other] if other else [])


def how_to_register(name: str) -> str:
    """Advice for the operator, whose command takes a name without further questions."""
    return f"`edgeproxy domains add {name} --workspace ID` registers it."


async def wait_published(plane: Plane, number: int | None = None) -> bool:
    """Waits until the map has the change with this number, or every one made so far; False when it does not get there in time.

    The change itself is stored by then: failing the request would have it tried again in vain.
    """
    try:
        async with asyncio.timeout(PUBLISH_SECONDS):
            await plane.publisher.published(await plane.store.head_change() if number is None else number)
    except TimeoutError:
        log.warning("the published map does not follow", seconds=PUBLISH_SECONDS)
        return False
    except EdgeError as error:
        log.warning("the published map does not follow", error=error.detail)
        return False
    return True


async def _mailed(plane: Plane, domain: Domain, actor: str) -> tuple[list[str], list[str]]:
    """To whom a mail was sent that proves a new domain, and why none was. It is registered in any case, with its record."""
    if domain.verified_at is not None:
        return [], []
    try:
        proof = await plane.mail_proving.send(domain, actor=actor)
    except (MailFailed, ProofRefused, TooManyMails) as error:
        log.warning("no mail was sent to prove a domain", domain=domain.hostname, detail=error.detail)
        return [], [f"No mail was sent: {error.detail}"]
    return proof.addresses.split(), []


def _pairing(context: Context, plane: Plane) -> Pairing:
    return Pairing(context.config, plane.store, plane.domains, context.now)


async def _existing(plane: Plane, text: str, *, to_add: bool = False) -> Domain:
    name = hostname(text[:512], wildcard=True)
    domain = await plane.store.get_domain(name)
    if domain is None:
        raise _unknown(name, to_add=to_add)
    return domain


async def _own(request: Request, plane: Plane, text: str) -> Domain:
    """The same for whoever it is theirs; raises Refused for others."""
    domain = await _existing(plane, text)
    caller_of(request).owns(domain.workspace_id, domain.hostname)
    return domain


async def _removal(caller: Caller, plane: Plane, text: str, workspace_id: str) -> Removal:
    """The removal that a caller undoes, its own if it has one. Raises Refused for another workspace's, and NotFound."""
    try:
        removal = await plane.domains.removal_of(text, workspace_id or caller.workspace_id)
    except NotFound:
        removal = await plane.domains.removal_of(text, workspace_id)
    caller.owns(removal.domain.workspace_id, removal.domain.hostname)
    return removal


def _unknown(name: str, *, to_add: bool) -> NotFound:
    add = f"{how_to_register(name)} " if to_add else ""
    return NotFound(f"{not_registered(name)} {add}`edgeproxy domains list` shows what is.")


async def _view(context: Context, plane: Plane, domain: Domain) -> DomainOut:
    return (await _views(context, plane, [domain]))[0]


async def _compared(context: Context, plane: Plane, domain: Domain) -> DomainOut:
    """The same with what is in the place of the CA's records now, for which who asks to see the domain can wait."""
    view = await _view(context, plane, domain)
    view.dns_records = [record.shown() for record in await records_of(context, plane, domain, compare=True)]
    return view


async def _views(context: Context, plane: Plane, domains: list[Domain]) -> list[DomainOut]:
    """As they are given, with what the store says of their certificates; one may be gone from there by now."""
    names = [domain.hostname for domain in domains]
    sheets = await plane.store.sheets(names, context.now())
    records = await plane.issuance.records(names)
    return [_shown(context, plane, domain, sheets.get(domain.hostname), records[domain.hostname]) for domain in domains]


def _shown(context: Context, plane: Plane, domain: Domain, sheet: Sheet | None, acme: Sequence[DnsRecord]) -> DomainOut:
    certificate = sheet.certificate_id if sheet is not None and domain.state in ANSWERED else None
    return DomainOut(
        domain=domain.hostname,
        workspace_id=domain.workspace_id,
        state=domain.state,
        origin=domain.origin,
        routing=context.config.origin.routing,
        redirect_to=domain.redirect_to or None,
        include_www=domain.include_www,
        maintenance=domain.maintenance,
        policies=policies.shown(domain.policies),
        metadata=msgspec.json.decode(domain.metadata) if domain.metadata else {},
        created_at=certain_moment(domain.created_at),
        verified_at=moment(domain.verified_at),
        dns_records=[record.shown() for record in (*plane.domains.records(domain), *acme)],
        certificate_id=certificate,
        error=_error(context, domain, None if sheet is None else sheet.failure, certificate),
    )


def _policies(given: PoliciesIn | None) -> dict[str, Any]:
    """As a change: of all of them, where none is given."""
    return dict.fromkeys(PoliciesIn.model_fields) if given is None else given.given()


def _error(context: Context, domain: Domain, failure: Failure | None, certificate: str | None) -> ErrorOut | None:
    """What failed last for a domain; not what failed before it was registered."""
    if domain.error_code and (failure is None or domain.error_code != "issuance_failed"):
        return ErrorOut(
            code=domain.error_code,
            detail=domain.error_detail,
            fault=domain.error_fault,
            retryable=True,
            failed_at=certain_moment(domain.looked_at or domain.updated_at),
            times=max(domain.looks, 1),
            next_try_at=moment(domain.next_look),
        )
    if failure is None or failure.updated_at < domain.created_at:
        return None
    by_itself = certificate is not None or context.config.issuance.on_demand
    return ErrorOut(
        code="issuance_failed",
        detail=failure.detail,
        fault=failure.fault,
        retryable=True,
        failed_at=certain_moment(failure.updated_at),
        times=failure.count,
        next_try_at=certain_moment(failure.next_try) if by_itself else None,
    )
