"""What happened, in the transaction of what made it happen: webhooks and whoever asks later read it from here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from edgeproxy.control.events import Event
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domain_config import domain_of, told
from edgeproxy.control.store.schema import domains, outbox
from edgeproxy.model import wildcard_of

ID_BYTES = 16


async def emitted(write: Write, now: float, type_: str, subject: str, workspace_id: str, data: Mapping[str, Any]) -> str:
    """Notes an event ("domain.verified") of a hostname, in the transaction of what it tells; its id, which stays the same
    however often it is delivered. `data` is JSON-ready and holds no secret."""
    event_id = f"msg_{secrets.token_urlsafe(ID_BYTES)}"
    values = {"id": event_id, "type": type_, "subject": subject, "workspace_id": workspace_id, "at": now}
    await write.connection.execute(outbox.insert().values(**values, data=msgspec.json.encode(data)))
    write.told()
    return event_id


async def happened(write: Write, now: float, event: Event | None) -> None:
    """Notes what became of a certificate, in the transaction of what it tells: then neither is without the other, whenever the
    process dies. Whoever calls tells it in memory too, afterwards (`events.tell`). None: there is nothing to tell."""
    if event is None:
        return
    fields = dict(event.fields)
    hostname = str(fields.pop("hostname", ""))
    workspace, config = await of_its_domain(write.connection, hostname)
    await emitted(write, now, event.name, hostname, workspace, {**config, "domain": hostname, **shown(fields)})


async def of_its_domain(connection: AsyncConnection, hostname: str) -> tuple[str, dict[str, Any]]:
    """Whose a hostname is, and what is told of its registration, or of the wildcard's above it. Of nobody's there is nothing to
    tell: empty, and a `workspace_id` of None."""
    names = (hostname, wildcard_of(hostname))
    query = select(domains).where(domains.c.hostname.in_(names))
    found = {row.hostname: row for row in await connection.execute(query)}
    row = found.get(names[0]) or found.get(names[1])
    if row is None:
        return "", {"workspace_id": None}
    domain = domain_of(row)
    return domain.workspace_id, told(domain)


def shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An event's fields as receivers have them: times as RFC 3339, and `error` as a domain_config has it. Pure."""
    found = {
        name: timestamp(value) if name in ("not_after", "since") and isinstance(value, int | float) else value
        for name, value in fields.items()
    }
    if "error" in found:
        detail = found.pop("error")
        error = {name: found.pop(name) for name in ("code", "fault", "retryable") if name in found}
        if detail:
            found["error"] = {"code": "", "detail": detail, "fault": "", "retryable": True} | error
    return found


def timestamp(at: float) -> str:
    """Unix time as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
