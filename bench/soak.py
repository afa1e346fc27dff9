"""Whether anything grows, or stands still, over ten million requests: one worker, all kinds of load by turns.

Memory, open files and threads of the three processes are looked at after each round of all kinds, when nobody asks anything;
the worker's loop is watched from within (`bench.watched`). Growth counts from the second round's end: by then caches, pools and
the allocator's arenas have what they need.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgeproxy as program
from bench.children import Child, free_ports
from bench.errors import BenchError, Starved, WrongAnswer
from bench.load.aborting import AbortingPlan
from bench.load.base import LoadCommand, Plan, merge
from bench.load.process import as_child, first_visits, report
from bench.load.strangers import Flood
from bench.many import controller_of, private_bytes, workers_of
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.peers import edgeproxy
from bench.peers.base import Peer
from bench.scenarios import SCENARIOS
from bench.stage import Stage
from bench.targets import Outcome
from bench.traffic import tenants
from bench.watched import ASK

NAME = "soak"
REQUESTS = int(os.environ.get("BENCH_SOAK_REQUESTS", "10000000"))
QUICK_REQUESTS = 30_000

PAUSE = 0.01
"""Seconds of CPU time that nothing may keep the loop for."""

GROWN_BYTES = 8_000_000
"""For each process, from the second round's end to the last one's. One object of 64 bytes for every tenth of eight million
requests would be 51 MB; the allocator's own fragments go up and down by one or two."""

GROWN_FILES, GROWN_THREADS, GROWN_OBJECTS = 300, 1, 10_000
"""The same of open files, threads, and objects that the collector knows of. Up to 256 idle connections to the origin are kept,
as many as were ever needed at once; hundreds of thousands of connections come and go meanwhile."""

GARBAGE = 100
"""Objects that the collector finds after the first round: none for each request or connection."""

MOST_SECONDS = 720.0
"""No round is begun that would not be over by then, if it takes as long as those before."""

_ROUNDS = 3
"""At least: one for what is made once, one to compare with, one that is compared."""

