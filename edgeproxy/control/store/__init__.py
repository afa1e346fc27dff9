"""The store: SQLite through SQLAlchemy Core. `Store` is its whole interface."""

from edgeproxy.control.store.rows import (
    CUSTOM,
    Account,
    AuditEntry,
    Domain,
    Failure,
    GateRoute,
    HistoryEntry,
    InternalCa,
    LogEntry,
    Order,
    StoredCertificate,
    Summary,
    replace_at,
)
from edgeproxy.control.store.store import Store

__all__ = [
    "CUSTOM",
    "Account",
    "AuditEntry",
    "Domain",
    "Failure",
    "GateRoute",
    "HistoryEntry",
    "InternalCa",
    "LogEntry",
    "Order",
    "Store",
    "StoredCertificate",
    "Summary",
    "replace_at",
]
