"""A whole run: everything started, rounds interleaved, everything ended."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.authority import Authority
from bench.figures import Sample, summarise
from bench.machine import check_tools, describe
from bench.measure import Timing, measure
from bench.never_seen import measure_never_seen
from bench.origin import Origin, start_origin
from bench.peers.base import Peer
from bench.peers.table import PEERS
from bench.report import Results
from bench.scale import Plan as ScalePlan
from bench.scale import measure_scale
from bench.scenarios import Scenario
from bench.stage import Stage, available_cores, choose_cores
from bench.traffic import tenants


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    peers: Sequence[str]
    scenarios: Sequence[Scenario]
    never_seen: int
    """Names to try in that scenario; 0: not at all."""
    scale: ScalePlan | None
    """How much to do with many domains; None: nothing."""
    rounds: int
    timing: Timing
    patience: float
    """Seconds that rounds may be repeated for which others disturbed."""
    niceness: int
    """Of everything that is started."""
    work: Path


DISTURBED = 0.1
"""A round in which others used more than this share of the proxy's core is repeated, while patience lasts."""


class Patience:
    """A budget of seconds."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def spend(self, seconds: float) -> bool:
        """Takes so much of it; False where it does not suffice."""
        if self._left < seconds:
            return False
        self._left -= seconds
        return True


async def run(options: Options) -> Results:
    """Raises BenchError where the run cannot be made, WrongAnswer where its figures would not count."""
    check_tools()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    machine = describe()
    cores = choose_cores(available_cores())
    if not cores.apart:
        _say("Only one core may be used: proxy and load share it, so take the figures with a grain of salt.")
    async with contextlib.AsyncExitStack() as exits:
        stage = Stage(
            work=options.work,
            cores=cores,
            tenants=tenants(),
            authority=Authority(options.work / "certificates"),
            exits=exits,
            niceness=options.niceness,
        )
        origin = await start_origin(stage)
        peers = [await PEERS[name](stage, origin.port) for name in options.peers]
        patience = Patience(options.patience)
        samples = {
            scenario.name: await _rounds(stage, origin, peers, scenario, options, patience) for scenario in options.scenarios
        }
        never_seen: dict[str, list[float]] = {}
        if options.never_seen:
            never_seen = await measure_never_seen(stage, origin, options.peers, options.never_seen)
        scale = None
        if options.scale is not None:
            _say(f"{options.scale.domains:,} domains")
            scale = await measure_scale(stage, origin, options.scale)
    return Results(
        machine=machine,
        versions={peer.name: peer.version for peer in peers},
        settings={
            "rounds": options.rounds,
            "window": options.timing.window,
            "disturbed": DISTURBED,
            "tenants": len(stage.tenants),
            "proxy": cores.proxy,
            "load": cores.load,
        },
        samples=samples,
        never_seen=never_seen,
        scale=scale,
    )


async def _rounds(
    stage: Stage, origin: Origin, peers: Sequence[Peer], scenario: Scenario, options: Options, patience: Patience
) -> dict[str, list[Sample]]:
    """All rounds of a scenario. Who begins changes, so that nobody always follows the same neighbour's caches."""
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    _say(f"{scenario.title} ", end="")
    for turn in range(options.rounds):
        first = turn % len(peers)
        for peer in [*peers[first:], *peers[:first]]:
            sample = await measure(stage, peer, origin, scenario, options.timing, turn)
            while sample.foreign > DISTURBED and patience.spend(options.timing.whole):
                _say("~", end="")
                again = await measure(stage, peer, origin, scenario, options.timing, turn)
                sample = min(sample, again, key=lambda each: each.foreign)
            samples[peer.name].append(sample)
            _say(".", end="")
    _say("  " + ", ".join(f"{name} {summarise(rounds).median:.1f}" for name, rounds in samples.items()))
    return samples


def _say(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()
