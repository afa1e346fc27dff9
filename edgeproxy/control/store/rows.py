"""What the store gives and takes: frozen structs. Times are Unix times in seconds. Secrets are absent from their repr."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeproxy.model import DomainState, TokenScope

Database = Literal["sites", "certificates", "challenges", "tickets"]

CUSTOM = "custom"
"""`StoredCertificate.issuer` of what somebody uploaded."""

ANSWERED_GONE = "It answered 410: it wants no more events."
"""`Endpoint.disabled_why` of one whose receiver said so."""

LAST_DAY = 86_400.0
"""Seconds before an uploaded certificate's end from which the edge's own may take its place: a day has room for the
retries after 1, 10 and 100 minutes."""


def replace_at(not_before: float, not_after: float) -> float:
    """Unix time from which the edge's own may take an uploaded certificate's place: a day before its end, or for lives
    under ten days when a tenth of it is left. Pure."""
    return not_after - min(LAST_DAY, max(0.0, not_after - not_before) / 10)


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
    method: str = ""
    """How its owner proves it: "cname", "dns" (TXT), "file" or "email". Empty: the operator's word."""
    proof: str = ""
    """What only its owner can put in the DNS or on the web: random, made when it is registered."""
    redirect_to: str = ""
    """The hostname that every request is sent to instead. Empty: it is served."""
    include_www: bool = False
    """Its www, or for a www its apex, was registered with it."""
    maintenance: bool = False
    """Visitors are told to come back later."""
    must_prove: bool = False
    """Only a record in the DNS that nobody else can have set proves it: another workspace held it, it was active before, or it
    is a wildcard."""
    metadata: str = ""
    """The workspace's own strings, as a JSON object. Empty: none."""
    error_code: str = ""
    """What is wrong with it now; empty: nothing."""
    error_detail: str = ""
    error_fault: str = ""
    looks: int = 0
    """How often it was looked at since `looking_since`."""
    version: int = 0
    """Another one after each change that the API shows."""
    next_look: float | None = None
    """When it is looked at again; None: never by itself."""
    looking_since: float | None = None
    """When the schedule of looks began."""
    looked_at: float | None = None
    active_at: float | None = None
    """When it first was active."""
    parked_at: float | None = None
    suspended_at: float | None = None


class Holder(Row, frozen=True, kw_only=True):
    """A workspace that held a name, verified, and holds it no longer."""

    hostname: str
    workspace_id: str
    was_active: bool
    ended_at: float


class Removal(Row, frozen=True, kw_only=True):
    """A removed domain that can still be brought back."""

    domain: Domain
    """As it was."""
    removed_at: float
    removed_by: str
    final_at: float
    """From then on it cannot, and its keys are destroyed."""


class DomainChange(Row, frozen=True, kw_only=True):
    """What is to be changed of a domain; None: it stays. Names and meanings are those of `Domain`."""

    origin: str | None = None
    redirect_to: str | None = None
    maintenance: bool | None = None
    metadata: str | None = None


class Companion(Row, frozen=True, kw_only=True):
    """A certificate with an RSA key beside one with an ECDSA key: for clients that know no ECDSA."""

    id: str
    chain: bytes
    """PEM, leaf first."""
    sealed_key: bytes
    """PKCS#8 PEM under the map's key, context b"key:" + id."""
    not_before: float
    not_after: float
    serial: str
    issuer: str
    """The ACME directory, or "internal"."""
    key_type: str


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
    """The ACME directory, "internal", or CUSTOM."""
    added_at: float = 0.0
    """Set by the store."""
    superseded_at: float | None = None
    """Set by the store when every one of its names has a newer certificate."""
    serial: str = ""
    """The leaf's serial number, lower-case hex."""
    auto_renew: bool = True
    """Of an uploaded one: whether the edge's own may take its place at its end."""
    warned: int | None = None
    """The fewest days before its end of which a warning was given; 0: that it has ended. None: no warning yet."""
    revocation: str | None = None
    """Why it was or is to be revoked, as RFC 5280 names reasons; None: it is not."""
    revoked_at: float | None = None
    """When its CA took the revocation; None: not yet."""
    challenge: str = ""
    """By which its name was proven to an ACME CA: the next order begins with it. Empty: nobody knows."""
    look_at: float = 0.0
    """Before that its renewal is not looked at, though it may be due: something failed, or is in the way."""
    info_at: float = 0.0
    """When its CA is to be asked again when to renew it."""
    astray_since: float | None = None
    """Since when the DNS says that its name does not point here; None: it does, or nobody asked."""
    parked_at: float | None = None
    """When its renewal was parked for that; None: it is not."""
    key_type: str = ""
    """"p256", "p384", "rsa2048" …; empty: nobody noted it."""
    companion: Companion | None = None
    """Renewed, revoked and deleted with it."""
    companion_at: float = 0.0
    """When a companion is to be obtained (again), where the configuration wants one."""

    @property
    def custom(self) -> bool:
        """Whether somebody uploaded it."""
        return self.issuer == CUSTOM

    def holds(self, now: float) -> bool:
        """Whether it is an uploaded one that goes before whatever the edge obtains by itself."""
        end = replace_at(self.not_before, self.not_after) if self.auto_renew else self.not_after
        return self.custom and now < end


