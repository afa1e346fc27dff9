"""How long requests waited, as counts of buckets that grow by a tenth: sketches that add up exactly. Pure.

After DDSketch (Masson, Rim and Lee 2019): a quantile is found to within five percent, whatever the distribution, and the sketch
of several workers, or of several minutes, is the sum of theirs. Between a millisecond and ten minutes there are 140 buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

_GAMMA = 1.1
_LOG = math.log(_GAMMA)

SHORTEST, LONGEST = 0.001, 600.0
"""Seconds. What is shorter or longer counts as this."""


class Sketch(msgspec.Struct, frozen=True, array_like=True):
    """What one worker saw of a hostname since it told of it last."""

    requests: int
    """All of them, fast ones too."""
    waits: dict[int, int]
    """How many of those that waited too long fell into each `bucket`."""
    origin: str = ""
    """Who was waited for."""
    failed: int = 0
    """How many had no answer of it."""


def bucket(seconds: float) -> int:
    """The bucket that a duration falls into."""
    return math.ceil(math.log(min(max(seconds, SHORTEST), LONGEST)) / _LOG)


LEAST, GREATEST = bucket(SHORTEST), bucket(LONGEST)


def seconds_of(number: int) -> float:
    """The middle of a bucket."""
    return 2 * float(_GAMMA**number) / (_GAMMA + 1)


def quantile(part: float, requests: int, waits: Mapping[int, int]) -> float:
    """The time in which that part of the requests was over; 0.0 where it was over before those that `waits` counts."""
    rank = math.ceil(part * requests) - (requests - sum(waits.values()))
    if rank <= 0:
        return 0.0
    for number in sorted(waits):
        rank -= waits[number]
        if rank <= 0:
            return seconds_of(number)
    return LONGEST
