"""The HTTP applications: everything on the admin socket; what tokens are let into under `api.hostname`; health and metrics
alone on `metrics.listen`."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import edgeproxy
from edgeproxy.control.api import (
    admin,
    certificates,
    confirm,
    doctor,
    events,
    imports,
    infrastructure,
    mail,
    mail_proofs,
    observe,
    problems,
    records,
    tenant,
    tokens,
    webhooks,
    workspaces,
)
from edgeproxy.control.api.access.areas import Area, allowed
from edgeproxy.control.api.access.caller import READERS, TENANTS, WRITERS
from edgeproxy.control.api.access.door import Door
from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.guard import Guard
from edgeproxy.control.api.idempotency import Idempotency, described
from edgeproxy.model import TokenScope

_PROBLEM = {
    "default": {
        "model": problems.Problem,
        "description": "A problem document (RFC 9457)",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}

_PLATFORM = frozenset((TokenScope.PLATFORM,))

AREAS = (
    Area(infrastructure.router, READERS | TENANTS | {TokenScope.DOMAIN_READ}, WRITERS),
    Area(imports.router, READERS, WRITERS),
    Area(infrastructure.owners_router, READERS | TENANTS, WRITERS | TENANTS),
    Area(records.router, READERS | TENANTS | {TokenScope.DOMAIN_READ}, WRITERS),
    Area(tenant.router, TENANTS | READERS | {TokenScope.DOMAIN_READ}, TENANTS | WRITERS),
    Area(certificates.router, READERS, WRITERS),
    Area(doctor.router, READERS, WRITERS),
    Area(tokens.router, READERS | TENANTS, WRITERS | TENANTS),
    Area(webhooks.router, READERS, WRITERS),
    Area(events.router, READERS, WRITERS),
    Area(mail_proofs.router, READERS, WRITERS | TENANTS),
    Area(workspaces.router, READERS | _PLATFORM, WRITERS | _PLATFORM),  # who sells subscriptions says who has one
)
"""What there is under `api.hostname`, and for whom. Process control and metrics are not: they stay on the admin socket."""

TOKENS_REQUESTS = 512
"""Requests of tokens that may be at work at once: a program may look after thousands of domains."""


def admin_app(context: Context) -> FastAPI:
    """The whole API, for a socket whose peers are the operator."""
    app = _app(context, "Edgeproxy", "/openapi.json", "/docs")
    app.include_router(admin.router)
    app.include_router(infrastructure.router)
    app.include_router(infrastructure.owners_router)
    app.include_router(imports.router)
    app.include_router(records.router)
    app.include_router(tenant.router)
    app.include_router(certificates.router)
    app.include_router(doctor.router)
    app.include_router(tokens.router)
    app.include_router(webhooks.router)
    app.include_router(events.router)
    app.include_router(workspaces.router)
    app.include_router(mail.router)
    app.include_router(mail_proofs.router)
    app.include_router(observe.router)
    app.state.admin = True
    return app


def metrics_app(context: Context) -> FastAPI:
    """/healthz, /readyz and /metrics, for a TCP listener that others may reach."""
    app = _app(context, "Edgeproxy metrics", None, None)
    app.include_router(observe.router)
    return app


def tokens_app(context: Context, uses: Uses, monotonic: Callable[[], float] = time.monotonic) -> FastAPI:
    """What tokens are let into, for a socket on which workers bring strangers' requests."""
    app = _app(context, "Edgeproxy", "/openapi.json", None, TOKENS_REQUESTS)
    for area in AREAS:
        app.include_router(area.router, dependencies=[allowed(area)])
    app.add_middleware(Door, context=context, uses=uses, monotonic=monotonic)
    if context.config.api.cors_origins:
        # Outermost: a browser asks without a token whether it may ask with one, and shows a page no refusal without the fields.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=context.config.api.cors_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=("authorization", "content-type", "idempotency-key", "if-match"),
            expose_headers=("etag", "idempotent-replayed", "location", "retry-after", "x-request-id"),
        )
    pages = _app(context, "Edgeproxy confirmations", None, None)
    pages.include_router(confirm.router)
    app.add_middleware(confirm.Aside, pages=pages, context=context, monotonic=monotonic)
    return app


def _app(context: Context, title: str, openapi: str | None, docs: str | None, requests: int = 0) -> FastAPI:
    app = FastAPI(
        title=title,
        version=edgeproxy.__version__,
        openapi_url=openapi,
        docs_url=docs,
        redoc_url=None,
        # A path is what was asked for: no 307 to another spelling of it.
        redirect_slashes=False,
        # Describes every answer that is not a success, in place of FastAPI's own 422.
        responses=_PROBLEM,  # type: ignore[arg-type]
    )
    app.state.context = context
    plain = app.openapi
    app.openapi = lambda: described(plain())  # type: ignore[method-assign]
    problems.install(app)
    app.add_middleware(Idempotency, context=context)
    app.add_middleware(Guard, unexpected=context.metrics.unexpected, requests=requests)
    return app
