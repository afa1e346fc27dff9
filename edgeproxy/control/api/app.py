"""The HTTP applications: everything on the admin socket; health and metrics alone on `metrics.listen`."""

from __future__ import annotations

from fastapi import FastAPI

import edgeproxy
from edgeproxy.control.api import (
    admin,
    certificates,
    doctor,
    events,
    infrastructure,
    observe,
    problems,
    tokens,
    webhooks,
)
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.guard import Guard

_PROBLEM = {
    "default": {
        "model": problems.Problem,
        "description": "A problem document (RFC 9457)",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


def admin_app(context: Context) -> FastAPI:
    """The whole API, for a socket whose peers are the operator."""
    app = _app(context, "Edgeproxy", "/openapi.json", "/docs")
    app.include_router(admin.router)
    app.include_router(infrastructure.router)
    app.include_router(certificates.router)
    app.include_router(doctor.router)
    app.include_router(tokens.router)
    app.include_router(webhooks.router)
    app.include_router(events.router)
    app.include_router(observe.router)
    app.state.admin = True
    return app


def metrics_app(context: Context) -> FastAPI:
    """/healthz, /readyz and /metrics, for a TCP listener that others may reach."""
    app = _app(context, "Edgeproxy metrics", None, None)
    app.include_router(observe.router)
    return app


def _app(context: Context, title: str, openapi: str | None, docs: str | None) -> FastAPI:
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
    problems.install(app)
    app.add_middleware(Guard, unexpected=context.metrics.unexpected)
    return app
