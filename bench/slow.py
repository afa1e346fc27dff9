"""Slow clients: ten thousand at a time on one worker, while somebody else wants an answer.

Only this program, with its settings as they come but for three: slow clients are left alone for as long as it takes (else they
would be ended before all are there), the origin may be given so many connections that each of them has one, and each process
may open as many files. The control's requests go to the same worker and the same origin: before the first slow client comes,
while they come, while all are there, and when they leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.children import Child, free_ports
from bench.cpu import TICK, parse_stat
from bench.errors import BenchError, WrongAnswer
from bench.load.arguments import parse
from bench.load.base import client_environment, merge
from bench.load.control import KEPT, NEW, Asked, Control, read_asked
from bench.load.sink import start_sink
from bench.load.slow import KINDS, THERE, Slow
from bench.many import workers_of
from bench.peers import edgeproxy
from bench.stage import Stage

_SETTINGS = """
[limits]
origin_connections = 24000

[timeouts]
client_header = "10m"
client_body = "10m"
write = "10m"
"""
_OTHER_FILES = 400
"""That a process may open beside its connections of slow clients and, for each, to the origin."""
_RATES = {KEPT: 100.0, NEW: 20.0}
"""Control requests a second, by kind."""
_PROCESSES = 4
_YIELDING = 10
_WARM = 2.0
"""Seconds of the control's that do not count."""
_LOOK = 0.25
_COMING = 90.0
"""Seconds within which all must have come."""

QUIET, COMING, ALL, LEAVING = "none", "coming", "there", "leaving"
PHASES = (QUIET, COMING, ALL, LEAVING)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    clients: int
    quiet: float
    """Seconds before the first slow client comes."""
    rate: float
    """Slow clients that come a second, at most."""
    seconds: float
    """For which all of them are there: two turns of each."""
    leaving: float
    """Seconds after they have left, all at once."""


