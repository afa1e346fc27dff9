"""What the operator API takes and gives, as pydantic models: checked, bounded, and described in /openapi.json."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeproxy.control.api.forms import HOSTNAME, NAME, NAME_CURSOR, SERIAL, URL, WORKSPACE, NameCursor, or_empty
from edgeproxy.control.api.policy_shapes import PoliciesIn
from edgeproxy.control.api.problems import Refused
from edgeproxy.model import DomainState, RevocationReason

PAGE = 100
PAGE_MAX = 1_000

Workspace = Annotated[str, Field(max_length=63, examples=["spandantest"], json_schema_extra=WORKSPACE)]
Name = Annotated[str, Field(max_length=260, examples=["gallery.example.com"], json_schema_extra=HOSTNAME)]


CertificateState = Literal["valid", "due", "parked", "expired", "not_yet_valid", "revoked"]

SERIALS = 1_000
"""Serial numbers of one request: a request's body has room for ten times as many."""


class Body(BaseModel):
    """A request's body: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """A request's query: unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")


METADATA = 16
"""Entries of a domain's metadata."""

Redirect = Annotated[str, Field(max_length=260, examples=["www.example.com"], json_schema_extra=or_empty(NAME))]
Origin = Annotated[str, Field(max_length=2_048, json_schema_extra=or_empty(URL))]
Metadata = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=METADATA, examples=[{"plan": "gold"}], json_schema_extra={"additionalProperties": False}),
]


class DomainIn(Body):
    """POST …/domains."""

    domain: Name = Field(description="A hostname, or a wildcard like *.example.com")
    workspace_id: Workspace = Field(description="Whose the domain is; goes to the origin in `origin.header`")
    origin: Origin = Field(default="", description="The domain's own origin. Empty: the platform's")
    auto_configure: bool = Field(default=True, description="Whether the edge obtains its certificate by itself")
    verify: bool = Field(
        default=False,
        description="False: the operator's word, served at once. True: it waits for verification, and is not served until then",
    )
    method: Literal["cname", "dns", "file", "email"] | None = Field(
        default=None,
        description="With `verify`: how its owner proves it; null: cname. dns: a TXT record; email: a mail that is sent now, "
        "or the record, whichever comes first",
    )
    redirect_to: Redirect = Field(
        default="", description="A domain of the same workspace that visitors are sent to instead. Empty: none"
    )
    include_www: bool = Field(
        default=False, description="Whether www.DOMAIN, or for www.DOMAIN the apex, is added too, and redirects to this one"
    )
    metadata: Metadata = Field(default={}, description="The workspace's own strings, echoed in events")
    policies: PoliciesIn = Field(default=PoliciesIn(), description="Its own settings, beside the configuration's")


DOMAINS = 500
"""Domains of one request. All are one transaction, for which others who write wait."""


class DomainsIn(Body):
    """POST …/domain-imports."""

    domains: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=DOMAINS,
        description="Each as POST …/domains takes it. One that does not fit is refused, and the others are added",
    )
    events: bool = Field(
        default=False,
        description="Whether domain.registered is told of each. The outbox keeps 200,000 events: many domains would drive out "
        "others",
    )


class DomainPatch(Body):
    """PATCH …/domains/{domain}. What is left out stays as it is."""

    origin: Origin | None = Field(default=None, description="The domain's own origin. null or \"\": the platform's")
    redirect_to: Redirect | None = Field(
        default=None, description='A domain of the same workspace that visitors are sent to instead. null or "": none'
    )
    maintenance: bool = Field(default=False, description="Whether visitors get 503 and a page that says to come back later")
    metadata: Metadata | None = Field(default=None, description="Replaces all that was there. null: none")
    policies: PoliciesIn | None = Field(
        default=None, description="What is left out of it stays as it is. null: all as the configuration says"
    )


class VerifyIn(Body):
    """POST …/domains/{domain}/verify."""

    method: Literal["cname", "dns", "file", "email"] | None = Field(
        default=None,
        description="How its owner proves it from now on; dns: a TXT record; email: a mail that is sent now, beside what was. "
        "null: as before",
    )


class RestoreIn(Body):
    """POST …/domains/{domain}/restore."""

    workspace_id: str = Field(
        default="",
        max_length=63,
        json_schema_extra=or_empty(WORKSPACE),
        description="Whose it was. Empty: whoever's it was last",
    )


class DomainQuery(Query):
    """GET …/domains."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    cursor: NameCursor = Field(default="", description="`next_cursor` of the page before")
    workspace_id: str = Field(default="", max_length=63)
    state: DomainState | None = None
    prefix: str = Field(default="", max_length=253, description="How the name begins")


class CertificateQuery(Query):
    """GET …/ssl."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    cursor: NameCursor = Field(default="", description="`next_cursor` of the page before")


