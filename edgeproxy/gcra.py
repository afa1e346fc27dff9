"""Rates of requests, and the generic cell rate algorithm that holds them (ITU-T I.371, annex A). Pure.

All that is kept of a client is one number: its theoretical arrival time, the moment at which it will be as if it had never
asked. Each request puts that off by one interval; one that would put it off by more than a burst's worth is refused, and costs
nothing. A time that is past says nothing, so that nobody need ever be forgotten on purpose.

Times are whole microseconds of a clock that all processes share, and that `now` is a parameter of.
"""

from __future__ import annotations

import re

import msgspec

_RATE = re.compile(r"(\d{1,9})\s*/\s*([smh])(?:\s+burst\s+(\d{1,9}))?\Z", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_UNITS = {seconds: unit for unit, seconds in _SECONDS.items()}

SECOND = 1_000_000
"""Microseconds."""

FASTEST = 100_000
"""Requests a second of the highest rate: an interval of 10 µs, of which one is the error of counting in whole ones."""

LONGEST = 86_400
"""Seconds that a whole burst may take to come back."""


class Rate(msgspec.Struct, frozen=True):
    """So many requests in so many seconds, evenly; and `burst` of them at once by whoever was quiet."""

    count: int
    seconds: int
    burst: int

    @property
    def interval(self) -> int:
        """Microseconds between two requests that come evenly; rounded down, so that nobody has less than was promised."""
        return self.seconds * SECOND // self.count

    def __str__(self) -> str:
        burst = f" burst {self.burst}" if self.burst != self.count else ""
        return f"{self.count}/{_UNITS.get(self.seconds, f'{self.seconds}s')}{burst}"


def parse_rate(text: str) -> Rate:
    """Reads "100/s", "1000/m", "20/h" or "100/s burst 400"; without a burst it is the number itself. Raises ValueError with
    what would be right."""
    match = _RATE.match(text)
    if match is None:
        raise ValueError(f'{text!r} is not a rate; write one like "100/s", "1000/m", "20/h" or "100/s burst 400"')
    count, seconds = int(match[1]), _SECONDS[match[2]]
    burst = int(match[3]) if match[3] else count
    if not 1 <= count <= FASTEST * seconds:
        raise ValueError(f'{text!r} is outside what is possible; write a rate between "1/h" and "{FASTEST}/s"')
    if not 1 <= burst <= LONGEST * count // seconds:
        raise ValueError(
            f"a burst of {burst} is outside what is possible at {count}/{match[2]}; write one between 1 and what comes in a day"
        )
    return Rate(count, seconds, burst)


def admit(ahead: int, interval: int, full: int) -> int:
    """What one more request makes of a client whose theoretical arrival time lies `ahead` microseconds ahead of now (0 where it
    is past): how far it lies ahead after it; or, negative, for how many microseconds it is still too early, and then nothing
    changes. `full` is a burst's worth: burst * interval.
    """
    after = ahead + interval
    return after if after <= full else full - after
