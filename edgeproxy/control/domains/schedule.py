"""When a domain is looked at again. Pure.

Often at first, while somebody sits before a screen and waits; then less and less, as a part of the time that it has taken
already.
"""

from __future__ import annotations

import zlib

from edgeproxy.model import DomainState

EAGER_SECONDS = 60.0
"""For so long after its registration a domain is looked at every EAGER_PAUSE."""

EAGER_PAUSE = 2.0

SLOWEST_PAUSE = 300.0
"""Between two looks at most, until it is given up."""

PART = EAGER_SECONDS / EAGER_PAUSE
"""Afterwards the pause is this part of the domain's age: there is no step at the end of the first minute."""

SPREAD = 0.1
"""By this part of it a pause may be shorter, by the name: thousands that were registered at once do not come due at once."""

WAITING = frozenset((DomainState.PENDING_VALIDATION,))
"""States that end by themselves when nothing comes of them: these domains are parked."""

STEADY = frozenset((DomainState.ACTIVE,))
"""States in which all is well."""


def pause(age: float) -> float:
    """Seconds until the next look at a domain that has been looked at for `age` seconds. Never falls with the age."""
    return min(max(age / PART, EAGER_PAUSE), SLOWEST_PAUSE)


def next_look(
    hostname: str, state: DomainState, since: float, now: float, *, give_up_after: float, steady_pause: float
) -> float | None:
    """Unix time of the next look at a domain that was just looked at without success, or, in a state of STEADY, with it; None:
    it is to be given up.

    `since` is when its looks began. `give_up_after` seconds later a domain in a state of WAITING is given up; any other is
    looked at every `steady_pause` seconds from then on.
    """
    age = max(now - since, 0.0)
    if state in STEADY:
        return now + _earlier(hostname, steady_pause)
    if age >= give_up_after:
        return None if state in WAITING else now + _earlier(hostname, steady_pause)
    return now + (pause(age) if age < EAGER_SECONDS else _earlier(hostname, pause(age)))


def _earlier(hostname: str, seconds: float) -> float:
    return seconds * (1.0 - SPREAD * (zlib.crc32(hostname.encode()) % 1000) / 1000)
