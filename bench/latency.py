"""How long answers take when a worker is busy but not full: at 70 % of what ours can serve, beside the others at the same rate.

What ours can serve is found first, in short rounds of as many requests as go: requests for each second of its core's. Then
requests come at a fixed rate, to one after the other, whatever the answers' times are.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.cpu import read_tree, total_seconds
from bench.errors import BenchError, WrongAnswer
from bench.figures import percentile, ratio
from bench.load import steady
from bench.load.base import merge
from bench.load.process import as_child, report
from bench.measure import Timing, measure
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.peers import edgeproxy, haproxy, nginx
from bench.peers.base import Peer
from bench.scenarios import SCENARIOS
from bench.stage import Stage
from bench.targets import LATENCY_LOAD, LATENCY_RATIO, OURS, Outcome

_CLOSED = next(scenario for scenario in SCENARIOS if scenario.name == "h1")
_TIMING = Timing(settle=0.5, window=1.0)
_SETTLE = 3.0
"""Seconds of a fixed rate that do not count: the handshakes, and what became due meanwhile."""
_KEPT_UP = 0.9
"""A round in which the generators sent less than this share of what they were to send does not count as one."""
_SHARES = (LATENCY_LOAD, 0.6, 0.5, 0.4)
"""Of what ours can serve: the greatest at which the generators, who share a core with the origin, keep up. Where that is not
the first the target counts as missed, whatever comes of it."""
_TRIES = 3
_OTHERS = {"nginx": nginx.start, "HAProxy": haproxy.start}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    closed: int
    """Rounds of as many requests as go."""
    rounds: int
    seconds: float
    """Of each round that count."""


FULL, QUICK = Plan(closed=3, rounds=7, seconds=3.0), Plan(closed=2, rounds=3, seconds=3.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What came of it."""

    saturation: float
    """Requests for each second of CPU time of ours: what one core serves."""
    share: float
    """Of that, which is LATENCY_LOAD where the generators kept up."""
    rate: float
    """Requests a second that were to come."""
    sent: Mapping[str, Sequence[float]]
    """Peer → requests a second that came, of each round."""
    load: Mapping[str, Sequence[float]]
    """Peer → share of its core that it used, of each round."""
    seconds: Mapping[str, Sequence[Sequence[float]]]
    """Peer → the answers' times of each round, each from when it was due."""
    late: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    """Peer → the 99th percentile of each round of the client's own lateness, which is part of those times."""

    def worst(self, name: str) -> list[float]:
        """The 99th percentile of each round."""
        return [percentile(times) for times in self.seconds[name]]

    def tables(self) -> list[Table]:
        """One."""
        heading = f"answers' time at {self.rate:,.0f} requests/s, {self.share:.0%} of what {OURS} can serve on one core"
        rows = [[heading, "median", "99th percentile", "its rounds", "client late by", "requests/s", "of its core", "answers"]]
        for name, rounds in self.seconds.items():
            worst = self.worst(name)
            middle = statistics.median(time for times in rounds for time in times)
            rows.append(
                [
                    name,
                    f"{1000 * middle:.2f} ms",
                    f"{1000 * statistics.median(worst):.2f} ms",
                    f"{1000 * min(worst):.2f}–{1000 * max(worst):.2f} ms",
                    f"{1000 * statistics.median(self.late[name]):.2f} ms" if name in self.late else "–",
                    f"{statistics.median(self.sent[name]):,.0f}",
                    f"{statistics.median(self.load[name]):.0%}",
                    f"{sum(map(len, rounds)):,}",
                ]
            )
        return [rows]

    def outcomes(self) -> list[Outcome]:
        """Of the target."""
        if "nginx" not in self.seconds:
            return []
        over = ratio(self.worst(OURS), self.worst("nginx"))
        told = f"latency: {over:.2f} × nginx's 99th percentile at {self.share:.0%} of our saturation"
        meant = "" if self.share == LATENCY_LOAD else f"; {LATENCY_LOAD:.0%} was meant, and the generators did not keep up"
        return [Outcome(f"{told}, at most {LATENCY_RATIO:g}{meant}", over <= LATENCY_RATIO and not meant)]


