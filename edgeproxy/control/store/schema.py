"""The store's tables. The migrations make them; a test holds the two together.

What the world may grow has its bound where it is written: gate routes by `limits.gate_routes`, failures by
MAX_FAILURES, names that wait by `limits.pending_issuances`, what was spent by its age and MAX_SPENT, challenges by their
age, the change log by what the map has reached.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
    true,
)

VERSION = 7
"""The schema that this program writes. Equals the number of the newest migration."""

READABLE_FROM = 1
"""The oldest VERSION of a program that can use a store of this schema. Raised only where it cannot be helped: a new
version is tried, and left again, on the same state."""

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
    comment="version, readable_from, store_id",
)

counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Integer, nullable=False),
    comment="change: the number of the newest change. One row, so that numbers are given in the order of commits",
)

changes = Table(
    "changes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("database", String, nullable=False),
    Column("key", String, nullable=False),
)

REDIRECTS = text("redirect_to <> ''")
"""Which domains redirect. Written out in a query too: SQLite uses a partial index only where it finds its condition."""

domains = Table(
    "domains",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("parent", String, nullable=False),
    Column("workspace_id", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("verified_at", Float),
    Column("method", String, nullable=False, server_default=""),
    Column("proof", String, nullable=False, server_default=""),
    Column("redirect_to", String, nullable=False, server_default=""),
    Column("metadata", String, nullable=False, server_default=""),
    Column("policies", String, nullable=False, server_default=""),
    Column("error_code", String, nullable=False, server_default=""),
    Column("error_detail", String, nullable=False, server_default=""),
    Column("error_fault", String, nullable=False, server_default=""),
    Column("include_www", Boolean, nullable=False, server_default=false()),
    Column("maintenance", Boolean, nullable=False, server_default=false()),
    Column("must_prove", Boolean, nullable=False, server_default=false()),
    Column("looks", Integer, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("next_look", Float),
    Column("looking_since", Float),
    Column("looked_at", Float),
    Column("active_at", Float),
    Column("parked_at", Float),
    Column("suspended_at", Float),
    Index("domains_by_next_look", "next_look"),
    Index("domains_by_parent", "parent", "hostname"),
    Index("domains_by_redirect", "redirect_to", sqlite_where=REDIRECTS),
    Index("domains_by_workspace", "workspace_id", "hostname"),
    Index("domains_by_state", "state", "hostname"),
)

gate_routes = Table(
    "gate_routes",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("parent", String, nullable=False),
    Column("workspace_id", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("fresh_until", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("gate_routes_by_parent", "parent", "hostname"),
    Index("gate_routes_by_age", "updated_at"),
)

certificates = Table(
    "certificates",
    metadata,
    Column("id", String, primary_key=True),
    Column("chain", LargeBinary, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("renew_at", Float),
    Column("issuer", String, nullable=False),
    Column("added_at", Float, nullable=False),
    Column("superseded_at", Float),
    Column("serial", String, nullable=False, server_default=""),
    Column("auto_renew", Boolean, nullable=False, server_default=true()),
    Column("warned", Integer),
    Column("revocation", String),
    Column("revoked_at", Float),
    Column("challenge", String, nullable=False, server_default=""),
    Column("look_at", Float, nullable=False, server_default="0"),
    Column("info_at", Float, nullable=False, server_default="0"),
    Column("astray_since", Float),
    Column("parked_at", Float),
    Index("certificates_by_info", "superseded_at", "issuer", "info_at"),
    Column("key_type", String, nullable=False, server_default=""),
    Column("companion_at", Float, nullable=False, server_default="0"),
    Index("certificates_by_companion", "superseded_at", "companion_at"),
    Index("certificates_by_serial", "serial"),
    Index("certificates_by_issuer", "issuer", "not_after"),
    Index("certificates_by_revocation", "revocation"),
    Index("certificates_by_renewal", "superseded_at", "renew_at", "not_after"),
    Index("certificates_by_expiry", "not_after", "superseded_at"),
)

companions = Table(
    "companions",
    metadata,
    Column("id", String, primary_key=True),
    Column("certificate_id", String, ForeignKey("certificates.id", ondelete="CASCADE"), nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("serial", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("key_type", String, nullable=False),
    Index("companions_by_certificate", "certificate_id", unique=True),
    Index("companions_by_serial", "serial"),
    comment="certificates with an RSA key beside those with an ECDSA key",
)

certificate_names = Table(
    "certificate_names",
    metadata,
    Column("name", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("parent", String, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("certificate_id", String, ForeignKey("certificates.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Index("certificate_names_by_certificate", "certificate_id", "position"),
    Index("certificate_names_by_parent", "parent", "name"),
    comment="number: the change that added it, so the newest of a name is the highest",
)

certificate_history = Table(
    "certificate_history",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False),
    Column("certificate_id", String, nullable=False),
    Column("serial", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("added_at", Float, nullable=False),
    Column("added_by", String, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", String, nullable=False, server_default=""),
    Column("ended_why", Text, nullable=False, server_default=""),
    Index("certificate_history_by_name", "name", "number"),
    Index("certificate_history_by_certificate", "certificate_id"),
)

visits = Table(
    "visits",
    metadata,
    Column("name", String, primary_key=True),
    Column("heat", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    comment="how much names of certificates are visited; heat: as issuance.visits has it",
)

accounts = Table(
    "accounts",
    metadata,
    Column("directory", String, primary_key=True),
    Column("url", String, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("contact", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("sealed_next_key", LargeBinary),
    Column("key_changed_at", Float),
)

orders = Table(
    "orders",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("directory", String, nullable=False),
    Column("url", String, nullable=False),
    Column("step", String, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("error", Text, nullable=False),
)

challenges = Table(
    "challenges",
    metadata,
    Column("key", String, primary_key=True),
    Column("record", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("challenges_by_age", "created_at"),
)

failures = Table(
    "failures",
    metadata,
    Column("name", String, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("detail", Text, nullable=False),
    Column("fault", String, nullable=False, server_default="ca"),
    Column("updated_at", Float, nullable=False),
    Index("failures_by_age", "updated_at"),
)

waiting = Table(
    "waiting",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("workspace_id", String, nullable=False),
    Column("since", Float, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("urgency", Float, nullable=False),
    Column("visited", Boolean, nullable=False),
    Column("renewal", Boolean, nullable=False),
    Column("replaces", Boolean, nullable=False),
    Column("forced", Boolean, nullable=False),
    comment="names that wait for their turn to be ordered",
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("machine", String, nullable=False),
    Column("holder", String, nullable=False),
    Column("expires", Float, nullable=False),
    Index("leases_by_holder", "holder"),
    comment="who works on a name; holder: one process of the machine",
)

spent = Table(
    "spent",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("directory", String, nullable=False),
    Column("what", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("registered", String, nullable=False),
    Column("paced", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Column("holder", String, nullable=False),
    Index("spent_by_time", "at"),
    Index("spent_by_name", "name"),
    sqlite_autoincrement=True,
    comment="orders and failed validations that a CA still counts",
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("directory", String, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("until", Float, nullable=False),
    Column("detail", Text, nullable=False),
    comment="what a CA said not to ask before",
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String, primary_key=True),
    Column("record", LargeBinary, nullable=False),
    Column("updated_at", Float, nullable=False),
    comment="tickets; internal_ca; key_check",
)

holders = Table(
    "holders",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("workspace_id", String, primary_key=True),
    Column("was_active", Boolean, nullable=False),
    Column("ended_at", Float, nullable=False),
    comment="who held a name before; a name that was active is given to another only against a proof in the DNS",
)

removals = Table(
    "removals",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("workspace_id", String, primary_key=True),
    Column("domain", LargeBinary, nullable=False),
    Column("removed_at", Float, nullable=False),
    Column("removed_by", String, nullable=False),
    Column("final_at", Float, nullable=False),
    Index("removals_by_end", "final_at"),
    comment="domains that were removed and can still be brought back; domain: the row as JSON",
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("scope", String, nullable=False),
    Column("workspace_id", String, nullable=False, server_default=""),
    Column("hostname", String, nullable=False, server_default=""),
    Column("label", String, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("used_at", Float),
    Index("tokens_by_digest", "digest", unique=True),
    Index("tokens_by_workspace", "workspace_id", "id"),
    comment="bearer tokens; digest: SHA-256",
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("workspace_id", String, primary_key=True),
    Column("paid", Boolean, nullable=False),
    Column("max_domains", Integer),
    Column("source", String, nullable=False),
    Column("fresh_until", Float, nullable=False),
    Column("checked_at", Float, nullable=False),
    Column("unpaid_since", Float),
    Index("workspaces_by_unpaid", "unpaid_since"),
    comment="what workspaces are entitled to; source: platform, api or config",
)

mail_proofs = Table(
    "mail_proofs",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("workspace_id", String, nullable=False),
    Column("addresses", String, nullable=False),
    Column("link_digest", LargeBinary, nullable=False),
    Column("code_digest", LargeBinary, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("sends", Integer, nullable=False, server_default="1"),
    Column("sent_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("mail_proofs_by_link", "link_digest", unique=True),
    comment="links and codes that were sent by mail",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("caller", String, nullable=False),
    Column("holder", String, nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("answered_at", Float),
    Column("sealed_use", LargeBinary, nullable=False),
    Index("idempotency_keys_by_caller", "caller", "begun_at"),
    Index("idempotency_keys_by_age", "begun_at"),
    comment="requests with an Idempotency-Key; id: digest of caller and key; sealed_use: what was asked and answered",
)

outbox = Table(
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("workspace_id", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("outbox_by_id", "id", unique=True),
    Index("outbox_by_age", "at"),
    Index("outbox_by_subject", "subject", "number"),
    sqlite_autoincrement=True,
    comment="what happened, for webhooks and whoever asks later; id: webhook-id; data: JSON",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("endpoint_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try", Float),
    Column("tried_at", Float),
    Column("delivered_at", Float),
    Column("status", Integer),
    Column("error", Text, nullable=False, server_default=""),
    Index("deliveries_by_next_try", "endpoint_id", "next_try"),
    Index("deliveries_by_event", "number"),
    comment="what became of an event of the outbox at an endpoint",
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("url", String, nullable=False),
    Column("label", String, nullable=False, server_default=""),
    Column("events", String, nullable=False, server_default=""),
    Column("sealed_secrets", LargeBinary),
    Column("reached", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("disabled_at", Float),
    Column("disabled_why", Text, nullable=False, server_default=""),
    Column("failing_since", Float),
    comment="where events are sent; source: api or config; reached: number in the outbox",
)

alerts = Table(
    "alerts",
    metadata,
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("since", Float, nullable=False),
    Column("told_at", Float, nullable=False),
    Column("over_at", Float),
    comment="what people were told of, so that they are not told again",
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_by_subject", "subject", "number"),
)
