"""What happened, whom it is told, and how that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from edgeproxy.control.store.rows.row import Row

ANSWERED_GONE = "It answered 410: it wants no more events."
"""`Endpoint.disabled_why` of one whose receiver said so."""


class Beside(Row, frozen=True, kw_only=True):
    """What events tell of a domain that its row does not say."""

    routing: str = ""
    dns_records: Sequence[Mapping[str, Any]] = ()
    """JSON-ready."""


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
