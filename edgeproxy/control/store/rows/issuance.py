"""How certificates are obtained: accounts, orders, whose turn it is, and what was spent."""

from __future__ import annotations

from typing import Literal

from edgeproxy.control.store.rows.row import Row


class Account(Row, frozen=True, kw_only=True):
    """An account at an ACME CA."""

    directory: str
    url: str = ""
    """Empty: the key was made, but the CA's answer is not known yet."""
    key: bytes
    """The account's key, in whatever form the caller chose. The store seals it."""
    contact: str = ""
    created_at: float = 0.0
    """Set by the store."""
    next_key: bytes | None = None
    """A key that is to take the place of `key`, until the CA is known to have taken it. The store seals it."""
    key_changed_at: float | None = None
    """When `key` last took the place of another; None: it is the first."""

    def __repr__(self) -> str:
        return f"Account(directory={self.directory!r}, url={self.url!r})"


class Order(Row, frozen=True, kw_only=True):
    """An order under way at an ACME CA: saved at each step, so that a restart resumes it."""

    hostname: str
    """The certificate's name: one order per name at a time."""
    directory: str
    url: str = ""
    """Empty: not yet placed, or the CA's answer got lost."""
    step: str
    """What was done last, in the words of issuance."""
    key: bytes = b""
    """The certificate's private key. The store seals it."""
    data: bytes = b""
    """Whatever else issuance needs to resume; no secrets."""
    started_at: float
    updated_at: float = 0.0
    """Set by the store."""
    error: str = ""

    def __repr__(self) -> str:
        return f"Order(hostname={self.hostname!r}, directory={self.directory!r}, url={self.url!r}, step={self.step!r})"


class GateRoute(Row, frozen=True, kw_only=True):
    """A route learnt from the gate."""

    hostname: str
    workspace_id: str = ""
    """Empty: the gate admits the name but does not say whose it is."""
    origin: str = ""
    fresh_until: float
    updated_at: float = 0.0
    """Set by the store."""


class Failure(Row, frozen=True, kw_only=True):
    """That something failed for a name, how often in a row, and when it may be tried again."""

    name: str
    count: int
    next_try: float
    detail: str
    fault: str = "ca"
    """Whose, an `errors.Fault`."""
    updated_at: float = 0.0
    """Set by the store."""


class Waiting(Row, frozen=True, kw_only=True):
    """A name that waits for its turn to be ordered. What the fields mean: `control.issuance.queue.Entry`."""

    name: str
    kind: str
    workspace_id: str = ""
    since: float
    not_before: float = 0.0
    reason: str = ""
    urgency: float = 0.0
    visited: bool = False
    renewal: bool = False
    replaces: bool = False
    forced: bool = False


class Lease(Row, frozen=True, kw_only=True):
    """Who works on a name, until when unless that is prolonged."""

    name: str
    machine: str
    """The machine's own id: its next process takes over at once."""
    holder: str
    """One process of it."""
    expires: float


class Spent(Row, frozen=True, kw_only=True):
    """An order or a failed validation that a CA still counts."""

    number: int = 0
    """Set by the store."""
    directory: str
    what: str
    """"order" (what comes of it is open), "issued", "failed" (no certificate comes of it) or "validation" (one that failed)."""
    kind: str
    name: str
    registered: str
    paced: bool
    at: float
    holder: str


class RateLimit(Row, frozen=True, kw_only=True):
    """What a CA said not to ask before a time."""

    directory: str
    scope: str
    """"account", "domain" or "name"."""
    subject: str
    until: float
    detail: str = ""


class Begun(Row, frozen=True, kw_only=True):
    """What came of the wish to place an order."""

    spent: int = 0
    """The number of what was spent; 0: nothing."""
    superseded: tuple[int, ...] = ()
    """The numbers of earlier orders for the name whose outcome was open: nobody will ask for it any more."""
    refused: Literal["", "held", "issued", "spent"] = ""
    """Why it must not be placed: somebody else works on the name, its certificate is there, or nothing is left."""
    until: float = 0.0
    """Where somebody else works on it: when that ends unless it is prolonged."""


class InternalCa(Row, frozen=True, kw_only=True):
    """The root of the built-in CA."""

    certificate: bytes
    """PEM."""
    key: bytes
    """Its private key, PEM. The store seals it."""
    created_at: float = 0.0
    """Set by the store."""

    def __repr__(self) -> str:
        return f"InternalCa(created_at={self.created_at!r})"
