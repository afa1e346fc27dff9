"""What the supervisor knows, as plain values for `edgeproxy status`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from typing import Any

import edgeproxy
from edgeproxy.supervision.children import Child, Family, Place


def status(
    *,
    family: Family,
    listening: list[str],
    generation: int,
    state: str,
    controller: Place,
    workers: Iterable[Place],
    last_reload: dict[str, Any],
) -> dict[str, Any]:
    """`Result.data` for "status". Times are Unix time, `uptime` is seconds; workers that drain are listed too."""
    return {
        "version": edgeproxy.__version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "started_at": family.started_at,
        "uptime": time.time() - family.started_at,
        "state": state,
        "generation": generation,
        "listeners": listening,
        "workers": [_worker(family, child) for child in sorted(family.workers(), key=lambda child: (child.index, child.born))],
        "controller": _process(controller.child) if controller.child is not None else {},
        "restarts": {"workers": sum(place.restarts for place in workers), "controller": controller.restarts},
        "last_reload": last_reload,
    }


def _worker(family: Family, child: Child) -> dict[str, Any]:
    return {
        "index": child.index,
        "generation": child.plan.generation,
        "connections": family.table.column(child.column).connections,
        **_process(child),
    }


def _process(child: Child) -> dict[str, Any]:
    return {"pid": child.pid, "started_at": child.born_at, "state": child.state}
