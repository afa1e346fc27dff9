"""Endpoints of webhooks, what the outbox has for each of them, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from edgeproxy.config.webhooks import chosen
from edgeproxy.control.store.base import Part, fields, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domains import audited
from edgeproxy.control.store.outbox import emitted, of_its_domain
from edgeproxy.control.store.rows.telling import ANSWERED_GONE, Delivery, Endpoint, Event, Tried
from edgeproxy.control.store.schema import deliveries, endpoints, outbox
from edgeproxy.errors import Conflict, NotFound

ENDPOINTS = 32
"""Endpoints in all."""

PENDING = 10_000
"""Deliveries of one endpoint that wait. Above it further events wait in the outbox."""

LOG = 10_000
"""Deliveries of one endpoint that are over and still told of."""

EVENTS = 200_000
"""Events in the outbox, some 200 MB with large ones; above it the oldest go."""

KEPT_SECONDS = 30 * 86_400.0
"""For which an event is kept: longer than it is tried to deliver it."""

NOTED_AT_ONCE = 500
"""Events that one transaction notes for all endpoints, and deliveries that one cleaning deletes of each."""

REPLAYED = 10_000
"""Events that one replay sends anew."""

_COLUMNS = [column for column in endpoints.c if column.name != "sealed_secrets"]
_TRIED = [column.label(f"delivery_{column.name}") for column in deliveries.c if column.name not in ("endpoint_id", "number")]


class Secret(msgspec.Struct, frozen=True, array_like=True):
    """One secret of an endpoint."""

    text: str
    until: float | None = None
    """Unix time up to which it signs beside the newer one; None: it is the newest."""

    def __repr__(self) -> str:
        return f"Secret(until={self.until})"


class Webhooks(Part):
    """Secrets of endpoints are sealed; those of the configuration's own endpoints are not here at all."""

    # Endpoints

    async def add_endpoint(self, endpoint: Endpoint, secrets: Sequence[Secret], now: float) -> Endpoint:
        """Adds one; it gets what happens from now on. Raises Conflict where there are ENDPOINTS already."""
        async with self.database.write() as write:
            count = await write.connection.scalar(select(func.count()).select_from(endpoints)) or 0
            if count >= ENDPOINTS:
                raise Conflict(
                    f"There are {count} endpoints, and no more than {ENDPOINTS} can be. Remove one that is not needed: "
                    "`edgeproxy webhooks list`, `edgeproxy webhooks remove ID`."
                )
            added = msgspec.structs.replace(endpoint, reached=await _head(write.connection))
            sealed = {"sealed_secrets": self._sealed(endpoint.id, secrets)}
            await write.connection.execute(endpoints.insert().values(**_values(added), **sealed))
            await audited(write, now, endpoint.created_by, "webhook.added", endpoint.id, endpoint.url)
            write.told()
        return added

    async def adopt_endpoints(self, configured: Mapping[str, Endpoint], now: float) -> None:
        """Has exactly these endpoints of the configuration, by id. One that was there keeps its place in the outbox."""
        async with self.database.write() as write:
            query = select(endpoints.c.id).where(endpoints.c.source == "config")
            for old in set(await write.connection.scalars(query)) - configured.keys():
                await _remove(write, old)
                await audited(write, now, "configuration", "webhook.removed", old, "")
            head = await _head(write.connection)
            for endpoint in configured.values():
                values = _values(msgspec.structs.replace(endpoint, reached=head))
                same = {"url": endpoint.url, "label": endpoint.label, "events": " ".join(endpoint.events)}
                statement = insert(endpoints).values(**values)
                await write.connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=same))
            write.told()

    async def list_endpoints(self) -> list[Endpoint]:
        """All of them, oldest first."""
        return [_endpoint_of(row) for row in await self.database.rows(_ENDPOINTS)]

    async def endpoint(self, endpoint_id: str) -> Endpoint:
        """One of them. Raises NotFound."""
        async with self.database.read() as connection:
            return await _endpoint(connection, endpoint_id)

    async def endpoint_secrets(self, endpoint_id: str) -> list[Secret]:
        """Its secrets, the newest first; none where they are in the configuration, or there is no such endpoint."""
        query = select(endpoints.c.sealed_secrets).where(endpoints.c.id == endpoint_id)
        async with self.database.read() as connection:
            sealed = await connection.scalar(query)
        if sealed is None:
            return []
        return msgspec.json.decode(self._sealer.open(sealed, _context(endpoint_id)), type=list[Secret])

    async def change_endpoint(
        self, endpoint: Endpoint, *, actor: str, now: float, secrets: Sequence[Secret] | None = None
    ) -> Endpoint:
        """Takes its url, label, filter and whether it is disabled; None leaves the secrets. One that is enabled again gets what
        happens from now on. Raises NotFound."""
        values: dict[str, Any] = {
            "url": endpoint.url,
            "label": endpoint.label,
            "events": " ".join(endpoint.events),
            "disabled_at": endpoint.disabled_at,
            "disabled_why": endpoint.disabled_why,
            "updated_at": now,
        }
        if secrets is not None:
            values["sealed_secrets"] = self._sealed(endpoint.id, secrets)
        async with self.database.write() as write:
            before = await _endpoint(write.connection, endpoint.id)
            if before.disabled_at is not None and endpoint.disabled_at is None:
                values |= {"reached": await _head(write.connection), "failing_since": None}
            await write.connection.execute(endpoints.update().where(endpoints.c.id == endpoint.id).values(**values))
            if endpoint.disabled_at is not None:
                await _give_up(write, endpoint.id, "The endpoint was disabled.")
            changed = [
                name for name in ("url", "label", "events", "disabled_at") if getattr(before, name) != getattr(endpoint, name)
            ]
            changed += ["secret"] if secrets is not None else []
            await audited(write, now, actor, "webhook.changed", endpoint.id, ", ".join(changed))
            write.told()
            return await _endpoint(write.connection, endpoint.id)

    async def remove_endpoint(self, endpoint_id: str, *, actor: str, now: float) -> Endpoint:
        """Removes one and its deliveries; its secret is destroyed. Raises NotFound."""
        async with self.database.write() as write:
            endpoint = await _endpoint(write.connection, endpoint_id)
            await _remove(write, endpoint_id)
            await audited(write, now, actor, "webhook.removed", endpoint_id, endpoint.url)
            write.told()
        return endpoint

    # What is to be delivered

    async def note_deliveries(self, now: float) -> bool:
        """Notes what is new in the outbox for each endpoint that chose it, at most NOTED_AT_ONCE events of it; True where there
        may be more."""
        rows = await self.database.rows(_BEHIND)  # asked after each event
        behind = [_endpoint_of(row) for row in rows]
        if not behind:
            return False
        more = False
        async with self.database.write() as write:
            for endpoint in behind:
                room = PENDING - await _pending(write.connection, endpoint.id)
                limit = min(NOTED_AT_ONCE, room)
                if limit > 0:
                    more |= await _note(write, endpoint, limit, now)
        return more

    async def to_deliver(self, endpoint_id: str, limit: int, without: Collection[int] = ()) -> list[Delivery]:
        """What waits for delivery, whether due or not, the next first; without those numbers, which are under way."""
        query = (
            _deliveries()
            .where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.next_try.is_not(None))
            .where(deliveries.c.number.not_in(list(without)))
            .order_by(deliveries.c.next_try, deliveries.c.number)
            .limit(page(limit))
        )
        async with self.database.read() as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    async def tried(self, ended: Sequence[Tried]) -> None:
        """Notes how tries ended. What was removed meanwhile is left out, what was disabled gets no other try."""
        async with self.database.write() as write:
            query = select(endpoints.c.id).where(endpoints.c.disabled_at.is_not(None))
            disabled = set(await write.connection.scalars(query))
            for each in ended:
                one = (deliveries.c.endpoint_id == each.endpoint_id) & (deliveries.c.number == each.number)
                await write.connection.execute(
                    deliveries.update()
                    .where(one)
                    .values(
                        tries=deliveries.c.tries + 1,
                        next_try=None if each.endpoint_id in disabled else each.next_try,
                        tried_at=each.at,
                        delivered_at=each.at if each.delivered else None,
                        status=each.status,
                        error=each.error,
                    )
                )
                await _note_state(write, each)

    async def pending_deliveries(self) -> dict[str, int]:
        """How many wait, by endpoint; endpoints for which none does are left out."""
        query = (
            select(deliveries.c.endpoint_id, func.count().label("rows"))
            .where(deliveries.c.next_try.is_not(None))
            .group_by(deliveries.c.endpoint_id)
        )
        async with self.database.read() as connection:
            return {row.endpoint_id: row.rows for row in await connection.execute(query)}

    # What was delivered, and delivering it anew

    async def deliveries_of(
        self, endpoint_id: str, limit: int, before: int = 0, *, pending: bool = False, failed: bool = False
    ) -> list[Delivery]:
        """A page of an endpoint's deliveries, the newest event first, behind the number `before` (0: from the newest); only
        those that wait, or only those whose last try failed."""
        query = _deliveries().where(deliveries.c.endpoint_id == endpoint_id).order_by(deliveries.c.number.desc())
        if before:
            query = query.where(deliveries.c.number < before)
        if pending:
            query = query.where(deliveries.c.next_try.is_not(None))
        if failed:
            query = query.where(_failed())
        async with self.database.read() as connection:
            return [_delivery(row) for row in await connection.execute(query.limit(page(limit)))]

    async def deliver_again(self, endpoint_id: str, event_id: str, now: float) -> Delivery:
        """Has one event delivered once more, whatever became of it, under its own id. Raises NotFound, or Conflict where the
        endpoint is disabled."""
        async with self.database.write() as write:
            await _enabled(write, endpoint_id)
            number = await write.connection.scalar(select(outbox.c.number).where(outbox.c.id == event_id))
            if number is None:
                raise NotFound(
                    f"There is no event {event_id[:100]!r}. Events are kept for {KEPT_SECONDS / 86_400:.0f} days; "
                    "`edgeproxy events tail --last 100` shows the newest."
                )
            await _anew(write, endpoint_id, [number], now)
            query = _deliveries().where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.number == number)
            return _delivery((await write.connection.execute(query)).one())

    async def replay(
        self, endpoint_id: str, now: float, *, since: float, until: float, filters: Sequence[str] = (), failed: bool = False
    ) -> int:
        """Has the events of a time delivered once more, under their own ids: those that the endpoint chose and `filters` name;
        `failed`: only those whose last try failed. How many: REPLAYED at most, the oldest first. Raises NotFound or
        Conflict."""
        async with self.database.write() as write:
            endpoint = await _enabled(write, endpoint_id)
            query = select(outbox.c.number, outbox.c.type).where(outbox.c.at >= since, outbox.c.at <= until)
            if failed:
                mine = select(deliveries.c.number).where(deliveries.c.endpoint_id == endpoint_id, _failed())
                query = query.where(outbox.c.number.in_(mine))
            rows = await write.connection.execute(query.order_by(outbox.c.number))
            numbers = [row.number for row in rows if chosen(endpoint.events, row.type) and chosen(filters, row.type)]
            await _anew(write, endpoint_id, numbers[:REPLAYED], now)
        return min(len(numbers), REPLAYED)

    # The outbox itself

    async def note_events(self, found: Sequence[tuple[str, str, float, Mapping[str, Any]]]) -> None:
        """Adds events that were told in memory alone: type, hostname, Unix time and data of each. They say of the hostname's
        registration, or of the wildcard's above it, what its own events say; of what both have, `data` counts."""
        async with self.database.write() as write:
            for type_, subject, at, data in found:
                workspace, config = await of_its_domain(write, at, subject)
                await emitted(write, at, type_, subject, workspace, {**config, **data})

    async def events_after(self, number: int, limit: int, *, subject: str = "", since: float = 0.0) -> list[Event]:
        """A page of the outbox behind a number, oldest first; of one hostname, or from a time on."""
        query = select(outbox).where(outbox.c.number > number).order_by(outbox.c.number).limit(page(limit))
        if subject:
            query = query.where(outbox.c.subject == subject)
        if since:
            query = query.where(outbox.c.at >= since)
        async with self.database.read() as connection:
            return [Event(**fields(row)) for row in await connection.execute(query)]

    async def last_events(self, limit: int, *, subject: str = "") -> list[Event]:
        """The newest events, oldest first."""
        query = select(outbox).order_by(outbox.c.number.desc()).limit(page(limit))
        if subject:
            query = query.where(outbox.c.subject == subject)
        async with self.database.read() as connection:
            return [Event(**fields(row)) for row in await connection.execute(query)][::-1]

    async def newest_event(self) -> int:
        """The number of the newest event; 0 where there is none."""
        async with self.database.read() as connection:
            return await _head(connection)

    async def clean_outbox(self, now: float) -> int:
        """Drops what is too old or too much. How many deliveries were dropped that still waited."""
        async with self.database.write() as write:
            newest = await _head(write.connection)
            aged = select(func.max(outbox.c.number)).where(outbox.c.at < now - KEPT_SECONDS)
            cut = max(newest - EVENTS, await write.connection.scalar(aged) or 0)
            waited = select(func.count()).where(deliveries.c.number <= cut, deliveries.c.next_try.is_not(None))
            lost = await write.connection.scalar(waited) or 0
            await write.connection.execute(delete(deliveries).where(deliveries.c.number <= cut))
            await write.connection.execute(delete(outbox).where(outbox.c.number <= cut))
            for endpoint in await _endpoints(write.connection):
                over = (deliveries.c.endpoint_id == endpoint.id) & deliveries.c.next_try.is_(None)
                oldest = select(deliveries.c.number).where(over).order_by(deliveries.c.number.desc()).offset(LOG).limit(1)
                number = await write.connection.scalar(oldest)
                if number is not None:
                    await write.connection.execute(delete(deliveries).where(over, deliveries.c.number <= number))
        return lost

    def _sealed(self, endpoint_id: str, secrets: Sequence[Secret]) -> bytes:
        return self._sealer.seal(msgspec.json.encode(list(secrets)), _context(endpoint_id))


