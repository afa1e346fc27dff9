"""Where what is measured comes from."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from edgeproxy.control.alerts.conditions import FAULT_SECONDS
from edgeproxy.control.alerts.reading import SHED, left_alone, of, reader
from edgeproxy.control.faults import Faults
from edgeproxy.control.issuance.issuing import TROUBLE_SECONDS, Trouble
from edgeproxy.control.metrics import Metrics
from edgeproxy.errors import StateError
from edgeproxy.link.messages import Report
from edgeproxy.link.sketch import Sketch, bucket

NOW = 1_800_000_000.0


class Issuance:
    def queue(self) -> Any:
        return SimpleNamespace(waiting={"new": 2, "renewal": 3})

    trouble: Trouble | None = None

    def ca_trouble(self) -> Trouble | None:
        return self.trouble

    def authorities(self) -> list[Any]:
        return [
            SimpleNamespace(host="a.test", state="open", reason="It is away."),
            SimpleNamespace(host="b.test", state="closed", reason=""),
        ]


def test_everything_is_read_from_where_it_is_counted() -> None:
    metrics, faults = Metrics("1", 10), Faults()
    counters = {
        "requests_total|2xx|h2": 7.0,
        "requests_total|5xx|h1": 2.0,
        "origin_errors_total|connect": 2.0,
        "handshakes_total|full": 9.0,
        "rate_limited_total|network": 3.0,
        "rate_limited_total|hostname": 1.0,
        **{f"handshakes_total|{result}": 1.0 for result in SHED},
    }
    metrics.report(Report(worker=0, pid=1, counters=counters), NOW)
    metrics.gate("allowed")
    metrics.gate("unavailable")
    metrics.latency.add({"a.test": Sketch(9, {bucket(3.0): 9}, "http://10.0.0.1")}, 0.0, time.monotonic())
    faults.fails("store", StateError("It is full."), NOW - FAULT_SECONDS)
    faults.fails("probe", StateError("Just now."), NOW - 5)
    faults.fails("alerts", StateError("Nobody hears."), NOW - 999)
    found = reader(metrics, Issuance())(faults, NOW)  # type: ignore[arg-type]
    assert (found.requests, found.unanswered, found.shed) == (9.0, 2.0, float(len(SHED)))
    assert (found.gate, found.gate_failed, found.waiting, found.limited) == (2, 1, 5, 4.0)
    assert [(each.name, each.requests) for each in found.names] == [("a.test", 9)]
    assert found.left_alone == {"a.test": "It is away."}
    assert found.faults == {"store": "It is full."}


def test_the_only_ca_is_told_when_it_was_away_for_a_while_and_not_long_ago() -> None:
    issuance = Issuance()
    issuance.authorities = list  # type: ignore[method-assign]
    assert left_alone(issuance, NOW) == {}  # type: ignore[arg-type]
    issuance.trouble = Trouble("ca.test", "It is away.", NOW, NOW + FAULT_SECONDS)
    assert left_alone(issuance, NOW + FAULT_SECONDS) == {"ca.test": "It is away."}  # type: ignore[arg-type]
    assert left_alone(issuance, NOW + FAULT_SECONDS + TROUBLE_SECONDS) == {}  # type: ignore[arg-type]
    issuance.trouble = Trouble("ca.test", "It is away.", NOW, NOW + FAULT_SECONDS - 1)
    assert left_alone(issuance, NOW + FAULT_SECONDS) == {}  # type: ignore[arg-type]


def test_a_series_that_is_not_there_is_zero() -> None:
    assert of({}, "requests_total") == 0.0
