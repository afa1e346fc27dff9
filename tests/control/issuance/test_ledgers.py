"""Each CA's limits are kept by themselves, and an order spends where it is placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.config.issuance import Budget, Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.budget import Ask
from edgeproxy.control.issuance.issuer import NotNow
from edgeproxy.control.issuance.ledger import Ledger
from edgeproxy.control.issuance.ledgers import Ledgers
from edgeproxy.control.store import Order, Store
from edgeproxy.errors import IssuanceError
from tests.control.store.making import NOW, opened

FIRST, SECOND = "https://one.example/dir", "https://two.example/dir"
ASK = Ask("a.example.com", "example.com", "new")


class Books:
    """Ledgers over one store; `current` is what is well."""

    def __init__(self, store: Store, orders: int = 300) -> None:
        config = Config(issuance=Issuance(budget=Budget(orders=orders)))
        self.store, self.current = store, FIRST
        ledgers = [Ledger(config, store, directory, "m1", lambda: NOW) for directory in (FIRST, SECOND)]
        self.ledgers = Ledgers(ledgers, lambda: self.current)

    def left(self) -> list[int]:
        return [budget.left(NOW).left for budget in self.ledgers.budgets().values()]


def order(directory: str, name: str = ASK.name) -> Order:
    return Order(hostname=name, directory=directory, step="new", key=b"key", started_at=NOW)


async def test_what_is_reserved_at_one_is_spent_at_the_one_that_is_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        books = Books(store, orders=10)
        await books.ledgers.open()
        purse = books.ledgers.reserve(ASK, free=False)
        assert books.left() == [9, 10]
        await books.ledgers.begin(order(SECOND), purse, unless_issued=True)
        assert books.left() == [10, 9]
        await books.ledgers.settle(purse, None)
        assert [len(await store.list_spent(directory, 0, 0, 10)) for directory in (FIRST, SECOND)] == [0, 1]


async def test_what_was_placed_at_one_stays_spent_when_another_is_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        books = Books(store, orders=10)
        await books.ledgers.open()
        purse = books.ledgers.reserve(ASK, free=False)
        await books.ledgers.begin(order(FIRST), purse, unless_issued=True)
        await store.delete_order(ASK.name)
        await books.ledgers.begin(order(SECOND), purse, unless_issued=True)
        await store.delete_order(ASK.name)
        await books.ledgers.settle(purse, IssuanceError("failed"))
        assert books.left() == [9, 9]


async def test_one_whose_limits_are_reached_has_the_order_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        books = Books(store, orders=2)
        await books.ledgers.open()
        books.current = SECOND
        for number in range(2):
            books.ledgers.reserve(Ask(f"{number}.example.org", "example.org", "new"), free=False)
        books.current = FIRST
        purse = books.ledgers.reserve(ASK, free=False)
        with pytest.raises(NotNow):
            await books.ledgers.begin(order(SECOND), purse, unless_issued=True)


async def test_the_budget_that_counts_is_that_of_the_one_that_is_well(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        books = Books(store, orders=10)
        first = books.ledgers.budget
        books.current = SECOND
        assert books.ledgers.budget is not first
        assert books.left() == [10, 10]


async def test_a_rate_limit_is_that_of_the_ca_which_said_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        books = Books(store)
        error = CaRefused("limit", problem="rateLimited", status=429, retry_after=300.0, said="too many new orders")
        error.directory = SECOND
        await books.ledgers.put_off(error, ASK)
        assert [limit.directory for limit in await store.rate_limits(SECOND, NOW)] == [SECOND]
        assert await store.rate_limits(FIRST, NOW) == []


async def test_one_process_holds_the_names_whichever_ca_it_asks(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        books = Books(store)
        await books.ledgers.open()
        purses = []
        for directory, name in ((FIRST, "a.example.com"), (SECOND, "b.example.com")):
            purses.append(books.ledgers.reserve(Ask(name, "example.com", "new"), free=False))
            await books.ledgers.begin(order(directory, name), purses[-1], unless_issued=True)
        assert await books.ledgers.prolong() == {"a.example.com", "b.example.com"}
        await books.ledgers.claim("b.example.com")
        await books.ledgers.prune()
