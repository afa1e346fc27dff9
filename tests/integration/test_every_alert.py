"""Each alert that there is, from what happens to the message that somebody gets: once, once when it is over, and no more."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeproxy.config.monitoring import Alerts as Limits
from edgeproxy.control.alerts.book import OVER_SECONDS
from edgeproxy.control.alerts.conditions import FAULT_SECONDS, KINDS, WINDOW
from edgeproxy.control.alerts.notifying import Notifier
from edgeproxy.control.alerts.reading import reader
from edgeproxy.control.alerts.watch import Alerts
from edgeproxy.control.faults import Faults
from edgeproxy.control.issuance.issuing import Trouble
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.store import Store
from edgeproxy.control.store.outbox import emitted
from edgeproxy.errors import StateError
from edgeproxy.link.messages import Report
from edgeproxy.link.sketch import Sketch, bucket
from tests.control.store.making import opened
from tests.control.webhooks.receiver import Receiver, receiving
from tests.mailbox import Mailbox

pytest.importorskip("apprise")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HOST = "shop.example"
ORIGIN = "http://10.0.0.1:3000"


class Issuance:
    """What is told of CAs and the queue."""

    def __init__(self) -> None:
        self.waiting = 0
        self.trouble: Trouble | None = None

    def queue(self) -> Any:
        return SimpleNamespace(waiting={"new": self.waiting})

    def ca_trouble(self) -> Trouble | None:
        return self.trouble

    def authorities(self) -> list[Any]:
        return []


class World:
    """A controller's alerts, on a store that outlives it, with everything that it measures."""

    def __init__(self, store: Store, people: Receiver) -> None:
        self.store, self.people = store, people
        self.ahead = 0.0
        self.limits = Limits(notify=(f"json://127.0.0.1:{people.port}/",))
        self.metrics, self.issuance, self.faults = Metrics("1", 10), Issuance(), Faults()
        self.counters: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Another process: what is measured begins anew."""
        self.metrics.latency = Metrics("1", 10).latency
        read = reader(self.metrics, self.issuance)  # type: ignore[arg-type]
        self.alerts = Alerts(
            self.limits,
            self.store,
            Notifier(self.limits.notify),
            lambda faults, now: dataclasses.replace(read(faults, now), at=now),
            self.now,
        )

    def now(self) -> float:
        return time.time() + self.ahead

    def count(self, **counters: float) -> None:
        """A worker's counters rise."""
        for name, more in counters.items():
            key = {"shed": "handshakes_total|shed", "limited": "rate_limited_total|network"}[name]
            self.counters[key] = self.counters.get(key, 0.0) + more
        self.metrics.report(Report(worker=0, pid=1, counters=self.counters), self.now())

    def tell(self, sketch: Sketch) -> None:
        """A worker tells of a name."""
        self.metrics.latency.add({HOST: sketch}, 0.0, time.monotonic())

    async def emit(self, type_: str, host: str = HOST, **data: Any) -> None:
        self.ahead += 1
        async with self.store.database.write() as write:
            await emitted(write, self.now(), type_, host, "w", data)

    async def look(self) -> list[dict[str, Any]]:
        """What people are told by one look."""
        before = len(self.people.got)
        await self.alerts.look(self.faults)
        return [got.payload for got in self.people.got[before:]]

    async def looks(self, seconds: float) -> list[dict[str, Any]]:
        """What they are told within a time."""
        told = []
        for _ in range(0, int(seconds), 60):
            self.ahead += 60
            told += await self.look()
        return told


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with receiving() as people, opened(tmp_path) as store:
        yield World(store, people)


EVENTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "validation": ("domain.parked", {"error": {"detail": "There is no record.", "fault": "customer_dns"}}, "domain.verified"),
    "issuance": ("certificate.failed", {"error": "It said no.", "fault": "ca"}, "certificate.issued"),
    "expiry_30": ("certificate.expiring", {"days": 30, "seconds_left": 29.9 * 86_400}, "certificate.uploaded"),
    "expiry_7": ("certificate.expiring", {"days": 7, "seconds_left": 6.9 * 86_400}, "certificate.renewed"),
    "expiry_1": ("certificate.expiring", {"days": 1, "seconds_left": 80_000}, "certificate.renewed"),
    "expired": ("certificate.expired", {}, "certificate.issued"),
    "pointing": ("certificate.parked", {"detail": "It points to 192.0.2.1."}, "certificate.unparked"),
    "domain": ("domain.attention", {"error": {"detail": "No handshake succeeds.", "fault": "edge"}}, "domain.active"),
}
"""By kind: the event that begins it, what that says, and the event that ends it."""


