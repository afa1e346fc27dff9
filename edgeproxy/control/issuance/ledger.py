"""The budget of one CA, kept in the store: what is spent is written down with the order that spends it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import Literal, cast

import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance import ratelimited
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.budget import KINDS, Ask, Budget, Kind, Scope, Spent, rules_of
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.issuer import NotNow
from edgeproxy.control.store import Lease, Order, RateLimit, Store
from edgeproxy.control.store import Spent as SpentRow
from edgeproxy.errors import IssuanceError

log = structlog.get_logger("issuance")

LEASE_SECONDS = 60.0
"""For how long a name belongs to the process that orders it unless that prolongs it. Another machine takes over after it; the
next process of the same machine does at once."""

LOOK_AGAIN_SECONDS = 2.0
"""Until a name is looked at again that another machine works on."""

BREATH_SECONDS = 0.1
"""Until it is where that machine has just ended: soon, but not in a loop without a pause."""

PAGE = 5_000
"""Rows read at once at a start."""


@dataclasses.dataclass(slots=True)
class Purse:
    """What one issuance spends."""

    ask: Ask
    reserved: Spent | None = None
    """Spent in memory when its turn came; it becomes an order's, or is taken back."""
    placed: list[tuple[int, Spent | None]] = dataclasses.field(default_factory=list)
    """Orders that were written down, with their numbers in the store; None: the CA does not count it."""
    key: bytes = b""
    """The private key of the last one."""
    noted: bool = False
    """Whether the failure of the last order is written down."""
    directory: str = ""
    """The CA's, whose budget it is."""


