"""What a second worker is worth on a second core: by CPU per request, since the load needs a part of both cores too.

Only this program, once with one worker and once with two, in turns. Either may use both cores, and so may the origin and the
load generators: what these cost caches they cost both. Requests a second are not compared, for the load takes its part of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.many import workers_of
from bench.measure import Timing, measure
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.peers import edgeproxy
from bench.peers.base import Peer
from bench.scenarios import SCENARIOS
from bench.stage import Cores, Stage
from bench.targets import OURS, TWO_WORKERS, Outcome

_SCENARIO = SCENARIOS[0]
_NAME = "two"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Two:
    """What came of it; by round, in pairs."""

    one_us: Sequence[float]
    """CPU microseconds per request of the whole process tree with one worker."""
    two_us: Sequence[float]
    """The same with two."""
    busiest: Sequence[float]
    """The busier worker's part of the CPU time that the two used, 0.5 to 1."""

    @property
    def worth(self) -> list[float]:
        """How many times the requests of one worker two can answer, by round: the busier one's core is full first."""
        return [one / (two * part) for one, two, part in zip(self.one_us, self.two_us, self.busiest, strict=True)]

    def tables(self) -> list[Table]:
        """One."""
        rows = [[f"{OURS} with a second worker on a second core, {_SCENARIO.title}", "median", "least", "greatest"]]
        for title, figures, unit in (
            ("CPU per request, one worker", self.one_us, " µs"),
            ("CPU per request, two workers", self.two_us, " µs"),
            ("the busier worker's part of the two's CPU", [100 * part for part in self.busiest], " %"),
        ):
            rows.append([title, *(f"{each(figures):.1f}{unit}" for each in (statistics.median, min, max))])
        worth = self.worth
        rows.append(["times one worker", *(f"{each(worth):.2f}" for each in (statistics.median, min, max))])
        return [rows]

    def outcomes(self) -> list[Outcome]:
        """The target."""
        worth = statistics.median(self.worth)
        return [Outcome(f"{_NAME}: two workers are worth {worth:.2f} × one, at least {TWO_WORKERS:g}", worth >= TWO_WORKERS)]


async def measure_two(stage: Stage, origin: Origin, _peers: Sequence[str], quick: bool) -> Two:
    """Raises WrongAnswer where a request is not answered as it must be."""
    rounds, timing = (3, Timing(settle=0.3, window=0.6)) if quick else (6, Timing(settle=0.5, window=1.4))
    both = ",".join(sorted({stage.cores.proxy, stage.cores.load}))
    costs: dict[int, list[float]] = {1: [], 2: []}
    busiest = []
    async with contextlib.AsyncExitStack() as exits:
        shared = dataclasses.replace(stage, cores=Cores(both, both), exits=exits)
        started = {
            count: await edgeproxy.start(shared, origin.port, name=f"edgeproxy-{count}-workers", workers=count)
            for count in costs
        }
        for turn in range(rounds):
            for count in (1, 2) if turn % 2 else (2, 1):
                peer = started[count]
                before = _used(peer)
                sample = await measure(shared, peer, origin, _SCENARIO, timing, turn)
                costs[count].append(sample.cpu_us)
                if count > 1:
                    busiest.append(busiest_part(before, _used(peer)))
    return Two(one_us=costs[1], two_us=costs[2], busiest=busiest)


def busiest_part(before: Mapping[int, int], after: Mapping[int, int]) -> float:
    """Of what all used between two looks, the part of who used most; raises ValueError where nobody used anything."""
    used = [spent - before.get(pid, 0) for pid, spent in after.items()]
    if not sum(used):
        raise ValueError("nobody used anything")
    return max(used) / sum(used)


def _used(peer: Peer) -> dict[int, int]:
    """Nanoseconds that each worker has run so far: its loop's thread, which does all of its work."""
    return {pid: int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in workers_of(peer.child.pid)}


def _read(data: Any) -> Two:
    return Two(**data)


MEASUREMENT = Measurement(
    measure=measure_two,
    read=_read,
    note=(
        "- A second worker: one worker and two are measured in turns, each free to use both cores, as the origin and the\n"
        "  load generators are. Two workers are worth (CPU per request of one) / (CPU per request of two × the busier\n"
        "  worker's part of the two's CPU): how many times the requests they could answer, had they both cores for\n"
        "  themselves, when the busier one's is full."
    ),
    always=True,
)
