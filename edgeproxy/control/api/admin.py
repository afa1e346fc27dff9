"""Process control: /api/v1/admin/status, reload and stop."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

import edgeproxy
from edgeproxy.control.api.context import Context, actor_of, context_of
from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.shapes import certain_moment, moment
from edgeproxy.control.issuance.budget import KINDS
from edgeproxy.control.metrics import SILENT_SECONDS
from edgeproxy.control.refused import refused
from edgeproxy.errors import EdgeError, Fault

if TYPE_CHECKING:
    from edgeproxy.control.issuance.service import Issuance

router = APIRouter(prefix="/api/v1/admin", tags=["admin"])

STATUS_SECONDS = 2.0
"""How long a status waits for the supervisor."""

RELOAD_SECONDS = 60.0
"""How long a reload may take: new workers are started and must be ready before the old ones drain."""

DAY = 86_400.0

ENDING_DAYS = 30
"""Days before its end from which an uploaded certificate is told of."""

ENDING = 20
"""Uploaded certificates that a status tells of; metrics count them all."""

STOP_SECONDS = 5.0
"""How long the supervisor may take to agree to stop; draining comes after it."""


WORST = 10
"""Names that are told of those that are not served well."""


class WorkerOut(BaseModel):
    """A worker, by its last report."""

    index: int
    pid: int
    generation: int = Field(description="The configuration that it has: each reload counts it up. 0 until it has reported")
    state: Literal["serving", "draining", "silent"]
    connections: int
    last_report_seconds: float = Field(description="Age of its last report; they come each second")


class FaultOut(BaseModel):
    """A part of the control plane that fails now."""

    part: str
    code: str
    detail: str
    fault: str
    retryable: bool
    since: str


class MapOut(BaseModel):
    """How far the published map follows the store."""

    change: int
    head: int
    behind: int


class ServedBadlyOut(BaseModel):
    """A name that visitors cannot use as they should."""

    hostname: str
    grade: str
    detail: str
    seen_at: str


class ServedOut(BaseModel):
    """What the daily look at every name found, over TLS as a visitor."""

    grades: dict[str, int] = Field(default={}, description="Names by grade; good is good")
    worst: list[ServedBadlyOut] = []


class EndingOut(BaseModel):
    """An uploaded certificate that ends soon, or has ended."""

    hostname: str
    not_after: str
    days_left: float = Field(description="Below 0: it has ended")
    auto_renew: bool = Field(description="Whether the edge's own takes its place")


class BudgetOut(BaseModel):
    """What is left of the CA's limit of orders."""

    limit: int = Field(description="Orders that the CA takes in a window; 0: no limit")
    window_seconds: float
    left: int
    spent: dict[str, int] = Field(description="Orders of this window by kind")
    domains_full: int = Field(description="Registered domains that had all their certificates of a window")


class AuthorityOut(BaseModel):
    """One of several CAs."""

    directory: str
    ca: str = Field(description="Its host")
    state: str = Field(description="closed: it is used; open: it is left alone; half_open: the next order tries it")
    failures: int = Field(description="By its own fault, in a row")
    error: str | None = Field(description="The last of them; null: it works")
    since: str | None = Field(description="Since when it is left alone")
    next_trial_at: str | None


class IssuanceOut(BaseModel):
    """Certificates that are being obtained, and who waits for a turn."""

    pending: int = Field(description="Names that a certificate is being obtained for, or that wait")
    working: int = 0
    waiting: dict[str, int] = Field(default={}, description="Names that wait for their turn, by kind")
    next_turn_at: str | None = Field(default=None, description="When the next of them begins; null: nobody waits for a turn")
    budget: BudgetOut | None = Field(default=None, description="Of the CA that the next order is likely to go to")
    authorities: list[AuthorityOut] = Field(default=[], description="Most preferred first; empty where there is one alone")


class StatusOut(BaseModel):
    """The answer to GET …/status."""

    version: str
    ready: bool = Field(description="Whether workers serve")
    started_at: str
    uptime_seconds: float
    controller: dict[str, Any]
    supervisor: dict[str, Any] = Field(description="What the supervisor says of itself and its children; empty if nothing")
    workers: list[WorkerOut]
    domains: dict[str, int] = Field(description="Count by state")
    certificates: dict[str, int] = Field(description="Count by state")
    uploads_ending: list[EndingOut] = Field(
        description=f"Uploaded certificates that end within {ENDING_DAYS} days, the next first, at most {ENDING}"
    )
    issuance: IssuanceOut | None
    served: ServedOut = ServedOut()
    refused: dict[str, int] = Field(
        default={},
        description="Connections and requests that were refused since the controller began, by the key of the configuration "
        "that bounds them, the most first; a domain's own bounds count with those of all",
    )
    map: MapOut | None
    faults: list[FaultOut] = Field(description="What does not work; empty is good")


class DoneOut(BaseModel):
    """The answer to reload and stop."""

    detail: str
    data: dict[str, Any] = {}