def begin(world: World, kind: str) -> None:
    """What is measured goes wrong."""
    match kind:
        case "latency":
            world.tell(Sketch(200, {bucket(5.0): 20}, ORIGIN))
        case "origin":
            world.tell(Sketch(100, {}, ORIGIN, failed=50))
        case "shed":
            world.count(shed=10_000)
        case "limited":
            world.count(limited=1_000_000)
        case "ca":
            world.issuance.trouble = Trouble("ca.example", "It is away.", world.now() - FAULT_SECONDS, world.now())
        case "gate":
            for _ in range(10):
                world.metrics.gate("unavailable")
        case "queue":
            world.issuance.waiting = 5_000
        case "fault":
            world.faults.fails("store", StateError("The disk is full."), world.now() - FAULT_SECONDS)


def end(world: World) -> None:
    """All is well again."""
    world.metrics.latency = Metrics("1", 10).latency
    world.issuance.trouble, world.issuance.waiting = None, 0
    world.faults.works("store")


def checked(kind: str, message: dict[str, Any]) -> None:
    """What somebody reads says what happened, with whom, and what to do."""
    title, body = message["title"], message["message"]
    assert title.startswith("Edgeproxy on ")
    assert KINDS[kind].title.format(f"{kind}.example").partition(" ")[2] in title or kind in ("ca", "fault")
    assert body.endswith(f"What to do: {KINDS[kind].todo}")
    assert message["type"] == "failure"


def over(message: dict[str, Any]) -> bool:
    return ": Over: " in message["title"] and message["type"] == "success"


def test_every_kind_is_walked_through() -> None:
    assert set(EVENTS) == {kind for kind, what in KINDS.items() if not what.measured}


async def test_what_an_event_begins_is_told_once_and_once_when_another_ends_it(world: World) -> None:
    for kind in EVENTS:
        await begin_and_end(world, kind, *EVENTS[kind], f"{kind}.example")


async def begin_and_end(world: World, kind: str, type_: str, data: dict[str, Any], ends: str, host: str) -> None:
    world.restart()
    assert await world.look() == []
    await world.emit(type_, host, **data)
    (told,) = await world.look()
    checked(kind, told)
    assert host in told["title"]
    await world.emit(type_, host, **data)
    assert await world.looks(WINDOW) == []
    world.restart()
    assert await world.look() == []
    await world.emit(type_, host, **data)
    assert await world.looks(WINDOW) == []
    await world.emit(ends, host)
    (last,) = await world.look()
    assert over(last)
    assert host in last["title"]


async def test_what_is_measured_is_told_once_and_once_when_it_is_over(world: World) -> None:
    for kind in [kind for kind, what in KINDS.items() if what.measured]:
        await begin_and_end_measured(world, kind)


async def begin_and_end_measured(world: World, kind: str) -> None:
    world.restart()
    assert await world.look() == []
    begin(world, kind)
    (told,) = await world.look()
    checked(kind, told)
    assert await world.look() == []
    world.restart()
    begin(world, kind)
    assert await world.look() == []
    end(world)
    seconds = WINDOW * 2 + OVER_SECONDS
    told_over = await world.looks(seconds)
    assert [over(each) for each in told_over] == [True]
    world.restart()
    assert await world.looks(seconds) == []


async def test_a_domain_that_leads_elsewhere_is_one_matter_for_the_domain_and_its_certificate(world: World) -> None:
    await world.look()
    await world.emit("domain.attention", error={"detail": "It leads to 192.0.2.1.", "fault": "customer_dns"})
    (told,) = await world.look()
    assert "does not point here any more" in told["title"]
    await world.emit("certificate.parked", detail="It points to 192.0.2.1.")
    assert await world.looks(WINDOW) == []


async def test_a_mail_gets_to_its_reader(world: World) -> None:
    with Mailbox() as mailbox:
        url = f"mailto://127.0.0.1:{mailbox.port}/?from=edge@example.test&to=people@example.test"
        world.limits = Limits(notify=(url,))
        world.restart()
        await world.emit("certificate.failed", error="The CA said no.", fault="ca")
        await world.look()
        mail = mailbox.next(60)  # one alone: apprise waits for 5.5 s before it sends another
    assert mail.recipients == ["people@example.test"]
    assert f"No certificate could be obtained for {HOST}" in str(mail.message["subject"])
    text = mail.message.get_body(("plain", "html")).get_content()  # type: ignore[union-attr]
    assert "The CA said no. It is the CA" in text
    assert "What to do: " in text
