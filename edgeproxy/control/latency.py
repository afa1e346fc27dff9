"""Which custom domains keep their visitors waiting, or fail, over all workers and the last minutes. Pure."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping

from edgeproxy.link.sketch import GREATEST, LEAST, Sketch, quantile

PART = 0.95
"""Of a name's requests, whose slowest wait is told."""

PIECES = 20
"""Into which the window is divided. It slides by one of them."""

NAMES = 1_024
"""Names of one piece, some 300 bytes each; further ones are left out until the next."""

_COUNT = 10**9
_NAME = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """What visitors of one name have waited, and how often in vain."""

    name: str
    requests: int
    seconds: float
    """Within which 95 % of them had the first byte of their answer; 0.0 where that was below the threshold."""
    origin: str
    failed: int
    """Requests that it did not answer."""
    late: float
    """Seconds by which this edge itself was late meanwhile, on average."""


@dataclasses.dataclass(slots=True)
class _Sum:
    requests: int = 0
    waits: dict[int, int] = dataclasses.field(default_factory=dict)
    origin: str = ""
    failed: int = 0
    late: float = 0.0
    """Sum over what was told."""
    told: int = 0

    def add(self, sketch: Sketch, late: float, told: int) -> None:
        self.requests += sketch.requests
        for number, count in sketch.waits.items():
            self.waits[number] = self.waits.get(number, 0) + count
        self.origin = sketch.origin or self.origin
        self.failed += sketch.failed
        self.late += late
        self.told += told


class Latency:
    """Sums of what workers tell, in pieces of a sliding window of so many seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._pieces: deque[tuple[float, dict[str, _Sum]]] = deque()

    def add(self, names: Mapping[str, Sketch], late: float, now: float) -> None:
        """Takes in what a worker tells, at a time that never goes back."""
        if not self._pieces or now - self._pieces[-1][0] >= self._window / PIECES:
            self._pieces.append((now, {}))
            self._forget(now)
        sums = self._pieces[-1][1]
        late = min(late, self._window) if late > 0 else 0.0  # NaN too
        for name, sketch in names.items():
            if not _plausible(name, sketch) or (name not in sums and len(sums) >= NAMES):
                continue
            sums.setdefault(name, _Sum()).add(sketch, late, 1)

    def waiting(self, now: float) -> list[Waiting]:
        """What is known of each name that had slow or failed requests within the window, by name."""
        self._forget(now)
        sums: dict[str, _Sum] = {}
        for _, piece in self._pieces:
            for name, each in piece.items():
                whole = sums.setdefault(name, _Sum())
                whole.add(Sketch(each.requests, each.waits, each.origin, each.failed), each.late, each.told)
        return [
            Waiting(
                name=name,
                requests=each.requests,
                seconds=quantile(PART, each.requests, each.waits),
                origin=each.origin,
                failed=each.failed,
                late=each.late / each.told,
            )
            for name, each in sorted(sums.items())
        ]

    def _forget(self, now: float) -> None:
        while self._pieces and now - self._pieces[0][0] > self._window:
            self._pieces.popleft()


def _plausible(name: str, sketch: Sketch) -> bool:
    """What no worker can have seen would poison the sums."""
    slow = sum(sketch.waits.values())
    counted = all(LEAST <= number <= GREATEST and count > 0 for number, count in sketch.waits.items())
    return counted and slow <= sketch.requests and 0 <= sketch.failed <= sketch.requests <= _COUNT and len(name) <= _NAME
