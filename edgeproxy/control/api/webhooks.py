"""The operator API for webhooks: /api/v1/infrastructure/webhooks. What is delivered, and how, is `control.webhooks`."""

from __future__ import annotations

import secrets as random
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import structlog
from fastapi import APIRouter, Request
from fastapi import Query as InQuery

from edgeproxy.control.api.context import actor_of, context_of
from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.shapes import certain_moment, from_cursor, moment, to_cursor
from edgeproxy.control.api.webhook_shapes import (
    DeliveryOut,
    DeliveryPage,
    DeliveryQuery,
    Replayed,
    ReplayIn,
    WebhookAdded,
    WebhookIn,
    WebhookOut,
    WebhookPage,
    WebhookPatch,
    WebhookRemoved,
    WebhookTested,
)
from edgeproxy.control.store import Delivery, Endpoint
from edgeproxy.control.store.webhooks import Secret
from edgeproxy.control.webhooks.message import new_secret
from edgeproxy.control.webhooks.sending import check_url
from edgeproxy.errors import Conflict

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane

router = APIRouter(prefix="/api/v1/infrastructure/webhooks", tags=["webhooks"])
log = structlog.get_logger("api")

OVERLAP_SECONDS = 86_400.0
"""For which the secret before signs beside a new one."""

DISABLED = "The operator disabled it."


@router.post("", status_code=201, summary="Add an endpoint")
async def add_webhook(request: Request, body: WebhookIn) -> WebhookAdded:
    """Adds an endpoint, which gets what happens from now on. The answer has its secret, this once."""
    context = context_of(request)
    plane, now = context.open_plane(), context.now()
    secret = body.secret or new_secret()
    endpoint = Endpoint(
        id=f"ep_{random.token_hex(8)}",
        source="api",
        url=check_url(body.url, context.config.webhooks.allow),
        label=body.label,
        events=tuple(dict.fromkeys(body.events)),
        created_at=now,
        created_by=actor_of(request),
        updated_at=now,
    )
    added = await plane.store.add_endpoint(endpoint, [Secret(secret)], now)
    log.info("webhook added", endpoint=added.id, url=added.url, actor=actor_of(request))
    return WebhookAdded(webhook=_view(added, 0), secret=secret)


@router.get("", summary="List endpoints")
async def list_webhooks(request: Request) -> WebhookPage:
    """All endpoints, those of the configuration too, oldest first."""
    store = context_of(request).open_plane().store
    pending = await store.pending_deliveries()
    return WebhookPage(webhooks=[_view(each, pending.get(each.id, 0)) for each in await store.list_endpoints()])


@router.get("/{webhook_id}", summary="Show an endpoint")
async def show_webhook(request: Request, webhook_id: str) -> WebhookOut:
    """One endpoint."""
    plane = context_of(request).open_plane()
    return await _shown(plane, await plane.store.endpoint(webhook_id))


@router.patch("/{webhook_id}", summary="Change an endpoint")
async def change_webhook(request: Request, webhook_id: str, body: WebhookPatch) -> WebhookAdded:
    """Changes what is given. With another secret the answer has it, this once; the one before signs beside it for a day, so
    that no delivery is refused meanwhile."""
    context = context_of(request)
    plane, now = context.open_plane(), context.now()
    before = await plane.store.endpoint(webhook_id)
    _of_the_api(before, body)
    after, secret = before, None if body.secret is None else body.secret or new_secret()
    if body.url is not None:
        after = msgspec.structs.replace(after, url=check_url(body.url, context.config.webhooks.allow))
    if body.events is not None:
        after = msgspec.structs.replace(after, events=tuple(dict.fromkeys(body.events)))
    if body.label is not None:
        after = msgspec.structs.replace(after, label=body.label)
    if body.enabled is not None and body.enabled is not (before.disabled_at is None):
        disabled_at, why = (None, "") if body.enabled else (now, DISABLED)
        after = msgspec.structs.replace(after, disabled_at=disabled_at, disabled_why=why)
    secrets = None if secret is None else await _with_new_secret(plane, webhook_id, secret, now)
    changed = await plane.store.change_endpoint(after, actor=actor_of(request), now=now, secrets=secrets)
    log.info("webhook changed", endpoint=webhook_id, actor=actor_of(request))
    return WebhookAdded(webhook=await _shown(plane, changed), secret=secret)


@router.delete("/{webhook_id}", summary="Remove an endpoint")
async def remove_webhook(request: Request, webhook_id: str) -> WebhookRemoved:
    """Removes an endpoint with its secret and its deliveries."""
    plane = context_of(request).open_plane()
    _of_the_api(await plane.store.endpoint(webhook_id))
    removed = await plane.store.remove_endpoint(webhook_id, actor=actor_of(request), now=context_of(request).now())
    log.info("webhook removed", endpoint=webhook_id, url=removed.url, actor=actor_of(request))
    return WebhookRemoved(webhook=_view(removed, 0))


