"""Totals that never fall, over worker processes that come and go. Pure: no clock, no input or output.

A worker reports what it counted since its own birth. When it ends, what it counted last is kept, so that the sum over
all workers of this machine only rises; a worker whose link was merely replaced goes on where it was.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from edgeproxy.link import counters
from edgeproxy.link.messages import Report

Process = tuple[int, int]
"""A worker process: its index and its process id."""

Key = tuple[str, tuple[str, ...]]
"""A series: its name and label values, as `counters.parse` gives them."""

ENDED_REMEMBERED = 64
"""Ended processes whose counters are kept apart, in case they were not dead but changed links."""

LIVING = 2_048
"""Worker processes that may report at once; the oldest goes above it."""


@dataclasses.dataclass(slots=True)
class Seen:
    """A living worker, by its last report."""

    index: int
    pid: int
    at: float
    """Unix time of the last report."""
    generation: int
    draining: bool
    connections: int
    counters: dict[Key, float]


class Totals:
    """Sums of what the workers report."""

    def __init__(self) -> None:
        self._living: OrderedDict[Process, Seen] = OrderedDict()
        self._ended: OrderedDict[Process, dict[Key, float]] = OrderedDict()
        self._finished: dict[Key, float] = {}
        self.ignored = 0
        """Counters that were sent but are in no table."""

    def report(self, report: Report, now: float) -> None:
        """Takes a worker's report in. What it holds replaces what the same process said before."""
        process = (report.worker, report.pid)
        self._ended.pop(process, None)
        known = self._parse(report.counters)
        open_now = sum(value for (name, _), value in known.items() if name == "connections")
        seen = Seen(
            index=report.worker,
            pid=report.pid,
            at=now,
            generation=report.generation,
            draining=report.draining,
            connections=int(open_now),
            counters=known,
        )
        self._add_living(process, seen)

    def linked(self, worker: int, pid: int, now: float) -> None:
        """A worker is there, though it has not reported yet (again): it counts as living, with what it said last."""
        process = (worker, pid)
        counters_before = self._ended.pop(process, {})
        if process not in self._living:
            self._add_living(process, Seen(worker, pid, now, 0, False, 0, counters_before))

    def ended(self, worker: int, pid: int) -> None:
        """The process is gone, or its link is: its gauges no longer count, its counters stay in the sums."""
        seen = self._living.pop((worker, pid), None)
        if seen is None:
            return
        self._ended[worker, pid] = {key: value for key, value in seen.counters.items() if not _is_gauge(key)}
        while len(self._ended) > ENDED_REMEMBERED:
            _, last = self._ended.popitem(last=False)
            _add(self._finished, last)

    def workers(self) -> list[Seen]:
        """The living workers, by index and process id."""
        return sorted(self._living.values(), key=lambda seen: (seen.index, seen.pid))

    def serving(self, now: float, *, silent: float) -> int:
        """How many workers serve: not draining, and heard of within the last `silent` seconds."""
        return sum(1 for seen in self._living.values() if not seen.draining and now - seen.at <= silent)

    def sums(self) -> dict[Key, float]:
        """The sum of every series over all worker processes, ended ones included (but for gauges)."""
        total = dict(self._finished)
        for last in self._ended.values():
            _add(total, last)
        for seen in self._living.values():
            _add(total, seen.counters)
        return total

    def _add_living(self, process: Process, seen: Seen) -> None:
        self._living[process] = seen
        while len(self._living) > LIVING:
            self.ended(*next(iter(self._living)))

    def _parse(self, flat: dict[str, float]) -> dict[Key, float]:
        known: dict[Key, float] = {}
        series: dict[str, int] = {}
        for text, value in flat.items():
            key = counters.parse(text)
            count = 0 if key is None else series.get(key[0], 0) + 1
            # A number that is not one, or fell below zero, would poison the sums for good.
            if key is None or count > counters.SERIES_PER_NAME or not 0 <= value < float("inf"):
                self.ignored += 1
                continue
            series[key[0]] = count
            known[key] = value
        return known


def _is_gauge(key: Key) -> bool:
    series = counters.SERIES.get(key[0])
    return series is not None and series.kind == "gauge"


def _add(total: dict[Key, float], more: dict[Key, float]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0.0) + value


class Busiest:
    """Counts for the busiest of an unbounded set of names, in bounded memory (after "space saving", Metwally 2005).

    Ten times as many names are tracked as are shown. When the table is full the quieter half of it goes; a name that
    returns starts anew at zero, which Prometheus reads as a reset.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._bound = max(10 * top, 1)
        self._counts: dict[str, int] = {}

    def add(self, name: str, count: int) -> None:
        """Adds to a name's count."""
        if self._top <= 0 or count <= 0:
            return
        self._counts[name] = self._counts.get(name, 0) + count
        if len(self._counts) > self._bound:
            kept = sorted(self._counts.items(), key=lambda item: item[1], reverse=True)[: self._bound // 2 + 1]
            self._counts = dict(kept)

    def top(self) -> list[tuple[str, int]]:
        """The busiest names with their counts, busiest first."""
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[: self._top]
