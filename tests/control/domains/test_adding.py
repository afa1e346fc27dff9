"""Registrations that share a transaction."""

from __future__ import annotations

import asyncio

import pytest

from edgeproxy.control.domains.adding import Adding
from edgeproxy.control.store import Domain, Entry, Store
from edgeproxy.errors import Conflict, StateError
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, certificate


def entry(hostname: str, workspace: str = "one") -> Entry:
    state = DomainState.VERIFIED
    row = Domain(
        hostname=hostname, workspace_id=workspace, state=state, created_at=NOW, updated_at=NOW, verified_at=NOW, origin=""
    )
    return Entry(domains=(row,), actor="uid:0")


class Counting(Adding):
    """Counts the entries of each transaction."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.sizes: list[int] = []

    async def _write_these(self, taken) -> None:
        self.sizes.append(len(taken))
        await super()._write_these(taken)


async def test_who_comes_alone_is_registered_at_once(store: Store) -> None:
    adding = Adding(store)
    await store.add_certificate(certificate("x", "*.example.com"), NOW)
    domain, number, certificate_id = await adding.add(entry("a.example.com"))
    assert await store.get_domain("a.example.com") == domain
    assert number == await store.head_change()
    assert certificate_id == "x"
    assert (await adding.add(entry("a.example.org"))).certificate_id is None
    with pytest.raises(Conflict, match="registered already"):
        await adding.add(entry("a.example.com"))


async def test_who_comes_meanwhile_shares_the_next_transaction_and_each_has_its_own_answer(store: Store) -> None:
    adding = Counting(store)
    names = [f"n{number}.example.com" for number in range(30)]
    wanted = [entry(name) for name in names] + [entry("n3.example.com"), entry("n4.example.com", "two")]
    found = await asyncio.gather(*(adding.add(each) for each in wanted), return_exceptions=True)
    assert [each[0].hostname for each in found[:30] if isinstance(each, tuple)] == names
    assert [type(each) for each in found[30:]] == [Conflict, Conflict]
    assert adding.sizes == [32]
    assert len({each[1] for each in found[:30] if isinstance(each, tuple)}) == 1


async def test_a_transaction_has_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.control.domains.adding.AT_ONCE", 4)
    adding = Counting(store)
    await asyncio.gather(*(adding.add(entry(f"n{number}.example.com")) for number in range(10)))
    assert adding.sizes == [4, 4, 2]


async def test_who_leaves_is_registered_all_the_same_and_keeps_nobody(store: Store) -> None:
    adding = Adding(store)
    gone = asyncio.create_task(adding.add(entry("a.example.com")))
    stays = asyncio.create_task(adding.add(entry("b.example.com")))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays)[0].hostname == "b.example.com"
    assert await store.get_domain("a.example.com") is not None


async def test_where_the_store_fails_all_are_told_and_the_next_is_registered(store: Store) -> None:
    async def describe(domain: Domain) -> None:
        raise StateError("No room.")

    adding = Adding(store)
    store.database.describe = describe  # type: ignore[assignment]
    found = await asyncio.gather(adding.add(entry("a.example.com")), adding.add(entry("b.example.com")), return_exceptions=True)
    assert [str(each) for each in found] == ["No room."] * 2
    store.database.describe = None
    assert (await adding.add(entry("a.example.com")))[0].hostname == "a.example.com"