_HOSTNAMES = 100
_SETTLE = 2.5
_LOOK = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of load, and for how many seconds of a round."""

    name: str
    plan: Plan
    seconds: float
    crowd: bool = False
    """Over all hostnames."""


class _Refused:
    """Handshakes for names that nobody registered: each name once."""

    def __init__(self) -> None:
        self._first = 0

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        self._first += 1_000_000
        return [Flood(port=peer.port, first=self._first, count=1_000_000, seconds=seconds).command()]


def kinds(quick: bool) -> list[Kind]:
    """A round."""
    plans = {scenario.name: scenario.plan for scenario in SCENARIOS}
    whole, part = (1.0, 1.0) if quick else (40.0, 2.0)
    return [
        Kind(name="HTTP/1.1, 256 B", plan=plans["h1"], seconds=whole),
        Kind(name="HTTP/2, 256 B", plan=plans["h2"], seconds=whole),
        Kind(name="64 KB", plan=plans["h1-64k"], seconds=part),
        Kind(name="POST of 64 KB", plan=plans["upload"], seconds=part),
        Kind(name="full handshakes", plan=plans["handshake"], seconds=part, crowd=True),
        Kind(name="resumed handshakes", plan=plans["resumed"], seconds=part),
        Kind(name="WebSockets", plan=plans["websocket"], seconds=part),
        Kind(name="clients that go away", plan=AbortingPlan(), seconds=part, crowd=True),
        Kind(name="refused names", plan=_Refused(), seconds=part),
    ]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """At the three processes, when nobody asks anything."""

    requests: int
    """Since the start."""
    private: Mapping[str, int]
    """Process → bytes."""
    files: Mapping[str, int]
    threads: Mapping[str, int]
    objects: int
    """Of the worker's heap, as the collector counts them."""
    garbage: int
    """Those that only cycles kept, when all of the heap was looked through."""
    collected: int
    """The same that the collector has found by itself, since the start."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What came of it."""

    wanted: int
    seconds: float
    did: Mapping[str, int]
    """Kind → requests, handshakes or messages that went as they must."""
    looks: Sequence[Look]
    pauses: Sequence[Mapping[str, Any]]
    """The longest, as watched.Pause."""
    collections: Sequence[Mapping[str, float]]
    """By generation, as watched.Collections."""

    @property
    def own(self) -> float:
        """The greatest pause by CPU time of the worker's own, in seconds."""
        return max((own_seconds(pause) for pause in self.pauses), default=0.0)

    def tables(self) -> list[Table]:
        """Three: what was done, what grew, what paused."""
        did = [["soak", "done"], *([name, f"{count:,}"] for name, count in self.did.items())]
        did.append([f"all, in {self.seconds:.0f} s", f"{self.looks[-1].requests:,} requests at the origin"])
        grown = [["after requests", *(f"{name}, private" for name in self.looks[0].private), "files", "threads", "objects"]]
        for look in self.looks:
            row = [f"{look.requests:,}", *(f"{size / 1e6:.1f} MB" for size in look.private.values())]
            told = ["/".join(map(str, each.values())) for each in (look.files, look.threads)]
            grown.append([*row, *told, f"{look.objects:,}"])
        pauses = [["pauses of the worker's loop", "CPU time", "of that the collector's", "waited for the core", "began with"]]
        for pause in sorted(self.pauses, key=own_seconds, reverse=True)[:6]:
            times = own_seconds(pause), pause["collector"], pause["seconds"] - pause["own"]
            row = [f"{1000 * pause['seconds']:.1f} ms", *(f"{1000 * value:.1f} ms" for value in times)]
            pauses.append([*row, pause["before"]])
        return [did, grown, *([pauses] if len(pauses) > 1 else [])]

    def outcomes(self) -> list[Outcome]:
        """Of the targets."""
        first, last = self.looks[min(1, len(self.looks) - 1)], self.looks[-1]
        over = f"over {last.requests - first.requests:,} requests"
        outcomes = []
        for name, before in first.private.items():
            more = last.private[name] - before
            told = f"soak: {name} grew by {more / 1e6:.1f} MB {over}, at most {GROWN_BYTES / 1e6:.0f} MB"
            outcomes.append(Outcome(told, more <= GROWN_BYTES))
        for what, befores, afters, most in (
            ("open files", first.files, last.files, GROWN_FILES),
            ("threads", first.threads, last.threads, GROWN_THREADS),
        ):
            more = max(afters[name] - befores[name] for name in befores)
            outcomes.append(Outcome(f"soak: {more} more {what} {over}, at most {most}", more <= most))
        more = last.objects - first.objects
        outcomes.append(Outcome(f"soak: {more:,} more objects in the worker, at most {GROWN_OBJECTS:,}", more <= GROWN_OBJECTS))
        garbage = sum(look.garbage for look in self.looks[1:]) + last.collected - self.looks[0].collected
        outcomes.append(Outcome(f"soak: {garbage} objects left to the cyclic collector, at most {GARBAGE}", garbage <= GARBAGE))
        told = f"soak: the loop stood still for {1000 * self.own:.1f} ms at most, below {1000 * PAUSE:g} ms"
        outcomes.append(Outcome(told, self.own < PAUSE))
        longest = max(each["longest"] for each in self.collections)
        told = f"soak: the collector's longest run took {1000 * longest:.1f} ms, below {1000 * PAUSE:g} ms"
        outcomes.append(Outcome(told, longest < PAUSE))
        return outcomes


def _in_time(seconds: float, rounds: int) -> bool:
    return seconds * (rounds + 1) / rounds <= MOST_SECONDS


def own_seconds(pause: Mapping[str, Any]) -> float:
    """Of a pause what the worker's own CPU time took of it, at most: where others had the core, or the machine stood still
    altogether, it is none of the program's."""
    return float(min(pause["seconds"], pause["cpu"]))


async def measure_soak(stage: Stage, origin: Origin, _peers: Sequence[str], quick: bool) -> Soak:
    """Raises WrongAnswer where an answer is wrong, BenchError where it cannot be measured."""
    return await soak(stage, origin, kinds(quick), QUICK_REQUESTS if quick else REQUESTS)


async def soak(
    stage: Stage, origin: Origin, rounds: Sequence[Kind], wanted: int, *, hostnames: int = _HOSTNAMES, least: int = _ROUNDS
) -> Soak:
    """Rounds, so many at least, until the wanted requests have come to the origin."""
    begun, before = time.monotonic(), origin.requests()
    did: dict[str, int] = {}
    looks: list[Look] = []
    async with _serving(stage, origin, hostnames) as (own, peer, folder):
        crowd = dataclasses.replace(own, tenants=tenants(hostnames))
        while len(looks) < least or (looks[-1].requests < wanted and _in_time(time.monotonic() - begun, len(looks))):
            for kind in rounds:
                did[kind.name] = did.get(kind.name, 0) + await _load(crowd if kind.crowd else own, peer, kind)
            looks.append(await _look(peer.child, folder, origin.requests() - before))
            sys.stderr.write(f"{looks[-1].requests:,} of {wanted:,}\n")
        watched = _watched(folder, peer.child)
    return Soak(
        wanted=wanted,
        seconds=time.monotonic() - begun,
        did=did,
        looks=looks,
        pauses=watched["pauses"],
        collections=watched["generations"],
    )