_ENDPOINTS = select(*_COLUMNS).order_by(endpoints.c.created_at, endpoints.c.id)
_BEHIND = _ENDPOINTS.where(
    endpoints.c.disabled_at.is_(None),
    endpoints.c.reached < func.coalesce(select(func.max(outbox.c.number)).scalar_subquery(), 0),
)


def _context(endpoint_id: str) -> bytes:
    return b"endpoint:" + endpoint_id.encode()


def _values(endpoint: Endpoint) -> dict[str, Any]:
    values = {name: getattr(endpoint, name) for name in endpoint.__struct_fields__}
    return values | {"events": " ".join(endpoint.events)}


def _endpoint_of(row: Row[Any]) -> Endpoint:
    return Endpoint(**(fields(row) | {"events": tuple(row.events.split())}))


async def _endpoints(connection: AsyncConnection) -> list[Endpoint]:
    return [_endpoint_of(row) for row in await connection.execute(_ENDPOINTS)]


async def _endpoint(connection: AsyncConnection, endpoint_id: str) -> Endpoint:
    row = (await connection.execute(select(*_COLUMNS).where(endpoints.c.id == endpoint_id))).first()
    if row is None:
        raise NotFound(f"There is no endpoint {endpoint_id[:100]!r}. `edgeproxy webhooks list` shows those that there are.")
    return _endpoint_of(row)


