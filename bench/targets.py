"""The figures that this program means to reach beside the others in the same run. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from bench.denied import Denied
from bench.figures import Sample, percentile, ratio, worst_hundredth
from bench.peers import edgeproxy
from bench.pending import Pending
from bench.rush import CONNECTIONS, NAMES, Rush
from bench.scale import Scale
from bench.scenarios import DENIED, NEVER_SEEN, PENDING, RUSH, SCALE, SLOW
from bench.slow import ALL, QUIET, Attacked

OURS = edgeproxy.NAME


@dataclasses.dataclass(frozen=True, slots=True)
class RatioTarget:
    """Our CPU per request is at most `most` times the peer's."""

    scenario: str
    peer: str
    most: float


RATIO_TARGETS: tuple[RatioTarget, ...] = (
    RatioTarget("h1", "HAProxy", 1.6),
    RatioTarget("h1", "Caddy", 0.5),
    RatioTarget("h2", "nginx", 1.1),
    RatioTarget("handshake", "nginx", 1.4),
)

AIMS: tuple[RatioTarget, ...] = (
    RatioTarget("h1", "HAProxy", 1.25),
    RatioTarget("h1", "Caddy", 1 / 3),
    RatioTarget("h1-64k", "nginx", 1.2),
    RatioTarget("h1-1m", "nginx", 1.1),
    RatioTarget("h1-1m", "HAProxy", 0.7),
    RatioTarget("h2", "nginx", 0.9),
    RatioTarget("h2", "HAProxy", 1.35),
    RatioTarget("handshake", "nginx", 1.2),
    RatioTarget("handshake", "Caddy", 1.0),
    RatioTarget("resumed", "nginx", 1.25),
    RatioTarget("upload", "HAProxy", 1.4),
    RatioTarget("websocket", "Caddy", 1.0),
)
"""Where this is to go: a run tells which of them are reached, and fails for none."""

NEVER_SEEN_SECONDS = 0.25
"""A name never seen before to its first 200, certificate from a local pebble included; median."""

START_SECONDS = 1.0
"""From exec to the first response, with 100,000 domains and as many certificates; median."""

COLD_SECONDS = 0.005
"""From the connection to the finished handshake, of a name that no worker has served since its start; 99th percentile."""

RUSH_SECONDS = 5.0
"""Until each of NAMES new names has been served that were visited at the same moment."""

PRIVATE_BYTES = 80_000_000
"""Of a worker alone, after visits to thousands of hostnames; the largest worker's."""

CHANGE_SECONDS = 0.1
"""Until a domain that is added or removed is served or refused by every worker; median."""


TWO_WORKERS = 1.8
"""How many times the requests of one worker two are to answer on two cores, by CPU per request; median."""

DENIED_US = 120.0
"""CPU microseconds of the whole process tree for a handshake that is refused because nobody registered its name; median."""

DENIED_GROWTH_BYTES = 3_000_000
"""By which the whole process tree may have grown after all names, once what is bounded is full: 3 bytes for each of a million
names. The allocator and the counters of a running program move by as much."""


PENDING_SECONDS = 300.0
"""Until each of ten thousand domains that wait was looked at, all having become due at once."""

RESOLVER_RATE = 600
"""Questions to a resolver in its busiest second: public ones take 1,500 and more."""

POLL_CPU_MS, POLL_SECONDS = 4.0, 0.5
"""What the answer costs the controller how it stands with a domain, and how long it takes meanwhile; 99th percentile."""

VISIT_SECONDS = 2.0
"""Until a visitor of a name without a certificate is served meanwhile; 99th percentile."""

REGISTERED_SECONDS, APPEARED_SECONDS = 2.0, 5.0
"""Until a name is active: from its registration, with its record right; and from the moment at which the record is made, in the
first minute. Median, in quiet times and meanwhile."""


SLOW_SECONDS = 0.05
"""Until others are answered while ten thousand slow clients are there, on one worker; 99th percentile."""

SLOW_BYTES = 1_500_000_000
"""Of that worker's memory, at most."""

SLOW_ENDED = 0.01
"""Share of the slow clients that may have been ended, where all are to stay: else fewer were there than is told."""


