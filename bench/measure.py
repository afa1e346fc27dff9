"""One round: load on, settle, look at the clocks, wait, look again, judge what the generators counted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from pathlib import Path

from bench.cpu import ProcessTimes, busiest_seconds, parse_core_busy, read_tree, total_seconds
from bench.errors import Starved, WrongAnswer
from bench.figures import Sample
from bench.load.base import LoadReport, merge
from bench.load.process import as_child, report
from bench.load.verifier import verifier
from bench.origin import Origin
from bench.peers.base import Peer
from bench.scenarios import Scenario
from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long the parts of a round take, seconds."""

    settle: float
    """Load before the window: connections are made, pools filled, caches warm."""
    window: float

    @property
    def whole(self) -> float:
        """Of the load; a little longer than both together."""
        return self.settle + self.window + 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    at: float
    requests: int
    processes: dict[int, ProcessTimes]
    cpu_seconds: float
    core_seconds: float
    """That the proxy's core was busy, with whatever."""


def _look(stage: Stage, peer: Peer, origin: Origin, scenario: Scenario) -> _Look:
    """The three counters at about one moment.

    The origin answers late when its core is full; the mean of the CPU time before and after asking is that of the moment
    in which it counted.
    """
    begun, before = time.monotonic(), total_seconds(read_tree(peer.child.pid))
    requests = _count(origin, scenario)
    processes = read_tree(peer.child.pid)
    clocks = Path("/proc/stat").read_text()
    core_busy = sum(parse_core_busy(clocks, int(core)) for core in stage.cores.proxy.split(","))
    return _Look((begun + time.monotonic()) / 2, requests, processes, (before + total_seconds(processes)) / 2, core_busy)


async def measure(stage: Stage, peer: Peer, origin: Origin, scenario: Scenario, timing: Timing, turn: int) -> Sample:
    """A round of one scenario on one peer.

    Requests are counted by the origin, so that the window may lie within the load: connections that are being made, and
    generators that start or end, are outside. Raises WrongAnswer if any answer was wrong, Starved or BenchError if there was
    none.
    """
    commands = scenario.plan(stage, peer, timing.whole)
    # A Python program takes longer to start than wrk and h2load: asked for the window alone it ends with them.
    if scenario.protocol is not None:
        commands.append(verifier(stage, peer, timing.window, scenario.protocol, scenario.path_root, turn))
    peer.child.check_alive()
    async with contextlib.AsyncExitStack() as exits:
        running = [(command, await exits.enter_async_context(as_child(stage, command))) for command in commands]
        await _settled(origin, scenario, timing.settle)
        before = _look(stage, peer, origin, scenario)
        await asyncio.sleep(timing.window)
        after = _look(stage, peer, origin, scenario)
        reports = {command.name: await report(command, child, timing.whole + 20) for command, child in running}
    peer.child.check_alive()
    _judge(peer, scenario, reports)
    return _sample(peer, scenario, before, after)


async def _settled(origin: Origin, scenario: Scenario, seconds: float) -> None:
    """Waits so long, and on until the load is there: on a busy machine a Python program takes longer than that to start."""
    before = _count(origin, scenario)
    for wait in (seconds, *(0.1 for _ in range(20))):
        await asyncio.sleep(wait)
        if _count(origin, scenario) > before:
            return


def _count(origin: Origin, scenario: Scenario) -> int:
    return origin.messages() if scenario.messages else origin.requests()


def _judge(peer: Peer, scenario: Scenario, reports: dict[str, LoadReport]) -> None:
    """Raises WrongAnswer unless every process had answers and none was wrong."""
    failures = merge(list(reports.values())).failures
    if failures:
        told = "; ".join(f"{kind}: {count}" for kind, count in failures.items())
        raise WrongAnswer(f"{peer.name}, {scenario.title}: {told}")
    idle = [name for name, counted in reports.items() if counted.succeeded == 0]
    if idle:
        raise Starved(f"{peer.name}, {scenario.title}: no answer at all for {', '.join(idle)}")


def _sample(peer: Peer, scenario: Scenario, before: _Look, after: _Look) -> Sample:
    requests = after.requests - before.requests
    if requests <= 0:
        raise Starved(f"{peer.name}, {scenario.title}: no request reached the origin while it was measured.")
    seconds = after.at - before.at
    cpu = after.cpu_seconds - before.cpu_seconds
    return Sample(
        requests=requests,
        seconds=seconds,
        cpu_us=cpu / requests * 1e6,
        busiest_us=busiest_seconds(before.processes, after.processes) / requests * 1e6,
        load=cpu / seconds,
        foreign=max(0.0, (after.core_seconds - before.core_seconds - cpu) / seconds),
    )
