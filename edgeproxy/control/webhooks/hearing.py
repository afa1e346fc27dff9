"""Events of certificates that are told in memory alone (`control.events`): from there into the outbox.

Most are in the outbox from the transaction of what they tell (`store.outbox`). These tell nothing that is stored: a failure by
a setting, or a renewal that is overdue, which comes again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from edgeproxy.config.webhooks import CERTIFICATE_EVENTS
from edgeproxy.control import events
from edgeproxy.control.store import Store
from edgeproxy.control.store.outbox import shown

QUEUED = 2_000
"""Events that may wait to be written. Above it new ones are dropped and counted."""

AT_ONCE = 200
"""Events written in one transaction."""

log = structlog.get_logger("webhooks")


class Hearing:
    """Subscribes when it is made, until `close`."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._waiting: deque[tuple[str, str, float, Mapping[str, Any]]] = deque()
        self._heard = asyncio.Event()
        self._end = events.subscribe(self._hear)
        self.dropped = 0
        """Events that found no place in the queue."""

    async def close(self) -> None:
        """Hears no more; what waits is written."""
        self._end()
        await self._write()

    async def run(self) -> None:
        """Writes what is heard, for ever. Raises StateError; what could not be written is kept for the next call."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            await self._write()

    def _hear(self, event: events.Event) -> None:
        if event.kept or event.name not in CERTIFICATE_EVENTS:
            return
        if len(self._waiting) >= QUEUED:
            self.dropped += 1
            if self.dropped == 1:
                log.error("the store does not take events; some are lost for webhooks", waiting=QUEUED)
            return
        fields = dict(event.fields)
        hostname = str(fields.pop("hostname", ""))
        self._waiting.append((event.name, hostname, self._now(), {"domain": hostname, **shown(fields)}))
        self._heard.set()

    async def _write(self) -> None:
        while self._waiting:
            found = list(self._waiting)[:AT_ONCE]
            try:
                await self._store.note_events(found)
            except BaseException:
                self._heard.set()
                raise
            for _ in found:
                self._waiting.popleft()