class HistoryEntry(Row, frozen=True, kw_only=True):
    """That a name had a certificate: from whom, since when, and why it ended. Stays when the certificate is deleted."""

    number: int
    name: str
    certificate_id: str
    serial: str
    issuer: str
    """As of StoredCertificate."""
    not_after: float
    added_at: float
    added_by: str
    """Who had it made: "uid:0", or "edge" by itself."""
    ended_at: float | None = None
    """When it ceased to be the newest of the name; None: it is."""
    ended_by: str = ""
    ended_why: str = ""


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


class LogEntry(Row, frozen=True, kw_only=True):
    """That a key of the published map may have another value now."""

    number: int
    database: Database
    key: str


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


class Workspace(Row, frozen=True, kw_only=True):
    """What a workspace is entitled to, by whoever said so last."""

    workspace_id: str
    paid: bool
    max_domains: int | None = None
    """None: `limits.domains_per_workspace`."""
    source: Literal["platform", "api", "config"]
    """Who says so: the platform, asked at `entitlement.url`; the API; or the configuration, whose list has it or has it not."""
    fresh_until: float
    """Until when an answer of the platform counts; it is kept for when the platform cannot be asked."""
    checked_at: float
    unpaid_since: float | None = None
    """None: it pays."""


class MailProof(Row, frozen=True, kw_only=True):
    """A mail that was sent to prove a domain: what its link and its code are digests of."""

    hostname: str
    workspace_id: str
    addresses: str
    """To whom, with spaces between."""
    link_digest: bytes
    code_digest: bytes
    tries: int = 0
    """Codes that were tried."""
    sends: int = 1
    """Mails of this name within a day."""
    sent_at: float
    expires_at: float


class AuditEntry(Row, frozen=True, kw_only=True):
    """Who did what."""

    number: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str = ""


class Event(Row, frozen=True, kw_only=True):
    """What happened, as the outbox has it."""

    number: int
    id: str
    """The same in each delivery: `webhook-id`."""
    type: str
    """As "domain.verified"."""
    subject: str
    """The hostname."""
    workspace_id: str
    at: float
    data: bytes
    """JSON."""


class Endpoint(Row, frozen=True, kw_only=True):
    """Where events are sent."""

    id: str
    source: Literal["api", "config"]
    url: str
    label: str = ""
    events: tuple[str, ...] = ()
    """Which it gets (`config.webhooks.chosen`); empty: all."""
    reached: int = 0
    """The number in the outbox up to which its deliveries were noted."""
    created_at: float
    created_by: str
    updated_at: float
    disabled_at: float | None = None
    disabled_why: str = ""
    failing_since: float | None = None
    """Since when no delivery succeeded; None: the last one did."""

    @property
    def name(self) -> str:
        """For people."""
        return self.label or self.url

    @property
    def disabled_by_receiver(self) -> bool:
        """Whether it is disabled since its receiver answered 410."""
        return self.disabled_at is not None and self.disabled_why == ANSWERED_GONE


class Delivery(Row, frozen=True, kw_only=True):
    """What became of an event at an endpoint."""

    endpoint_id: str
    event: Event
    tries: int
    next_try: float | None
    """None: delivered, or given up."""
    tried_at: float | None
    delivered_at: float | None
    status: int | None
    """HTTP's, of the last try; None where nothing was answered."""
    error: str
    """Of the last try; empty: it succeeded, or there was none yet."""


class Tried(Row, frozen=True, kw_only=True):
    """How a try ended."""

    endpoint_id: str
    number: int
    at: float
    delivered: bool
    status: int | None
    error: str = ""
    next_try: float | None = None
    """None: delivered, or given up."""
    gone: bool = False
    """The receiver wants no more events (410)."""


class Alert(Row, frozen=True, kw_only=True):
    """What people were told of a condition."""

    kind: str
    subject: str
    since: float
    told_at: float
    """When they were told that it is there."""
    over_at: float | None = None
    """When they were told that it is over."""


class Summary(Row, frozen=True, kw_only=True):
    """Counts for status and metrics."""

    domains: dict[str, int]
    """By state; only states that occur."""
    certificates: dict[str, int]
    """"valid", "due" (to be renewed, still valid), "expired" and, where there are any, "parked" (due, but its name points
    elsewhere); without those that a newer one has superseded."""
    soonest_expiry: float | None
    """Of the certificates that are still valid."""
    gate_routes: int
    orders: int
    failures: int
    uploaded: dict[str, int] = {}
    """Uploaded certificates in use, by what is left of them: "expired", "1_day", "7_days", "30_days", "longer"."""


class SiteFacts(Row, frozen=True, kw_only=True):
    """All that the store knows towards the site of a hostname. Flat: a million of them are made for a new map."""

    hostname: str
    state: str | None
    """Of its registration, a DomainState; None: not registered."""
    workspace_id: str | None
    origin: str | None
    method: str | None
    redirect_to: str | None
    """Empty, too, where its workspace has no such domain (any more)."""
    maintenance: bool | None
    gate_workspace_id: str | None
    gate_origin: str | None
    fresh_until: float | None
    """Of its route from the gate; None: there is none."""
    own_certificate: str | None
    """The newest certificate still valid that names the hostname itself."""
    wildcard_certificate: str | None
    """The same for its wildcard."""
