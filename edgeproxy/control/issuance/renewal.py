"""When to renew, and when to try again. Pure: dates come from the certificate, `now` is a parameter."""

from __future__ import annotations

import dataclasses
import hashlib

DAY = 86_400.0

INFO_SECONDS = DAY / 4
"""Between two questions to a CA when to renew a certificate, where it does not say."""

INFO_SOONEST, INFO_LATEST = 60.0, DAY
"""Bounds of what it says (RFC 9773 section 4.3.2): not more often than each minute, and daily at least, or a mass revocation
would be noticed too late."""

_RETRY_AFTER = (60.0, 600.0, 6_000.0, DAY)
_SHORT_LIFE = 10 * DAY
_RENEWAL_SPREAD = 0.02
_LAST_PART = 10
_ASKING_SPREAD = 0.1
_BEFORE_ALL = 1e12
_RETRY_SPREAD = 0.1


def renew_at(not_before: float, not_after: float, certificate_id: str) -> float:
    """Unix time from which a certificate is to be renewed: a third of its life left, half of it for lives under 10 days.

    Up to 2 % of the life earlier, by the certificate's id: certificates made in one burst are not renewed in one.
    """
    life = max(0.0, not_after - not_before)
    left = life / (2 if life < _SHORT_LIFE else 3)
    return not_after - left - _RENEWAL_SPREAD * life * _fraction(certificate_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Suggestion:
    """What a CA says of when to renew a certificate (RFC 9773 section 4.2)."""

    start: float
    end: float
    """Unix times: the window. `start` is before `end`."""
    retry_after: float = 0.0
    """Seconds until it is to be asked again; 0: it did not say."""
    explanation: str = ""
    """A URL where people read why; may be empty."""


def renew_within(suggestion: Suggestion, not_before: float, not_after: float, certificate_id: str) -> float:
    """Unix time from which a certificate is to be renewed by what its CA suggests: any moment of the window, by the
    certificate's id, but no later than when a tenth of its life is left, which retries need."""
    at = suggestion.start + (suggestion.end - suggestion.start) * _fraction(f"window {certificate_id}")
    return min(at, not_after - max(0.0, not_after - not_before) / _LAST_PART)


def ask_again_after(said: float, certificate_id: str) -> float:
    """Seconds until a CA is asked again when to renew a certificate. `said` is its Retry-After, 0 without one."""
    if said > 0:
        return min(max(said, INFO_SOONEST), INFO_LATEST)
    return later(INFO_SECONDS, certificate_id)


def later(seconds: float, certificate_id: str) -> float:
    """So many seconds and up to 10 % more, by the certificate: what began at once does not go on at once for ever."""
    return seconds * (1 + _ASKING_SPREAD * _fraction(f"asking {certificate_id}"))


def first_asked_at(now: float, replaced_at: float | None) -> float:
    """From when a CA is asked about a certificate that it just issued. `replaced_at`: when the one was added whose place it
    takes. Where that was less than two days ago, a day later: of a CA whose windows are all in the past, and whose renewals
    count against no limit of its own, a name has one certificate a day and no more."""
    return now + DAY if replaced_at is not None and now - replaced_at < 2 * DAY else now


def urgency(not_before: float, not_after: float, heat: float, now: float) -> float:
    """Which of two renewals that are due comes first: the lower. Those of which less than a tenth of the life is left, the
    first to end first; then the most visited (`visits.heated`), and of equals the first to end."""
    if is_late(not_before, not_after, now):
        return not_after - _BEFORE_ALL
    return not_after / _BEFORE_ALL - heat


def is_late(not_before: float, not_after: float, now: float) -> bool:
    """Whether less than a tenth of a life is left."""
    return not_after - now < max(0.0, not_after - not_before) / _LAST_PART


def retry_delay(failures: int, name: str) -> float:
    """Seconds until a name that failed `failures` times in a row (from 1) may be tried again: 1, 10, 100 minutes, then a
    day, each up to 10 % longer, by the name."""
    delay = _RETRY_AFTER[min(max(failures, 1), len(_RETRY_AFTER)) - 1]
    return delay * (1 + _RETRY_SPREAD * _fraction(f"{failures} {name}"))


def _fraction(seed: str) -> float:
    """A number from 0 to 1, the same one for the same seed: a restart changes no plan."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") / 2**32
