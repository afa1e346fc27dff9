"""The tables for people: on a terminal, and as RESULTS.md. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bench.denied import Denied
from bench.figures import percentile, summarise, worst_hundredth
from bench.further import FURTHER
from bench.machine import Machine
from bench.parts import Part
from bench.pending import Pending
from bench.rush import Rush
from bench.scale import Scale
from bench.scenarios import DENIED, NEVER_SEEN, PENDING, RUSH, SCALE, SCENARIOS, SLOW
from bench.slow import ALL, COMING, LEAVING, QUIET, Attacked
from bench.targets import AIMS, OURS, Outcome, Samples, costs_ratio, judge, judge_ratios

_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS}

_NOTES = """\
- CPU time is that of the proxy's whole process tree (`utime` + `stime` of /proc/PID/stat, children included), divided by
  the requests that the origin counted in the same window. {ours} has a supervisor and a controller in its tree; "worker
  alone" leaves them out.
- One worker each, pinned to core {proxy}; the origin (nginx) and the load generators have core {load}. Rounds are
  interleaved; a figure is the median of the rounds, in brackets the least and the greatest; a ratio is the median of the
  rounds' ratios. What has no target beside the others has half as many rounds as are told below the table.
- {tenants} hostnames with a certificate each, a load process per hostname; TLS 1.3, AES-128-GCM, X25519, P-256; a browser's 14
  header fields. HTTP/1.1 by wrk with 4 connections per hostname, which carry the page loads of 24 visitors: cookies, agents,
  kinds of request and paths vary. HTTP/2 by h2load with 1 connection of 16 streams per hostname: it varies the path alone, so
  the same fields come with every request of a connection. Handshakes by a client of our own that proves each session new or
  resumed. WebSockets by another client of our own, 4 of each hostname: it sends a message as soon as the last has come back,
  and compares each; what is counted there is messages, at the origin, and no proxy's core is full.
- Every request's status is counted, and the origin answers 500 unless workspace-id, x-forwarded-proto and -for are right, so
  each 200 was routed rightly; beside the load a verifying client compares whole answers with what it asked for. A single
  wrong answer voids the run.
- Access logs are off in all of them. The peers set workspace-id from a map, x-forwarded-for and -proto; {ours} also
  x-forwarded-host, forwarded, via and x-request-id.
- Names that nobody registered come in ClientHellos of OpenSSL's, each name once, from many addresses; each handshake must end
  with exactly the alert unrecognized_name. Its cost is the whole process tree's, accepting and closing the connection included.
- The program with many domains has two workers, on both cores, and the published map of its last run; each of its names has a
  certificate of its own, all with the same chain and key. First handshakes are timed by a client of OpenSSL's that verifies
  them, one after the other; their 99th percentile is the median of those of five parts. A worker's private memory is
  Private_Clean and Private_Dirty of its smaps without the published map.
- Domains that wait for their record have a zone each; its server takes 20 ms for an answer, and one of 50 never answers. The
  first quarter of them is looked at with nothing else to do, which gives the cost of a look; then programs ask 67 times a
  second how it stands with one, new names are visited, and customers register. The DNS is a program of the bench that counts.
- Slow clients say a byte, or take 64 of an answer of 256 KB through a window of 4 KB, every ten seconds, each at times of its
  own, from an address of its own: of a request's head, of its body, of an answer. One worker has all of them; its timeouts for
  slow clients are raised, so that they stay. The others' requests go to the same worker and origin, 100 a second over
  connections that are kept and 20 over new ones, from two processes of their own; their time counts from when they were due,
  and how late the client itself was is told beside it. "It waited": the share of the time in which the worker was ready to
  run and its core did something else. Memory of the kernel counts what the edge, its clients and the origin have there.
- Others used {foreign:.0%} of the proxies' core while it was measured (median over all rounds). Such work costs caches and
  makes all figures larger, an interpreter's more than the others'; rounds with more than {disturbed:.0%} of it are repeated
  while time lasts. The load average is the machine's when a run began.
