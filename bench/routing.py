"""How long it takes to find out where a hostname's requests go, among a million sites in the published map."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.children import Child
from bench.figures import percentile
from bench.load.base import client_environment
from bench.load.routing import BLOCK, HOT, Orders, parse
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.stage import Stage
from bench.targets import OURS, ROUTE_UNSEEN_US, ROUTE_WARM_US, Outcome

_SECONDS = 280.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What came of it."""

    sites: int
    warm: Sequence[float]
    """Microseconds for a hostname that is remembered; of each, the mean of some."""
    unseen: Sequence[float]
    """The same for one that nobody has asked for before."""

    def tables(self) -> list[Table]:
        """One."""
        rows = [[f"{OURS}, a route found among {self.sites:,} sites", "median", "99th percentile", "greatest", "of"]]
        for title, times in ((f"of {HOT:,} hostnames that are asked for again", self.warm), ("not seen before", self.unseen)):
            figures = [f"{value:.2f} µs" for value in (statistics.median(times), percentile(times), max(times))]
            rows.append([title, *figures, f"{len(times):,} × {BLOCK}"])
        return [rows]

    def outcomes(self) -> list[Outcome]:
        """Of the targets."""
        outcomes = []
        for title, times, most in (("warm", self.warm, ROUTE_WARM_US), ("not seen before", self.unseen, ROUTE_UNSEEN_US)):
            middle = statistics.median(times)
            told = f"routing: a hostname {title} in {middle:.2f} µs among {self.sites:,} sites, at most {most:g} µs"
            outcomes.append(Outcome(told, middle <= most))
        return outcomes


async def measure_routing(stage: Stage, _origin: Origin, _peers: Sequence[str], quick: bool) -> Routing:
    """On the proxies' core. Raises BenchError where it cannot be measured."""
    sites = 100_000 if quick else 1_000_000
    orders = Orders(folder=Path(stage.folder("routing")), sites=sites, unseen=10_000)
    log, cores = stage.work / "routing.log", stage.cores.proxy
    environment = client_environment(stage)
    child = Child("routing", orders.command(), cores=cores, log=log, niceness=stage.niceness, environment=environment)
    async with child:
        await child.wait(_SECONDS)
    timed = parse(log.read_text())
    return Routing(sites=sites, warm=timed.warm, unseen=timed.unseen)


def _read(data: Any) -> Routing:
    return Routing(**data)


MEASUREMENT = Measurement(
    measure=measure_routing,
    read=_read,
    note="""\
- Routes are looked up in a process of the bench's by the worker's own code, in a map that its publisher's code has written;
  each answer is compared with what is right. A figure is the mean of a hundred look-ups in a row.""",
)
