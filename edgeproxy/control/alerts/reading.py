"""Where what is measured comes from: workers' counters, the queue, the CAs, and what does not work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgeproxy.control.alerts.conditions import FAULT_SECONDS, Reading
from edgeproxy.control.faults import Faults
from edgeproxy.control.issuance.issuing import TROUBLE_SECONDS
from edgeproxy.control.totals import Key

if TYPE_CHECKING:
    from edgeproxy.control.issuance.service import Issuance
    from edgeproxy.control.metrics import Metrics

SHED = ("too_many_from_address", "too_many_from_network", "too_many_connections", "shed")
"""Results of handshakes that were not let in."""

PART = "alerts"


def reader(metrics: Metrics, issuance: Issuance) -> Callable[[Faults, float], Reading]:
    """What reads, at a Unix time."""

    def read(faults: Faults, now: float) -> Reading:
        sums, gate = metrics.totals.sums(), metrics.gate_results
        return Reading(
            at=time.monotonic(),
            requests=of(sums, "requests_total"),
            unanswered=of(sums, "origin_errors_total"),
            limited=of(sums, "rate_limited_total"),
            shed=sum(sums.get(("handshakes_total", (result,)), 0.0) for result in SHED),
            gate=sum(gate.values()),
            gate_failed=gate.get("unavailable", 0),
            waiting=sum(issuance.queue().waiting.values()),
            names=metrics.latency.waiting(time.monotonic()),
            left_alone=left_alone(issuance, now),
            faults={each.part: each.error.detail for each in faults if each.part != PART and now - each.since >= FAULT_SECONDS},
        )

    return read


def left_alone(issuance: Issuance, now: float) -> dict[str, str]:
    """CAs that are not to be used, by host, and why: of several those that are left alone, else the only one."""
    trouble = issuance.ca_trouble()
    if trouble is not None and trouble.last - trouble.since >= FAULT_SECONDS and now - trouble.last < TROUBLE_SECONDS:
        return {trouble.host: trouble.detail}
    return {each.host: each.reason for each in issuance.authorities() if each.state == "open"}


def of(sums: Mapping[Key, float], name: str) -> float:
    """The sum of a series over its labels."""
    return sum(value for (series, _), value in sums.items() if series == name)
