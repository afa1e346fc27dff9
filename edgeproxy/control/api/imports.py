"""Many domains by one request: /api/v1/infrastructure/domain-imports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from edgeproxy.control.api.access.caller import caller_of
from edgeproxy.control.api.adding import Wanted, registered_to_prove, wanted_of
from edgeproxy.control.api.context import actor_of, context_of
from edgeproxy.control.api.infrastructure import wait_published
from edgeproxy.control.api.problems import Refused, of_validation
from edgeproxy.control.api.shapes import DomainIn, DomainRefused, DomainsAdded, DomainsIn
from edgeproxy.control.domains.service import AlreadyRegistered
from edgeproxy.control.store import ADDED, THERE, Outcome
from edgeproxy.errors import EdgeError

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane

CHECKED_AT_ONCE = 50
"""Domains that are checked in one turn of the loop, some 3 ms: others are answered meanwhile."""

router = APIRouter(prefix="/api/v1/infrastructure", tags=["domains"])
log = structlog.get_logger("api")


@router.post("/domain-imports", summary="Add many domains")
async def import_domains(request: Request, body: DomainsIn) -> DomainsAdded:
    """Adds up to 500 domains, each as POST …/domains would, and tells by its place each that cannot be. A domain that its
    workspace has already counts as added before, so that who did not hear the answer asks again. What redirects may do so to
    another domain of the same request.

    Those that are the operator's word are served when this answers. No `domain.registered` is told, unless `events` is true;
    those with `verify` tell it in any case, and are looked at in turn, some hundred a second."""
    context, caller, actor = context_of(request), caller_of(request), actor_of(request)
    plane = context.open_plane()
    outcomes: dict[int, Outcome] = {}
    wanted: dict[int, Wanted] = {}
    to_prove: dict[int, tuple[Wanted, DomainIn]] = {}
    for place, given in enumerate(body.domains):
        if place % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            one = _checked(given)
            found = wanted_of(context, caller, one)
        except EdgeError as error:
            outcomes[place] = error
        else:
            if one.verify:
                to_prove[place] = found, one
            else:
                wanted[place] = found
    number: int | None = 0
    if wanted:
        now = context.now()
        entries = [each.entry(actor, now, tells=body.events) for each in wanted.values()]
        additions = await plane.store.add_domains(entries)
        outcomes |= zip(wanted, additions.outcomes, strict=True)
        number = additions.number
    for place, (found, one) in to_prove.items():
        outcomes[place], number = await _registered(plane, found, one, actor), None
    published = await wait_published(plane, number)
    answer = DomainsAdded(
        added=sum(outcome == ADDED for outcome in outcomes.values()),
        there=sum(outcome == THERE for outcome in outcomes.values()),
        refused=[_refused(place, outcome) for place, outcome in sorted(outcomes.items()) if isinstance(outcome, EdgeError)],
        published=published,
    )
    log.info("domains added", added=answer.added, there=answer.there, refused=len(answer.refused), actor=actor)
    return answer


def _checked(given: dict[str, Any]) -> DomainIn:
    """Raises Refused, with the words of POST …/domains."""
    try:
        return DomainIn.model_validate(given)
    except ValidationError as error:
        raise of_validation(RequestValidationError(error.errors(include_url=False))) from None


async def _registered(plane: Plane, wanted: Wanted, body: DomainIn, actor: str) -> Outcome:
    """One that is to be proven."""
    try:
        if body.method == "email":
            raise Refused(422, "method: no mails are sent for many domains at once; register it by itself.", code="no_mail")
        await registered_to_prove(plane, wanted, body, actor, at_leisure=True)
    except AlreadyRegistered as error:
        return error if error.domain is None else THERE
    except EdgeError as error:
        return error
    return ADDED


def _refused(place: int, error: EdgeError) -> DomainRefused:
    detail = error.detail.removeprefix("body.")
    return DomainRefused(index=place, code=error.code, detail=detail, fault=error.fault.value, retryable=error.retryable)