- A run may measure some scenarios alone (`--only`); the others' figures stay, each with the date and commit of its own run.
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """When, where and with what something was measured."""

    machine: Machine
    versions: Mapping[str, str]
    """Peer → version, in the order of the table's columns."""
    settings: Mapping[str, Any]
    """rounds, window, tenants, proxy and load cores."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Results(Run):
    """What came of a run, or of several of which each measured a part; the fields of Run are those of the last."""

    runs: Mapping[str, Run] = dataclasses.field(default_factory=dict)
    """Part → the run that measured it, where it was another."""
    samples: Samples
    never_seen: Mapping[str, Sequence[float]]
    """Peer → seconds of each name."""
    scale: Scale | None = None
    """None: not measured."""

    rush: Rush | None = None
    """None: not measured."""
    denied: Denied | None = None
    """None: not measured."""
    pending: Pending | None = None
    """None: not measured."""
    slow: Mapping[str, Attacked] = dataclasses.field(default_factory=dict)
    """Kind of slowness → what came of it; empty: not measured."""
    further: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    """Measurement of its own kind → what came of it; those that were not made are missing."""

    @property
    def parts(self) -> list[str]:
        """Names of what was measured."""
        others = {
            NEVER_SEEN: self.never_seen,
            RUSH: self.rush,
            DENIED: self.denied,
            SCALE: self.scale,
            PENDING: self.pending,
            SLOW: self.slow,
        }
        return [*self.samples, *(part for part, measured in others.items() if measured), *self.further]

    def run_of(self, part: str) -> Run:
        """The run that measured it."""
        return self.runs.get(part) or Run(machine=self.machine, versions=self.versions, settings=self.settings)

    @property
    def outcomes(self) -> list[Outcome]:
        """What came of the targets."""
        outcomes = judge(self.samples, self.never_seen, self.scale, self.denied, self.rush, self.pending, self.slow)
        return [*outcomes, *(outcome for part in self.further.values() for outcome in part.outcomes())]

    @property
    def aims(self) -> list[Outcome]:
        """What came of the aims."""
        return judge_ratios(AIMS, self.samples)


def costs_table(results: Results) -> list[list[str]]:
    """CPU µs per request: a heading and a row per scenario."""
    names = list(results.versions)
    rows = [["CPU µs per request", *(f"{name} {results.versions[name]}" for name in names)]]
    if OURS in names:
        rows[0].append("worker alone")
    for scenario, peers in results.samples.items():
        row = [_TITLES[scenario]]
        for name in names:
            figure = summarise(peers[name]) if name in peers else None
            row.append(f"{_short(figure.median)} [{_short(figure.low)}–{_short(figure.high)}]" if figure else "–")
        if OURS in names:
            row.append(_short(summarise(peers[OURS]).busiest) if OURS in peers else "–")
        rows.append(row)
    return rows


def ratios_table(results: Results) -> list[list[str]]:
    """Our cost over each peer's: a heading and a row per scenario; empty where we were not measured."""
    others = [name for name in results.versions if name != OURS]
    rows = [[f"{OURS} over", *others]]
    for scenario, peers in results.samples.items():
        if OURS in peers:
            rows.append([_TITLES[scenario], *(f"{costs_ratio(peers, name):.2f}" if name in peers else "–" for name in others)])
    return rows if len(rows) > 1 and others else []


def never_seen_table(results: Results) -> list[list[str]]:
    """Seconds until a new name's first 200: empty where not measured."""
    rows = [["A name never seen before, to its first 200", "median", "least", "greatest", "names"]]
    for name, times in results.never_seen.items():
        rows.append(
            [name, *(f"{value:.3f} s" for value in (statistics.median(times), min(times), max(times))), str(len(times))]
        )
    return rows if len(rows) > 1 else []


def scale_table(results: Results) -> list[list[str]]:
    """What many domains cost: empty where not measured."""
    scale = results.scale
    if scale is None:
        return []
    rows = [[f"{OURS} with {scale.domains:,} domains", "median", "least", "greatest", "of"]]
    cold = (statistics.median(scale.cold), worst_hundredth(scale.cold), max(scale.cold))
    rows.append(
        [
            "first handshake of a name, client included: median, 99th percentile, greatest",
            *(f"{value * 1000:.1f} ms" for value in cold),
            f"{len(scale.cold)} names",
        ]
    )
    for title, times, unit in (
        ("start, from exec to the first response", scale.start, "starts"),
        ("added, until every worker has served it", scale.added, "names"),
        ("removed, until every worker has refused it", scale.removed, "names"),
    ):
        rows.append(
            [title, *(f"{value:.3f} s" for value in (statistics.median(times), min(times), max(times))), f"{len(times)} {unit}"]
        )
    sizes = [size / 1e6 for size in scale.private]
    figures = [f"{value:.1f} MB" for value in (statistics.median(sizes), min(sizes), max(sizes))]
    rows.append([f"a worker's private memory after visits to {scale.visited:,} names", *figures, f"{len(sizes)} workers"])
    return rows


