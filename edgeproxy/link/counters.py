"""Names of what a worker counts, as they travel in `Report.counters` and appear in Prometheus. Pure.

A worker sends one flat dict of numbers since its own start. A key is the name of a series and its label values, joined
by a vertical bar, in the order of `Series.labels`:

- counter: "requests_total|2xx|h2" → 17
- gauge: "connections|idle" → 12, the value now; the controller sums it over living workers
- histogram: "request_seconds_bucket|0.005" → how many fell into that bucket *alone* (one increment for each request, not
  cumulative), "request_seconds_bucket|+Inf", and "request_seconds_sum" → seconds

What is not in `SERIES` is ignored by the controller, since workers of two versions coexist. In Prometheus every name
gets the prefix "edgeproxy_".
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_left
from typing import Literal

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histograms' buckets, in seconds, inclusive; "+Inf" comes after them."""

BUCKETS = tuple(f"{bound:g}" for bound in BOUNDS) + ("+Inf",)
"""The same as they are written in keys and in Prometheus' `le`."""

SERIES_PER_NAME = 64
"""Different label values accepted of one name and worker. More are a fault of the worker's and ignored."""

_LABEL = re.compile(r"[A-Za-z0-9_.:-]{1,40}\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """What a name means."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


SERIES: dict[str, Series] = {
    "requests_total": Series(
        "counter", ("code_class", "protocol"), "Requests answered, by class of status and protocol (h1, h2, ws)."
    ),
    "request_seconds": Series("histogram", (), "From a request's head to the end of its answer."),
    "connections": Series("gauge", ("state",), "Open client connections by state."),
    "handshakes_total": Series("counter", ("result",), "TLS handshakes ended, by result."),
    "map_lookups_total": Series("counter", ("result",), "Look-ups of a hostname: hit, miss, negative or error."),
    "origin_seconds": Series("histogram", (), "From a request sent to the origin's first byte of answer."),
    "origin_errors_total": Series("counter", ("reason",), "Requests that the origin did not answer, by reason."),
    "origin_retries_total": Series(
        "counter", ("result",), "Requests that a kept connection's end kept from an answer: sent once more, or refused that."
    ),
    "origin_circuits_total": Series("counter", ("event",), "Origins left alone after too many failures (opened, closed)."),
    "received_bytes_total": Series("counter", (), "Bytes of requests' bodies received from clients."),
    "sent_bytes_total": Series("counter", (), "Bytes of answers' bodies sent to clients."),
    "timeouts_total": Series("counter", ("what",), "Clients that were too slow in the middle of something, by what."),
    "rate_limited_total": Series(
        "counter", ("by",), "Requests refused with 429, by whose limit it was: network, hostname or workspace."
    ),
    "limits_reached_total": Series("counter", ("limit",), "Requests refused because of a bound, by its key in [limits]."),
    "compressed_answers_total": Series("counter", ("coding",), "Answers that were compressed, by coding (zstd, br, gzip)."),
    "compressed_bytes_total": Series(
        "counter", ("coding", "side"), "Content of those answers: in as origins sent it, out as it was made."
    ),
    "access_log_dropped_total": Series("counter", (), "Access log lines dropped because the log did not keep up."),
}


def key(name: str, *labels: str) -> str:
    """The key of a counter or gauge: `key("requests_total", "2xx", "h2")` → "requests_total|2xx|h2"."""
    return "|".join((name, *labels))


def bucket(seconds: float) -> str:
    """The bucket that a duration falls into, as written in keys: "0.005" or "+Inf"."""
    return BUCKETS[bisect_left(BOUNDS, seconds)]


def parse(text: str) -> tuple[str, tuple[str, ...]] | None:
    """A key's name and label values; None for what is not in `SERIES` or has other labels than it should.

    A histogram's parts come as ("request_seconds_bucket", ("0.005",)) and ("request_seconds_sum", ()).
    """
    name, *labels = text.split("|")
    series = SERIES.get(name)
    if series is not None and series.kind != "histogram":
        return (name, tuple(labels)) if len(labels) == len(series.labels) and all(map(_LABEL.match, labels)) else None
    base, _, part = name.rpartition("_")
    series = SERIES.get(base)
    if series is None or series.kind != "histogram":
        return None
    if part == "bucket" and len(labels) == 1 and labels[0] in BUCKETS:
        return name, tuple(labels)
    return (name, ()) if part == "sum" and not labels else None