FRESH_BYTES = 35_000_000
"""Private memory of a worker that has served its first visitor."""

IDLE_RATIOS = {"http/1.1": 1.5, "h2": 2.0}
"""By protocol: our private memory for an idle TLS connection over nginx's."""

CROWD_SECONDS = 0.05
"""Until others are answered over connections that are kept while ten thousand are idle on the same worker; 99th percentile."""


ROUTE_WARM_US, ROUTE_UNSEEN_US = 1.0, 5.0
"""Microseconds to find where a hostname's requests go: one that is remembered, and one not seen before; median."""

LATENCY_LOAD, LATENCY_RATIO = 0.7, 2.0
"""At this share of what our worker can serve, the 99th percentile of the answers' time over nginx's at the same rate."""


SPREAD_RATIOS = {"handshakes": 1.3, "requests": 1.25}
"""CPU time where all hostnames are visited over that where one is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a target."""

    text: str
    reached: bool


Samples = Mapping[str, Mapping[str, Sequence[Sample]]]
"""Scenario → peer → rounds."""


def judge(
    samples: Samples,
    never_seen: Mapping[str, Sequence[float]],
    scale: Scale | None,
    denied: Denied | None = None,
    rush: Rush | None = None,
    pending: Pending | None = None,
    slow: Mapping[str, Attacked] | None = None,
) -> list[Outcome]:
    """An outcome for every target whose scenario and peer were measured."""
    outcomes = judge_ratios(RATIO_TARGETS, samples)
    if times := never_seen.get(OURS):
        middle = statistics.median(times)
        outcomes.append(
            Outcome(f"{NEVER_SEEN}: {middle:.3f} s, at most {NEVER_SEEN_SECONDS:g} s", middle <= NEVER_SEEN_SECONDS)
        )
    if rush is not None:
        outcomes += judge_rush(rush)
    if denied is not None:
        outcomes += judge_denied(denied)
    if pending is not None:
        outcomes += judge_pending(pending)
    for kind, attacked in (slow or {}).items():
        outcomes += judge_slow(kind, attacked)
    return outcomes if scale is None else outcomes + judge_scale(scale)


def judge_ratios(targets: Sequence[RatioTarget], samples: Samples) -> list[Outcome]:
    """An outcome for each of those targets or aims whose scenario and peer were measured."""
    outcomes = []
    for target in targets:
        peers = samples.get(target.scenario, {})
        if OURS in peers and target.peer in peers:
            reached = costs_ratio(peers, target.peer)
            told = f"{target.scenario}: {reached:.2f} × {target.peer}, at most {round(target.most, 2):g}"
            outcomes.append(Outcome(told, reached <= target.most))
    return outcomes


def judge_rush(rush: Rush) -> list[Outcome]:
    """The targets for visitors who come at the same moment."""
    last = max(rush.many)
    served = len(rush.one) == CONNECTIONS and len(rush.many) == NAMES
    return [
        Outcome(f"{RUSH}: {rush.orders} order(s) for {len(rush.one)} visitors of one new name, exactly 1", rush.orders == 1),
        Outcome(
            f"{RUSH}: {len(rush.many)} new names at once served after {last:.2f} s, below {RUSH_SECONDS:g} s",
            served and last < RUSH_SECONDS,
        ),
    ]


def judge_denied(denied: Denied) -> list[Outcome]:
    """The targets for names that nobody registered."""
    cost, gated, grown = statistics.median(denied.cpu_us), statistics.median(denied.gated_us), denied.after - denied.warm
    told = f"{grown / 1e6:+.1f} MB after {denied.names:,} names, at most {DENIED_GROWTH_BYTES / 1e6:+.1f} MB"
    return [
        Outcome(f"{DENIED}: {cost:.0f} µs of CPU per handshake, at most {DENIED_US:.0f} µs", cost <= DENIED_US),
        Outcome(
            f"{DENIED}: {gated:.0f} µs where a gate decides, of one network, at most {DENIED_US:.0f} µs", gated <= DENIED_US
        ),
        Outcome(f"{DENIED}: {told}", grown <= DENIED_GROWTH_BYTES),
    ]


