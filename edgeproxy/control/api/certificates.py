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
from edgeproxy.control.api.infrastructure import how_to_register
from edgeproxy.control.api.problems import Refused, problem, request_id_of
from edgeproxy.control.api.shapes import (
    CertificateFound,
    CertificateIn,
    CertificateIssued,
    CertificateOut,
    CertificatePage,
    CertificateQuery,
    CertificateState,
    Seen,
    certain_moment,
    from_cursor,
    moment,
    to_cursor,
)
from edgeproxy.control.issuance.policy import Registration, Verdict, admit, not_registered
from edgeproxy.errors import EdgeError, IssuanceDenied, NotFound
from edgeproxy.model import hostname

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane
    from edgeproxy.control.store import StoredCertificate

router = APIRouter(prefix="/api/v1/infrastructure", tags=["certificates"])
log = structlog.get_logger("api")

NDJSON = "application/x-ndjson"

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
async def show_certificate(request: Request, domain: str) -> CertificateFound:
    """The certificate that a name is served under: its own, or the wildcard that covers it."""
    context = context_of(request)
    plane = context.open_plane()
    name = hostname(domain[:512], wildcard=True)
    stored = await plane.store.current_certificate(name)
    if stored is None:
        found = await plane.store.registration_of(name)
        registration = None if found is None else Registration(found.hostname, found.state)
        admission = admit(name, context.config, registration)
        if admission.verdict is Verdict.DENIED:
            raise NotFound(f"{name} has no certificate. {_advised(name, admission.reason)}")
        raise NotFound(
            f"{name} has no certificate yet. Its first visitor obtains it, or `edgeproxy certs issue {name}` does now."
        )
    seen = await plane.probe.look(stored, name)
    served = Seen(grade=seen.grade.value, detail=seen.detail, serial=seen.serial, not_after=moment(seen.not_after))
    text = stored.chain.decode("ascii", "replace")
    return CertificateFound(certificate=view(stored, context.now()), served=served, chain=text)


@router.post(
    "/ssl/{domain}",
    summary="Obtain a certificate now",
    response_model=CertificateIssued,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
)
async def issue_certificate(request: Request, domain: str, body: CertificateIn | None = None) -> Any:
    """Obtains a certificate for a name from the configured CA and publishes it.

    With `Accept: application/x-ndjson` the answer is a stream of JSON lines: {"event": "progress", "detail"} for each
    step, at the end {"event": "done", "certificate", "expires_at"} or {"event": "failed", "problem"}.
    """
    context = context_of(request)
    plane = context.open_plane()
    if body is not None and (body.type == "custom" or body.cert_data or body.key_data):
        raise Refused(501, "Uploading a certificate is not built yet; the configured CA issues one.", code="not_built")
    name = hostname(domain[:512], wildcard=True)
    log.info("certificate asked for", domain=name, actor=actor_of(request))
    if NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(_told(context, plane, name, request_id_of(request)), media_type=NDJSON)
    try:
        return _issued(await plane.issuance.issue(name, by_operator=True), context)
    except IssuanceDenied as error:
        raise _with_advice(name, error) from None


async def _told(context: Context, plane: Plane, name: str, request_id: str) -> AsyncIterator[bytes]:
    """The issuance as JSON lines. When the client leaves, only the telling ends: the order goes on by itself."""
    lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue(PROGRESS_LINES)

    def progress(step: str) -> None:
        if not lines.full():
            lines.put_nowait({"event": "progress", "detail": step})

    task = asyncio.ensure_future(plane.issuance.issue(name, by_operator=True, progress=progress))
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
        state=state_of(stored.not_before, stored.not_after, stored.renew_at, now),
        serial=f"{leaf.serial_number:x}",
        renew_at=None if math.isinf(stored.renew_at) else moment(stored.renew_at),
        directory=stored.issuer,
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