async def _enabled(write: Write, endpoint_id: str) -> Endpoint:
    endpoint = await _endpoint(write.connection, endpoint_id)
    if endpoint.disabled_at is not None:
        raise Conflict(
            f"The endpoint {endpoint.name} is disabled: {endpoint.disabled_why} Enable it first: `edgeproxy webhooks enable "
            f"{endpoint.id}`."
        )
    return endpoint


async def _remove(write: Write, endpoint_id: str) -> None:
    await write.connection.execute(delete(deliveries).where(deliveries.c.endpoint_id == endpoint_id))
    await write.connection.execute(delete(endpoints).where(endpoints.c.id == endpoint_id))
    write.destroyed()


async def _head(connection: AsyncConnection) -> int:
    return int(await connection.scalar(select(func.max(outbox.c.number))) or 0)


async def _pending(connection: AsyncConnection, endpoint_id: str) -> int:
    query = select(func.count()).where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.next_try.is_not(None))
    return int(await connection.scalar(query) or 0)


async def _note(write: Write, endpoint: Endpoint, limit: int, now: float) -> bool:
    """Notes an endpoint's next events; True where there may be more. What stands there already was replayed before its turn."""
    query = select(outbox.c.number, outbox.c.type).where(outbox.c.number > endpoint.reached)
    rows = (await write.connection.execute(query.order_by(outbox.c.number).limit(limit))).all()
    wanted = [row.number for row in rows if chosen(endpoint.events, row.type)]
    if wanted:
        new = [{"endpoint_id": endpoint.id, "number": number, "next_try": now} for number in wanted]
        await write.connection.execute(insert(deliveries).on_conflict_do_nothing(), new)
    if rows:
        reached = endpoints.update().where(endpoints.c.id == endpoint.id).values(reached=rows[-1].number)
        await write.connection.execute(reached)
    return len(rows) == limit


