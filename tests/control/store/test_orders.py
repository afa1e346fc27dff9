"""Accounts, orders, challenges and failures."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from edgeproxy.control.store import Account, Failure, Order, Store
from edgeproxy.control.store import orders as module
from edgeproxy.errors import InvalidName, MapError
from edgeproxy.published.records import Challenge
from edgeproxy.published.seal import Sealer
from tests.control.store.making import NOW, config, logged, opened

DIRECTORY = "https://ca.example/dir"


def order(hostname: str = "a.example.com", **more: object) -> Order:
    return Order(**({"hostname": hostname, "directory": DIRECTORY, "step": "new", "started_at": NOW} | more))  # type: ignore[arg-type]


async def test_an_account_is_kept_with_its_key(store: Store) -> None:
    assert await store.account(DIRECTORY) is None
    await store.save_account(Account(directory=DIRECTORY, key=b"secret", contact="a@example.com"), NOW)
    await store.save_account(
        Account(directory=DIRECTORY, key=b"secret", url="https://ca.example/1", contact="b@example.com"), NOW + 9
    )
    found = await store.account(DIRECTORY)
    assert found is not None
    assert (found.key, found.url, found.contact, found.created_at) == (b"secret", "https://ca.example/1", "b@example.com", NOW)
    assert await store.account("https://other.example/dir") is None


async def test_an_order_is_kept_step_by_step(store: Store) -> None:
    assert await store.order_for("a.example.com") is None
    await store.save_order(order(), NOW)
    await store.save_order(order(step="ready", url="https://ca.example/o/1", key=b"secret", data=b"{}", error="none"), NOW + 3)
    found = await store.order_for("a.example.com")
    assert found == order(
        step="ready", url="https://ca.example/o/1", key=b"secret", data=b"{}", error="none", updated_at=NOW + 3
    )
    await store.delete_order("a.example.com")
    await store.delete_order("a.example.com")
    assert await store.order_for("a.example.com") is None


async def test_orders_are_listed_in_pages(store: Store) -> None:
    for name in ("c", "a", "b"):
        await store.save_order(order(name, key=name.encode()), NOW)
    assert [(found.hostname, found.key) for found in await store.list_orders(2)] == [("a", b"a"), ("b", b"b")]
    assert [found.hostname for found in await store.list_orders(2, "b")] == ["c"]


async def test_no_private_key_is_in_the_files_or_in_a_repr(tmp_path: Path) -> None:
    secret = b"-----BEGIN PRIVATE KEY----- of nobody"
    async with opened(tmp_path) as store:
        await store.save_account(Account(directory=DIRECTORY, key=secret), NOW)
        await store.save_order(order(key=secret), NOW)
        assert "nobody" not in repr((await store.account(DIRECTORY), await store.order_for("a.example.com")))
        for path in tmp_path.iterdir():
            assert b"nobody" not in path.read_bytes()


async def test_account_keys_are_sealed_under_a_key_of_their_own_and_for_their_directory(store: Store, tmp_path: Path) -> None:
    await store.save_account(Account(directory=DIRECTORY, key=b"secret"), NOW)
    row = sqlite3.connect(tmp_path / "edgeproxy.db").execute("SELECT sealed_key FROM accounts").fetchone()
    context = b"account:" + DIRECTORY.encode()
    assert Sealer(b"a" * 32).open(row[0], context) == b"secret"
    with pytest.raises(MapError):
        Sealer(b"s" * 32).open(row[0], context)
    with pytest.raises(MapError):
        Sealer(b"a" * 32).open(row[0], b"account:https://other.example/dir")


async def test_a_challenge_is_logged_for_the_map_and_its_number_is_told(store: Store) -> None:
    challenge = Challenge(hostname="a.example.com", token="t", key_authorization="t.x")
    number = await store.put_challenge("http:a.example.com/t", challenge, NOW)
    assert number == await store.head_change() == 1
    assert await store.published_challenges(["http:a.example.com/t", "other"]) == {"http:a.example.com/t": challenge}
    assert await store.delete_challenge("http:a.example.com/t", NOW) == 2
    assert await store.delete_challenge("http:a.example.com/t", NOW) == 0
    assert await logged(store) == [("challenges", "http:a.example.com/t")] * 2


async def test_a_challenge_that_the_map_could_not_hold_is_refused(store: Store) -> None:
    with pytest.raises(InvalidName):
        await store.put_challenge("http:a.example.com/" + "t" * 600, Challenge(hostname="a.example.com"), NOW)


async def test_challenges_left_behind_go(store: Store) -> None:
    for number in range(3):
        await store.put_challenge(f"alpn:n{number}.example.com", Challenge(hostname=f"n{number}.example.com"), NOW + number)
    assert await store.remove_old_challenges(NOW + 2, NOW) == 2
    assert await store.remove_old_challenges(NOW + 2, NOW) == 0
    assert await store.keys_of("challenges", "", 10) == ["alpn:n2.example.com"]
    assert len(await logged(store)) == 5


async def test_a_failure_is_remembered_until_it_is_cleared(tmp_path: Path) -> None:
    failure = Failure(name="a.example.com", count=2, next_try=NOW + 60, detail="the CA said no", fault="customer_dns")
    async with opened(tmp_path) as store:
        assert await store.failure("a.example.com") is None
        await store.save_failure(failure, NOW)
    async with opened(tmp_path) as store:
        found = await store.failure("a.example.com")
        assert found == msgspec.structs.replace(failure, updated_at=NOW)
        assert await store.failures(["a.example.com", "b.example.com"]) == {"a.example.com": found}
        assert await store.list_failures(10) == [found]
        await store.clear_failure("a.example.com")
        assert await store.failure("a.example.com") is None


async def test_failures_are_bounded_and_the_longest_untouched_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FAILURES", 10)
    async with opened(tmp_path, config()) as store:
        for number in range(129):
            failure = Failure(name=f"n{number:03}", count=1, next_try=NOW, detail="x" * 5000)
            await store.save_failure(failure, NOW + number)
        found = await store.list_failures(1000)
    assert [failure.name for failure in found] == [f"n{number:03}" for number in range(119, 129)]
    assert all(len(failure.detail) == 2000 for failure in found)
