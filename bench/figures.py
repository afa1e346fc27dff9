"""From rounds to figures: medians, spreads, ratios. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one peer in one scenario."""

    requests: int
    seconds: float
    cpu_us: float
    """CPU microseconds per request of the proxy's whole process tree."""
    busiest_us: float
    """The same of its busiest process alone: the worker's, where there is one worker."""
    load: float
    """Share of its core that the proxy used, 0 to 1."""
    foreign: float
    """Share of the proxy's core that others used meanwhile: they cost it its caches, and so make it look slower."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The rounds of one peer in one scenario, summed up."""

    median: float
    low: float
    high: float
    busiest: float
    load: float
    rate: float
    """Requests per second, median."""
    foreign: float


def summarise(samples: Sequence[Sample]) -> Figure:
    """Raises ValueError without samples."""
    if not samples:
        raise ValueError("no samples to sum up")
    costs = [sample.cpu_us for sample in samples]
    return Figure(
        median=statistics.median(costs),
        low=min(costs),
        high=max(costs),
        busiest=statistics.median(sample.busiest_us for sample in samples),
        load=statistics.median(sample.load for sample in samples),
        foreign=statistics.median(sample.foreign for sample in samples),
        rate=statistics.median(sample.requests / sample.seconds for sample in samples),
    )


def worst_hundredth(times: Sequence[float], parts: int = 5) -> float:
    """The 99th percentile: the median of those of so many parts of a series. What disturbs the machine for a while is in some
    of them only. Raises ValueError without times."""
    size = max(1, len(times) // parts)
    return statistics.median(
        sorted(part)[min(len(part) - 1, len(part) * 99 // 100)]
        for part in (times[start : start + size] for start in range(0, len(times) - size + 1, size))
    )


def percentile(times: Sequence[float], share: float = 0.99) -> float:
    """The value that so large a part of them does not exceed; of a few it is the greatest. Raises ValueError without any."""
    if not times:
        raise ValueError("no times to rank")
    rank = int(round(len(times) * share, 6))  # 100 * 0.58 is 57.99…
    return sorted(times)[min(len(times) - 1, rank)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over rounds of ours / theirs.

    Rounds are paired, since what disturbs a machine lasts for several of them: both of a pair have met it. Raises
    ValueError where there is nothing to pair.
    """
    pairs = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if other > 0]
    if not pairs:
        raise ValueError("no rounds to compare")
    return statistics.median(mine / other for mine, other in pairs)