def rush_table(results: Results) -> list[list[str]]:
    """Visitors at the same moment: empty where not measured."""
    rush = results.rush
    if rush is None:
        return []
    rows = [[f"{OURS}, visitors at the same moment", "median", "least", "greatest", "orders"]]
    for title, times, orders in (
        (f"{len(rush.one)} visitors of one new name", rush.one, str(rush.orders)),
        (f"visitors of {len(rush.many)} new names", rush.many, "–"),
    ):
        rows.append([title, *(f"{value:.3f} s" for value in (statistics.median(times), min(times), max(times))), orders])
    return rows


def denied_table(results: Results) -> list[list[str]]:
    """What names cost that nobody registered: empty where not measured."""
    denied = results.denied
    if denied is None:
        return []
    costs, gated = (
        [f"{value:.1f} µs" for value in (statistics.median(each), min(each), max(each))]
        for each in (denied.cpu_us, denied.gated_us)
    )
    sizes = [f"{size / 1e6:.1f} MB" for size in (denied.before, denied.warm, denied.after)]
    return [
        [f"{OURS} asked for {denied.names:,} names that nobody registered", "median", "least", "greatest"],
        ["CPU per refused handshake, whole process tree", *costs],
        ["the same, all from one network, where a gate decides", *gated],
        ["private memory, whole process tree: at the start, caches full, at the end", *sizes],
    ]


def pending_table(results: Results) -> list[list[str]]:
    """Domains that wait: empty where not measured."""
    pending = results.pending
    if pending is None:
        return []
    rows = [
        [f"{OURS}, {pending.domains:,} domains that wait for their record, all due at once", "median", "99th percentile", "of"]
    ]
    for title, times, unit in (
        ("meanwhile: how it stands with a domain, told under `api.hostname`", pending.polls, "answers"),
        ("meanwhile: a name without a certificate, to its first 200", pending.visits, "names"),
        ("registered with its record right, to active", pending.registered, "names"),
        ("the same meanwhile", pending.registered_meanwhile, "names"),
        ("its record made in the first minute, to active", pending.appeared, "names"),
        ("the same meanwhile", pending.appeared_meanwhile, "names"),
    ):
        figures = (f"{value:.3f} s" for value in (statistics.median(times), percentile(times)))
        rows.append([title, *figures, f"{len(times):,} {unit}"])
    for title, figure in (
        ("until each was looked at", f"{pending.seconds:.1f} s"),
        ("CPU of the controller for a look", f"{pending.look_cpu_ms:.1f} ms"),
        ("CPU of the controller to tell how it stands with a domain", f"{pending.poll_cpu_ms:.1f} ms"),
        ("questions for a look: to the resolver", f"{pending.asked_resolver:.1f}"),
        ("questions for a look: to the zone's own servers", f"{pending.asked_authority:.1f}"),
        ("questions to the resolver in its busiest second", f"{pending.busiest}"),
        ("questions under way at most, to all servers", f"{pending.at_once}"),
    ):
        rows.append([title, figure, "–", "–"])
    return rows


def slow_table(results: Results) -> list[list[str]]:
    """Slow clients: empty where not measured."""
    rows = [
        [
            f"{OURS} among clients that are slow on purpose; p50 / p99 / max of others' answers",
            *("over kept connections", "over new ones", "their own lateness, p99", "worker's CPU", "it waited"),
        ]
    ]
    for kind, each in results.slow.items():
        for name, phase in each.phases.items():
            who = f"no slow client yet ({kind})" if name == QUIET else f"{each.clients:,} ({kind}) {SLOW_PHASES[name]}"
            times = [" / ".join(f"{1000 * value:.1f}" for value in spread(of)) + " ms" for of in (phase.kept, phase.new)]
            late = f"{1000 * percentile(phase.late):.1f} ms"
            rows.append([who, *times, late, f"{phase.cpu:.0%}", f"{phase.waited:.0%}"])
    return rows if len(rows) > 1 else []


SLOW_PHASES = {COMING: "coming", ALL: "there", LEAVING: "leaving, all at once"}


