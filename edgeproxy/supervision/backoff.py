"""How long to wait before a child that ended is born again. Pure."""

from __future__ import annotations

LIVED = 3.0
"""Seconds after which a child counts as having worked; what ends it then has nothing to do with its birth."""

FIRST = 0.1
LONGEST = 10.0


class Backoff:
    """Of one place: at once the first time, then 0.1 s, doubling up to 10 s while children keep dying young."""

    def __init__(self) -> None:
        self.young_deaths = 0
        """How many died in a row before they had lived for `LIVED`."""

    def died(self, lived: float) -> float:
        """Seconds to wait, after a child that lived for so many seconds."""
        if lived >= LIVED:
            self.young_deaths = 0
            return 0.0
        self.young_deaths += 1
        if self.young_deaths == 1:
            return 0.0
        return min(FIRST * 2.0 ** min(self.young_deaths - 2, 30), LONGEST)
