"""Who asks, and what they may do. Pure but for what is read from a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgeproxy.control.api.context import actor_of
from edgeproxy.control.api.problems import Refused
from edgeproxy.model import TokenScope

if TYPE_CHECKING:
    from fastapi import Request

READERS: Final = frozenset((TokenScope.OPERATOR_READ, TokenScope.OPERATOR_WRITE))
WRITERS: Final = frozenset((TokenScope.OPERATOR_WRITE,))
TENANTS: Final = frozenset((TokenScope.PLATFORM, TokenScope.TENANT))
NOBODY: Final[frozenset[TokenScope]] = frozenset()

MAKES: Final[Mapping[TokenScope, frozenset[TokenScope]]] = {
    TokenScope.OPERATOR_WRITE: frozenset((TokenScope.PLATFORM, TokenScope.TENANT, TokenScope.DOMAIN_READ)),
    TokenScope.OPERATOR_READ: NOBODY,
    TokenScope.PLATFORM: frozenset((TokenScope.TENANT, TokenScope.DOMAIN_READ)),
    TokenScope.TENANT: frozenset((TokenScope.DOMAIN_READ,)),
    TokenScope.DOMAIN_READ: NOBODY,
}
"""Which tokens a token may make, see and revoke: only lesser ones, so that one which was stolen cannot outlive its own
revocation as another of its kind. On the admin socket all may be made."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    actor: str
    """For the audit log: "uid:0" on the admin socket, "token:ID ADDRESS" under api.hostname."""
    scope: TokenScope | None = None
    """None: the operator, on the admin socket. Everything is allowed."""
    workspace_id: str = ""
    """The one whose domains it may see and change; "" is all."""
    hostname: str = ""
    """The one domain that it may see; "" is not only one."""
    token_id: str = ""
    """"" on the admin socket."""

    @property
    def is_operator(self) -> bool:
        """Whether this is the operator's own word, which passes where no token's does (origins on private addresses)."""
        return self.scope is None

    @property
    def acts_for_customers(self) -> bool:
        """Whether a workspace has to be entitled to what this does for it; not to what the operator does."""
        return self.scope in TENANTS

    def may(self, scopes: frozenset[TokenScope]) -> bool:
        """Whether one of these suffices."""
        return self.scope is None or self.scope in scopes

    def manages(self) -> frozenset[TokenScope] | None:
        """The scopes of tokens that it may make, see and revoke; None: all."""
        return None if self.scope is None else MAKES[self.scope]

    def owns(self, workspace_id: str, hostname: str = "") -> None:
        """Raises Refused unless it may see a domain of this workspace with this name ("": only the workspace counts)."""
        if self.workspace_id and self.workspace_id != workspace_id:
            raise not_yours()
        if self.hostname and self.hostname != hostname:
            raise forbidden(f"This token is for {self.hostname} alone.")

    def workspace_filter(self, asked: str | None) -> str | None:
        """The workspace to list domains of, where it asked for this one; None: all. Raises Refused."""
        if self.hostname:
            raise forbidden(f"This token is for {self.hostname} alone, and lists nothing.")
        if not self.workspace_id:
            return asked or None
        if asked and asked != self.workspace_id:
            raise not_yours()
        return self.workspace_id


def caller_of(request: Request) -> Caller:
    """Who sent a request. Raises Refused where nobody has found that out."""
    found = request.scope.get("state", {}).get("caller")
    if isinstance(found, Caller):
        return found
    if getattr(request.app.state, "admin", False):
        return Caller(actor_of(request))
    raise Refused(401, "This needs a token.", code="unauthorized")


def not_yours() -> Refused:
    """The answer to whom a workspace is not theirs."""
    return Refused(403, "Not your workspace", code="not_your_workspace")


def forbidden(detail: str) -> Refused:
    """The answer to a token that is a valid one, but not for this."""
    return Refused(403, detail, code="insufficient_scope")
