"""Who waits, who works, what was spent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.control.store import Begun, Failure, Lease, RateLimit, Spent, Store, Waiting
from edgeproxy.control.store import turns as module
from edgeproxy.errors import InvalidName
from tests.control.store.making import DAY, NOW, certificate, opened
from tests.control.store.test_orders import DIRECTORY, order

NAME = "a.example.com"


def lease(holder: str = "one", name: str = NAME, machine: str = "m1", expires: float = NOW + 60) -> Lease:
    return Lease(name=name, machine=machine, holder=holder, expires=expires)


def spending(name: str = NAME, at: float = NOW, holder: str = "one", **more: object) -> Spent:
    fields = {
        "directory": DIRECTORY,
        "what": "order",
        "kind": "new",
        "name": name,
        "registered": "example.com",
        "paced": True,
        "at": at,
        "holder": holder,
    }
    return Spent(**(fields | more))  # type: ignore[arg-type]


async def begin(
    store: Store, holder: str = "one", name: str = NAME, now: float = NOW, *, unless_issued: bool = True, allowed: bool = True
) -> Begun:
    return await store.begin_order(
        order(name),
        lease(holder, name, expires=now + 60),
        spending(name, now, holder),
        unless_issued=unless_issued,
        after=0,
        affordable=lambda _: allowed,
        now=now,
    )


async def spent(store: Store) -> list[Spent]:
    return await store.list_spent(DIRECTORY, 0.0, 0, 1000)


# Who waits


async def test_names_that_wait_are_kept_and_dropped(store: Store) -> None:
    rows = [Waiting(name=f"n{n}.example.com", kind="new", workspace_id="ws", since=NOW) for n in range(5)]
    await store.save_waiting(rows)
    changed = Waiting(
        name="n1.example.com", kind="retry", since=NOW, not_before=NOW + 9, reason="so", visited=True, forced=True
    )
    await store.save_waiting([changed], gone=["n0.example.com", "n2.example.com", "none.example.com"])
    assert [row.name for row in await store.list_waiting(2)] == ["n1.example.com", "n3.example.com"]
    assert (await store.list_waiting(1))[0] == changed
    assert [row.name for row in await store.list_waiting(9, after="n3.example.com")] == ["n4.example.com"]


async def test_a_name_that_cannot_be_one_is_not_kept(store: Store) -> None:
    with pytest.raises(InvalidName):
        await store.save_waiting([Waiting(name="x" * 1000, kind="new", since=NOW)])


# Who works


async def test_an_order_begins_with_its_lease_and_what_it_spends(store: Store) -> None:
    begun = await begin(store)
    assert (begun.refused, begun.spent) == ("", 1)
    assert await store.order_for(NAME) is not None
    assert [(each.number, each.name) for each in await spent(store)] == [(1, NAME)]
    assert await store.prolong_leases("one", NOW + 90) == {NAME}


async def test_two_holders_never_have_the_same_name(store: Store) -> None:
    await begin(store)
    before = await store.order_for(NAME)
    begun = await begin(store, "two")
    assert (begun.refused, begun.until) == ("held", NOW + 60)
    assert await store.order_for(NAME) == before
    assert len(await spent(store)) == 1
    assert (await store.claim(lease("two"), NOW)).refused == "held"


async def test_the_holder_itself_may_begin_again(store: Store) -> None:
    await begin(store)
    assert (await begin(store)).spent == 2


async def test_an_order_gives_up_the_one_before_it_of_which_no_certificate_came(store: Store) -> None:
    await begin(store)
    await begin(store, name="other.example.com")
    await store.finish("other.example.com", "one", succeeded=True)
    await store.delete_order("other.example.com")
    again = await begin(store)
    assert again.superseded == (1,)
    assert (await begin(store, name="other.example.com")).superseded == ()
    assert [(each.number, each.what) for each in await spent(store)] == [
        (1, "failed"),
        (2, "issued"),
        (3, "order"),
        (4, "order"),
    ]


async def test_an_order_that_a_dead_holder_left_is_continued_and_not_made_again(store: Store) -> None:
    await begin(store)
    later = NOW + 61
    begun = await begin(store, "two", now=later)
    assert (begun.refused, begun.until) == ("held", later)
    assert (await store.claim(lease("two", expires=later + 60), later)).refused == ""
    assert await store.prolong_leases("one", later + 60) == set()
    assert await store.prolong_leases("two", later + 60) == {NAME}
    assert (await begin(store, "two", now=later)).refused == ""


async def test_where_no_order_is_under_way_nothing_is_claimed(store: Store) -> None:
    assert await store.claim(lease(), NOW) == Begun()
    assert await store.prolong_leases("one", NOW + 60) == set()


async def test_the_next_process_of_a_machine_ends_what_the_one_before_held(store: Store) -> None:
    await begin(store, "before")
    await begin(store, "other", "b.example.com")
    await store.begin_order(
        order("c.example.com"),
        lease("elsewhere", "c.example.com", "m2"),
        None,
        unless_issued=True,
        after=0,
        affordable=lambda _: True,
        now=NOW,
    )
    await store.end_leases("m1", but="other", now=NOW)
    assert await store.prolong_leases("before", NOW) == set()
    assert await store.prolong_leases("other", NOW) == {"b.example.com"}
    assert await store.prolong_leases("elsewhere", NOW) == {"c.example.com"}


async def test_a_certificate_that_is_there_and_not_due_is_not_ordered(store: Store) -> None:
    await store.add_certificate(certificate("one", NAME), NOW)
    assert (await begin(store)).refused == "issued"
    assert (await begin(store, now=NOW + 60 * DAY)).refused == "", "it is due by then"
    await store.finish(NAME, "one")
    await store.delete_order(NAME)
    assert (await begin(store, unless_issued=False)).refused == ""


async def test_what_is_not_affordable_writes_nothing(store: Store) -> None:
    assert (await begin(store, allowed=False)).refused == "spent"
    assert await store.order_for(NAME) is None
    assert await spent(store) == []
    assert await store.prolong_leases("one", NOW) == set()


async def test_what_others_spent_is_told_before_anything_is_spent(store: Store) -> None:
    await begin(store, "one", "a.example.com")
    await begin(store, "two", "b.example.com")
    await store.amend_spent(add=[spending("else.example.com", holder="three", directory="https://other.example/dir")])
    told: list[Spent] = []

    def affordable(rows: Sequence[Spent]) -> bool:
        told.extend(rows)
        return True

    await store.begin_order(
        order("c.example.com"),
        lease("two", "c.example.com"),
        spending("c.example.com", holder="two"),
        unless_issued=True,
        after=0,
        affordable=affordable,
        now=NOW,
    )
    assert [each.name for each in told] == ["a.example.com"]


async def test_finishing_frees_the_name(store: Store) -> None:
    await begin(store)
    await store.save_waiting([Waiting(name=NAME, kind="new", since=NOW)])
    await store.save_failure(Failure(name=NAME, count=1, next_try=NOW, detail="so"), NOW)
    await store.finish(NAME, "another", waits=True)
    assert await store.prolong_leases("one", NOW + 60) == {NAME}
    await store.finish(NAME, "one", waits=True)
    assert await store.prolong_leases("one", NOW + 60) == set()
    assert len(await store.list_waiting(9)) == 1
    await store.finish(NAME, "one")
    assert await store.list_waiting(9) == []
    assert await store.failure(NAME) is not None
    await store.finish(NAME, "one", succeeded=True)
    assert await store.failure(NAME) is None


# What was spent


async def test_what_was_spent_survives_and_is_amended(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await begin(store, name="a.example.com")
        await begin(store, name="b.example.com")
        await begin(store, name="c.example.com")
        await store.amend_spent(failed=[1], never=[2], add=[spending("a.example.com", what="validation")])
    async with opened(tmp_path) as store:
        assert [(each.number, each.what, each.name) for each in await spent(store)] == [
            (1, "failed", "a.example.com"),
            (3, "order", "c.example.com"),
            (4, "validation", "a.example.com"),
        ]
        assert [each.number for each in await store.list_spent(DIRECTORY, 0.0, 1, 1)] == [3]
        assert await store.list_spent(DIRECTORY, NOW, 0, 9) == []


async def test_what_no_longer_counts_is_dropped_and_numbers_are_never_given_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await begin(store, name=f"n{number}.example.com", now=NOW + number)
    await store.prune_spent(NOW + 1, NOW)
    assert [each.number for each in await spent(store)] == [3, 4, 5]
    monkeypatch.setattr(module, "MAX_SPENT", 1)
    await store.prune_spent(0.0, NOW)
    assert [each.number for each in await spent(store)] == [5]
    await store.prune_spent(NOW + 9, NOW)
    assert (await begin(store, name="x.example.com")).spent == 6


async def test_what_a_ca_put_off_is_kept_until_it_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(subject: str, until: float) -> RateLimit:
        return RateLimit(directory=DIRECTORY, scope="name", subject=subject, until=until, detail="too many")

    await store.save_rate_limit(limit("a.example.com", NOW + 5))
    await store.save_rate_limit(limit("a.example.com", NOW + 50))
    await store.save_rate_limit(limit("b.example.com", NOW + 10))
    assert {each.subject for each in await store.rate_limits(DIRECTORY, NOW)} == {"a.example.com", "b.example.com"}
    assert await store.rate_limits("https://other.example/dir", NOW) == []
    await store.prune_spent(0.0, NOW + 20)
    assert await store.rate_limits(DIRECTORY, NOW) == [limit("a.example.com", NOW + 50)]
    await store.save_rate_limit(limit("b.example.com", NOW + 60))
    monkeypatch.setattr(module, "MAX_RATE_LIMITS", 1)
    await store.prune_spent(0.0, NOW)
    assert [each.subject for each in await store.rate_limits(DIRECTORY, NOW)] == ["b.example.com"]