async def _note_state(write: Write, each: Tried) -> None:
    """Whether an endpoint works, by a try that ended."""
    mine = endpoints.update().where(endpoints.c.id == each.endpoint_id)
    if each.delivered:
        await write.connection.execute(mine.where(endpoints.c.failing_since.is_not(None)).values(failing_since=None))
    else:
        await write.connection.execute(mine.where(endpoints.c.failing_since.is_(None)).values(failing_since=each.at))
    if each.gone:
        disabled = mine.where(endpoints.c.disabled_at.is_(None)).values(disabled_at=each.at, disabled_why=ANSWERED_GONE)
        if (await write.connection.execute(disabled)).rowcount:
            await _give_up(write, each.endpoint_id, "The endpoint is disabled: it answered 410.")
            await audited(write, each.at, "edge", "webhook.disabled", each.endpoint_id, ANSWERED_GONE)


async def _give_up(write: Write, endpoint_id: str, why: str) -> None:
    """Ends what waits for an endpoint."""
    waiting = (deliveries.c.endpoint_id == endpoint_id) & deliveries.c.next_try.is_not(None)
    await write.connection.execute(deliveries.update().where(waiting).values(next_try=None, error=why))


async def _anew(write: Write, endpoint_id: str, numbers: Sequence[int], now: float) -> None:
    if not numbers:
        return
    rows = [{"endpoint_id": endpoint_id, "number": number, "next_try": now} for number in numbers]
    again = {"tries": 0, "next_try": now, "delivered_at": None, "error": ""}
    statement = insert(deliveries).on_conflict_do_update(index_elements=["endpoint_id", "number"], set_=again)
    await write.connection.execute(statement, rows)
    write.told()


def _failed() -> ColumnElement[bool]:
    return deliveries.c.delivered_at.is_(None) & or_(deliveries.c.tries > 0, deliveries.c.error != "")


def _deliveries() -> Any:
    return select(deliveries.c.endpoint_id, *_TRIED, *outbox.c).join_from(
        deliveries, outbox, outbox.c.number == deliveries.c.number
    )


def _delivery(row: Row[Any]) -> Delivery:
    found = fields(row)
    of_try = {name.removeprefix("delivery_"): value for name, value in found.items() if name.startswith("delivery_")}
    event = {column.name: found[column.name] for column in outbox.c}
    return Delivery(endpoint_id=row.endpoint_id, event=Event(**event), **of_try)
