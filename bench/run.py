"""A whole run: everything started, rounds interleaved, everything ended."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from bench.authority import Authority
from bench.denied import Plan as DeniedPlan
from bench.denied import measure_denied
from bench.errors import Starved
from bench.figures import Sample
from bench.further import FURTHER
from bench.machine import check_tools, describe
from bench.measure import Timing, measure
from bench.never_seen import measure_never_seen
from bench.origin import Origin, start_origin
from bench.parts import Part
from bench.peers.base import Peer
from bench.peers.table import PEERS
from bench.pending import Plan as PendingPlan
from bench.pending import measure_pending
from bench.report import Results
from bench.rush import Rush, measure_rush
from bench.scale import Plan as ScalePlan
from bench.scale import measure_scale
from bench.scenarios import Scenario
from bench.slow import Attacked, measure_slow
from bench.slow import Plan as SlowPlan
from bench.stage import Stage, available_cores, choose_cores
from bench.traffic import tenants


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    peers: Sequence[str]
    scenarios: Sequence[Scenario]
    never_seen: int
    """Names to try in that scenario; 0: not at all."""
    never_seen_peers: Sequence[str]
    """By whom."""
    scale: ScalePlan | None
    """How much to do with many domains; None: nothing."""
    rush: bool
    """Whether to have many visitors at the same moment."""
    denied: DeniedPlan | None
    """How many names that nobody registered; None: none."""
    compared: Collection[str]
    """Names of those scenarios that are measured twice as often."""
    pending: PendingPlan | None
    """How many domains that wait for their record; None: none."""
    slow: SlowPlan | None
    """How many slow clients; None: none."""
    further: Sequence[str]
    """Which of the measurements of their own kind."""
    quick: bool
    """Whether those are to take little time."""
    rounds: int
    """At most; fewer where `seconds` do not suffice, but LEAST_ROUNDS at least."""
    seconds: float
    """For all rounds together."""
    timing: Timing
    patience: float
    """Seconds that rounds may be repeated for which others disturbed."""
    niceness: int
    """Of everything that is started."""
    work: Path


DISTURBED = 0.1
"""A round in which others used more than this share of the proxy's core is repeated, while patience lasts."""


LEAST_ROUNDS = 2

STARVED_TRIES = 3
"""How often a round is tried in which a load process gets no answer at all, before the run is given up."""


class Clock:
    """Says whether there is time for another round: `rounds` at most, in about so many seconds from `begun_at` on."""

    def __init__(self, rounds: int, seconds: float, begun_at: float) -> None:
        self.begun = 0
        self._rounds = rounds
        self._begun_at = begun_at
        self._end = begun_at + seconds

    def another(self, now: float) -> bool:
        """True, and counts it, if a round that takes as long as those before on average would be over in time."""
        mean = (now - self._begun_at) / self.begun if self.begun else 0.0
        if self.begun >= self._rounds or (self.begun >= LEAST_ROUNDS and now + mean > self._end):
            return False
        self.begun += 1
        return True


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
        peers = [await PEERS[name](stage, origin.port) for name in options.peers] if options.scenarios else []
        samples = await _rounds(stage, origin, peers, options)
        never_seen: dict[str, list[float]] = {}
        if options.never_seen:
            never_seen = await measure_never_seen(stage, origin, options.never_seen_peers, options.never_seen)
        rush: Rush | None = None
        if options.rush:
            rush = await measure_rush(stage, origin)
        denied = None
        if options.denied is not None:
            _say(f"{options.denied.names:,} names that nobody registered")
            denied = await measure_denied(stage, origin, options.denied)
        scale = None
        if options.scale is not None:
            _say(f"{options.scale.domains:,} domains")
            scale = await measure_scale(stage, origin, options.scale)
        waiting = None
        if options.pending is not None:
            _say(f"{options.pending.domains:,} domains that wait for their record")
            waiting = await measure_pending(stage, origin, options.pending)
        slow: dict[str, Attacked] = {}
        if options.slow is not None:
            _say(f"{options.slow.clients:,} slow clients of each kind")
            slow = await measure_slow(stage, options.slow)
        further: dict[str, Part] = {}
        for name in options.further:
            _say(name)
            further[name] = await FURTHER[name].measure(stage, origin, options.peers, options.quick)
    return Results(
        machine=machine,
        versions={peer.name: peer.version for peer in peers},
        settings={
            "rounds": max((len(rounds) for peers_of in samples.values() for rounds in peers_of.values()), default=0),
            "window": options.timing.window,
            "disturbed": DISTURBED,
            "tenants": len(stage.tenants),
            "proxy": cores.proxy,
            "load": cores.load,
        },
        samples=samples,
        never_seen=never_seen,
        scale=scale,
        rush=rush,
        denied=denied,
        pending=waiting,
        slow=slow,
        further=further,
    )


def due(scenarios: Sequence[Scenario], compared: Collection[str], turn: int) -> Sequence[Scenario]:
    """What this round measures: all, and every other time only those that have a target beside the others. What disturbs a
    machine lasts for seconds, so that ratios are surer the more rounds they have."""
    often = [scenario for scenario in scenarios if scenario.name in compared]
    return often if often and turn % 2 else scenarios


async def _rounds(stage: Stage, origin: Origin, peers: Sequence[Peer], options: Options) -> dict[str, dict[str, list[Sample]]]:
    """Scenario → peer → rounds: each round goes through all scenarios and peers, so that what disturbs the machine for a
    while disturbs all of them. Who begins changes, so that nobody always follows the same neighbour's caches."""
    samples: dict[str, dict[str, list[Sample]]] = {s.name: {peer.name: [] for peer in peers} for s in options.scenarios}
    clock = Clock(options.rounds, options.seconds, time.monotonic())
    patience = Patience(options.patience)
    while options.scenarios and clock.another(time.monotonic()):
        turn = clock.begun - 1
        _say(f"round {clock.begun} of at most {options.rounds}: ", end="")
        for scenario in due(options.scenarios, options.compared, turn):
            first = turn % len(peers)
            for peer in [*peers[first:], *peers[:first]]:
                samples[scenario.name][peer.name].append(await _sample(stage, peer, origin, scenario, options, turn, patience))
            _say(f"{scenario.name} ", end="")
        _say("")
    return samples


async def _sample(
    stage: Stage, peer: Peer, origin: Origin, scenario: Scenario, options: Options, turn: int, patience: Patience
) -> Sample:
    """One round's figure: of two tries, where others disturbed the first, the one that was less disturbed."""
    for tries in itertools.count(1):
        try:
            sample = await measure(stage, peer, origin, scenario, options.timing, turn)
            break
        except Starved as error:
            if tries == STARVED_TRIES:
                raise
            _say(f"({error}; once more) ", end="")
    if sample.foreign > DISTURBED and patience.spend(options.timing.whole):
        with contextlib.suppress(Starved):
            again = await measure(stage, peer, origin, scenario, options.timing, turn)
            sample = min(sample, again, key=lambda each: each.foreign)
    return sample


def _say(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()