class CertificateIn(Body):
    """POST …/ssl/{domain}."""

    type: Literal["lets_encrypt", "custom"] = Field(default="lets_encrypt", description="lets_encrypt: the configured CA")
    auto_renew: bool = Field(
        default=True, description="custom: whether the edge's own takes its place at its end. The edge renews its own always"
    )
    cert_data: str = Field(default="", max_length=65_536, description="custom: PEM of the certificate and its intermediates")
    key_data: str = Field(default="", max_length=16_384, repr=False, description="custom: PEM of its private key, in clear")


class RevokeIn(Body):
    """POST …/ssl/{domain}/revoke."""

    reason: RevocationReason = "unspecified"
    certificate_id: str = Field(
        default="", max_length=128, description="One of the name's own that is not in use any more. Empty: the one in use"
    )


class RenewalsIn(Body):
    """POST …/ssl-renewals."""

    serials: list[Annotated[str, Field(max_length=200, json_schema_extra=SERIAL)]] = Field(
        min_length=1, max_length=SERIALS, description="Serial numbers in hex, with or without colons"
    )


class RemoveQuery(Query):
    """DELETE …/ssl/{domain}."""

    force: bool = Field(default=False, description="Also where the edge cannot obtain a certificate of its own first")


class ErrorOut(BaseModel):
    """Why a domain does not work."""

    code: str
    detail: str
    fault: str = Field(description="Who can mend it: customer_dns, ca, operator or edge")
    retryable: bool
    failed_at: str
    times: int = Field(description="How often it failed in a row, or was looked at")
    next_try_at: str | None = Field(
        description="Not before then, with the next visitor, or a renewal or another look by itself. null: only when it is "
        "asked for"
    )


class DomainOut(BaseModel):
    """A domain_config."""

    domain: str
    workspace_id: str
    state: DomainState
    origin: str = Field(description="Empty: the platform's origin")
    routing: str
    redirect_to: str | None = None
    include_www: bool = False
    maintenance: bool = False
    policies: dict[str, Any] = Field(default={}, description="What was set of its own settings, by the names that PATCH takes")
    metadata: dict[str, str] = {}
    created_at: str
    verified_at: str | None = None
    certificate_id: str | None = None
    queued: str | None = Field(
        default=None, description="Where its certificate's order stands in the queue. Not in listings and events"
    )
    dns_records: list[dict[str, Any]] = []
    error: ErrorOut | None = None


class DomainAdded(BaseModel):
    """The answer to POST …/domains."""

    domain_config: DomainOut
    verification_required: bool
    published: bool = Field(description="Whether every worker serves it now. False: stored, and served a little later")
    also: list[str] = Field(
        default=[], description="The other name of its pair, where that was added, or brought back, with it"
    )
    warnings: list[str] = Field(
        default=[],
        description="Sentences: it may be taken for another name, no certificate can be obtained for it, or no mail was sent",
    )
    mail_sent_to: list[str] = Field(
        default=[], description="By method email: whoever reads one of these mailboxes can confirm the domain"
    )


class DomainRefused(BaseModel):
    """A domain that was not added, among those of POST …/domain-imports."""

    index: int = Field(description="Its place in `domains`, from 0 on")
    code: str = Field(description="As the problem document has it that POST …/domains would have answered; so are the others")
    detail: str
    fault: str
    retryable: bool


class DomainsAdded(BaseModel):
    """The answer to POST …/domain-imports."""

    added: int
    there: int = Field(
        description="Domains that their workspaces have already, proven (with `verify`: in whatever state). They are as before"
    )
    refused: list[DomainRefused]
    published: bool = Field(description="Whether every worker serves them now. False: stored, and served a little later")


class DomainChanged(BaseModel):
    """The answer to PATCH …/domains/{domain}."""

    domain_config: DomainOut
    published: bool = Field(description="Whether every worker does so now. False: stored, and done a little later")


class DomainVerified(BaseModel):
    """The answer to POST …/domains/{domain}/verify."""

    verified: bool = Field(description="Whether its owner has proven it. It is live when its state is active")
    dns_records: list[dict[str, Any]]
    domain_config: DomainOut


class DomainRemoved(BaseModel):
    """The answer to DELETE …/domains/{domain}."""

    domain_config: DomainOut
    published: bool = Field(description="Whether every worker refuses it now")
    also: list[str] = Field(default=[], description="The other name of its pair, which redirected to it and went with it")


