"""The operator API for certificates: /api/v1/infrastructure/ssl."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID
from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from edgeproxy.control.api.context import Context, actor_of, context_of
from edgeproxy.control.api.forms import DomainPath
from edgeproxy.control.api.infrastructure import how_to_register
from edgeproxy.control.api.problems import Refused, problem, request_id_of
from edgeproxy.control.api.shapes import (
    AccountRolledOver,
    CertificateFound,
    CertificateHistory,
    CertificateIn,
    CertificateIssued,
    CertificateOut,
    CertificatePage,
    CertificateQuery,
    CertificateRemoved,
    CertificateRevoked,
    CertificateState,
    CompanionOut,
    HistoryOut,
    RemoveQuery,
    RenewalsBegun,
    RenewalsIn,
    RevokeIn,
    Seen,
    certain_moment,
    from_cursor,
    moment,
    to_cursor,
)
from edgeproxy.control.issuance.policy import Registration, Verdict, admit, not_registered
from edgeproxy.control.issuance.scheduler import Queued, described
from edgeproxy.errors import EdgeError, IssuanceDenied, NotFound
from edgeproxy.model import hostname, serial_number

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane
    from edgeproxy.control.store import Companion, HistoryEntry, StoredCertificate

router = APIRouter(prefix="/api/v1/infrastructure", tags=["certificates"])
log = structlog.get_logger("api")

NDJSON = "application/x-ndjson"

_STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {NDJSON: {"schema": {"type": "string"}}}}}

PROGRESS_LINES = 1_000
"""Steps of one issuance that are told; a client that does not read them loses the rest, never the result."""


@router.get("/ssl", summary="List certificates")
async def list_certificates(request: Request, query: Annotated[CertificateQuery, Query()]) -> CertificatePage:
    """A page of all stored certificates, in the order of their ids."""
    context = context_of(request)
    plane = context.open_plane()
    found = await plane.store.list_certificates(query.limit + 1, from_cursor(query.cursor))
    page = found[: query.limit]
    return CertificatePage(
        certificates=[view(stored, context.now()) for stored in page],
        next_cursor=to_cursor(page[-1].id) if len(found) > query.limit else None,
    )


@router.get("/ssl/{domain}", summary="Show the certificate of a name")
async def show_certificate(request: Request, domain: DomainPath) -> CertificateFound:
    """The certificate that a name is served under: its own, or the wildcard that covers it."""
    context = context_of(request)
    plane = context.open_plane()
    name = hostname(domain[:512], wildcard=True)
    stored = await plane.store.current_certificate(name)
    turn = await plane.issuance.turn_of(name)
    if stored is None and turn is not None:
        raise Queued(name, turn, context.now())
    if stored is None:
        found = await plane.store.registration_of(name)
        registration = None if found is None else Registration(found.hostname, found.state)
        admission = admit(name, context.config, registration)
        if admission.verdict is Verdict.DENIED:
            raise NotFound(f"{name} has no certificate. {_advised(name, admission.reason)}")
        records = (await plane.issuance.records([admission.certificate]))[admission.certificate]
        needed = "".join(f" Its owner must have set: {record.zone_line}" for record in records if record.required)
        raise NotFound(
            f"{name} has no certificate yet. Its first visitor obtains it, or `edgeproxy certs issue {name}` does now.{needed}"
        )
    seen = await plane.probe.look(stored, name)
    served = Seen(grade=seen.grade.value, detail=seen.detail, serial=seen.serial, not_after=moment(seen.not_after))
    history = await plane.store.history_of(name)
    records = (await plane.issuance.records([name]))[name]
    return CertificateFound(
        certificate=view(stored, context.now()),
        served=served,
        queued=None if turn is None else described(turn),
        chain=stored.chain.decode("ascii", "replace"),
        dns_records=[record.shown() for record in await plane.domains.compared(records)],
        history=[history_view(entry) for entry in history],
    )


@router.get("/ssl/{domain}/history", summary="Show the certificates that a name had")
async def show_history(request: Request, domain: DomainPath) -> CertificateHistory:
    """Who had each made and when, where it came from, and why it ended; also where the name itself is gone."""
    plane = context_of(request).open_plane()
    entries = await plane.store.history_of(hostname(domain[:512], wildcard=True))
    return CertificateHistory(history=[history_view(entry) for entry in entries])


@router.post(
    "/ssl/{domain}",
    summary="Obtain a certificate now, or upload one",
    response_model=CertificateIssued,
    responses=_STREAMED,
)
async def issue_certificate(request: Request, domain: DomainPath, body: CertificateIn | None = None) -> Any:
    """Obtains a certificate for a name from the configured CA and publishes it; or, of the type "custom", serves the name under
    the one that comes with the request, from now to its end.

    With `Accept: application/x-ndjson` the answer is a stream of JSON lines: {"event": "progress", "detail"} for each
    step, at the end {"event": "done", "certificate", "expires_at"} or {"event": "failed", "problem"}.
    """
    context = context_of(request)
    plane = context.open_plane()
    name = hostname(domain[:512], wildcard=True)
    if body is not None and body.type == "custom":
        return await _upload(request, name, body)
    if body is not None and (body.cert_data or body.key_data):
        detail = 'cert_data and key_data are of an upload: its type is "custom".'
        raise Refused(422, detail, code="invalid_request")
    log.info("certificate asked for", domain=name, actor=actor_of(request))
    return await _obtained(request, context, plane, name, force=False)


@router.post("/ssl/{domain}/renew", summary="Renew a certificate now", response_model=CertificateIssued, responses=_STREAMED)
async def renew_certificate(request: Request, domain: DomainPath) -> Any:
    """Obtains a new certificate, with a new key, for a name whatever it has. Progress is told as when one is obtained. An
    uploaded one is refused: only its CA can renew it."""
    context = context_of(request)
    plane = context.open_plane()
    name = hostname(domain[:512], wildcard=True)
    await plane.lifecycle.refuse_to_renew_an_upload(name)
    log.info("renewal asked for", domain=name, actor=actor_of(request))
    return await _obtained(request, context, plane, name, force=True)


@router.post("/ssl-renewals", summary="Renew many certificates, by their serial numbers")
async def renew_many(request: Request, body: RenewalsIn) -> RenewalsBegun:
    """Has certificates replaced as soon as the CA's limits allow, the most visited names first: for when a CA says which ones
    it is about to revoke. Returns at once; each is served until another has taken its place."""
    context = context_of(request)
    wanted = list(dict.fromkeys(serial_number(text) for text in body.serials))
    found = await context.open_plane().store.bring_forward(wanted, actor=actor_of(request), now=context.now())
    log.info("renewals asked for", count=len(found), actor=actor_of(request))
    return RenewalsBegun(
        renewing=[serial for serial in wanted if serial in found], unknown=[serial for serial in wanted if serial not in found]
    )


@router.delete("/ssl/{domain}", summary="Go back from an uploaded certificate to the edge's own")
async def remove_certificate(
    request: Request, domain: DomainPath, query: Annotated[RemoveQuery, Query()]
) -> CertificateRemoved:
    """Destroys what was uploaded for a name, with its key. The edge's own is obtained first where there is none."""
    context = context_of(request)
    plane = context.open_plane()
    own = await plane.lifecycle.remove_upload(domain[:512], force=query.force, actor=actor_of(request))
    return CertificateRemoved(certificate=None if own is None else view(own, context.now()))


