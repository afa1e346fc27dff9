"""What does not work just now, so that `status` can say it while everything else goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from edgeproxy.errors import EdgeError


@dataclasses.dataclass(frozen=True, slots=True)
class FaultNow:
    """A part of the control plane that fails, and since when."""

    part: str
    error: EdgeError
    since: float
    """Unix time of the first failure in a row."""


class Faults:
    """One fault per part: "store", "publisher", "issuance"."""

    def __init__(self) -> None:
        self._faults: dict[str, FaultNow] = {}

    def fails(self, part: str, error: EdgeError, now: float) -> bool:
        """Notes that a part fails; True when it did not before, or differently, so that it is worth a log line."""
        before = self._faults.get(part)
        self._faults[part] = FaultNow(part, error, now if before is None else before.since)
        return before is None or before.error.code != error.code

    def works(self, part: str) -> bool:
        """Notes that a part works; True when it failed before."""
        return self._faults.pop(part, None) is not None

    def of(self, part: str) -> EdgeError | None:
        """Why a part fails; None when it works."""
        fault = self._faults.get(part)
        return None if fault is None else fault.error

    def __iter__(self) -> Iterator[FaultNow]:
        return iter(sorted(self._faults.values(), key=lambda fault: fault.part))

    def __len__(self) -> int:
        return len(self._faults)
