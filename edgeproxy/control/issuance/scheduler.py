"""Names and their turns: one flight for each name, however many wait for it, and every flight when the budget allows.

The decisions are `Queue`'s and `Budget`'s; here they are carried out: tasks are started, rows are kept, people are told.
What cannot be afforded now waits, as a row of the store, and does not fail.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.budget import KINDS, Ask, Kind, Left
from edgeproxy.control.issuance.issuer import NotNow, Progress
from edgeproxy.control.issuance.ledger import LEASE_SECONDS, Ledger, Purse
from edgeproxy.control.issuance.ledgers import Ledgers
from edgeproxy.control.issuance.queue import Entry, Lane, Queue, Turn
from edgeproxy.control.issuance.ratelimited import LONGEST_PAUSE
from edgeproxy.control.issuance.registered import load, registered_domain
from edgeproxy.control.store import Order, Store, StoredCertificate, Waiting
from edgeproxy.errors import EdgeError, Fault, IssuanceError

log = structlog.get_logger("issuance")

ROOM: dict[Lane, int] = {"free": 4, "new": 32, "renewal": 4, "retry": 4}
"""Issuances at once: a CA that keeps renewals waiting for minutes must not keep visitors waiting too. Without visitors they are
fewer than pace.RECOVERED, so that a CA which tells of orders but signs nothing is not taken for well by a round of them."""

LOOK_SECONDS = 30.0
"""Between two looks at the queue at most: a wall clock may be set, and the wait for a turn is measured by it."""

SET_BACK_SECONDS = 60.0
"""By so much the clock may go back without being taken for one that was ahead."""

ROWS = 1_000
"""Names that wait written, or read, at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class QueueState:
    """What `status` and the metrics show."""

    working: int
    waiting: dict[Kind, int]
    """By kind."""
    left: Left
    next_at: float
    """Unix time of the next turn; inf: nobody waits for one."""


class Queued(IssuanceError):
    """The certificate will come, but not while anybody can wait for it."""

    code = "queued"

    def __init__(self, name: str, turn: Turn, now: float, *, renewal: bool = False) -> None:
        what = f"A new certificate for {name} is" if renewal else f"{name} has no certificate yet:"
        super().__init__(f"{what} {described(turn)}. It is obtained by itself when its turn comes.")
        self.turn = turn
        self.retry_after = max(1.0, turn.expected - now)


def described(turn: Turn) -> str:
    """A turn in words."""
    at = datetime.fromtimestamp(turn.expected, UTC).strftime("%Y-%m-%d %H:%M UTC")
    why = turn.reason or "the CA takes only so many orders in a time"
    return f"queued, position about {turn.position}, expected at about {at}, because {why}"


class Flight:
    """One name on its way to a certificate, and who listens to it."""

    def __init__(self, entry: Entry) -> None:
        loop = asyncio.get_running_loop()
        self.name = entry.name
        self.entry = entry
        self.done: asyncio.Future[StoredCertificate | IssuanceError] = loop.create_future()
        self.moved: asyncio.Future[None] = loop.create_future()
        """Done when it begins or has to wait again; then there is another one."""
        self.listeners: list[Progress] = []
        self.visitors = 0
        self.purse: Purse | None = None
        """Set while it is worked on."""
        self.task: asyncio.Task[NotNow | None] | None = None
        self.waited = False
        """Whether so much time may have passed since the wish that it is to be looked at anew."""
        self.lost = False
        """Whether another machine took it over."""
        self.beside = False
        """Whether it is for the certificate beside one that is there."""

    def tell(self, phrase: str) -> None:
        """One step, for those who wait."""
        for listener in self.listeners:
            listener(phrase)

    def end(self, result: StoredCertificate | IssuanceError) -> None:
        """Once."""
        if not self.done.done():
            self.done.set_result(result)

    async def landed(self) -> None:
        """Returns when what follows its result is done too."""
        if self.task is not None:
            await asyncio.wait((self.task,))
            await asyncio.sleep(0)

    def move(self) -> None:
        """It has begun, or has to wait again."""
        moved, self.moved = self.moved, asyncio.get_running_loop().create_future()
        moved.set_result(None)


Work = Callable[[Flight], Awaitable[StoredCertificate]]
"""Issues for a flight. Raises NotNow where it has to wait, IssuanceError where it failed, EdgeError where the store did."""