def slow_memory_table(results: Results) -> list[list[str]]:
    """What slow clients make the worker keep: empty where not measured."""
    rows = [["memory for slow clients", "there", "came", "were ended", "worker, resident at most", "PSS", "kernel, both ends"]]
    for kind, each in results.slow.items():
        sizes = [f"{size / 1e6:.0f} MB" for size in (each.peak, each.proportional, each.kernel)]
        rows.append([kind, f"{each.clients:,}", f"{each.came:,}", f"{each.ended:,}", *sizes])
    return rows if len(rows) > 1 else []


def spread(times: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile, greatest."""
    return statistics.median(times), percentile(times), max(times)


def _tables(results: Results) -> list[tuple[list[list[str]], Collection[str]]]:
    """Those tables that have rows, each with the parts that it tells of."""
    tables: list[tuple[list[list[str]], Collection[str]]] = [
        (costs_table(results) if results.samples else [], list(results.samples)),
        (ratios_table(results), list(results.samples)),
        (never_seen_table(results), [NEVER_SEEN]),
        (rush_table(results), [RUSH]),
        (denied_table(results), [DENIED]),
        (scale_table(results), [SCALE]),
        (pending_table(results), [PENDING]),
        (slow_table(results), [SLOW]),
        (slow_memory_table(results), [SLOW]),
        *((rows, [name]) for name, part in results.further.items() for rows in part.tables()),
    ]
    return [(rows, parts) for rows, parts in tables if rows]


def measured(results: Results, parts: Collection[str]) -> str:
    """When that was measured, and with what where it is not what the page begins with: a sentence per run."""
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(results.run_of(part).machine.date, []).append(part)
    told = []
    for names in found.values():
        run = results.run_of(names[0])
        date, time = run.machine.date[:16].split("T")
        what = "Measured" if len(found) == 1 else f"{', '.join(names)}: measured"
        line = f"{what} on {date} at {time} UTC, commit {run.machine.commit or 'unknown'}"
        if run.machine.load_average is not None:
            line += f", load average {run.machine.load_average}"
        if names[0] in results.samples:
            rounds = max(len(rounds) for name in names for rounds in results.samples[name].values())
            line += f", {rounds} rounds of {run.settings['window']:g} s"
        told.append(f"{line}{_elsewhere(results, run)}.")
    return " ".join(told)


def _elsewhere(results: Results, run: Run) -> str:
    """In what a run differs from the page's head."""
    machine = f", on {_machine(run.machine)}" if _machine(run.machine) != _machine(results.machine) else ""
    others = [f"{name} {version}" for name, version in run.versions.items() if version != results.versions.get(name)]
    return machine + (f", with {', '.join(others)}" if others else "")


def _machine(machine: Machine) -> str:
    return f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}, {machine.openssl}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def plain(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same for a page."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def targets_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """A line per target or aim."""
    return [f"{'reached' if outcome.reached else 'MISSED'}: {outcome.text}" for outcome in outcomes]


def terminal_text(results: Results) -> str:
    """What a run prints at its end."""
    parts = [plain(rows) for rows, _ in _tables(results)]
    if results.outcomes:
        parts.append("\n".join(targets_lines(results.outcomes)))
    if results.aims:
        parts.append("Aims (no run fails for them):\n" + "\n".join(targets_lines(results.aims)))
    return "\n\n".join(parts)


def page(results: Results) -> str:
    """RESULTS.md."""
    parts = ["# Edgeproxy beside others", f"Made by `python -m bench`: {_machine(results.machine)}."]
    parts += [f"{markdown(rows)}\n\n{measured(results, names)}" for rows, names in _tables(results)]
    if results.outcomes:
        parts.append("Targets:\n\n" + "\n".join(f"- {line}" for line in targets_lines(results.outcomes)))
    if results.aims:
        told = "Aims, the CPU time per request to get to beside the others; no run fails for them:"
        parts.append(told + "\n\n" + "\n".join(f"- {line}" for line in targets_lines(results.aims)))
    parts.append("How it was measured:\n\n" + _notes(results))
    return "\n\n".join(parts).rstrip() + "\n"


def _notes(results: Results) -> str:
    shares = [sample.foreign for peers in results.samples.values() for rounds in peers.values() for sample in rounds]
    notes = _NOTES.format(
        ours=OURS,
        foreign=statistics.median(shares) if shares else 0.0,
        **results.settings,
    )
    return notes + "".join(f"{FURTHER[name].note}\n" for name in results.further)
