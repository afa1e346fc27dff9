"""What is wrong gets to people, once, over restarts too."""

from __future__ import annotations

import time
from typing import Any

from edgeproxy.config import monitoring
from edgeproxy.control.alerts.conditions import Reading
from edgeproxy.control.alerts.notifying import NotNotified
from edgeproxy.control.alerts.watch import Alerts
from edgeproxy.control.faults import Faults
from edgeproxy.control.store import Store
from edgeproxy.control.store.outbox import emitted


class People:
    """What they were told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.away = False

    async def send(self, title: str, body: str, *, over: bool) -> None:
        if self.away:
            raise NotNotified("Nobody hears.")
        self.told.append(title.partition(": ")[2])
        assert body


class Watching:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.people = People()
        self.faults = Faults()
        self.ahead = 0.0
        self.reading: dict[str, Any] = {}
        self.anew()

    def anew(self) -> None:
        """Another process."""
        self.alerts = Alerts(monitoring.Alerts(waiting=10), self.store, self.people, self.read, self.now)

    def now(self) -> float:
        return time.time() + self.ahead

    def read(self, _faults: Faults, now: float) -> Reading:
        return Reading(at=now, **self.reading)

    async def look(self) -> list[str]:
        before = len(self.people.told)
        await self.alerts.look(self.faults)
        return self.people.told[before:]

    async def emit(self, type_: str, **data: Any) -> None:
        async with self.store.database.write() as write:
            await emitted(write, self.now(), type_, "a.test", "w", data)


async def test_a_failed_certificate_is_told_once_and_when_there_is_one(store: Store) -> None:
    watching = Watching(store)
    assert await watching.look() == []
    await watching.emit("certificate.failed", error="The CA said no.")
    assert await watching.look() == ["No certificate could be obtained for a.test"]
    await watching.emit("certificate.failed", error="The CA said no.")
    assert await watching.look() == []
    await watching.emit("certificate.issued")
    assert await watching.look() == ["Over: no certificate could be obtained for a.test"]
    assert await watching.look() == []


async def test_another_process_goes_on_where_the_one_before_was(store: Store) -> None:
    watching = Watching(store)
    await watching.emit("certificate.failed", error="The CA said no.")
    await watching.look()
    watching.anew()
    watching.ahead = 600
    assert await watching.look() == []
    await watching.emit("certificate.issued")
    watching.anew()
    assert await watching.look() == ["Over: no certificate could be obtained for a.test"]
    watching.anew()
    assert await watching.look() == []


async def test_what_happened_while_nobody_looked_is_told(store: Store) -> None:
    watching = Watching(store)
    await watching.emit("certificate.expired")
    watching.ahead = 600
    assert await watching.look() == ["The certificate of a.test has ended"]


async def test_what_is_measured_is_told_and_over_after_a_while(store: Store) -> None:
    watching = Watching(store)
    watching.reading = {"waiting": 10}
    assert await watching.look() == ["Many names wait for a certificate"]
    watching.reading = {}
    told = []
    for seconds in range(15, 600, 15):
        watching.ahead = float(seconds)
        told += await watching.look()
    assert told == ["Over: many names wait for a certificate"]


async def test_people_who_do_not_hear_are_told_later_and_that_is_a_fault(store: Store) -> None:
    watching = Watching(store)
    watching.people.away = True
    await watching.emit("certificate.failed", error="The CA said no.")
    assert await watching.look() == []
    error = watching.faults.of("alerts")
    assert error is not None
    assert error.detail == "Nobody hears."
    watching.people.away = False
    assert await watching.look() == ["No certificate could be obtained for a.test"]
    assert watching.faults.of("alerts") is None
    assert [each.kind for each in await store.told_alerts()] == ["issuance"]
