"""The store: SQLite through SQLAlchemy Core. `Store` is its whole interface."""

from edgeproxy.control.store.rows import (
    Account,
    AuditEntry,
    Domain,
    Failure,
    GateRoute,
    InternalCa,
    LogEntry,
    Order,
    StoredCertificate,
    Summary,
)
from edgeproxy.control.store.store import Store

__all__ = [
    "Account",
    "AuditEntry",
    "Domain",
    "Failure",
    "GateRoute",
    "InternalCa",
    "LogEntry",
    "Order",
    "Store",
    "StoredCertificate",
    "Summary",
]
