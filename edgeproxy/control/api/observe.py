"""/healthz, /readyz and /metrics: on the admin socket and on `metrics.listen`."""

from __future__ import annotations

from typing import Any, Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from edgeproxy.control.api.context import Context, context_of
from edgeproxy.control.issuance.breaker import State
from edgeproxy.control.metrics import CONTENT_TYPE, Snapshot
from edgeproxy.errors import EdgeError

router = APIRouter()
log = structlog.get_logger("api")

CA_STATES: dict[State, float] = {"closed": 0.0, "half_open": 1.0, "open": 2.0}
"""How a CA stands, as a number."""

SUPERVISOR_SECONDS = 0.5
"""How long a scrape waits for the supervisor; without its answer `worker_restarts_total` is left out."""


class Alive(BaseModel):
    """The answer to GET /healthz."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The answer to GET /readyz."""

    status: Literal["ok", "unavailable"]
    workers_serving: int
    faults: int = Field(description="Parts of the control plane that fail now")


_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Ready, "description": "No worker serves"}}


@router.get("/healthz", tags=["observe"], summary="The control plane is alive")
async def healthz() -> Alive:
    """Answers as long as this process runs. It says nothing about traffic: that is /readyz."""
    return Alive()


@router.get("/readyz", tags=["observe"], summary="Workers serve", response_model=Ready, responses=_NOT_READY)
async def readyz(request: Request) -> Response:
    """200 while at least one worker serves, by what the workers reported within the last seconds; else 503."""
    context = context_of(request)
    serving = context.metrics.serving(context.now())
    body = {"status": "ok" if serving else "unavailable", "workers_serving": serving, "faults": len(context.faults)}
    return JSONResponse(body, status_code=200 if serving else 503)


@router.get("/metrics", tags=["observe"], summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The text exposition, format 0.0.4. What the store or the supervisor do not tell just now is left out."""
    context = context_of(request)
    return Response(context.metrics.render(await snapshot(context)), media_type=CONTENT_TYPE)


async def snapshot(context: Context) -> Snapshot:
    """What the metrics need from others, as far as they answer."""
    restarts: int | None = None
    try:
        result = await context.supervisor.ask("status", SUPERVISOR_SECONDS)
        found = result.data.get("restarts")
        restarts = found.get("workers") if isinstance(found, dict) else None
    except EdgeError as error:
        log.warning("the supervisor did not tell its counters", error=error.detail)
    plane = context.plane
    if plane is None:
        return Snapshot(worker_restarts=restarts, faults=len(context.faults))
    now = context.now()
    try:
        summary = await plane.store.summary(now)
        behind = max(0, await plane.store.head_change() - plane.publisher.reached)
        pending = sum((await plane.store.pending_deliveries()).values())
    except EdgeError as error:
        context.faults.fails("store", error, now)
        return Snapshot(worker_restarts=restarts, faults=len(context.faults))
    context.faults.works("store")
    context.note_map()
    return Snapshot(
        worker_restarts=restarts,
        certificates=summary.certificates,
        served=plane.probe.counts,
        uploaded=summary.uploaded,
        soonest_expiry=None if summary.soonest_expiry is None else summary.soonest_expiry - now,
        domains=summary.domains,
        faults=len(context.faults),
        map_behind=behind,
        issuance=plane.issuance.queue(),
        authorities={each.host: CA_STATES[each.state] for each in plane.issuance.authorities()},
        webhooks=dict(plane.webhooks.results),
        webhooks_pending=pending,
        events_dropped=plane.webhooks.dropped,
        now=now,
    )