@contextlib.asynccontextmanager
async def _serving(stage: Stage, origin: Origin, hostnames: int) -> AsyncIterator[tuple[Stage, Peer, Path]]:
    """The program, watched, with a certificate for each hostname; a stage of its own; the watch's folder."""
    folder = stage.folder("soak-watch")
    for old in folder.iterdir():
        old.unlink()
    async with contextlib.AsyncExitStack() as exits:
        own = dataclasses.replace(stage, exits=exits)
        https, http = free_ports(2)
        all_of_them = tenants(hostnames)
        child = await edgeproxy.serve(
            own, NAME, (https, http, origin.port), edgeproxy.INTERNAL, all_of_them, program=("bench.watched", str(folder))
        )
        root_file = own.folder(NAME) / "state" / "internal-ca.pem"
        await first_visits(own, NAME, https, root_file, all_of_them)
        peer = Peer(name=program.__name__, version=program.__version__, port=https, root_file=root_file, child=child)
        yield own, peer, folder


async def _load(stage: Stage, peer: Peer, kind: Kind) -> int:
    peer.child.check_alive()
    async with contextlib.AsyncExitStack() as exits:
        running = [
            (command, await exits.enter_async_context(as_child(stage, command)))
            for command in kind.plan(stage, peer, kind.seconds)
        ]
        done = merge([await report(command, child, kind.seconds + 30) for command, child in running])
    if done.failures:
        raise WrongAnswer(f"soak, {kind.name}: {'; '.join(f'{what}: {count}' for what, count in done.failures.items())}")
    if not done.succeeded:
        raise Starved(f"soak, {kind.name}: no answer at all")
    return done.succeeded


async def _look(child: Child, folder: Path, requests: int) -> Look:
    await asyncio.sleep(_SETTLE)
    ids = {"worker": workers_of(child.pid)[0], "controller": controller_of(child.pid), "supervisor": child.pid}
    (folder / ASK).write_text(str(requests))
    end = time.monotonic() + _LOOK
    while (heap := (watched := _watched(folder, child))["heap"]) is None or heap["asked"] != str(requests):
        if time.monotonic() > end:
            raise BenchError("The worker does not look through its heap: this machine is too busy.")
        await asyncio.sleep(0.1)
    return Look(
        requests=requests,
        private={name: private_bytes(pid) for name, pid in ids.items()},
        files={name: _entries(pid, "fd") for name, pid in ids.items()},
        threads={name: _entries(pid, "task") for name, pid in ids.items()},
        objects=heap["objects"],
        garbage=heap["garbage"],
        collected=sum(each["collected"] for each in watched["generations"]),
    )


def _entries(pid: int, folder: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())


def _watched(folder: Path, child: Child) -> dict[str, Any]:
    """What the worker's watch has written. Raises BenchError where the worker is another one by now."""
    (worker,) = workers_of(child.pid)
    try:
        files = list(folder.glob("worker-*.json"))
        found: dict[str, Any] = json.loads((folder / f"worker-{worker}.json").read_text())
    except FileNotFoundError:
        return {"heap": None, "pauses": [], "generations": []}
    if len(files) > 1:
        raise BenchError(f"The worker died and was replaced. Its log ends:\n{child.log_end()}")
    return found


def _read(data: Any) -> Soak:
    return Soak(**{**data, "looks": [Look(**look) for look in data["looks"]]})


MEASUREMENT = Measurement(
    measure=measure_soak,
    read=_read,
    note="""\
- The soak is one worker under all kinds of load by turns, with 100 hostnames. Memory is private as elsewhere here, open files
  and threads are those of worker/controller/supervisor; all are looked at when nobody asks anything. A pause is a time in which
  the worker's loop did not turn, seen from within by a timer of 2 ms and by marks at each read; what counts of it is its own
  CPU time.""",
    named=True,
)