@router.post("/{webhook_id}/test", summary="Send a test event")
async def test_webhook(request: Request, webhook_id: str) -> WebhookTested:
    """Sends an event of type webhook.test, once and whether the endpoint is enabled or not, and tells how that ended. It is in
    no log of deliveries."""
    plane = context_of(request).open_plane()
    event_id, sent = await plane.webhooks.test(await plane.store.endpoint(webhook_id))
    return WebhookTested(
        delivered=sent.delivered, event_id=event_id, status=sent.status, error=sent.error or None, seconds=sent.seconds
    )


@router.get("/{webhook_id}/deliveries", summary="List deliveries")
async def list_deliveries(request: Request, webhook_id: str, query: Annotated[DeliveryQuery, InQuery()]) -> DeliveryPage:
    """A page of what became of events at an endpoint, the newest event first."""
    store = context_of(request).open_plane().store
    await store.endpoint(webhook_id)
    found = await store.deliveries_of(
        webhook_id,
        query.limit + 1,
        number_in(query.cursor),
        pending=query.state == "pending",
        failed=query.state == "failed",
    )
    page = found[: query.limit]
    return DeliveryPage(
        deliveries=[_delivery(each) for each in page],
        next_cursor=to_cursor(str(page[-1].event.number)) if len(found) > query.limit else None,
    )


@router.post("/{webhook_id}/deliveries/{event_id}/redeliver", status_code=202, summary="Deliver an event once more")
async def redeliver(request: Request, webhook_id: str, event_id: str) -> DeliveryOut:
    """Has an event delivered once more, under the same `webhook-id`, whatever became of it before."""
    context = context_of(request)
    return _delivery(await context.open_plane().store.deliver_again(webhook_id, event_id, context.now()))


@router.post("/{webhook_id}/replay", status_code=202, summary="Deliver the events of a time once more")
async def replay(request: Request, webhook_id: str, body: ReplayIn) -> Replayed:
    """Has the events of a time delivered once more, each under the same `webhook-id`; 10,000 at most, the oldest first."""
    context = context_of(request)
    now = context.now()
    count = await context.open_plane().store.replay(
        webhook_id,
        now,
        since=float(body.since),
        until=now if body.until is None else float(body.until),
        filters=body.events,
        failed=body.failed,
    )
    log.info("events are replayed", endpoint=webhook_id, events=count, actor=actor_of(request))
    return Replayed(events=count)


def number_in(cursor: str) -> int:
    """The number in the outbox that a cursor points behind; 0 for none. Raises Refused for what no page gave."""
    text = from_cursor(cursor)
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(422, "query.cursor: is not a cursor that a page gave.", code="invalid_cursor")
    return int(text or 0)


def _of_the_api(endpoint: Endpoint, patch: WebhookPatch | None = None) -> None:
    """Raises Conflict for what only the configuration can change."""
    if endpoint.source == "api" or (patch is not None and patch.model_fields_set <= {"enabled"}):
        return
    raise Conflict(
        f"{endpoint.name} is in the configuration (webhooks.endpoints). Change it there, and `edgeproxy reload`.",
        code="in_configuration",
    )


async def _with_new_secret(plane: Plane, webhook_id: str, secret: str, now: float) -> list[Secret]:
    """The new secret, and the newest one of before for a while."""
    before = [each.text for each in await plane.store.endpoint_secrets(webhook_id) if each.text != secret]
    return [Secret(secret), *(Secret(each, now + OVERLAP_SECONDS) for each in before[:1])]


async def _shown(plane: Plane, endpoint: Endpoint) -> WebhookOut:
    return _view(endpoint, (await plane.store.pending_deliveries()).get(endpoint.id, 0))


def _view(endpoint: Endpoint, pending: int) -> WebhookOut:
    return WebhookOut(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        label=endpoint.label,
        source=endpoint.source,
        enabled=endpoint.disabled_at is None,
        disabled_why=endpoint.disabled_why or None,
        failing_since=moment(endpoint.failing_since),
        pending=pending,
        created_at=certain_moment(endpoint.created_at),
        created_by=endpoint.created_by,
    )


def _delivery(found: Delivery) -> DeliveryOut:
    event = found.event
    state: Literal["pending", "delivered", "failed"] = "pending"
    if found.next_try is None:
        state = "failed" if found.delivered_at is None else "delivered"
    return DeliveryOut(
        event_id=event.id,
        type=event.type,
        domain=event.subject,
        happened_at=certain_moment(event.at),
        state=state,
        tries=found.tries,
        tried_at=moment(found.tried_at),
        delivered_at=moment(found.delivered_at),
        next_try_at=moment(found.next_try),
        status=found.status,
        error=found.error or None,
    )
