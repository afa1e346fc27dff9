"""What happened, in the transaction of what made it happen: webhooks and whoever asks later read it from here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, select

from edgeproxy.control.events import Event
from edgeproxy.control.store.base import covering
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domain_config import domain_of, told
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.control.store.schema import domains, outbox
from edgeproxy.model import ANSWERED, wildcard_of

ID_BYTES = 16

_CERTIFICATE = select(covering(bindparam("hostname"), bindparam("now")))
"""Made once: it is asked at each event."""


async def emitted(write: Write, now: float, type_: str, subject: str, workspace_id: str, data: Mapping[str, Any]) -> str:
    """Notes an event ("domain.verified") of a hostname, in the transaction of what it tells; its id, which stays the same
    however often it is delivered. `data` is JSON-ready and holds no secret."""
    event_id = f"msg_{secrets.token_urlsafe(ID_BYTES)}"
    values = {"id": event_id, "type": type_, "subject": subject, "workspace_id": workspace_id, "at": now}
    await write.connection.execute(outbox.insert().values(**values, data=msgspec.json.encode(data)))
    write.told()
    return event_id


async def became(write: Write, now: float, type_: str, domain: Domain) -> None:
    """Notes an event of a domain, as it is after what it tells, in the transaction of that."""
    await emitted(write, now, type_, domain.hostname, domain.workspace_id, await config_of(write, now, domain))


async def config_of(write: Write, now: float, domain: Domain) -> dict[str, Any]:
    """The domain_config of a domain at this moment of a transaction."""
    certificate_id = None
    if domain.state in ANSWERED:
        certificate_id = await write.connection.scalar(_CERTIFICATE, {"hostname": domain.hostname, "now": now})
    beside = None if write.describe is None else await write.describe(domain)
    return told(domain, certificate_id, beside)


async def happened(write: Write, now: float, event: Event | None) -> None:
    """Notes what became of a certificate, in the transaction of what it tells: then neither is without the other, whenever the
    process dies. Whoever calls tells it in memory too, afterwards (`events.tell`). None: there is nothing to tell."""
    if event is None:
        return
    fields = dict(event.fields)
    hostname = str(fields.pop("hostname", ""))
    workspace, config = await of_its_domain(write, now, hostname)
    await emitted(write, now, event.name, hostname, workspace, {**config, "domain": hostname, **shown(fields)})


async def of_its_domain(write: Write, now: float, hostname: str) -> tuple[str, dict[str, Any]]:
    """Whose a hostname is, and what is told of its registration, or of the wildcard's above it. Of nobody's there is nothing to
    tell: empty, and a `workspace_id` of None."""
    names = (hostname, wildcard_of(hostname))
    query = select(domains).where(domains.c.hostname.in_(names))
    found = {row.hostname: row for row in await write.connection.execute(query)}
    row = found.get(names[0]) or found.get(names[1])
    if row is None:
        return "", {"workspace_id": None}
    domain = domain_of(row)
    return domain.workspace_id, await config_of(write, now, domain)


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
