"""What a try's end means: delivered, tried again and when, or given up. Pure."""

from __future__ import annotations

import dataclasses

from edgeproxy.control.store import Delivery, Tried

SCHEDULE = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds after each failed try until the next, over three and a half days. After the last of them it is given up."""

JITTER = 0.2
"""Up to this part of a pause is added by chance, so that what failed together is not tried again together."""

LATEST = SCHEDULE[-1] * (1 + JITTER)
"""The longest pause. One that is longer was noted by a clock that was ahead."""

RETRY_AFTER = 86_400.0
"""Seconds for which a receiver's Retry-After is believed at most."""

GONE = 410


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """How one try ended."""

    status: int | None
    """HTTP's; None where nothing was answered."""
    error: str = ""
    """One or more plain sentences; empty: 2xx."""
    retry_after: float = 0.0
    """Seconds for which the receiver asked for a pause."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return not self.error


def tried(delivery: Delivery, sent: Sent, now: float, chance: float) -> Tried:
    """What is noted of a try; `chance` is from 0 to 1. A receiver that answers 410 wants no more events."""
    gone = sent.status == GONE
    over = sent.delivered or gone or delivery.tries >= len(SCHEDULE)
    pause = 0.0 if over else SCHEDULE[delivery.tries] * (1 + JITTER * chance)
    return Tried(
        endpoint_id=delivery.endpoint_id,
        number=delivery.event.number,
        at=now,
        delivered=sent.delivered,
        status=sent.status,
        error=sent.error,
        next_try=None if over else now + max(pause, min(sent.retry_after, RETRY_AFTER)),
        gone=gone,
    )


def due(next_try: float, now: float) -> bool:
    """Whether a delivery's time has come."""
    return next_try <= now or next_try > now + LATEST
