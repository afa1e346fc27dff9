"""What the API for webhooks and events takes and gives, as pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from edgeproxy.config.webhooks import LABEL_CHARACTERS, URL_CHARACTERS, event_filter, secret
from edgeproxy.control.api.forms import FILTER, HOSTNAME, LINE, MOMENT, SECRET, URL, NumberCursor, or_empty, printable
from edgeproxy.control.api.shapes import PAGE, PAGE_MAX, Body, Query

Filter = Annotated[str, Field(max_length=64, examples=["domain.*"], json_schema_extra=FILTER), AfterValidator(event_filter)]

WAIT_SECONDS = 25
"""For which a request for events may wait for one: less than the CLI waits for an answer."""


def _moment(text: str) -> float:
    """Unix time of RFC 3339 with an offset. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a time; write it like 2026-11-21T08:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError("has no offset; write it like 2026-11-21T08:00:00Z")
    try:
        return at.timestamp()
    except (OverflowError, OSError):
        raise ValueError("is outside what is possible") from None


def _secret_or_none(text: str) -> str:
    return secret(text) if text else text


Label = Annotated[str, Field(max_length=LABEL_CHARACTERS, json_schema_extra=LINE), AfterValidator(printable)]
Secret = Annotated[str, Field(max_length=128, json_schema_extra=SECRET), AfterValidator(_secret_or_none)]
Moment = Annotated[
    str, Field(max_length=40, examples=["2026-11-21T08:00:00Z"], json_schema_extra=MOMENT), AfterValidator(_moment)
]


class WebhookIn(Body):
    """POST …/webhooks."""

    url: str = Field(max_length=URL_CHARACTERS, examples=["https://example.com/hooks"], json_schema_extra=URL)
    events: list[Filter] = Field(default=[], max_length=50, description="Which events it gets; empty: all")
    label: Label = Field(default="", description="What listings and faults call it. Empty: its url")
    secret: Secret = Field(default="", repr=False, description='"whsec_" and base64. Empty: one is made')


class WebhookPatch(Body):
    """PATCH …/webhooks/{id}. What is left out stays as it is."""

    url: Annotated[str, Field(max_length=URL_CHARACTERS, json_schema_extra=URL)] | None = None
    events: list[Filter] | None = Field(default=None, max_length=50)
    label: Label | None = None
    enabled: bool | None = Field(default=None, description="true: it gets what happens from now on. false: nothing any more")
    secret: Secret | None = Field(
        default=None, repr=False, description="A new one; empty: one is made. The one before signs beside it for a day"
    )


class WebhookOut(BaseModel):
    """An endpoint, without its secret."""

    id: str
    url: str
    events: list[str] = Field(description="Which events it gets; empty: all")
    label: str
    source: Literal["api", "config"] = Field(description="config: it is in the configuration, and is changed there")
    enabled: bool
    disabled_why: str | None
    failing_since: str | None = Field(description="Since when no delivery succeeded; null: the last one did")
    pending: int = Field(description="Deliveries that wait")
    created_at: str
    created_by: str


class WebhookAdded(BaseModel):
    """The answer to POST …/webhooks, and to a PATCH with another secret."""

    webhook: WebhookOut
    secret: str | None = Field(description="What its receiver checks signatures with; told this once. null: as before")


class WebhookPage(BaseModel):
    """All endpoints, oldest first."""

    webhooks: list[WebhookOut]


class WebhookRemoved(BaseModel):
    """The answer to DELETE …/webhooks/{id}."""

    webhook: WebhookOut


class WebhookTested(BaseModel):
    """How a test delivery ended."""

    delivered: bool
    event_id: str
    status: int | None = Field(description="HTTP's; null: nothing was answered")
    error: str | None
    seconds: float


class DeliveryQuery(Query):
    """GET …/deliveries."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    cursor: NumberCursor = Field(default="", description="`next_cursor` of the page before")
    state: Literal["pending", "failed"] | None = Field(default=None, description="failed: the last try failed, whatever comes")


class DeliveryOut(BaseModel):
    """What became of an event at an endpoint."""

    event_id: str = Field(description="The same in each delivery: `webhook-id`")
    type: str
    domain: str
    happened_at: str
    state: Literal["pending", "delivered", "failed"] = Field(description="failed: given up")
    tries: int
    tried_at: str | None
    delivered_at: str | None
    next_try_at: str | None
    status: int | None = Field(description="HTTP's, of the last try; null: nothing was answered")
    error: str | None


class DeliveryPage(BaseModel):
    """A page of deliveries, the newest event first."""

    deliveries: list[DeliveryOut]
    next_cursor: str | None = None


class ReplayIn(Body):
    """POST …/replay."""

    since: Moment = Field(description="Events from this time on")
    until: Moment | None = Field(default=None, description="And up to this one; null: up to now")
    events: list[Filter] = Field(default=[], max_length=50, description="Only these, of those that the endpoint gets")
    failed: bool = Field(default=False, description="Only those whose last try failed")


class Replayed(BaseModel):
    """The answer to POST …/replay."""

    events: int = Field(description="How many are delivered once more")


class EventQuery(Query):
    """GET …/events."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    cursor: NumberCursor = Field(default="", description="`next_cursor` of the answer before: what came after it")
    last: int | None = Field(default=None, ge=0, le=PAGE_MAX, description="Instead of a cursor: the newest so many")
    domain: str = Field(default="", max_length=260, json_schema_extra=or_empty(HOSTNAME), description="Only of this name")
    wait: int = Field(default=0, ge=0, le=WAIT_SECONDS, description="Seconds to wait for an event where there is none yet")


class EventOut(BaseModel):
    """An event, as it is delivered."""

    id: str
    type: str
    timestamp: str
    domain: str
    workspace_id: str | None
    data: dict[str, Any]


class EventPage(BaseModel):
    """A page of events, oldest first."""

    events: list[EventOut]
    next_cursor: str = Field(description="For what comes after these")
