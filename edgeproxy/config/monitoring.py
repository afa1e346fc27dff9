"""What operators learn: logs, metrics, and messages when something is wrong."""

from __future__ import annotations

from typing import Literal

from edgeproxy.config.section import Section
from edgeproxy.units import Duration


class Log(Section, frozen=True):
    """Logs."""

    access: str = "stdout"
    """Where the access log goes: "stdout", a path, or "off"."""

    format: Literal["auto", "json", "combined"] = "auto"
    """"auto": readable on a terminal, else JSON. "json": always. "combined": the access log in the format that Apache and
    nginx call so, the rest as with "auto"."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe message of the program's own log."""


class Metrics(Section, frozen=True):
    """Prometheus metrics."""

    listen: str = ""
    """"127.0.0.1:9180": where /metrics, /healthz and /readyz are served too. Empty: only on the admin socket."""

    top: int = 100
    """Per-hostname and per-workspace series are kept for this many of the busiest."""


class Alerts(Section, frozen=True):
    """What people are told when something is wrong: once, and once when it is over."""

    notify: tuple[str, ...] = ()
    """Whom to tell, as URLs of apprise (appriseit.com): "mailtos://…", "slack://…", "pagerduty://…", "json://…". They hold
    secrets: better "file:PATH" for each. Needs apprise: pip install apprise. Empty: nobody is told."""

    origin_errors: int = 20
    """Percent of the requests of five minutes without an answer of their origin, from which that is told; at least 20."""

    shed: int = 100
    """Connections a minute that are closed because there are too many, from which that is told."""

    limited: int = 6_000
    """Requests a minute that are refused by [rates], from which that is told."""

    waiting: int = 1_000
    """Names waiting for their turn at the CA from which that is told."""

    latency: Duration = Duration(3.0)
    """How long a domain's visitors may wait for the first byte of an answer: where one request in twenty waits longer, that is
    told. Not counted are WebSockets, requests that upload more than 16 KiB, and names beneath platform.name."""

    latency_window: Duration = Duration(300.0)
    """The time over which that is measured, "1m" to "1h"."""

    latency_requests: int = 100
    """Requests for a domain in that time below which nothing is said of it."""

    def __repr__(self) -> str:
        return f"Alerts({len(self.notify)} to notify)"
