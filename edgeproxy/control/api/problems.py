"""Problem documents (RFC 9457): the one shape in which the API says that something did not work.

Every error of every endpoint but those of the tenant API is one, those of the framework included: unknown paths, wrong
methods, bodies that do not fit, and what nobody foresaw. Besides the RFC's members each has `code` for programs, `fault` (whose
doing it is), `retryable`, and `request_id`, which is also in the log.
"""

from __future__ import annotations

import http
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from edgeproxy.control.domains.mail_proof import ProofRefused, TooManyMails
from edgeproxy.control.domains.service import AlreadyRegistered
from edgeproxy.control.issuance.scheduler import Queued
from edgeproxy.control.mail import MailFailed, MailNotSet
from edgeproxy.errors import (
    ConfigError,
    Conflict,
    EdgeError,
    EntitlementDenied,
    EntitlementUnknown,
    Fault,
    InvalidCertificate,
    InvalidName,
    IssuanceDenied,
    IssuanceError,
    LinkError,
    MapError,
    NotFound,
    Outdated,
    StateError,
)

MEDIA_TYPE = "application/problem+json"

TENANTS = "/api/domains"
"""Where the tenant API is. Its errors are `{"status": "error", "message": …}`."""

FIELD_FAULTS = 20
"""Faults of fields listed in one document."""

_STATUS: tuple[tuple[type[EdgeError], int], ...] = (
    (InvalidName, 422),
    (InvalidCertificate, 422),
    (NotFound, 404),
    (Outdated, 412),
    (Conflict, 409),
    (IssuanceDenied, 403),
    (EntitlementUnknown, 503),
    (EntitlementDenied, 403),
    (Queued, 503),
    (IssuanceError, 502),
    (MailNotSet, 409),
    (MailFailed, 502),
    (ProofRefused, 422),
    (TooManyMails, 429),
    (LinkError, 503),
    (MapError, 503),
    (StateError, 503),
    (ConfigError, 422),
)
"""Errors and their statuses; the first that fits counts."""

_FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("malformed_request", "The request could not be understood."),
    401: ("unauthorized", "The request lacks valid credentials."),
    403: ("forbidden", "This is not allowed."),
    404: ("not_found", "There is nothing under this path. /openapi.json lists what there is."),
    405: ("method_not_allowed", "This path does not take this method."),
    406: ("not_acceptable", "None of the media types that you accept can be given."),
    408: ("request_timeout", "The request's body took too long."),
    411: ("length_required", "The request needs a length."),
    413: ("body_too_large", "The request's body is too large."),
    415: ("unsupported_media_type", "The request's body must be JSON: send content-type: application/json."),
    501: ("not_built", "This is not built yet."),
    503: ("unavailable", "This cannot be answered just now."),
}
"""What statuses raised without an EdgeError mean. `detail` of such an exception replaces the sentence when it is our own."""


class FieldFault(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Where: body.workspace_id, query.limit")
    detail: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = "about:blank"
    title: str = Field(description="The status in words")
    status: int
    detail: str = Field(description="What happened and what to do, in plain sentences")
    code: str = Field(description="What happened, for programs; stable")
    fault: Literal["client", "customer_dns", "ca", "origin", "operator", "edge"]
    retryable: bool = Field(description="Whether the same request may succeed later")
    cause: str = Field(default="", description="The code of the error behind a refusal, where it is another's")
    request_id: str = Field(default="", description="The same id is in the log and in x-request-id")
    errors: list[FieldFault] = Field(default=[], description="Fields at fault, where there are any")
    dns_records: list[dict[str, Any]] = Field(
        default=[], description="already_registered: the TXT records with which the same request succeeds; none: it never does"
    )


class Refused(EdgeError):
    """A request that the API refuses, with the status to answer."""

    code = "invalid_request"
    fault = Fault.CLIENT

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str,
        cause: str = "",
        fault: Fault | None = None,
        fields: Sequence[FieldFault] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(detail, code=code, fault=fault, retryable=retryable)
        self.status = status
        self.cause = cause
        self.fields = tuple(fields)


def status_of(error: EdgeError) -> int:
    """The HTTP status for an error."""
    if isinstance(error, Refused):
        return error.status
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    # What the client can mend is never told as the server's: a 5xx has clients and monitoring try again and complain.
    return 409 if status >= 500 and error.fault is Fault.CLIENT else status


def problem(error: EdgeError, request_id: str = "") -> dict[str, Any]:
    """The document for an error, as JSON-ready members."""
    status = status_of(error)
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "fault": error.fault.value,
        "retryable": error.retryable,
    }
    if isinstance(error, Refused) and error.cause:
        document["cause"] = error.cause
    if request_id:
        document["request_id"] = request_id
    if isinstance(error, AlreadyRegistered) and error.proofs:
        document["dns_records"] = [each.shown() for each in error.proofs]
    if isinstance(error, Refused) and error.fields:
        document["errors"] = [fault.model_dump() for fault in error.fields]
    return document


