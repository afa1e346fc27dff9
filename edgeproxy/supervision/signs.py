"""Signs of life: since when a child has given none, and how long it may. Pure."""

from __future__ import annotations

from edgeproxy.link.table import Table
from edgeproxy.supervision.children import Child

HUNG = 10.0
"""Seconds without a sign of life after which a worker that gave one before is killed and replaced."""

CONTROLLER_HUNG = 20.0
"""The same of the controller. Longer, since visitors are served without it; shorter than a command waits for an answer, so that
its successor gives it."""

_WRAPPED = 1e6
"""A worker's beat has 32 bits of milliseconds: one that is so long ago was meanwhile, and says nothing."""


def longest(child: Child) -> float:
    """How long it may be silent."""
    return HUNG if child.role == "worker" else CONTROLLER_HUNG


def silence(child: Child, table: Table, now: float) -> float:
    """For how many seconds of the monotonic clock it has given no sign of life; 0 where it never gave one: it starts."""
    if child.role == "controller":
        return 0.0 if child.heard is None else now - child.heard
    beat = table.beat(child.column)
    silent = ((int(now * 1000) - beat) & 0xFFFFFFFF) / 1000 if beat else 0.0
    return silent if silent < _WRAPPED else 0.0
