"""The store's tables. The migrations make them; a test holds the two together.

What the world may grow has its bound where it is written: gate routes by `limits.gate_routes`, failures by
MAX_FAILURES, names that wait by `limits.pending_issuances`, what was spent by its age and MAX_SPENT, challenges by their
age, the change log by what the map has reached.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text, true

VERSION = 4
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
    Index("domains_by_parent", "parent", "hostname"),
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