def judge_slow(kind: str, attacked: Attacked) -> list[Outcome]:
    """The targets for slow clients of one kind."""
    quiet, there = attacked.phases[QUIET], attacked.phases[ALL]
    return [
        *(
            Outcome(
                f"{SLOW} ({kind}): others answered over {title} connections after {percentile(times) * 1000:.1f} ms, below "
                f"{SLOW_SECONDS * 1000:g} ms; without slow clients {percentile(before) * 1000:.1f} ms (99th percentiles)",
                percentile(times) < SLOW_SECONDS,
            )
            for title, times, before in (("kept", there.kept, quiet.kept), ("new", there.new, quiet.new))
        ),
        Outcome(
            f"{SLOW} ({kind}): {attacked.peak / 1e6:.0f} MB of memory, below {SLOW_BYTES / 1e6:.0f} MB",
            attacked.peak < SLOW_BYTES,
        ),
        Outcome(
            f"{SLOW} ({kind}): {attacked.ended:,} of {attacked.came:,} were ended, at most {SLOW_ENDED:.0%}",
            attacked.ended <= SLOW_ENDED * attacked.came,
        ),
    ]


def judge_pending(pending: Pending) -> list[Outcome]:
    """The targets for domains that wait."""
    told = f"{pending.domains:,} domains looked at after {pending.seconds:.0f} s"
    outcomes = [
        Outcome(f"{PENDING}: {told}, at most {PENDING_SECONDS:.0f} s", pending.seconds <= PENDING_SECONDS),
        Outcome(
            f"{PENDING}: {pending.busiest} questions to the resolver in its busiest second, at most {RESOLVER_RATE}",
            pending.busiest <= RESOLVER_RATE,
        ),
        Outcome(
            f"{PENDING}: {pending.poll_cpu_ms:.1f} ms of CPU to tell how it stands with a domain, at most {POLL_CPU_MS:g} ms",
            pending.poll_cpu_ms <= POLL_CPU_MS,
        ),
    ]
    for what, times, most in (
        ("how it stands with a domain is told", pending.polls, POLL_SECONDS),
        ("a new name's visitor is served", pending.visits, VISIT_SECONDS),
    ):
        worst = percentile(times)
        outcomes.append(
            Outcome(f"{PENDING}: meanwhile {what} after {worst:.2f} s at the 99th percentile, below {most:g} s", worst < most)
        )
    for what, times, most in (
        ("registered with its record right", pending.registered, REGISTERED_SECONDS),
        ("the same meanwhile", pending.registered_meanwhile, REGISTERED_SECONDS),
        ("its record made", pending.appeared, APPEARED_SECONDS),
        ("the same meanwhile", pending.appeared_meanwhile, APPEARED_SECONDS),
    ):
        middle = statistics.median(times)
        outcomes.append(Outcome(f"{PENDING}: active after {middle:.2f} s, {what}, below {most:g} s", middle < most))
    return outcomes


def judge_scale(scale: Scale) -> list[Outcome]:
    """The targets for many domains."""
    private = max(scale.private)
    outcomes = [
        Outcome(f"{SCALE}: {private / 1e6:.1f} MB private, below {PRIVATE_BYTES / 1e6:.0f} MB", private < PRIVATE_BYTES)
    ]
    cold = worst_hundredth(scale.cold)
    told = f"{cold * 1000:.1f} ms at the 99th percentile, below {COLD_SECONDS * 1000:g} ms"
    outcomes.append(Outcome(f"{SCALE}: first handshake of a name {told}", cold < COLD_SECONDS))
    for what, times, most in (
        ("first response after exec", scale.start, START_SECONDS),
        ("added", scale.added, CHANGE_SECONDS),
        ("removed", scale.removed, CHANGE_SECONDS),
    ):
        middle = statistics.median(times)
        outcomes.append(Outcome(f"{SCALE}: {what} {middle:.3f} s, below {most:g} s", middle < most))
    return outcomes


def costs_ratio(peers: Mapping[str, Sequence[Sample]], other: str) -> float:
    """Our CPU per request over another's."""
    return ratio([sample.cpu_us for sample in peers[OURS]], [sample.cpu_us for sample in peers[other]])
