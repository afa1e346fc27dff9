"""Certificates: the newest of a name counts."""

from __future__ import annotations

import pytest

from edgeproxy.control.store import Store
from edgeproxy.errors import Conflict, InvalidName, NotFound
from tests.control.store.making import DAY, NOW, certificate, logged


async def current(store: Store, hostname: str, now: float = NOW) -> str | None:
    found = await store.current_certificate(hostname, now)
    return None if found is None else found.id


async def test_a_certificate_comes_back_as_it_was_added(store: Store) -> None:
    added = certificate("c1", "b.example.com", "a.example.com", "*.example.net")
    await store.add_certificate(added, NOW)
    found = await store.get_certificate("c1")
    assert found is not None
    assert found.names == ("b.example.com", "a.example.com", "*.example.net")
    assert (found.chain, found.sealed_key, found.not_after, found.renew_at) == (
        added.chain,
        added.sealed_key,
        added.not_after,
        added.renew_at,
    )
    assert (found.added_at, found.superseded_at) == (NOW, None)
    assert await store.get_certificate("c2") is None


async def test_the_newest_certificate_counts_and_the_one_before_is_superseded(store: Store) -> None:
    await store.add_certificate(certificate("old", "a.example.com"), NOW)
    await store.add_certificate(certificate("new", "a.example.com"), NOW + 1)
    assert await current(store, "a.example.com") == "new"
    old, new = await store.get_certificate("old"), await store.get_certificate("new")
    assert old is not None
    assert new is not None
    assert (old.superseded_at, new.superseded_at) == (NOW + 1, None)
    assert await store.count_certificates() == 1


async def test_a_certificate_is_superseded_only_when_every_name_of_it_is(store: Store) -> None:
    await store.add_certificate(certificate("both", "a.example.com", "b.example.com"), NOW)
    await store.add_certificate(certificate("a", "a.example.com"), NOW + 1)
    assert await store.count_certificates() == 2
    assert (await current(store, "a.example.com"), await current(store, "b.example.com")) == ("a", "both")
    await store.add_certificate(certificate("b", "b.example.com"), NOW + 2)
    assert await store.count_certificates() == 2
    both = await store.get_certificate("both")
    assert both is not None
    assert both.superseded_at == NOW + 2


async def test_a_names_own_certificate_comes_before_its_wildcards(store: Store) -> None:
    await store.add_certificate(certificate("own", "a.example.com"), NOW)
    await store.add_certificate(certificate("wild", "*.example.com"), NOW + 1)
    assert await current(store, "a.example.com") == "own"
    assert await current(store, "b.example.com") == "wild"
    assert await current(store, "*.example.com") == "wild"
    assert await current(store, "example.com") is None
    assert await current(store, "a.b.example.com") is None


async def test_an_expired_certificate_gives_way_to_one_that_is_valid(store: Store) -> None:
    await store.add_certificate(certificate("wild", "*.example.com"), NOW)
    await store.add_certificate(certificate("long", "a.example.com", until=NOW + 50), NOW)
    await store.add_certificate(certificate("short", "a.example.com", until=NOW + 10), NOW)
    assert await current(store, "a.example.com", NOW) == "short"
    assert await current(store, "a.example.com", NOW + 10) == "long"
    assert await current(store, "a.example.com", NOW + 50) == "wild"
    assert await current(store, "a.example.com", 0.0) == "short"


async def test_many_names_are_looked_up_at_once(store: Store) -> None:
    await store.add_certificate(certificate("own", "a.example.com"), NOW)
    await store.add_certificate(certificate("wild", "*.example.com"), NOW)
    names = ["a.example.com", "b.example.com", "c.example.net", *(f"n{n}.example.org" for n in range(3000))]
    assert await store.current_certificate_ids(names) == {"a.example.com": "own", "b.example.com": "wild"}
    assert await store.current_certificate_ids([]) == {}


async def test_workers_learn_of_a_certificate_and_of_each_name_of_it(store: Store) -> None:
    number = await store.add_certificate(certificate("c1", "a.example.com", "*.example.com", "a.example.com"), NOW)
    assert await logged(store) == [("certificates", "c1"), ("sites", "a.example.com"), ("sites", "*.example.com")]
    assert number == await store.head_change() == 3


async def test_an_id_is_used_once(store: Store) -> None:
    await store.add_certificate(certificate("c1", "a.example.com"), NOW)
    with pytest.raises(Conflict, match="c1"):
        await store.add_certificate(certificate("c1", "b.example.com"), NOW)
    assert await current(store, "b.example.com") is None


@pytest.mark.parametrize("one", ["", "a/b", "x" * 129, "ä", "a\n"])
async def test_an_id_that_the_map_could_not_hold_is_refused(store: Store, one: str) -> None:
    with pytest.raises(InvalidName, match="id"):
        await store.add_certificate(certificate(one, "a.example.com"), NOW)


async def test_a_certificate_without_names_or_with_an_impossible_one_is_refused(store: Store) -> None:
    with pytest.raises(InvalidName, match="at least one name"):
        await store.add_certificate(certificate("c1"), NOW)
    with pytest.raises(InvalidName):
        await store.add_certificate(certificate("c1", "x" * 600), NOW)
    assert await store.list_certificates(10) == []


async def test_certificates_are_listed_in_pages(store: Store) -> None:
    for number in range(5):
        await store.add_certificate(certificate(f"c{number}", f"n{number}.example.com"), NOW)
    first = await store.list_certificates(3)
    assert [found.id for found in first] == ["c0", "c1", "c2"]
    assert [found.names for found in first] == [("n0.example.com",), ("n1.example.com",), ("n2.example.com",)]
    assert [found.id for found in await store.list_certificates(3, "c2")] == ["c3", "c4"]


async def test_when_a_certificate_is_removed_the_one_before_counts_again(store: Store) -> None:
    await store.add_certificate(certificate("old", "a.example.com"), NOW)
    await store.add_certificate(certificate("new", "a.example.com"), NOW + 1)
    head = await store.head_change()
    number = await store.remove_certificate("new", NOW + 2)
    assert number > head
    assert await logged(store, head) == [("certificates", "new"), ("sites", "a.example.com")]
    assert await current(store, "a.example.com") == "old"
    old = await store.get_certificate("old")
    assert old is not None
    assert old.superseded_at is None
    with pytest.raises(NotFound):
        await store.remove_certificate("new", NOW)


async def test_superseded_certificates_go_when_they_have_expired(store: Store) -> None:
    await store.add_certificate(certificate("old", "a.example.com", until=NOW + DAY), NOW)
    await store.add_certificate(certificate("alone", "b.example.com", until=NOW + DAY), NOW)
    await store.add_certificate(certificate("new", "a.example.com"), NOW)
    assert await store.remove_expired_certificates(NOW, NOW) == 0
    assert await store.remove_expired_certificates(NOW + 2 * DAY, NOW) == 1
    assert [found.id for found in await store.list_certificates(10)] == ["alone", "new"]
