"""What strangers cost who ask for names that nobody registered: CPU time for each handshake, and memory after very many.

Only this program is measured, with one worker on the proxies' core and its settings as they come. Each name is another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.children import free_ports
from bench.cpu import read_tree, total_seconds
from bench.errors import BenchError, WrongAnswer
from bench.load.process import as_child, report
from bench.load.strangers import Flood
from bench.many import private_bytes
from bench.origin import Origin
from bench.peers import edgeproxy
from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    names: int
    """All together."""
    warm: int
    """Of them, before memory is looked at first: what is bounded (limits.negative_names) is full by then."""
    parts: int
    """In so many parts the rest comes; each gives a figure."""
    seconds: float
    """For each part at most, and for the warming; fewer names come where they do not suffice, which is told."""


FULL = Plan(names=1_000_000, warm=50_000, parts=10, seconds=40.0)
QUICK = Plan(names=75_000, warm=30_000, parts=3, seconds=10.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """What came of it."""

    names: int
    """Different names that were refused."""
    cpu_us: Sequence[float]
    """CPU microseconds of the whole process tree per refused handshake, for each part."""
    before: int
    """Bytes that worker and controller have for themselves when they have just started."""
    warm: int
    """The same after the first names."""
    after: int
    """The same after all."""


async def measure_denied(stage: Stage, origin: Origin, plan: Plan) -> Denied:
    """Raises WrongAnswer where a handshake is not refused as it must be."""
    https, http = free_ports(2)
    child = await edgeproxy.serve(stage, "edgeproxy-denied", (https, http, origin.port), edgeproxy.INTERNAL, stage.tenants)
    before = _memory(child.pid)
    done = await _flood(stage, Flood(port=https, first=0, count=plan.warm, seconds=plan.seconds))
    warm = _memory(child.pid)
    costs = []
    each = (plan.names - plan.warm) // plan.parts
    for _ in range(plan.parts):
        spent = total_seconds(read_tree(child.pid))
        count = await _flood(stage, Flood(port=https, first=done, count=each, seconds=plan.seconds))
        costs.append((total_seconds(read_tree(child.pid)) - spent) / count * 1e6)
        done += count
    child.check_alive()
    return Denied(names=done, cpu_us=costs, before=before, warm=warm, after=_memory(child.pid))


def _memory(root: int) -> int:
    """Private bytes of the whole tree, the published map not counted."""
    return sum(private_bytes(pid) for pid in read_tree(root))


async def _flood(stage: Stage, flood: Flood) -> int:
    """How many names were refused."""
    command = flood.command()
    async with as_child(stage, command) as child:
        done = await report(command, child, flood.seconds + 20.0)
    if done.failures:
        raise WrongAnswer(f"Names that nobody registered: {'; '.join(done.failures)}")
    if not done.succeeded:
        raise BenchError("Not one name that nobody registered was tried.")
    return done.succeeded