class Ledger:
    """One per process and CA. `machine` is the machine's own id, the same one after a restart."""

    def __init__(self, config: Config, store: Store, directory: str, machine: str, clock: Callable[[], float]) -> None:
        self.budget = Budget(rules_of(config))
        self.holder = secrets.token_hex(8)
        self._store = store
        self.directory = directory
        self._machine = machine
        self._clock = clock
        self._seen = 0
        self._open: dict[int, Spent] = {}
        """Orders of which a certificate may yet come, by their numbers in the store."""
        self.alone = directory == INTERNAL
        """The built-in CA has no orders, so that none can be made twice."""

    async def open(self) -> None:
        """Takes over what earlier processes of this machine held, and remembers what was spent."""
        now = self._clock()
        await self._store.end_leases(self._machine, but=self.holder, now=now)
        await self._store.prune_spent(now - self.budget.rules.longest, now)
        while rows := await self._store.list_spent(self.directory, now - self.budget.rules.longest, self._seen, PAGE):
            self._learn(rows)
        await self._learn_rate_limits()

    # One issuance

    def reserve(self, ask: Ask, *, free: bool) -> Purse:
        """The turn of a name has come; `free`: its order is placed already."""
        return Purse(ask, None if free else self.budget.spend(ask, self._clock()), directory=self.directory)

    async def claim(self, name: str) -> None:
        """Takes the name's lease where an order is under way. Raises NotNow where another machine works on it."""
        if not self.alone:
            now = self._clock()
            claimed = await self._store.claim(self._lease(name, now), now)
            if claimed.refused:
                raise self._held(claimed.until, now)

    async def begin(self, order: Order, purse: Purse, *, unless_issued: bool) -> None:
        """An order is about to be placed: see `issuer.Begin`."""
        if purse.placed:  # nobody asks for another one unless the first has failed
            await self._lost(purse, order.hostname, None)
        now, ask = self._clock(), purse.ask
        if purse.reserved is not None:
            self.release(purse)  # and spent anew, at the moment that the CA will see
        elif (at := self.budget.hard_free_at(ask, now)) > now:
            raise NotNow("the CA's limits are reached", at)
        spending = purse.reserved = self.budget.spend(ask, now)
        row = None if spending is None else self._row(spending)
        begun = await self._store.begin_order(
            order,
            self._lease(order.hostname, now),
            row,
            unless_issued=unless_issued,
            after=self._seen,
            affordable=lambda rows: self._affordable(rows, spending),
            now=now,
        )
        if begun.refused:
            self.release(purse)
            if begun.refused == "spent":
                raise NotNow("the CA's limits are reached", max(self.budget.hard_free_at(ask, now), now + LOOK_AGAIN_SECONDS))
            raise (
                NotNow("its certificate is there", now + BREATH_SECONDS)
                if begun.refused == "issued"
                else self._held(begun.until, now)
            )
        self._failed(begun.superseded)
        if spending is not None:
            self._open[begun.spent] = spending
        purse.placed.append((begun.spent, spending))
        purse.key = order.key
        purse.noted = False
        purse.reserved = None

    def release(self, purse: Purse) -> None:
        """Takes back what was reserved and not used."""
        if purse.reserved is not None:
            self.budget.take_back(purse.reserved)
            purse.reserved = None

    async def settle(self, purse: Purse, error: IssuanceError | None) -> None:
        """The issuance has ended. Notes what became of its orders; raises StateError."""
        self.release(purse)
        if error is None:
            for number, _ in purse.placed:
                self._open.pop(number, None)
        elif purse.placed:
            await self._lost(purse, purse.ask.name, error)
        elif isinstance(error, CaRefused) and error.challenge and not error.about_the_ca and not purse.noted:
            await self._failed_validation(purse.ask)

    async def put_off(self, error: CaRefused, ask: Ask) -> NotNow:
        """The CA says that a limit is reached: nothing that it concerns is asked for until it allows. Raises StateError."""
        now = self._clock()
        scope, subject = ratelimited.scope_of(error.said, ask)
        until = now + ratelimited.pause(error.said, error.retry_after, now)
        why = ratelimited.reason(error.said)
        self.budget.block(scope, subject, until, why)
        log.warning("the CA's rate limit is reached", scope=scope, subject=subject, seconds=round(until - now), said=error.said)
        row = RateLimit(directory=self.directory, scope=scope, subject=subject, until=until, detail=error.said)
        await self._store.save_rate_limit(row)
        return NotNow(why, until if scope != "account" else now)

    # All of them

    def set_back(self, now: float, by: float) -> None:
        """See Budget."""
        self.budget.set_back(now, by)

    async def prolong(self) -> set[str]:
        """Prolongs this process's leases; the names that it still holds."""
        return await self._store.prolong_leases(self.holder, self._clock() + LEASE_SECONDS)

    async def prune(self) -> None:
        """Drops what no longer counts, and learns what the CA has put off for other machines meanwhile."""
        now = self._clock()
        self.budget.forget(now)
        for number in [number for number, each in self._open.items() if each.at + self.budget.rules.longest <= now]:
            del self._open[number]
        await self._store.prune_spent(now - self.budget.rules.longest, now)
        await self._learn_rate_limits()

    # Within

    async def _learn_rate_limits(self) -> None:
        now = self._clock()
        for limit in await self._store.rate_limits(self.directory, now):
            if limit.until > now + ratelimited.LONGEST_PAUSE:
                continue  # written while the clock was ahead; if it is so, the CA will say it again
            self.budget.block(cast(Scope, limit.scope), limit.subject, limit.until, ratelimited.reason(limit.detail))

    def _affordable(self, rows: Sequence[SpentRow], spending: Spent | None) -> bool:
        self._learn(rows)
        return spending is None or self.budget.within(spending, self._clock())

    def _learn(self, rows: Sequence[SpentRow]) -> None:
        now = self._clock()
        for row in rows:
            if row.number <= self._seen:
                continue  # another order of this process has met it meanwhile
            self._seen = row.number
            kind: Kind = next((kind for kind in KINDS if kind == row.kind), "new")
            what = cast(Literal["order", "issued", "failed", "validation"], row.what)
            # what was written while a clock was ahead must not count for ever
            spent = Spent(what, min(row.at, now), row.name, row.registered, kind, row.paced)
            self.budget.learn(spent)
            if what == "order":
                self._open[row.number] = spent

    def _failed(self, numbers: Sequence[int]) -> None:
        """No certificate will come of these orders."""
        for number in numbers:
            if (spent := self._open.pop(number, None)) is not None:
                self.budget.failed(spent)

    async def _lost(self, purse: Purse, name: str, error: IssuanceError | None) -> None:
        """Works out what became of the last order, by what is left of it: its row. `error` None: another one follows it."""
        row = await self._store.order_for(name)
        number, spent = purse.placed.pop()
        # the issuer leaves it as "wanted" where the CA cannot have taken it; else another wish may have taken its place
        never = row is not None and row.step == "wanted" and row.key == purse.key
        if never and spent is not None:
            self._open.pop(number, None)
            self.budget.take_back(spent)
            await self._store.amend_spent(never=[number])
        elif row is None:
            if spent is not None:
                self._failed([number])
                await self._store.amend_spent(failed=[number])
            if error is None or (isinstance(error, CaRefused) and error.challenge):
                purse.noted = True
                await self._failed_validation(purse.ask)

    async def _failed_validation(self, ask: Ask) -> None:
        spent = Spent("validation", self._clock(), ask.name, kind=ask.kind, paced=False)
        self.budget.learn(spent)
        await self._store.amend_spent(add=[self._row(spent)])

    def _held(self, until: float, now: float) -> NotNow:
        return NotNow("another machine obtains it", min(max(until, now + BREATH_SECONDS), now + LOOK_AGAIN_SECONDS))

    def _lease(self, name: str, now: float) -> Lease:
        return Lease(name=name, machine=self._machine, holder=self.holder, expires=now + LEASE_SECONDS)

    def _row(self, spent: Spent) -> SpentRow:
        return SpentRow(
            directory=self.directory,
            what=spent.what,
            kind=spent.kind,
            name=spent.name,
            registered=spent.registered,
            paced=spent.paced,
            at=spent.at,
            holder=self.holder,
        )
