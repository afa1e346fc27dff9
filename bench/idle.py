"""What connections cost on which nothing happens: memory of a worker for each, and whether ten thousand of them slow others.

Peers of their own, freshly started: one that served other scenarios before has room left over that would hide the growth. Each
is given some visitors first, so that what it makes once is there; then a few thousand come, ask once and stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from bench.children import Child, free_ports
from bench.cpu import read_tree
from bench.errors import BenchError, WrongAnswer
from bench.figures import percentile
from bench.load.arguments import parse
from bench.load.base import client_environment
from bench.load.control import KEPT, NEW, Control, read_asked
from bench.load.idle import Idle
from bench.load.sink import start_sink
from bench.load.slow import THERE
from bench.load.verifier import HTTP1, HTTP2
from bench.many import private_bytes, workers_of
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.peers import edgeproxy, nginx
from bench.slow import open_files
from bench.stage import Stage
from bench.targets import CROWD_SECONDS, FRESH_BYTES, IDLE_RATIOS, OURS, Outcome

TITLES = {HTTP1: "HTTP/1.1", HTTP2: "HTTP/2"}

_SETTINGS = '\n[timeouts]\nidle = "20m"\n'
"""So that ten thousand are there even where they come slowly; nginx's 75 s suffice for those few thousand that it gets."""

_WARM, _TENANTS = 200, 4
_COMING, _LEAVING, _SETTLE = 240.0, 60.0, 1.0
_CONTROL_SECONDS, _CONTROL_WARM = 8.0, 1.5
_RATES = {KEPT: 50.0, NEW: 10.0}
_FILES = 400


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    connections: int
    """Of each protocol, for each peer."""
    crowd: int
    """On one worker of ours, over HTTP/1.1."""


