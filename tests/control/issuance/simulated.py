"""Time that only passes when it is told to, and a CA that issues at once: for what takes days."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Self

from sqlalchemy import event

from edgeproxy.config.issuance import Budget, Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.ledger import Ledger
from edgeproxy.control.issuance.queue import Entry
from edgeproxy.control.issuance.scheduler import Flight, Scheduler
from edgeproxy.control.store import Order, Store, StoredCertificate
from edgeproxy.limits import Limits

DIRECTORY = "https://ca.example/dir"
START = 1_800_000_000.0


class Clock:
    """Unix time."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Ca:
    """What it was asked for, whichever process asked."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.orders: list[tuple[float, Entry]] = []
        self.issued: dict[str, StoredCertificate] = {}
        self.begun: set[str] = set()
        self.shared = False
        """Whether several machines use the store: each looks whether another one is at it."""
        self.before: Callable[[Flight], Any] | None = None
        """Called before an order is placed; may raise, or be awaited for."""

    @property
    def names(self) -> list[str]:
        return [entry.name for _, entry in self.orders]

    async def issue(self, machine: Machine, flight: Flight) -> StoredCertificate:
        if flight.name in self.issued:
            return self.issued[flight.name]
        if self.shared:
            await machine.ledger.claim(flight.name)
        if flight.name not in self.begun or (self.shared and await self.store.order_for(flight.name) is None):
            row = Order(hostname=flight.name, directory=DIRECTORY, step="new", started_at=self.clock())
            await machine.scheduler.begin(row, flight.entry.ask.replaces)
            self.begun.add(flight.name)
        if self.before is not None and (waiting := self.before(flight)) is not None:
            await waiting
        self.orders.append((self.clock(), flight.entry))
        self.issued[flight.name] = certificate(flight.name)
        return self.issued[flight.name]


class Machine:
    """One process of one machine."""

    def __init__(self, store: Store, ca: Ca, name: str = "m1", *, limits: Limits | None = None, **budget: Any) -> None:
        self.config = Config(issuance=Issuance(directory=DIRECTORY, budget=Budget(**budget)), limits=limits or Limits())
        self.ca, self.clock = ca, ca.clock
        self.ledger = Ledger(self.config, store, DIRECTORY, name, ca.clock)
        self.scheduler = Scheduler(self.config, store, self.ledger, lambda flight: ca.issue(self, flight), ca.clock)

    async def __aenter__(self) -> Self:
        await self.scheduler.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.scheduler.close()

    def wish(self, name: str, workspace: str = "ws", kind: Any = "new", **more: Any) -> Flight:
        flight = self.scheduler.wish(name, kind, workspace, **more)
        assert flight is not None
        return flight

    async def visit(self, name: str, workspace: str = "ws") -> StoredCertificate:
        return await self.scheduler.result(self.wish(name, workspace, visited=True), 30.0, visitor=True)

    async def idle(self) -> None:
        """Returns when nothing is worked on, and everything is written."""

        def flights() -> list[Flight]:
            return list(self.scheduler._flights.values())

        async with asyncio.timeout(300):
            while tasks := [each for each in (*(flight.task for flight in flights()), self.scheduler._saving) if each]:
                await asyncio.wait(tasks)

    async def pass_time(self, seconds: float) -> None:
        """Lets so much time pass, from turn to turn."""
        until = self.clock.now + seconds
        while True:
            await self.idle()
            at = self.scheduler.state().next_at
            if at > until or math.isinf(at):
                break
            self.clock.now = max(at, self.clock.now + 0.001)
            self.scheduler.look()
        self.clock.now = until
        self.scheduler.look()
        await self.idle()


def hurried(store: Store) -> None:
    """Has a store not wait for the disk: thousands of commits would take minutes of it."""

    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(store.database._reading.sync_engine, "connect", prepare)


def certificate(name: str) -> StoredCertificate:
    return StoredCertificate(
        id=f"of.{name}", names=(name,), chain=b"", sealed_key=b"", not_before=START, not_after=START + 9e6, renew_at=START + 6e6
    )
