"""The outbox over HTTP: /api/v1/infrastructure/events, page by page or as events come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Request
from fastapi import Query as InQuery

from edgeproxy.control.api.context import context_of
from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.shapes import to_cursor
from edgeproxy.control.api.webhook_shapes import EventOut, EventPage, EventQuery
from edgeproxy.control.api.webhooks import number_in
from edgeproxy.control.store import Event
from edgeproxy.control.store.outbox import timestamp
from edgeproxy.model import hostname

if TYPE_CHECKING:
    from edgeproxy.control.store import Store

router = APIRouter(prefix="/api/v1/infrastructure/events", tags=["webhooks"])

WAITING = 32
"""Requests that may wait for events at once. Above it they are answered without waiting."""

_waiting: set[object] = set()


@router.get("", summary="List events")
async def list_events(request: Request, query: Annotated[EventQuery, InQuery()]) -> EventPage:
    """What happened, oldest first; with `wait` and a cursor, as it happens."""
    if query.last is not None and query.cursor:
        raise Refused(422, "query.last: cannot be asked for together with a cursor.", code="invalid_request")
    store = context_of(request).open_plane().store
    name = hostname(query.domain, wildcard=True) if query.domain else ""
    if query.last is not None:
        head = await store.newest_event()
        found = await store.last_events(query.last, subject=name) if query.last else []
        after = max(head, found[-1].number if found else 0)
        return _page(found, after)
    after = number_in(query.cursor)
    found = await _after(store, after, query.limit, name, query.wait)
    return _page(found, found[-1].number if found else after)


async def _after(store: Store, number: int, limit: int, name: str, wait: int) -> list[Event]:
    """The events behind a number; where there is none, those that come within so many seconds."""
    ticket = object()
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    try:
        while True:
            told = store.database.told
            found = await store.events_after(number, limit, subject=name)
            left = until - loop.time()
            if found or left <= 0 or (ticket not in _waiting and len(_waiting) >= WAITING):
                return found
            _waiting.add(ticket)
            try:
                await asyncio.wait_for(told.wait(), left)
            except TimeoutError:
                return []
    finally:
        _waiting.discard(ticket)


def _page(found: list[Event], number: int) -> EventPage:
    return EventPage(events=[_view(each) for each in found], next_cursor=to_cursor(str(number)))


def _view(event: Event) -> EventOut:
    return EventOut(
        id=event.id,
        type=event.type,
        timestamp=timestamp(event.at),
        domain=event.subject,
        workspace_id=event.workspace_id or None,
        data=msgspec.json.decode(event.data),
    )