FULL, QUICK = Plan(connections=3_000, crowd=10_000), Plan(connections=1_000, crowd=2_000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IdleMemory:
    """What came of it."""

    connections: int
    fresh: Mapping[str, int]
    """Peer → private bytes of its worker after its start and a first visitor."""
    each: Mapping[str, Mapping[str, float]]
    """Protocol → peer → private bytes of its worker for a connection more."""
    crowd: int
    crowd_each: float
    """Private bytes of our worker for each of so many."""
    kept: Sequence[float]
    """Seconds from when it was due to the whole answer, of others' requests meanwhile, over connections that are kept."""
    new: Sequence[float]
    """The same over new ones."""

    def ratio(self, protocol: str) -> float | None:
        """Our bytes over nginx's for a connection; None where nginx was not measured."""
        each = self.each[protocol]
        return each[OURS] / each["nginx"] if "nginx" in each else None

    def tables(self) -> list[Table]:
        """One of memory, one of what others notice."""
        names = list(self.fresh)
        memory = [["private memory of a worker", *names, f"{OURS} over nginx"]]
        ratio = f"{self.fresh[OURS] / self.fresh['nginx']:.1f}" if "nginx" in self.fresh else "–"
        memory.append(["freshly started, one visitor served", *(f"{self.fresh[name] / 1e6:.1f} MB" for name in names), ratio])
        for protocol, each in self.each.items():
            over = self.ratio(protocol)
            title = f"for each of {self.connections:,} idle connections, TLS, {TITLES[protocol]}"
            figures = [f"{each[name] / 1e3:.1f} KB" for name in names]
            memory.append([title, *figures, "–" if over is None else f"{over:.2f}"])
        crowd = f"{self.crowd_each / 1e3:.1f} KB"
        dashes = ["–"] * (len(names) - 1)
        memory.append([f"the same of {self.crowd:,}, HTTP/1.1", *dashes, crowd, "–"])
        answers = [[f"others' answers beside {self.crowd:,} idle connections", "median", "99th percentile", "greatest", "of"]]
        for title, times in (("over connections that are kept", self.kept), ("over new ones", self.new)):
            figures = [f"{1000 * value:.1f} ms" for value in (statistics.median(times), percentile(times), max(times))]
            answers.append([title, *figures, f"{len(times):,}"])
        return [memory, answers]

    def outcomes(self) -> list[Outcome]:
        """Of the targets."""
        fresh, worst = self.fresh[OURS], percentile(self.kept)
        outcomes = [
            Outcome(
                f"idle: {fresh / 1e6:.1f} MB private in a fresh worker, at most {FRESH_BYTES / 1e6:.0f} MB",
                fresh <= FRESH_BYTES,
            )
        ]
        for protocol, most in IDLE_RATIOS.items():
            over = self.ratio(protocol)
            if over is not None:
                told = f"idle: {over:.2f} × nginx's memory for a connection, {TITLES[protocol]}, at most {most:g}"
                outcomes.append(Outcome(told, over <= most))
        told = f"idle: beside {self.crowd:,} idle connections others are answered after {1000 * worst:.1f} ms"
        outcomes.append(Outcome(f"{told} at the 99th percentile, below {1000 * CROWD_SECONDS:g} ms", worst < CROWD_SECONDS))
        return outcomes


async def measure_idle(stage: Stage, _origin: Origin, peers: Sequence[str], quick: bool) -> IdleMemory:
    """Raises WrongAnswer where a visitor is not answered, or ended before its time."""
    plan = QUICK if quick else FULL
    starters = {"nginx": _nginx, OURS: _edgeproxy} if "nginx" in peers else {OURS: _edgeproxy}
    fresh: dict[str, int] = {}
    each: dict[str, dict[str, float]] = {HTTP1: {}, HTTP2: {}}
    with open_files(2 * plan.crowd + _FILES) as files:
        if files < plan.crowd + _FILES:
            raise BenchError(
                f"{plan.crowd:,} connections need {plan.crowd + _FILES:,} open files, and {files:,} are allowed here."
            )
        for protocol in (HTTP1, HTTP2):
            for name, start in starters.items():
                async with _apart(stage, f"idle-{name}-{protocol.replace('/', '')}") as own:
                    server = await start(own, await start_sink(own))
                    async with _there(own, server, protocol, 0, 1):
                        fresh.setdefault(name, private_bytes(server.worker()))
                    async with _there(own, server, protocol, 1, _WARM):
                        each[protocol][name] = await _growth(own, server, protocol, plan.connections)
        async with _apart(stage, "idle-crowd") as own:
            server = await _edgeproxy(own, await start_sink(own))
            async with _there(own, server, HTTP1, 1, _WARM):
                before = private_bytes(server.worker())
                async with _there(own, server, HTTP1, 1 + _WARM, plan.crowd):
                    crowd_each = (private_bytes(server.worker()) - before) / plan.crowd
                    times = await _others(own, server)
    return IdleMemory(
        connections=plan.connections,
        fresh=fresh,
        each=each,
        crowd=plan.crowd,
        crowd_each=crowd_each,
        kept=times[KEPT],
        new=times[NEW],
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Server:
    port: int
    child: Child
    workers: Callable[[int], Sequence[int]]

    def worker(self) -> int:
        """Its only one."""
        self.child.check_alive()
        (worker,) = self.workers(self.child.pid)
        return worker


async def _nginx(stage: Stage, origin: int) -> _Server:
    peer = await nginx.start(stage, origin)
    return _Server(peer.port, peer.child, lambda root: [pid for pid in read_tree(root) if pid != root])


async def _edgeproxy(stage: Stage, origin: int) -> _Server:
    https, http = free_ports(2)
    child = await edgeproxy.serve(stage, "edgeproxy", (https, http, origin), edgeproxy.INTERNAL + _SETTINGS, stage.tenants)
    return _Server(https, child, workers_of)


@contextlib.asynccontextmanager
async def _apart(stage: Stage, name: str) -> AsyncIterator[Stage]:
    """A stage whose children end before the next has its own."""
    async with contextlib.AsyncExitStack() as exits:
        yield dataclasses.replace(stage, work=stage.folder(name), tenants=stage.tenants[:_TENANTS], exits=exits)


@contextlib.asynccontextmanager
async def _there(stage: Stage, server: _Server, protocol: str, first: int, count: int) -> AsyncIterator[None]:
    """So many visitors that stay. Raises WrongAnswer where they do not."""
    hostnames = ",".join(tenant.hostname for tenant in stage.tenants)
    idle = Idle(port=server.port, protocol=protocol, first=first, count=count, hostnames=hostnames)
    child = stage.load_child(f"idle-{first}", idle.command(), client_environment(stage))
    async with child:
        end = time.monotonic() + _COMING
        while THERE not in child.log.read_text():
            if "report " in child.log.read_text():
                break
            child.check_alive()
            if time.monotonic() > end:
                raise BenchError(f"{count:,} visitors did not come within {_COMING:.0f} s: this machine is too busy.")
            await asyncio.sleep(0.05)
        else:
            await asyncio.sleep(_SETTLE)
            yield
            os.kill(child.pid, signal.SIGTERM)
        await child.wait(_LEAVING)
    report = parse(child.log.read_text())
    if report.succeeded != count:
        raise WrongAnswer(f"Of {count:,} visitors that were to stay {report.succeeded:,} did: {report.failures}")


async def _growth(stage: Stage, server: _Server, protocol: str, count: int) -> float:
    before = private_bytes(server.worker())
    async with _there(stage, server, protocol, 1 + _WARM, count):
        return (private_bytes(server.worker()) - before) / count


async def _others(stage: Stage, server: _Server) -> dict[str, list[float]]:
    """Kind of request → seconds of each."""
    root_file = stage.work / "edgeproxy" / "state" / "internal-ca.pem"
    children = {}
    async with contextlib.AsyncExitStack() as exits:
        for kind, rate in _RATES.items():
            control = Control(port=server.port, root_file=root_file, hostname=stage.tenants[0].hostname, kind=kind, rate=rate)
            child = stage.load_child(f"control-{kind}", control.command(), client_environment(stage))
            children[kind] = await exits.enter_async_context(child)
        await asyncio.sleep(_CONTROL_WARM + _CONTROL_SECONDS)
    return {
        kind: settled([(each.due, each.seconds) for each in read_asked(child.log.read_text())])
        for kind, child in children.items()
    }


def settled(asked: Sequence[tuple[float, float]]) -> list[float]:
    """Seconds of those requests that were due once the first ones were over; pairs of due, seconds. Raises BenchError where
    there are none."""
    begun = min((due for due, _ in asked), default=0.0) + _CONTROL_WARM
    times = [seconds for due, seconds in asked if due >= begun]
    if not times:
        raise BenchError("Nobody asked anything beside the idle connections: this machine is too busy.")
    return times


def _read(data: Any) -> IdleMemory:
    return IdleMemory(**data)


MEASUREMENT = Measurement(
    measure=measure_idle,
    read=_read,
    note="""\
- Idle connections come from an address each, to peers that were started for them: 200 visitors first, then a few thousand that
  have one request of a browser's answered and stay. Their memory is what Private_Clean and Private_Dirty of the worker's smaps
  grew by, the published map left out; the kernel's part is not counted. Others' requests come meanwhile at a fixed rate, over
  connections that are kept and over new ones; their time counts from when they were due.""",
)