async def measure_latency(stage: Stage, origin: Origin, peers: Sequence[str], quick: bool) -> Latency:
    """Raises BenchError where the generators cannot keep up, WrongAnswer where an answer is wrong."""
    plan = QUICK if quick else FULL
    async with contextlib.AsyncExitStack() as exits:
        own = dataclasses.replace(stage, work=stage.folder("latency"), exits=exits)
        ours = await edgeproxy.start(own, origin.port)
        compared = [*[await start(own, origin.port) for name, start in _OTHERS.items() if name in peers], ours]
        costs = [(await measure(own, ours, origin, _CLOSED, _TIMING, turn)).cpu_us for turn in range(plan.closed)]
        saturation = 1e6 / statistics.median(costs)
        exits.enter_context(_before_others(origin.processes()))
        share = await _share(own, ours, origin, saturation, plan.seconds)
        rate = share * saturation
        rounds: dict[str, list[_Round]] = {peer.name: [] for peer in compared}
        for turn in range(plan.rounds):
            for peer in compared if turn % 2 else compared[::-1]:
                rounds[peer.name].append(await _kept_up(own, peer, origin, rate, plan.seconds))
    return Latency(
        saturation=saturation,
        share=share,
        rate=rate,
        sent={name: [each.rate for each in of] for name, of in rounds.items()},
        load={name: [each.load for each in of] for name, of in rounds.items()},
        late={name: [percentile(each.late) for each in of] for name, of in rounds.items()},
        seconds={name: [each.seconds for each in of] for name, of in rounds.items()},
    )


@contextlib.contextmanager
def _before_others(processes: Sequence[int]) -> Iterator[None]:
    """Has them run as soon as they can, where that is allowed: by niceness alone they wait for a generator's turn to end, some
    milliseconds, and all answers' times would tell of that."""
    with contextlib.suppress(PermissionError):
        for process in processes:
            os.sched_setscheduler(process, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError, ProcessLookupError):
            for process in processes:
                os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))


@dataclasses.dataclass(frozen=True, slots=True)
class _Round:
    rate: float
    load: float
    seconds: Sequence[float]
    late: Sequence[float]


async def _share(stage: Stage, peer: Peer, origin: Origin, saturation: float, seconds: float) -> float:
    for share in _SHARES:
        if (await _round(stage, peer, origin, share * saturation, seconds)).rate >= _KEPT_UP * share * saturation:
            return share
    raise BenchError(f"The generators do not keep up with {_SHARES[-1]:.0%} of {saturation:,.0f} requests a second.")


async def _kept_up(stage: Stage, peer: Peer, origin: Origin, rate: float, seconds: float) -> _Round:
    for _ in range(_TRIES):
        done = await _round(stage, peer, origin, rate, seconds)
        if done.rate >= _KEPT_UP * rate:
            return done
    raise BenchError(
        f"{peer.name}: {done.rate:,.0f} requests a second came where {rate:,.0f} were to: the generators or the machine could "
        "not keep up."
    )


async def _round(stage: Stage, peer: Peer, origin: Origin, rate: float, seconds: float) -> _Round:
    whole = _SETTLE + seconds + 1.0
    commands = steady.others(stage, peer, whole, rate - steady.RATE)
    probe = steady.noted(stage, peer, _SETTLE + seconds)
    async with contextlib.AsyncExitStack() as exits:
        children = [(each, as_child(stage, each, yielding=steady.YIELDING)) for each in commands]
        running = [
            (each, await exits.enter_async_context(child)) for each, child in (*children, (probe, as_child(stage, probe)))
        ]
        await asyncio.sleep(_SETTLE)
        begun, before, cpu = time.monotonic(), origin.requests(), total_seconds(read_tree(peer.child.pid))
        await asyncio.sleep(seconds)
        ended, after, used = time.monotonic(), origin.requests(), total_seconds(read_tree(peer.child.pid))
        reports = [await report(command, child, whole + 20) for command, child in running]
    failures = merge(reports).failures
    if failures:
        told = "; ".join(f"{kind}: {count}" for kind, count in failures.items())
        raise WrongAnswer(f"{peer.name}, at a fixed rate: {told}")
    took = ended - begun
    noted = (settled(times, _SETTLE, seconds) for times in (reports[-1].seconds, reports[-1].late))
    return _Round((after - before) / took, (used - cpu) / took, *noted)


def settled(times: Sequence[float], settle: float, seconds: float) -> list[float]:
    """Of times that are evenly spread over both: those of the latter, rounded to a hundredth of a millisecond."""
    return [round(each, 5) for each in times[int(len(times) * settle / (settle + seconds)) :]]


def _read(data: Any) -> Latency:
    return Latency(**data)


MEASUREMENT = Measurement(
    measure=measure_latency,
    read=_read,
    note="""\
- Answers' times at a fixed rate count from when a request was due. 250 requests a second are noted, of a client of our own
  that checks each answer; the rest is h2load's, over HTTP/1.1 and 256 connections, and yields to that client and to the origin.
  "Client late by" is the 99th percentile of what that client itself began too late, which its times include. All peers get
  the same rate, 70 % of the requests that ours served for each second of its core's in a closed loop; rounds are interleaved,
  the ratio is the median of the rounds'.""",
)