def of_tenants(path: str) -> bool:
    """Whether a path is of the tenant API, which dashboards called before there were problem documents."""
    return path == TENANTS or path.startswith(f"{TENANTS}/")


def tenants_answer(error: EdgeError) -> dict[str, str]:
    """What the tenant API says of an error: two fields."""
    return {"status": "error", "message": "Internal server error" if status_of(error) == 500 else error.detail}


def response(error: EdgeError, request_id: str = "", headers: Mapping[str, str] | None = None, *, path: str = "") -> Response:
    """The document as an answer; for a path of the tenant API what that says instead. Answers that may be tried again say
    when."""
    status = status_of(error)
    plain = of_tenants(path)
    if plain and status == 422:  # which that API knows nothing of
        status = 400
    document = tenants_answer(error) if plain else problem(error, request_id)
    extra = dict(headers or {})
    if error.retryable and status in (429, 503):
        seconds = error.retry_after if isinstance(error, Queued | TooManyMails) else 1.0
        extra.setdefault("retry-after", str(math.ceil(seconds)))
    media_type = "application/json" if plain else MEDIA_TYPE
    return Response(msgspec.json.encode(document), status_code=status, media_type=media_type, headers=extra)


def of_http_exception(error: HTTPException) -> Refused:
    """What the framework raised, in our words."""
    phrase = http.HTTPStatus(error.status_code).phrase
    code, sentence = _FRAMEWORK.get(error.status_code, ("refused", f"{phrase}."))
    return Refused(error.status_code, sentence, code=code)


def of_validation(error: RequestValidationError) -> Refused:
    """Fields that do not fit, without echoing what was sent: it may hold a secret or a megabyte."""
    found = error.errors()
    kinds = {item["type"] for item in found}
    if "json_invalid" in kinds:
        reason = str(found[0].get("ctx", {}).get("error", "")).strip()
        detail = f"The request's body is not JSON{': ' + reason if reason else ''}."
        return Refused(400, detail, code="invalid_json")
    fields = [FieldFault(field=_where(item["loc"]), detail=_sentence(item)) for item in found[:FIELD_FAULTS]]
    if any(item["loc"] == ("body",) and item["type"] in ("model_attributes_type", "missing") for item in found):
        detail = "The request's body must be a JSON object, sent with content-type: application/json."
    else:
        detail = "; ".join(f"{fault.field}: {fault.detail}" for fault in fields[:5]) + "."
    return Refused(422, detail, code="invalid_request", fields=fields)


def _where(location: Sequence[str | int]) -> str:
    return ".".join(str(part)[:64] for part in location)[:200]


def _sentence(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "is not a field of this request"
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "value_error":
        return str(item.get("ctx", {}).get("error", item["msg"]))
    message = str(item["msg"])
    return message[:1].lower() + message[1:]


def request_id_of(request: Request) -> str:
    """The id that `api.guard` gave to the request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def allow(request: Request) -> str:
    """The methods that a request's path takes (RFC 9110 section 10.2.1). The framework tells those of one route alone, while a
    path has a route for each."""
    taken = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
    return ", ".join([*taken[:1], "HEAD", *taken[1:]] if "GET" in taken else taken)


def install(app: FastAPI) -> None:
    """Makes the app answer every expected error with a problem document. `api.guard` catches the unexpected ones."""

    async def edge_error(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, EdgeError) else EdgeError("Something went wrong in the edge.")
        return response(known, request_id_of(request), path=request.scope["path"])

    async def http_exception(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, HTTPException) else HTTPException(500)
        headers = {"allow": allow(request)} if known.status_code == 405 else known.headers
        return response(of_http_exception(known), request_id_of(request), headers, path=request.scope["path"])

    async def validation(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, RequestValidationError) else RequestValidationError([])
        return response(of_validation(known), request_id_of(request), path=request.scope["path"])

    app.add_exception_handler(EdgeError, edge_error)
    app.add_exception_handler(HTTPException, http_exception)
    app.add_exception_handler(RequestValidationError, validation)
