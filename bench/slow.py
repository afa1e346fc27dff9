"""Slow clients: ten thousand at a time on one worker, while somebody else wants an answer.

Only this program, with its settings as they come but for two: the origin may be given as many connections as there are slow
clients, so that they do hold one each, and more connections than usual may come of a client's address. The control's requests
go to the same worker and the same origin, from the moment on at which the first slow client comes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bench.children import Child, free_ports
from bench.errors import BenchError, WrongAnswer
from bench.load.base import LoadReport
from bench.load.process import as_child, report
from bench.load.sink import start_sink
from bench.load.slow import CONTROL, KINDS, Slow
from bench.many import workers_of
from bench.peers import edgeproxy
from bench.stage import Stage

_LIMITS = "\n[limits]\norigin_connections = 12000"
_RATE = 40
_LOOK = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    clients: int
    seconds: float
    """For which all of them are there: longer than any of them may be slow."""


FULL = Plan(clients=10_000, seconds=50.0)
QUICK = Plan(clients=600, seconds=40.0)
_COMING = 400.0
"""Seconds within which all must have come."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """What came of one kind of slowness."""

    answers: Sequence[float]
    """Seconds of each of the control's requests."""
    came: int
    """Slow clients in all: those who were ended were followed by others."""
    ended: int
    peak: int
    """Bytes of the worker's resident memory, at most."""


async def measure_slow(stage: Stage, plan: Plan) -> dict[str, Attacked]:
    """Kind → what came of it. Raises WrongAnswer where the control is not answered."""
    https, http = free_ports(2)
    port = await start_sink(stage)
    issuance = edgeproxy.INTERNAL + _LIMITS
    child = await edgeproxy.serve(stage, "edgeproxy-slow", (https, http, port), issuance, stage.tenants[:1])
    slow = Slow(
        port=https,
        root_file=stage.work / "edgeproxy-slow" / "state" / "internal-ca.pem",
        hostname=stage.tenants[0].hostname,
        kind=CONTROL,
        count=_RATE,
        seconds=2.0,
    )
    await _control(stage, slow)  # the certificate, and whatever is done once
    return {kind: await _attacked(stage, child, slow, kind, plan) for kind in KINDS}


async def _attacked(stage: Stage, child: Child, slow: Slow, kind: str, plan: Plan) -> Attacked:
    (worker,) = workers_of(child.pid)
    command = dataclasses.replace(slow, kind=kind, count=plan.clients, seconds=plan.seconds).command()
    peak, answers = 0, list[float]()
    async with as_child(stage, command) as attackers:
        waiting = asyncio.ensure_future(report(command, attackers, plan.seconds + _COMING))
        try:
            while not waiting.done():
                part = await _control(stage, dataclasses.replace(slow, seconds=5.0))
                answers += part.seconds
                peak = max(peak, resident_bytes(worker))
            done = await waiting
        finally:
            waiting.cancel()
    child.check_alive()
    if workers_of(child.pid) != [worker]:
        raise WrongAnswer(f"slow ({kind}): the worker was replaced.")
    if done.succeeded < plan.clients:
        raise BenchError(f"slow ({kind}): {'; '.join(done.failures) or 'too few came'}")
    return Attacked(answers=answers, came=done.succeeded, ended=done.failures.get("ended", 0), peak=peak)


async def _control(stage: Stage, slow: Slow) -> LoadReport:
    command = slow.command()
    async with as_child(stage, command) as child:
        done = await report(command, child, slow.seconds + 60.0)
    if done.failures:
        raise WrongAnswer(f"slow: {'; '.join(done.failures)}")
    return done


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"The memory of process {pid} is not told.")