FULL = Plan(clients=10_000, quiet=6.0, rate=600.0, seconds=20.0, leaving=2.0)
QUICK = Plan(clients=600, quiet=3.0, rate=300.0, seconds=6.0, leaving=1.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What others noticed, and what it cost, in one phase."""

    kept: Sequence[float]
    """Seconds of each of the control's requests over connections that it keeps."""
    new: Sequence[float]
    """The same over new ones, the handshake included."""
    late: Sequence[float]
    """Of those seconds, for each request of either kind: the control's own, who was not awake in time."""
    cpu: float
    """Share of its core that the worker used."""
    waited: float
    """Share of the time in which the worker was ready to go on and the machine did something else."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """What came of one kind of slowness."""

    phases: Mapping[str, Phase]
    """By name, of PHASES."""
    clients: int
    """That were there at a time."""
    came: int
    """Slow clients in all: those who were ended were followed by others."""
    ended: int
    peak: int
    """Bytes of the worker's resident memory, at most."""
    proportional: int
    """The same with what is shared divided by those who share it (PSS), while all are there."""
    kernel: int
    """Bytes that the kernel holds for all TCP connections of the machine then, both ends' of each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """At the worker, at one moment."""

    at: float
    cpu: float
    """Seconds that it has run."""
    waited: float
    """Seconds that it was ready to run and did not."""
    resident: int


async def measure_slow(stage: Stage, plan: Plan) -> dict[str, Attacked]:
    """Kind → what came of it. Raises WrongAnswer where the control is not answered, BenchError where too few files may be
    opened."""
    with open_files(2 * plan.clients + _OTHER_FILES) as files:
        counts = {kind: clients_of(kind, plan, files) for kind in KINDS}
        https, http = free_ports(2)
        port = await start_sink(stage)
        issuance = edgeproxy.INTERNAL + "\n" + _SETTINGS
        child = await edgeproxy.serve(stage, "edgeproxy-slow", (https, http, port), issuance, stage.tenants[:1])
        plans = {kind: dataclasses.replace(plan, clients=count) for kind, count in counts.items()}
        return {kind: await _attacked(stage, child, https, kind, plans[kind]) for kind in KINDS}


@contextlib.contextmanager
def open_files(wanted: int) -> Iterator[int]:
    """Lets the processes that are started meanwhile open so many files, or as many as may be: gives how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    except (ValueError, OSError):  # root alone may raise it, and not everywhere
        allowed = hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield allowed
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def clients_of(kind: str, plan: Plan, files: int) -> int:
    """How many slow clients of this kind a worker can have that may open so many files. Raises BenchError where those are
    nine tenths of the plan's or fewer."""
    each = 1 if kind == "head" else 2  # an origin's connection too
    clients = min(plan.clients, (files - _OTHER_FILES) // each // _PROCESSES * _PROCESSES)
    if clients < plan.clients * 0.9:
        wanted = plan.clients * each + _OTHER_FILES
        raise BenchError(
            f"{plan.clients:,} slow clients ({kind}) need {wanted:,} open files a process, and {files:,} are allowed here: run "
            f"this as root, or raise the limit first (ulimit -Hn {wanted})."
        )
    return clients


async def _attacked(stage: Stage, child: Child, port: int, kind: str, plan: Plan) -> Attacked:
    (worker,) = workers_of(child.pid)
    looks: list[Look] = []
    spans: dict[str, Span] = {}
    watching = asyncio.ensure_future(_watch(worker, looks))
    try:
        async with contextlib.AsyncExitStack() as exits:
            controls = [await exits.enter_async_context(_control(stage, port, name)) for name in _RATES]
            await asyncio.sleep(_WARM)
            spans[QUIET] = await _span(asyncio.sleep(plan.quiet))
            attackers = _attackers(stage, port, kind, plan)
            spans[COMING] = await _span(_all_come(exits, attackers))
            spans[ALL] = await _span(asyncio.sleep(plan.seconds))
            memory = proportional_bytes(worker), kernel_bytes()
            spans[LEAVING] = await _span(_all_leave(attackers, plan.leaving))
            await _end(controls)
            asked = {name: read_asked(control.log.read_text()) for name, control in zip(_RATES, controls, strict=True)}
        looks.append(look_at(worker))
    finally:
        watching.cancel()
    child.check_alive()
    if workers_of(child.pid) != [worker]:
        raise WrongAnswer(f"slow ({kind}): the worker was replaced.")
    counted = merge([parse(each.log.read_text()) for each in attackers])
    return Attacked(
        phases={name: phase(span, asked, looks) for name, span in spans.items()},
        clients=plan.clients,
        came=counted.succeeded,
        ended=counted.failures.get("ended", 0),
        peak=max(each.resident for each in looks),
        proportional=memory[0],
        kernel=memory[1],
    )


Span = tuple[float, float]
"""Begin and end, time.monotonic()."""


async def _span(what: Awaitable[object]) -> Span:
    begun = time.monotonic()
    await what
    return begun, time.monotonic()


def _control(stage: Stage, port: int, kind: str) -> Child:
    root_file = stage.work / "edgeproxy-slow" / "state" / "internal-ca.pem"
    control = Control(port=port, root_file=root_file, hostname=stage.tenants[0].hostname, kind=kind, rate=_RATES[kind])
    return stage.load_child(f"control-{kind}", control.command(), client_environment(stage))


def _attackers(stage: Stage, port: int, kind: str, plan: Plan) -> list[Child]:
    """They give way to the control, whose own lateness would else be told as ours."""
    count, rate = plan.clients // _PROCESSES, plan.rate / _PROCESSES
    hostname = stage.tenants[0].hostname
    return [
        stage.load_child(
            f"slow-{kind}-{number}",
            Slow(port=port, hostname=hostname, kind=kind, first=number * count, count=count, rate=rate).command(),
            client_environment(stage),
            yielding=_YIELDING,
        )
        for number in range(_PROCESSES)
    ]


async def _all_come(exits: contextlib.AsyncExitStack, attackers: Sequence[Child]) -> None:
    for attacker in attackers:
        await exits.enter_async_context(attacker)
    end = time.monotonic() + _COMING
    for attacker in attackers:
        while THERE not in attacker.log.read_text():
            attacker.check_alive()
            if time.monotonic() > end:
                raise BenchError(f"Not all slow clients came within {_COMING:.0f} s: this machine is too busy.")
            await asyncio.sleep(0.05)


async def _all_leave(attackers: Sequence[Child], seconds: float) -> None:
    await _end(attackers)
    await asyncio.sleep(seconds)


async def _end(children: Sequence[Child]) -> None:
    for child in children:
        child.check_alive()
    await asyncio.gather(*(child.end() for child in children))


async def _watch(pid: int, looks: list[Look]) -> None:
    while True:
        looks.append(look_at(pid))
        await asyncio.sleep(_LOOK)


def look_at(pid: int) -> Look:
    """Now."""
    folder = Path(f"/proc/{pid}")
    waited = (folder / "schedstat").read_text().split()[1]
    resident = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    cpu = parse_stat((folder / "stat").read_text()).own * TICK
    return Look(time.monotonic(), cpu, int(waited) / 1e9, int(resident.split()[1]) * 1024)


def phase(span: Span, asked: Mapping[str, Sequence[Asked]], looks: Sequence[Look]) -> Phase:
    """What fell into this time. Raises BenchError where nothing did."""
    begun, end = span
    within = {kind: [each for each in of if begun <= each.due < end] for kind, of in asked.items()}
    if not all(within.values()):
        raise BenchError(f"The control asked nothing for {end - begun:.1f} s: this machine is too busy.")
    first = max((each for each in looks if each.at <= begun), default=looks[0], key=lambda each: each.at)
    last = min((each for each in looks if each.at >= end), default=looks[-1], key=lambda each: each.at)
    seconds = max(last.at - first.at, 1e-3)
    return Phase(
        kept=[each.seconds for each in within[KEPT]],
        new=[each.seconds for each in within[NEW]],
        late=[each.late for of in within.values() for each in of],
        cpu=(last.cpu - first.cpu) / seconds,
        waited=(last.waited - first.waited) / seconds,
    )


def proportional_bytes(pid: int) -> int:
    """Memory of a process, of what is shared its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"The memory of process {pid} is not told.")


def kernel_bytes() -> int:
    """What the kernel holds of memory for the TCP connections of this machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.rpartition("mem ")[2].split()[0]) * resource.getpagesize()
    raise BenchError("The kernel does not tell what its connections hold.")
