"""What many domains with a certificate each cost: the time to start, a first handshake, a worker's memory, and how soon a
change counts everywhere.

Only this program is measured, with two workers on both cores, as it would run.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import bench
from bench.children import Child, free_ports
from bench.door import Door
from bench.many import WILDCARD, certify, fill, private_bytes, workers_of
from bench.origin import Origin
from bench.peers import edgeproxy
from bench.stage import Stage
from bench.traffic import Tenant, tenants

WORKERS = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    domains: int
    starts: int
    cold: int
    """Hostnames whose first handshake is timed."""
    visited: int
    """Hostnames that are visited before the memory is looked at."""
    changes: int


FULL = Plan(domains=100_000, starts=9, cold=1_000, visited=6_000, changes=15)
"""More names are visited than the workers together keep TLS contexts (limits.contexts)."""
QUICK = Plan(domains=100_000, starts=5, cold=500, visited=1_500, changes=7)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What came of it."""

    domains: int
    start: Sequence[float]
    """Seconds from exec to the first response."""
    cold: Sequence[float]
    """Seconds from the connection to the finished handshake, of names that no worker has served since its start."""
    visited: int
    private: Sequence[int]
    """Bytes that each worker has for itself, the published map not counted."""
    added: Sequence[float]
    """Seconds from the request on the admin socket until every worker has answered a visitor of the new name."""
    removed: Sequence[float]
    """The same until every worker has refused the removed name."""


async def measure_scale(stage: Stage, origin: Origin, plan: Plan) -> Scale:
    """Raises WrongAnswer where a request is not answered as it must be."""
    known = tenants(plan.domains)
    folder = stage.folder("scale")
    https, http = free_ports(2)
    door = Door(https, folder / "state" / "internal-ca.pem", stage.socket_path("admin.sock"))
    config = edgeproxy.write_config(folder, door.admin, (https, http, origin.port), edgeproxy.INTERNAL, workers=WORKERS)
    await fill(folder / "state", known)
    async with running(stage, config):  # publishes all of it
        await asyncio.to_thread(door.call, "POST", f"/api/v1/infrastructure/ssl/{WILDCARD}", None, 200)
    await certify(folder / "state", known)
    async with running(stage, config):
        await asyncio.to_thread(door.visit, known[-1])
        await asyncio.to_thread(door.wait_published)
    start = [await _start(stage, config, door, known[number * len(known) // plan.starts]) for number in range(plan.starts)]
    async with running(stage, config) as child:
        await asyncio.to_thread(door.wait_published)  # the controller has started too: a visitor is what is timed, not a start
        cold = await asyncio.to_thread(door.handshakes, known[7 :: max(1, len(known) // plan.cold)][: plan.cold])
        await asyncio.to_thread(door.visit_all, known[:: max(1, len(known) // plan.visited)][: plan.visited])
        workers = workers_of(child.pid)
        private = [private_bytes(pid) for pid in workers]
        added, removed = [], []
        for number in range(plan.changes):
            tenant = Tenant(f"new{number}.newcomers.test", f"new_{number}")
            added.append(await asyncio.to_thread(door.add, tenant, workers))
            removed.append(await asyncio.to_thread(door.remove, tenant.hostname, workers))
    return Scale(
        domains=plan.domains, start=start, cold=cold, visited=plan.visited, private=private, added=added, removed=removed
    )


async def _start(stage: Stage, config: Path, door: Door, tenant: Tenant) -> float:
    began = time.monotonic()
    async with running(stage, config):
        await asyncio.to_thread(door.visit, tenant)
        return time.monotonic() - began


@contextlib.asynccontextmanager
async def running(stage: Stage, config: Path, name: str = "scale") -> AsyncIterator[Child]:
    """The program as a child, on both cores, from its exec on."""
    cores = ",".join(sorted({stage.cores.proxy, stage.cores.load}))
    command = [sys.executable, "-m", "edgeproxy", "serve", "--config", str(config)]
    environment = {"PYTHONPATH": str(Path(bench.__file__).parents[1])}
    log = stage.work / f"{name}.log"
    async with Child(name, command, cores=cores, log=log, niceness=stage.niceness, environment=environment) as child:
        yield child