class DomainPage(BaseModel):
    """A page of domains, in the order of their names."""

    domains: list[DomainOut]
    next_cursor: str | None = None


class CompanionOut(BaseModel):
    """A certificate with an RSA key beside one with an ECDSA key, for clients that know no ECDSA."""

    id: str
    serial: str
    key_type: str
    not_before: str
    not_after: str
    directory: str


class CertificateOut(BaseModel):
    """A certificate, without its key."""

    id: str
    names: list[str]
    issuer: str
    not_before: str
    not_after: str
    state: CertificateState = Field(
        description="due: it is to be renewed, and still valid; parked: it would be, but its name's DNS points elsewhere"
    )
    serial: str
    renew_at: str | None = None
    directory: str = Field(default="", description='Where it came from: an ACME directory, "internal", or "custom"')
    custom: bool = Field(default=False, description="Whether it was uploaded")
    auto_renew: bool = True
    revoked_at: str | None = None
    parked_at: str | None = None
    superseded_at: str | None = Field(default=None, description="When another one took its place; null: it is in use")
    key_type: str | None = Field(default=None, description='"p256", "p384", "rsa2048" …; null: not noted')
    companion: CompanionOut | None = Field(default=None, description="Renewed, revoked and deleted with it")


class HistoryOut(BaseModel):
    """A certificate that a name had or has."""

    certificate_id: str
    serial: str
    directory: str
    not_after: str
    added_at: str
    added_by: str = Field(description='"uid:0" on the admin socket; "edge": by itself')
    ended_at: str | None = Field(description="null: it is the one in use")
    ended_by: str
    ended_why: str


class CertificatePage(BaseModel):
    """A page of certificates, in the order of their ids."""

    certificates: list[CertificateOut]
    next_cursor: str | None = None


class Seen(BaseModel):
    """What a visitor gets just now."""

    grade: str = Field(description="good, expiring, other, incomplete, untrusted, wrong_name, expired or unreachable")
    detail: str
    serial: str = ""
    not_after: str | None = None


class CertificateFound(BaseModel):
    """The certificate that a name is served under."""

    certificate: CertificateOut
    served: Seen | None = Field(default=None, description="A handshake with our own listener, made for this answer")
    chain: str = Field(description="PEM, leaf first")
    queued: str | None = Field(default=None, description="Where its renewal stands in the queue, if it waits for its turn")
    dns_records: list[dict[str, Any]] = Field(default=[], description="Records by which the CA may be shown whose the name is")
    history: list[HistoryOut] = Field(default=[], description="Of the name, the newest first")


class CertificateHistory(BaseModel):
    """The certificates that a name had, the newest first; also of a name that is gone."""

    history: list[HistoryOut]


class CertificateIssued(BaseModel):
    """The answer to POST …/ssl/{domain}."""

    certificate: CertificateOut
    expires_at: str
    notes: list[str] = Field(default=[], description="What was repaired of an upload")


class CertificateRemoved(BaseModel):
    """The answer to DELETE …/ssl/{domain}."""

    certificate: CertificateOut | None = Field(description="The edge's own, which counts from now on; null: there is none")


class CertificateRevoked(BaseModel):
    """The answer to POST …/ssl/{domain}/revoke."""

    certificate: CertificateOut
    replacement: CertificateOut | None
    detail: str = Field(description="What became of it, in plain sentences")


class RenewalsBegun(BaseModel):
    """The answer to POST …/ssl-renewals."""

    renewing: list[str] = Field(description="The serial numbers of certificates that are renewed now, as fast as the CA allows")
    unknown: list[str] = Field(description="Those of none that the edge obtained and has in use")


class AccountRolledOver(BaseModel):
    """The answer to POST …/ssl-account/rollover."""

    directory: str


def moment(at: float | None) -> str | None:
    """Unix time as RFC 3339 in UTC; None for none."""
    if not at:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def certain_moment(at: float) -> str:
    """The same for a time that is there."""
    return moment(at) or "1970-01-01T00:00:00Z"


_CURSOR = re.compile(rf"{NAME_CURSOR['pattern'].removesuffix('$')}\Z")


def to_cursor(last: str) -> str:
    """The opaque cursor after an entry, whose name is printable ASCII."""
    return last.encode("ascii").hex()


def from_cursor(cursor: str) -> str:
    """The entry that a cursor points behind; "" for none. Raises Refused for what no page gave."""
    if not _CURSOR.match(cursor):
        raise Refused(422, "query.cursor: is not a cursor that a page gave.", code="invalid_cursor")
    return bytes.fromhex(cursor).decode("ascii")
