"""The budgets of several CAs: each has its own limits and its own account, and an order spends where it is placed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.budget import Ask, Budget
from edgeproxy.control.issuance.issuer import NotNow
from edgeproxy.control.issuance.ledger import Ledger, Purse
from edgeproxy.control.store import Order
from edgeproxy.errors import IssuanceError


class Ledgers:
    """As `Ledger`, for several. `current` tells the directory that the next order is likely to go to: its budget is the one
    that names wait for."""

    alone = False

    def __init__(self, ledgers: Sequence[Ledger], current: Callable[[], str]) -> None:
        self._ledgers = {ledger.directory: ledger for ledger in ledgers}
        self._first = ledgers[0]
        self._current = current
        self.holder = self._first.holder
        for ledger in ledgers:
            ledger.holder = self.holder  # one process holds the names, whichever CA it asks

    @property
    def budget(self) -> Budget:
        """Of the CA that the next order is likely to go to."""
        return self._ledgers[self._current()].budget

    def budgets(self) -> dict[str, Budget]:
        """Each CA's, by directory."""
        return {directory: ledger.budget for directory, ledger in self._ledgers.items()}

    async def open(self) -> None:
        """See Ledger."""
        for ledger in self._ledgers.values():
            await ledger.open()

    def reserve(self, ask: Ask, *, free: bool) -> Purse:
        """See Ledger."""
        return self._ledgers[self._current()].reserve(ask, free=free)

    async def claim(self, name: str) -> None:
        """See Ledger. Names are leased, whichever CA is asked."""
        await self._first.claim(name)

    async def begin(self, order: Order, purse: Purse, *, unless_issued: bool) -> None:
        """See Ledger. An order for another CA than the one that was reserved for spends there."""
        if order.directory != purse.directory:
            self.release(purse)
            # what was placed at the one before stays spent: it may have been taken, and counts there
            purse.placed, purse.key, purse.noted, purse.directory = [], b"", False, order.directory
        await self._of(purse).begin(order, purse, unless_issued=unless_issued)

    def release(self, purse: Purse) -> None:
        """See Ledger."""
        self._of(purse).release(purse)

    async def settle(self, purse: Purse, error: IssuanceError | None) -> None:
        """See Ledger."""
        await self._of(purse).settle(purse, error)

    async def put_off(self, error: CaRefused, ask: Ask) -> NotNow:
        """See Ledger. At the CA that said so."""
        return await self._ledgers.get(error.directory, self._first).put_off(error, ask)

    def set_back(self, now: float, by: float) -> None:
        """See Budget. Of all of them: each may be the one that counts next."""
        for ledger in self._ledgers.values():
            ledger.set_back(now, by)

    async def prolong(self) -> set[str]:
        """See Ledger."""
        return await self._first.prolong()

    async def prune(self) -> None:
        """See Ledger."""
        for ledger in self._ledgers.values():
            await ledger.prune()

    def _of(self, purse: Purse) -> Ledger:
        return self._ledgers.get(purse.directory, self._first)
