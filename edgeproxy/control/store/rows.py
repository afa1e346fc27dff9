"""What the store gives and takes: frozen structs. Times are Unix times in seconds. Secrets are absent from their repr."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeproxy.model import DomainState

Database = Literal["sites", "certificates", "challenges", "tickets"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What every row has in common."""


class Domain(Row, frozen=True, kw_only=True):
    """A registered hostname, possibly a wildcard ("*.example.com")."""

    hostname: str
    workspace_id: str
    origin: str = ""
    """Empty: the platform's origin."""
    state: DomainState
    created_at: float
    updated_at: float
    verified_at: float | None = None
    """When it first was in a state that is served."""


class StoredCertificate(Row, frozen=True, kw_only=True):
    """A certificate. Immutable: a renewed one has another id."""

    id: str
    """1 to 128 letters, digits, dots, hyphens or underscores, chosen by whoever adds it."""
    names: tuple[str, ...]
    chain: bytes
    """PEM, leaf first."""
    sealed_key: bytes
    """PKCS#8 PEM under the map's key, context b"key:" + id: goes into the map as it is."""
    not_before: float
    not_after: float
    renew_at: float
    """When to renew it; never: math.inf."""
    issuer: str = ""
    """The ACME directory, or "internal"."""
    added_at: float = 0.0
    """Set by the store."""
    superseded_at: float | None = None
    """Set by the store when every one of its names has a newer certificate."""


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
    updated_at: float = 0.0
    """Set by the store."""


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


class LogEntry(Row, frozen=True, kw_only=True):
    """That a key of the published map may have another value now."""

    number: int
    database: Database
    key: str


class AuditEntry(Row, frozen=True, kw_only=True):
    """Who did what."""

    number: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str = ""


class Summary(Row, frozen=True, kw_only=True):
    """Counts for status and metrics."""

    domains: dict[str, int]
    """By state; only states that occur."""
    certificates: dict[str, int]
    """"valid", "due" (to be renewed, still valid) and "expired"; without those that a newer one has superseded."""
    soonest_expiry: float | None
    """Of the certificates that are still valid."""
    gate_routes: int
    orders: int
    failures: int


class SiteFacts(Row, frozen=True, kw_only=True):
    """All that the store knows towards the site of a hostname. Flat: a million of them are made for a new map."""

    hostname: str
    state: str | None
    """Of its registration, a DomainState; None: not registered."""
    workspace_id: str | None
    origin: str | None
    gate_workspace_id: str | None
    gate_origin: str | None
    fresh_until: float | None
    """Of its route from the gate; None: there is none."""
    own_certificate: str | None
    """The newest certificate still valid that names the hostname itself."""
    wildcard_certificate: str | None
    """The same for its wildcard."""
