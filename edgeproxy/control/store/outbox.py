"""What happened, in the transaction of what made it happen: webhooks and whoever asks later read it from here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from edgeproxy.control.store.database import Write
from edgeproxy.control.store.schema import outbox

ID_BYTES = 16


async def emitted(write: Write, now: float, type_: str, subject: str, workspace_id: str, data: Mapping[str, Any]) -> str:
    """Notes an event ("domain.verified") of a hostname, in the transaction of what it tells; its id, which stays the same
    however often it is delivered. `data` is JSON-ready and holds no secret."""
    event_id = f"msg_{secrets.token_urlsafe(ID_BYTES)}"
    values = {"id": event_id, "type": type_, "subject": subject, "workspace_id": workspace_id, "at": now}
    await write.connection.execute(outbox.insert().values(**values, data=msgspec.json.encode(data)))
    write.told()
    return event_id
