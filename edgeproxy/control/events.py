"""What happened, for whoever wants to know: one line of the log, and a call of each subscriber.

Names are `THING.WHAT_BECAME_OF_IT`: "certificate.issued", "certificate.expiring". They are part of the program's contract.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import structlog

log = structlog.get_logger("events")

SUBSCRIBERS = 32
"""Subscribers at most. Each is a part of this program: more than that is one that subscribes again and again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Never holds a secret."""

    name: str
    fields: Mapping[str, Any]
    """Plain values: texts, numbers, lists of them."""
    kept: bool = False
    """Whether the store's outbox has it already, from the transaction of what it tells."""


Subscriber = Callable[[Event], None]
"""Called in the loop for each event: must return at once. What takes longer it puts into a bounded queue of its own."""

_subscribers: list[Subscriber] = []


def publish(name: str, **fields: Any) -> None:
    """Tells everybody, and the log, of what no store has. Never raises."""
    tell(Event(name, fields))


def tell(event: Event) -> None:
    """Tells everybody, and the log. Never raises: a subscriber's failure is logged, and the others are told all the same."""
    log.info(event.name, **event.fields)
    for subscriber in tuple(_subscribers):
        try:
            subscriber(event)
        except Exception as error:
            log.error("a subscriber failed at an event", name=event.name, exc_info=error)


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Has it called for each event from now on; returns what ends that. Raises RuntimeError above SUBSCRIBERS."""
    if len(_subscribers) >= SUBSCRIBERS:
        raise RuntimeError(f"{SUBSCRIBERS} parts are told of events already")
    _subscribers.append(subscriber)

    def end() -> None:
        if subscriber in _subscribers:
            _subscribers.remove(subscriber)

    return end
