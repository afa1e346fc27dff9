"""Who may do what by the API, and who did."""

from __future__ import annotations

from edgeproxy.control.store.rows.row import Row
from edgeproxy.model import TokenScope


class Token(Row, frozen=True, kw_only=True):
    """A bearer token, without its secret."""

    id: str
    """A part of its text that is no secret: names it in listings and in the audit log."""
    digest: bytes
    """SHA-256 of its text."""
    scope: TokenScope
    workspace_id: str = ""
    """Whose domains it is good for. Empty: all."""
    hostname: str = ""
    """The one domain that it is good for. Empty: not only one."""
    label: str = ""
    created_at: float
    created_by: str
    expires_at: float | None = None
    """None: it does not."""
    revoked_at: float | None = None
    used_at: float | None = None
    """To the minute."""


class AuditEntry(Row, frozen=True, kw_only=True):
    """Who did what."""

    number: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str = ""
