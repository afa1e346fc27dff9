"""How many cases a property test tries: few and always the same ones in `make test`, many and new ones in `make fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

ORDINARY = 100
"""Hypothesis' own number, which the profile of `make fuzz` raises."""


def cases(number: int) -> settings:
    """So many cases, the same in every run; under a profile that wants more, as many as that, and other ones each time."""
    wanted = settings().max_examples
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    if wanted > ORDINARY:
        return settings(max_examples=wanted, deadline=None, suppress_health_check=slow)
    return settings(max_examples=number, deadline=None, suppress_health_check=slow, derandomize=True, database=None)
