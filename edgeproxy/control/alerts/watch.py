"""What looks every quarter of a minute for something that people must be told."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import anyio
import msgspec
import structlog

from edgeproxy.config import monitoring
from edgeproxy.control.alerts.book import AGAIN_SECONDS, Book
from edgeproxy.control.alerts.conditions import WINDOW, Reading, begun_by, ended_by, measured
from edgeproxy.control.faults import Faults
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError

LOOK_SECONDS = 15.0

EVENTS = 1_000
"""Events of the outbox read at once."""

PART = "alerts"

log = structlog.get_logger("alerts")


class Notify(Protocol):
    """Sends a message to people; raises EdgeError where nobody got it."""

    async def send(self, title: str, body: str, *, over: bool) -> None:
        """Sends it."""
        ...


class Alerts:
    """The loop. `read` measures; `monotonic` gives seconds that never go back."""

    def __init__(
        self,
        limits: monitoring.Alerts,
        store: Store,
        notifier: Notify,
        read: Callable[[Faults, float], Reading],
        now: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._limits = limits
        self._store = store
        self._notifier = notifier
        self._read = read
        self._now = now
        self._look_seconds = look_seconds
        self._readings: deque[Reading] = deque()
        self._book: Book | None = None
        self._reached = 0

    async def run(self, faults: Faults) -> None:
        """Looks and tells, for ever. Raises StateError."""
        while True:
            await self.look(faults)
            await anyio.sleep(self._look_seconds)

    async def look(self, faults: Faults) -> None:
        """One look, and what is to be said after it."""
        now = self._now()
        book = self._book
        if book is None:
            book = self._book = Book(await self._store.told_alerts(), now)
        await self._events(book, now)
        reading = self._read(faults, now)
        self._readings.append(reading)
        while len(self._readings) > 1 and reading.at - self._readings[0].at > WINDOW:
            self._readings.popleft()
        book.measure(measured(self._readings, self._limits), now)
        for message in book.due(now):
            try:
                await self._notifier.send(
                    f"Edgeproxy on {socket.gethostname()}: {message.title}", message.body, over=message.over
                )
            except EdgeError as error:
                if faults.fails(PART, error, now):
                    log.error("people could not be told", error=error.detail)
                return
            faults.works(PART)
            log.info("people were told", kind=message.kind, over=message.over, title=message.title)
            book.said(message, now)
            await self._save(book, now)
        book.forget(now)
        await self._save(book, now)

    async def _save(self, book: Book, now: float) -> None:
        changes = book.changes()
        if changes:
            await self._store.save_alerts(changes, over_before=now - AGAIN_SECONDS)

    async def _events(self, book: Book, now: float) -> None:
        """What the outbox has that was not looked at yet; of the time before the process began the last hour."""
        since = 0.0 if self._reached else now - AGAIN_SECONDS
        head = await self._store.newest_event()
        while found := await self._store.events_after(self._reached, EVENTS, since=since):
            for event in found:
                book.end(ended_by(event.type, event.subject), event.at)
                condition = begun_by(event.type, event.subject, msgspec.json.decode(event.data))
                if condition is not None:
                    book.begin(condition, event.at)
            self._reached = found[-1].number
        self._reached = max(self._reached, head)
