"""Whether a hundred thousand hostnames cost more than one: handshakes, and requests, of a single worker.

Only this program, with one worker on the proxies' core and its settings as they come; each name has a certificate of its own.
Rounds with one name and with all are by turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bench
import edgeproxy as program
from bench.children import Child, free_ports
from bench.door import Door
from bench.figures import Sample, ratio, summarise
from bench.load.base import Plan
from bench.load.spread import EXPONENT, HandshakesPlan, RequestsPlan
from bench.many import WILDCARD, certify, fill
from bench.measure import Timing, measure
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.peers import edgeproxy
from bench.peers.base import Peer
from bench.scenarios import Scenario
from bench.stage import Stage
from bench.targets import OURS, SPREAD_RATIOS, Outcome
from bench.traffic import tenants

HANDSHAKES, REQUESTS = "handshakes", "requests"
_TITLES = {
    HANDSHAKES: f"full handshake, one request, close; Zipf, exponent {EXPONENT:g}",
    REQUESTS: "request, HTTP/1.1, 256 B; evenly",
}
_PLANS: dict[str, Callable[[int], Plan]] = {HANDSHAKES: HandshakesPlan, REQUESTS: RequestsPlan}
_FILLING = 8.0
"""Seconds of handshakes with all names before what is kept of them is full."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What came of it."""

    names: int
    one: Mapping[str, Sequence[Sample]]
    """HANDSHAKES or REQUESTS → rounds with one name."""
    many: Mapping[str, Sequence[Sample]]
    """The same with all."""

    def ratio(self, kind: str) -> float:
        """CPU time with all names over that with one."""
        one, many = ([sample.cpu_us for sample in rounds[kind]] for rounds in (self.one, self.many))
        return ratio(many, one)

    def tables(self) -> list[Table]:
        """One."""
        rows = [[f"{OURS}, CPU µs with {self.names:,} hostnames", "one name", "all of them", "ratio", "of the core"]]
        for kind, title in _TITLES.items():
            one, many = summarise(self.one[kind]), summarise(self.many[kind])
            figures = [f"{each.median:.0f} [{each.low:.0f}–{each.high:.0f}]" for each in (one, many)]
            rows.append([title, *figures, f"{self.ratio(kind):.2f}", f"{one.load:.0%}, {many.load:.0%}"])
        return [rows]

    def outcomes(self) -> list[Outcome]:
        """Of the targets."""
        outcomes = []
        for kind, most in SPREAD_RATIOS.items():
            over = self.ratio(kind)
            told = f"spread: {kind} over {self.names:,} hostnames cost {over:.2f} × those of one, at most {most:g}"
            outcomes.append(Outcome(told, over <= most))
        return outcomes


async def measure_spread(stage: Stage, origin: Origin, _peers: Sequence[str], quick: bool) -> Spread:
    """Raises WrongAnswer where an answer is wrong, BenchError where it cannot be measured."""
    names, rounds = (20_000, 3) if quick else (100_000, 7)
    timing = Timing(settle=0.5, window=1.0 if quick else 2.0)
    one: dict[str, list[Sample]] = {kind: [] for kind in _PLANS}
    many: dict[str, list[Sample]] = {kind: [] for kind in _PLANS}
    async with _serving(stage, origin, names) as peer:
        await measure(stage, peer, origin, _scenario(HANDSHAKES, names), Timing(settle=0.5, window=_FILLING), 0)
        for turn in range(rounds):
            for kind in _PLANS:
                for found, count in ((one, 1), (many, names)):
                    found[kind].append(await measure(stage, peer, origin, _scenario(kind, count), timing, turn))
    return Spread(names=names, one=one, many=many)


def _scenario(kind: str, names: int) -> Scenario:
    return Scenario(name=f"spread-{kind}", title=f"{kind} over {names:,} names", plan=_PLANS[kind](names), protocol=None)


@contextlib.asynccontextmanager
async def _serving(stage: Stage, origin: Origin, names: int) -> AsyncIterator[Peer]:
    """The program with so many names, each with its certificate, once all are published."""
    known, folder = tenants(names), stage.folder("spread")
    https, http = free_ports(2)
    door = Door(https, folder / "state" / "internal-ca.pem", stage.socket_path("admin.sock"))
    config = edgeproxy.write_config(folder, door.admin, (https, http, origin.port), edgeproxy.INTERNAL)
    await fill(folder / "state", known)
    async with _running(stage, config):
        await asyncio.to_thread(door.call, "POST", f"/api/v1/infrastructure/ssl/{WILDCARD}", None, 200)
    await certify(folder / "state", known)
    async with _running(stage, config) as child:
        await asyncio.to_thread(door.visit, known[-1])
        await asyncio.to_thread(door.wait_published)
        yield Peer(name=OURS, version=program.__version__, port=https, root_file=door.root_file, child=child)


@contextlib.asynccontextmanager
async def _running(stage: Stage, config: Path) -> AsyncIterator[Child]:
    command = [sys.executable, "-m", "edgeproxy", "serve", "--config", str(config)]
    environment = {"PYTHONPATH": str(Path(bench.__file__).parents[1])}
    log, cores = stage.work / "spread.log", stage.cores.proxy
    async with Child("spread", command, cores=cores, log=log, niceness=stage.niceness, environment=environment) as child:
        yield child


def _read(data: Any) -> Spread:
    rounds = {
        field: {kind: [Sample(**sample) for sample in samples] for kind, samples in data[field].items()}
        for field in ("one", "many")
    }
    return Spread(names=data["names"], **rounds)


MEASUREMENT = Measurement(
    measure=measure_spread,
    read=_read,
    note="""\
- Hostnames that handshakes are spread over have a certificate each, all with the same chain and key; the client verifies each
  and proves the session new. Requests are spread evenly over 64 kept connections, each of which carries those of all hostnames
  under a wildcard certificate: every one may lead elsewhere than the one before. One name and all of them are by turns.""",
)
