"""How slow a client may be: a deadline that each byte puts off, instead of a timer. Pure.

Who is silent has his patience, in seconds, and then is too slow. Each byte gains him 1/rate of a second, but never more than
his patience from now on: so over any such time he has been as fast as `limits.client_rate` on average, and one byte sent or
taken now and then does not hold an origin's connection.
"""

from __future__ import annotations

import math


def byte_seconds(rate: int) -> float:
    """Seconds that one byte gains at so many bytes a second; any byte gains all that is to be had where the rate is 0."""
    return 1 / rate if rate else math.inf


def put_off(due: float, now: float, size: int, byte: float, patience: float) -> float:
    """The new deadline after `size` bytes, each worth `byte` seconds."""
    return min(due + size * byte, now + patience) if size > 0 else due


def enough(size: float, byte: float, seconds: float) -> bool:
    """Whether `size` bytes were enough for that many seconds."""
    return size > 0 and size * byte >= seconds