@router.post("/ssl/{domain}/revoke", summary="Have a certificate revoked and replaced")
async def revoke_certificate(request: Request, domain: DomainPath, body: RevokeIn) -> CertificateRevoked:
    """Has the CA revoke a name's certificate; one with a new key takes its place where the name may have one."""
    context = context_of(request)
    plane = context.open_plane()
    revoked = await plane.lifecycle.revoke(
        domain[:512], body.reason, certificate_id=body.certificate_id, actor=actor_of(request)
    )
    now = context.now()
    return CertificateRevoked(
        certificate=view(revoked.certificate, now),
        replacement=None if revoked.replacement is None else view(revoked.replacement, now),
        detail=revoked.detail,
    )


@router.post("/ssl-account/rollover", summary="Give the account at the CA another key")
async def roll_over(request: Request) -> AccountRolledOver:
    """Makes a key, has the CA take it in the place of the present one, and destroys that."""
    context = context_of(request)
    await context.open_plane().lifecycle.roll_over(actor=actor_of(request))
    return AccountRolledOver(directory=context.config.issuance.directory)


async def _upload(request: Request, name: str, body: CertificateIn) -> CertificateIssued:
    context = context_of(request)
    plane = context.open_plane()
    if not body.cert_data or not body.key_data:
        lacking = "cert_data" if not body.cert_data else "key_data"
        detail = f"An upload needs both cert_data and key_data, each as PEM; {lacking} is missing."
        raise Refused(422, detail, code="invalid_request")
    try:
        uploaded = await plane.lifecycle.upload(
            name, body.cert_data, body.key_data, auto_renew=body.auto_renew, actor=actor_of(request)
        )
    except IssuanceDenied as error:
        raise _with_advice(name, error) from None
    issued = _issued(uploaded.certificate, context)
    return issued.model_copy(update={"notes": list(uploaded.notes)})


