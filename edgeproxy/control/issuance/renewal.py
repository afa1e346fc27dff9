"""When to renew, and when to try again. Pure: dates come from the certificate, `now` is a parameter."""

from __future__ import annotations

import hashlib

DAY = 86_400.0

_RETRY_AFTER = (60.0, 600.0, 6_000.0, DAY)
_SHORT_LIFE = 10 * DAY
_RENEWAL_SPREAD = 0.02
_RETRY_SPREAD = 0.1


def renew_at(not_before: float, not_after: float, certificate_id: str) -> float:
    """Unix time from which a certificate is to be renewed: a third of its life left, half of it for lives under 10 days.

    Up to 2 % of the life earlier, by the certificate's id: certificates made in one burst are not renewed in one.
    """
    life = max(0.0, not_after - not_before)
    left = life / (2 if life < _SHORT_LIFE else 3)
    return not_after - left - _RENEWAL_SPREAD * life * _fraction(certificate_id)


def retry_delay(failures: int, name: str) -> float:
    """Seconds until a name that failed `failures` times in a row (from 1) may be tried again: 1, 10, 100 minutes, then a
    day, each up to 10 % longer, by the name."""
    delay = _RETRY_AFTER[min(max(failures, 1), len(_RETRY_AFTER)) - 1]
    return delay * (1 + _RETRY_SPREAD * _fraction(f"{failures} {name}"))


def _fraction(seed: str) -> float:
    """A number from 0 to 1, the same one for the same seed: a restart changes no plan."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") / 2**32
