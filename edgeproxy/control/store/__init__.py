"""The store: SQLite through SQLAlchemy Core. `Store` is its whole interface."""

from edgeproxy.control.store.bulk import ADDED, THERE, Additions, Entry, Outcome
from edgeproxy.control.store.looks import Note
from edgeproxy.control.store.rows.access import AuditEntry, Token
from edgeproxy.control.store.rows.certificates import CUSTOM, Companion, HistoryEntry, StoredCertificate, replace_at
from edgeproxy.control.store.rows.domains import Domain, DomainChange, Holder, MailProof, Removal, Workspace
from edgeproxy.control.store.rows.issuance import (
    Account,
    Begun,
    Failure,
    GateRoute,
    InternalCa,
    Lease,
    Order,
    RateLimit,
    Spent,
    Waiting,
)
from edgeproxy.control.store.rows.publishing import LogEntry, Summary
from edgeproxy.control.store.rows.telling import Alert, Beside, Delivery, Endpoint, Event, Tried
from edgeproxy.control.store.sheets import Sheet
from edgeproxy.control.store.store import Store

__all__ = [
    "ADDED",
    "CUSTOM",
    "THERE",
    "Account",
    "Additions",
    "Alert",
    "AuditEntry",
    "Begun",
    "Beside",
    "Companion",
    "Delivery",
    "Domain",
    "DomainChange",
    "Endpoint",
    "Entry",
    "Event",
    "Failure",
    "GateRoute",
    "HistoryEntry",
    "Holder",
    "InternalCa",
    "Lease",
    "LogEntry",
    "MailProof",
    "Note",
    "Order",
    "Outcome",
    "RateLimit",
    "Removal",
    "Sheet",
    "Spent",
    "Store",
    "StoredCertificate",
    "Summary",
    "Token",
    "Tried",
    "Waiting",
    "Workspace",
    "replace_at",
]