async def _obtained(request: Request, context: Context, plane: Plane, name: str, *, force: bool) -> Any:
    if NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(_told(context, plane, name, request_id_of(request), force=force), media_type=NDJSON)
    try:
        return _issued(await plane.issuance.issue(name, by_operator=True, force=force), context)
    except IssuanceDenied as error:
        raise _with_advice(name, error) from None


async def _told(context: Context, plane: Plane, name: str, request_id: str, *, force: bool) -> AsyncIterator[bytes]:
    """The issuance as JSON lines. When the client leaves, only the telling ends: the order goes on by itself."""
    lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue(PROGRESS_LINES)

    def progress(step: str) -> None:
        if not lines.full():
            lines.put_nowait({"event": "progress", "detail": step})

    task = asyncio.ensure_future(plane.issuance.issue(name, by_operator=True, force=force, progress=progress))
    try:
        while not task.done() or not lines.empty():
            waiting = asyncio.ensure_future(lines.get())
            try:
                await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield _line(waiting.result())
            finally:
                waiting.cancel()
        try:
            issued = _issued(task.result(), context)
            yield _line({"event": "done", **issued.model_dump(mode="json")})
        except IssuanceDenied as error:
            yield _line({"event": "failed", "problem": problem(_with_advice(name, error), request_id)})
        except EdgeError as error:
            yield _line({"event": "failed", "problem": problem(error, request_id)})
        except Exception as error:  # the stream has begun: its last line must say so; logged once and counted
            context.metrics.unexpected("api")
            log.error("an issuance failed in a way that nobody foresaw", domain=name, request_id=request_id, exc_info=error)
            detail = f"Something went wrong in the edge. Its log has the reason under request id {request_id}."
            yield _line({"event": "failed", "problem": problem(EdgeError(detail), request_id)})
    finally:
        task.cancel()


def _with_advice(name: str, error: IssuanceDenied) -> IssuanceDenied:
    return IssuanceDenied(_advised(name, error.detail), code=error.code, fault=error.fault)


def _advised(name: str, reason: str) -> str:
    """Why there is no certificate for a name; with the command that cures it where it just was not registered."""
    return f"{reason} {how_to_register(name)}" if reason == not_registered(name) else reason


def _line(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _issued(stored: StoredCertificate, context: Context) -> CertificateIssued:
    return CertificateIssued(certificate=view(stored, context.now()), expires_at=certain_moment(stored.not_after))


def view(stored: StoredCertificate, now: float) -> CertificateOut:
    """A stored certificate for people, without its key."""
    leaf = x509.load_pem_x509_certificate(stored.chain)
    return CertificateOut(
        id=stored.id,
        names=list(stored.names),
        issuer=_issuer(leaf),
        not_before=certain_moment(stored.not_before),
        not_after=certain_moment(stored.not_after),
        state=_state(stored, now),
        serial=f"{leaf.serial_number:x}",
        renew_at=None if math.isinf(stored.renew_at) else moment(stored.renew_at),
        directory=stored.issuer,
        custom=stored.custom,
        auto_renew=stored.auto_renew,
        revoked_at=moment(stored.revoked_at),
        parked_at=moment(stored.parked_at),
        superseded_at=moment(stored.superseded_at),
        key_type=stored.key_type or None,
        companion=None if stored.companion is None else _companion(stored.companion),
    )


def _companion(beside: Companion) -> CompanionOut:
    return CompanionOut(
        id=beside.id,
        serial=beside.serial,
        key_type=beside.key_type,
        not_before=certain_moment(beside.not_before),
        not_after=certain_moment(beside.not_after),
        directory=beside.issuer,
    )


def _state(stored: StoredCertificate, now: float) -> CertificateState:
    if stored.revoked_at:
        return "revoked"
    state = state_of(stored.not_before, stored.not_after, stored.renew_at, now)
    return "parked" if state == "due" and stored.parked_at is not None else state


def history_view(entry: HistoryEntry) -> HistoryOut:
    """An entry of a name's history for people."""
    return HistoryOut(
        certificate_id=entry.certificate_id,
        serial=entry.serial,
        directory=entry.issuer,
        not_after=certain_moment(entry.not_after),
        added_at=certain_moment(entry.added_at),
        added_by=entry.added_by,
        ended_at=moment(entry.ended_at),
        ended_by=entry.ended_by,
        ended_why=entry.ended_why,
    )


def state_of(not_before: float, not_after: float, renew_at: float, now: float) -> CertificateState:
    """How a certificate stands; "due" is to be renewed."""
    if now >= not_after:
        return "expired"
    if now < not_before:
        return "not_yet_valid"
    return "due" if now >= renew_at else "valid"


def _issuer(leaf: x509.Certificate) -> str:
    names = leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME) or leaf.issuer.get_attributes_for_oid(
        NameOID.ORGANIZATION_NAME
    )
    return str(names[0].value) if names else leaf.issuer.rfc4514_string()