class Scheduler:
    """One per controller. To be opened before anything is wished for."""

    def __init__(self, config: Config, store: Store, ledger: Ledger | Ledgers, work: Work, clock: Callable[[], float]) -> None:
        self._store = store
        self._ledger = ledger
        self._work = work
        self._clock = clock
        self._bound = config.limits.pending_issuances
        self._queue = Queue(ledger.budget)
        self._flights: dict[str, Flight] = {}
        self._working: dict[Lane, int] = dict.fromkeys(ROOM, 0)
        self._opening = asyncio.Lock()
        self._opened = asyncio.Event()
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = clock()
        self._unsaved: set[str] = set()
        self._saving: asyncio.Task[None] | None = None
        self._rows = asyncio.Lock()

    @property
    def pending(self) -> int:
        """Names that are worked on or wait for their turn."""
        return len(self._flights)

    def state(self) -> QueueState:
        """What is going on."""
        now = self._clock()
        self._queue.use(self._ledger.budget)
        at = self._queue.next_at(now, self._has_room)
        return QueueState(sum(self._working.values()), self._queue.waiting(), self._ledger.budget.left(now), at)

    def has(self, name: str) -> bool:
        """Whether a name is worked on or waits."""
        return name in self._flights

    def turn(self, name: str) -> Turn | None:
        """Where a name stands; None where it does not wait."""
        self._queue.use(self._ledger.budget)
        return self._queue.turn(name, self._clock())

    async def open(self) -> None:
        """Remembers what an earlier process left. Cheap where that has been done. Raises StateError."""
        if self._opened.is_set():
            return
        async with self._opening:
            if self._opened.is_set():
                return
            if not self._ledger.alone:
                await asyncio.to_thread(load)
            await self._ledger.open()
            await self._remember()
            self._opened.set()
        self.look()

    async def run(self) -> None:
        """Keeps what this process holds, and drops what no longer counts, until cancelled. Raises StateError."""
        await self.open()
        while True:
            await anyio.sleep(LEASE_SECONDS / 3)
            await self.keep()

    async def keep(self) -> None:
        """One round of `run`."""
        held = await self._ledger.prolong()
        for flight in list(self._flights.values()):
            if flight.purse is not None and flight.purse.placed and flight.name not in held and flight.task is not None:
                log.warning("another machine took over a name", hostname=flight.name)
                flight.lost = True
                flight.task.cancel()
        await self._ledger.prune()
        self._save_soon(())
        self.look()

    async def close(self) -> None:
        """Ends what is under way, to be continued by the next process."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [flight.task for flight in self._flights.values() if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)
        for flight in self._flights.values():
            flight.end(_stopped())
        self._flights.clear()

    # Wishing

    def wish(
        self,
        name: str,
        kind: Kind,
        workspace: str,
        *,
        renewal: bool = False,
        urgency: float = 0.0,
        visited: bool = False,
        begun: bool = False,
        forced: bool = False,
        replaces: bool = False,
    ) -> Flight | None:
        """The flight for a name: the one that there is, or a new one; None where there are too many.

        `workspace` is whose name it is, `begun` that an order for it is under way already, `replaces` that an order would
        say which certificate it replaces. Other parameters as in `queue.Entry`.
        """
        flight = self._flights.get(name)
        if flight is not None:
            self._queue.hurry(name, urgency)
            if begun:
                self._queue.release(name, self._clock())
                self.look()
            return flight
        ask = Ask(name, "" if self._ledger.alone else registered_domain(name), kind, renewal, replaces)
        flight = self._enter(
            Entry(
                ask,
                workspace or f"*{ask.registered}",  # a star is in no workspace's id
                self._clock(),
                free=begun,
                urgency=urgency,
                visited=visited,
                forced=forced,
            )
        )
        if flight is not None:
            self.look()
            if self._queue.get(name) is not None:
                self._save_soon((name,))
        return flight

    async def result(self, flight: Flight, patience: float, *, visitor: bool = False) -> StoredCertificate:
        """What comes of a flight. Raises IssuanceError where it fails, and Queued where its turn will not come within
        `patience` seconds; once it has begun it is waited for however long it takes. Cancelling ends only the waiting."""
        until = asyncio.get_running_loop().time() + patience
        self._watch(flight, visitor)
        try:
            while not flight.done.done():
                left = until - asyncio.get_running_loop().time()
                turn = self.turn(flight.name)
                if turn is not None and (left <= 0 or turn.expected - self._clock() > left):
                    raise Queued(flight.name, turn, self._clock(), renewal=flight.entry.ask.renewal)
                await asyncio.wait(
                    (flight.done, flight.moved),
                    timeout=None if turn is None else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            self._watch(flight, -visitor)
        result = flight.done.result()
        if isinstance(result, IssuanceError):
            raise result
        return result

    async def begin(self, order: Order, replaces: bool) -> None:
        """See issuer.Begin."""
        flight = self._flights.get(order.hostname)
        if flight is None or flight.purse is None:
            await self._store.save_order(order, self._clock())
        else:
            # before, it was a guess; where it has to wait now, it waits by what it costs
            flight.entry.ask = flight.purse.ask = dataclasses.replace(flight.entry.ask, replaces=replaces)
            await self._ledger.begin(order, flight.purse, unless_issued=not (flight.entry.forced or flight.beside))

    # Serving

    def look(self) -> None:
        """Begins whatever can be begun now, and sees to it that the next look comes in time."""
        if self._closed or not self._opened.is_set():
            return
        now = self._clock()
        self._notice_clock(now)
        self._queue.use(self._ledger.budget)
        while (entry := self._queue.take(now, self._has_room)) is not None:
            self._begin(self._flights[entry.name], entry)
        if self._timer is not None:
            self._timer.cancel()
        delay = self._queue.next_at(now, self._has_room) - now
        self._timer = None
        if len(self._queue):
            self._timer = asyncio.get_running_loop().call_later(min(max(delay, 0.01), LOOK_SECONDS), self.look)

    def _notice_clock(self, now: float) -> None:
        by, self._looked_at = self._looked_at - now, now
        if by > SET_BACK_SECONDS:
            log.warning("the clock was set back; names wait for their turns by what it says now", seconds=round(by))
            self._ledger.set_back(now, by)
            self._queue.set_back(by)

    def _has_room(self, lane: Lane) -> bool:
        return self._working[lane] < ROOM[lane]

    def _begin(self, flight: Flight, entry: Entry) -> None:
        lane = self._queue.lane(entry)
        self._working[lane] += 1
        flight.purse = self._ledger.reserve(entry.ask, free=entry.free)
        flight.task = asyncio.get_running_loop().create_task(self._fly(flight), name=f"issue {flight.name}")
        flight.task.add_done_callback(lambda task: self._landed(flight, lane, task))
        flight.move()

    async def _fly(self, flight: Flight) -> NotNow | None:
        """One try; NotNow where the name has to wait again."""
        error: IssuanceError
        try:
            stored = await self._work(flight)
        except NotNow as wait:
            await self._settle(flight, wait, waits=True)
            return wait
        except IssuanceError as failed:
            error = failed
        except EdgeError as failed:  # the store or the map: nothing is known of the name, so nothing is remembered of it
            log.error("an issuance was interrupted", hostname=flight.name, detail=failed.detail)
            error = IssuanceError(failed.detail, code=failed.code, fault=failed.fault, retryable=failed.retryable)
        else:
            flight.end(stored)  # what follows nobody has to wait for
            await self._settle(flight, None)
            return None
        # noted first: whoever asks once more after this is a new try
        await self._settle(flight, error)
        flight.end(error)
        return None

    def _landed(self, flight: Flight, lane: Lane, task: asyncio.Task[NotNow | None]) -> None:
        self._working[lane] -= 1
        if flight.purse is not None:
            self._ledger.release(flight.purse)
        flight.task = flight.purse = None
        wait = None
        if task.cancelled():
            if flight.lost and not self._closed:
                flight.lost, wait = False, NotNow("another machine obtains it", self._clock())
            else:
                flight.end(_stopped())
        elif (error := task.exception()) is not None:
            log.error("an issuance failed in a way that nobody foresaw", hostname=flight.name, exc_info=error)
            sentence = "Something went wrong in the edge; its log tells what."
            flight.end(IssuanceError(sentence, code="internal_error", fault=Fault.EDGE))
        else:
            wait = task.result()
        if wait is not None and not self._closed:
            self._wait_again(flight, wait)
        else:
            self._flights.pop(flight.name, None)
        self.look()

    def _wait_again(self, flight: Flight, wait: NotNow) -> None:
        entry = flight.entry
        entry.not_before, entry.reason, entry.visitors = wait.until, wait.reason, flight.visitors
        entry.free = False
        flight.waited = True
        self._queue.add(entry, self._clock())
        self._save_soon((flight.name,))
        flight.move()

    async def _settle(self, flight: Flight, error: IssuanceError | None, *, waits: bool = False) -> None:
        """Notes what was spent and frees the name. What the result does not depend on: a store that fails is only logged."""
        try:
            if flight.purse is not None:
                await self._ledger.settle(flight.purse, error)
            async with self._rows:
                await self._store.finish(flight.name, self._ledger.holder, waits=waits, succeeded=error is None)
        except EdgeError as failed:
            log.error("the store could not be tidied after an issuance", hostname=flight.name, detail=failed.detail)

    # Who waits

    def _enter(self, entry: Entry) -> Flight | None:
        if len(self._flights) >= self._bound:
            lost = self._queue.make_room(entry.workspace, visited=entry.visited)
            if lost is None:
                return None
            self._flights.pop(lost.name).end(self.too_many())
            self._save_soon((lost.name,))
        self._queue.add(entry, self._clock())
        flight = self._flights[entry.name] = Flight(entry)
        return flight

    def too_many(self) -> IssuanceError:
        """The refusal of a name for which there is no place."""
        return IssuanceError(
            f"{self._bound} names wait for a certificate already (limits.pending_issuances).",
            code="too_many_pending",
            fault=Fault.EDGE,
        )

    def _watch(self, flight: Flight, more: int) -> None:
        """A visitor begins (1) or ceases (-1) to wait."""
        if more:
            first, flight.visitors = not flight.entry.visited, flight.visitors + more
            flight.entry.visited = True
            self._queue.visit(flight.name, flight.visitors)
            if first and self._queue.get(flight.name) is not None:
                self._save_soon((flight.name,))

    async def _remember(self) -> None:
        rows: list[Waiting] = []
        while page := await self._store.list_waiting(ROWS, rows[-1].name if rows else ""):
            rows += page
        # nothing is put off for longer, unless the clock was ahead
        latest = self._clock() + max(self._ledger.budget.rules.longest, LONGEST_PAUSE)
        for row in sorted(rows, key=lambda row: row.since):
            flight = self._flights.get(row.name) or self._enter(_entry(row, latest))
            if flight is None:
                self._unsaved.add(row.name)  # the bound was lowered
            else:
                flight.waited = True

    def _save_soon(self, names: Iterable[str]) -> None:
        """Has the rows of names written: made, or dropped where they do not wait any more."""
        self._unsaved.update(names)
        if self._unsaved and self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save(), name="issuance queue")

    async def _save(self) -> None:
        try:
            while self._unsaved:
                async with self._rows:
                    names = sorted(self._unsaved)[:ROWS]
                    entries = [entry for name in names if (entry := self._queue.get(name)) is not None]
                    gone = [name for name in names if name not in self._flights]
                    await self._store.save_waiting([_row(entry) for entry in entries], gone)
                    self._unsaved.difference_update(names)
        except EdgeError as error:
            log.error("names that wait could not be noted", detail=error.detail)
        finally:
            self._saving = None


def _stopped() -> IssuanceError:
    return IssuanceError("The edge is being stopped; the order is continued by its next start.")


def _row(entry: Entry) -> Waiting:
    return Waiting(
        name=entry.name,
        kind=entry.ask.kind,
        workspace_id=entry.workspace,
        since=entry.since,
        not_before=entry.not_before,
        reason=entry.reason,
        urgency=entry.urgency if math.isfinite(entry.urgency) else 0.0,
        visited=entry.visited,
        renewal=entry.ask.renewal,
        replaces=entry.ask.replaces,
        forced=entry.forced,
    )


def _entry(row: Waiting, latest: float) -> Entry:
    kind = next((kind for kind in KINDS if kind == row.kind), KINDS[0])
    ask = Ask(row.name, registered_domain(row.name), kind, row.renewal, row.replaces)
    return Entry(
        ask,
        row.workspace_id,
        row.since,
        urgency=row.urgency,
        visited=row.visited,
        forced=row.forced,
        not_before=row.not_before if row.not_before <= latest else 0.0,
        reason=row.reason,
    )
