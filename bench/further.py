"""The measurements of their own kind, by their names on the command line."""

from __future__ import annotations

from bench import bulk, idle, latency, routing, soak, spread, two
from bench.parts import Measurement

FURTHER: dict[str, Measurement] = {
    "two": two.MEASUREMENT,
    bulk.NAME: bulk.MEASUREMENT,
    "latency": latency.MEASUREMENT,
    "idle": idle.MEASUREMENT,
    "routing": routing.MEASUREMENT,
    "spread": spread.MEASUREMENT,
    soak.NAME: soak.MEASUREMENT,
}
"""In the order in which they are made and told."""