@router.get("/status", summary="What runs and what does not")
async def status(request: Request) -> StatusOut:
    """Always answers, with whatever is known: `faults` names the parts that do not work."""
    context = context_of(request)
    now = context.now()
    supervisor: dict[str, Any] = {}
    try:
        supervisor = (await context.supervisor.ask("status", STATUS_SECONDS)).data
        context.faults.works("supervisor")
    except EdgeError as error:
        context.faults.fails("supervisor", error, now)
    domains, certificates, issuance, map_state = await _of_the_store(context, now)
    ending = await _ending(context, now)
    served = await _served(context, now)
    context.note_map()
    return StatusOut(
        version=edgeproxy.__version__,
        ready=context.metrics.serving(now) > 0,
        started_at=certain_moment(context.started_at),
        uptime_seconds=round(now - context.started_at, 3),
        controller={"pid": os.getpid(), "started_at": certain_moment(context.born_at)},
        supervisor=supervisor,
        workers=_workers(context, now),
        domains=domains,
        certificates=certificates,
        uploads_ending=ending,
        issuance=issuance,
        served=served,
        refused=refused(context.metrics.totals.sums()),
        map=map_state,
        faults=_faults(context),
    )


@router.post("/reload", summary="Take a new configuration without dropping a connection")
async def reload(request: Request) -> DoneOut:
    """Has the supervisor load the configuration anew. An invalid one is refused, and the old one goes on."""
    return await _act(context_of(request), "reload", RELOAD_SECONDS, actor_of(request))


@router.post("/stop", status_code=202, summary="Drain and end")
async def stop(request: Request) -> DoneOut:
    """Has the supervisor drain every worker within `timeouts.drain` and end."""
    return await _act(context_of(request), "stop", STOP_SECONDS, actor_of(request))


async def _act(context: Context, action: str, within: float, actor: str) -> DoneOut:
    result = await context.supervisor.ask(action, within)
    if not result.ok:
        raise Refused(
            422 if action == "reload" else 409,
            result.detail or f"The {action} was refused.",
            code=f"{action}_refused",
            cause=str(result.data.get("code", "")),
            fault=Fault.OPERATOR,
            retryable=result.data.get("retryable") is True,
        )
    return DoneOut(detail=result.detail or f"{action}: done", data=result.data)


async def _of_the_store(
    context: Context, now: float
) -> tuple[dict[str, int], dict[str, int], IssuanceOut | None, MapOut | None]:
    plane = context.plane
    if plane is None:
        return {}, {}, None, None
    issuance = _issuance(plane.issuance)
    try:
        summary = await plane.store.summary(now)
        head = await plane.store.head_change()
    except EdgeError as error:
        context.faults.fails("store", error, now)
        return {}, {}, issuance, None
    context.faults.works("store")
    reached = plane.publisher.reached
    return summary.domains, summary.certificates, issuance, MapOut(change=reached, head=head, behind=max(0, head - reached))


async def _ending(context: Context, now: float) -> list[EndingOut]:
    if context.plane is None:
        return []
    try:
        found = await context.plane.store.uploads_ending(now + ENDING_DAYS * DAY, ENDING)
    except EdgeError as error:
        context.faults.fails("store", error, now)
        return []
    return [
        EndingOut(
            hostname=stored.names[0],
            not_after=certain_moment(stored.not_after),
            days_left=round((stored.not_after - now) / DAY, 1),
            auto_renew=stored.auto_renew,
        )
        for stored in found
    ]


def _issuance(issuance: Issuance) -> IssuanceOut:
    queue = issuance.queue()
    left = queue.left
    return IssuanceOut(
        pending=issuance.pending,
        working=queue.working,
        waiting={kind: queue.waiting[kind] for kind in KINDS},
        next_turn_at=moment(queue.next_at) if math.isfinite(queue.next_at) else None,
        budget=BudgetOut(
            limit=left.limit,
            window_seconds=left.window,
            left=left.left,
            spent={kind: left.by_kind[kind] for kind in KINDS},
            domains_full=left.domains_full,
        ),
        authorities=[
            AuthorityOut(
                directory=each.directory,
                ca=each.host,
                state=each.state,
                failures=each.failures,
                error=each.reason or None,
                since=moment(each.since) if each.since else None,
                next_trial_at=moment(each.next_trial) if each.next_trial else None,
            )
            for each in issuance.authorities()
        ],
    )


def _workers(context: Context, now: float) -> list[WorkerOut]:
    found = []
    for seen in context.metrics.workers():
        age = max(0.0, now - seen.at)
        found.append(
            WorkerOut(
                index=seen.index,
                pid=seen.pid,
                generation=seen.generation,
                state="draining" if seen.draining else "serving" if age <= SILENT_SECONDS else "silent",
                connections=seen.connections,
                last_report_seconds=round(age, 3),
            )
        )
    return found


async def _served(context: Context, now: float) -> ServedOut:
    if context.plane is None:
        return ServedOut()
    probe = context.plane.probe
    try:
        seen_badly = await probe.worst_now(WORST)
    except EdgeError as error:
        context.faults.fails("store", error, now)
        seen_badly = probe.worst(WORST)
    worst = [
        ServedBadlyOut(
            hostname=seen.name, grade=seen.graded.grade.value, detail=seen.graded.detail, seen_at=certain_moment(seen.at)
        )
        for seen in seen_badly
    ]
    return ServedOut(grades=probe.counts, worst=worst)


def _faults(context: Context) -> list[FaultOut]:
    return [
        FaultOut(
            part=fault.part,
            code=fault.error.code,
            detail=fault.error.detail,
            fault=fault.error.fault.value,
            retryable=fault.error.retryable,
            since=certain_moment(fault.since),
        )
        for fault in context.faults
    ]
