"""What the processes say to each other: msgpack maps, tagged by `type`.

Unknown fields are ignored and unknown types skipped, since workers of two versions coexist during an upgrade. So
fields are only ever added, each with a default.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgeproxy.link.sketch import Sketch

VERSION = 1


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every message has in common."""


# worker → controller


class Greeting(Message, frozen=True, tag="greeting"):
    """First on every link."""

    worker: int
    pid: int
    version: int = VERSION


class Obtain(Message, frozen=True, tag="obtain"):
    """A handshake waits for a certificate for this name. Sent again, under the same id, on a new link."""

    id: int
    hostname: str
    client_ip: str
    deadline: float
    """Unix time after which nobody waits any more."""
    key_type: str = ""


class Refresh(Message, frozen=True, tag="refresh"):
    """A site learnt from the gate is past `fresh_until`: ask again. No answer; the map changes."""

    hostname: str


class Report(Message, frozen=True, tag="report"):
    """Counters of a worker since it started, each second; also its heartbeat."""

    worker: int
    pid: int
    counters: dict[str, float]
    """Flat: "requests_total|2xx|h2" → 17, "request_seconds_bucket|0.005" → requests that fell into this bucket alone,
    "request_seconds_sum" → seconds, "connections|idle" → open now. Names and labels: `link.counters`."""
    hosts: dict[str, int] = {}
    """Requests since the last report for the busiest hostnames, bounded."""
    generation: int = 0
    draining: bool = False


class Slow(Message, frozen=True, tag="slow"):
    """Names whose visitors waited too long within the last minutes, with what is new of them: each second, if there are any."""

    names: dict[str, Sketch]
    late: float = 0.0
    """Seconds by which this came later than it was due: the worker's own lateness."""


# controller → worker


class Obtained(Message, frozen=True, tag="obtained"):
    """The answer to Obtain. When `ok`, the site and its certificate are in the map already."""

    id: int
    ok: bool
    detail: str = ""
    denied: bool = False
    """Policy says no: remember it as a denial, alert `unrecognized_name`. Otherwise it failed: alert `internal_error`."""
    remember: float = 0.0
    """Seconds for which the worker answers by itself."""
    limited: bool = False
    """It failed because of the client's network, which has asked for too many new names: others may ask."""


# child → supervisor (SEQPACKET, see link.channel)


class Ready(Message, frozen=True, tag="ready"):
    """The process serves."""


class Alive(Message, frozen=True, tag="alive"):
    """The controller's sign of life, every other second. One that gave any and then falls silent is replaced."""


class Failed(Message, frozen=True, tag="failed"):
    """The process cannot serve, and ends after this. `edgeproxy.supervision` sends it for a main that raises EdgeError."""

    detail: str
    code: str = "internal_error"


class Request(Message, frozen=True, tag="request"):
    """The controller asks the supervisor: "reload", "stop" or "status". Answered by Result with the same id.

    "link" (from a worker, without a Result): its link to the controller ended though both live; a fresh LinkEnd comes.
    """

    id: int
    action: str


# supervisor → child


class LinkEnd(Message, frozen=True, tag="link_end"):
    """One end of a fresh worker–controller socket pair travels with this message (SCM_RIGHTS).

    Two links may have one `worker` index: a worker's and its draining predecessor's. The pid of the Greeting tells them apart.
    """

    worker: int


class Drain(Message, frozen=True, tag="drain"):
    """Close the listeners, finish what is open within `timeouts.drain`, end."""


class Result(Message, frozen=True, tag="result"):
    """The answer to Request."""

    id: int
    ok: bool
    detail: str = ""
    data: dict[str, Any] = {}
    """Of a refused reload `code` and `retryable` of the error behind it."""


LinkMessage = Greeting | Obtain | Refresh | Report | Slow | Obtained
ChannelMessage = Ready | Alive | Failed | Request | LinkEnd | Drain | Result
