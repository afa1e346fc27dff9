"""What is remembered of requests with an Idempotency-Key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from edgeproxy.control.store import Store, idempotency
from edgeproxy.control.store.idempotency import ABANDONED_SECONDS, KEPT_SECONDS, Answer, KeyUse, use_id
from edgeproxy.control.store.schema import idempotency_keys
from tests.control.store.making import NOW, opened

ANSWER = Answer(status=201, headers=((b"etag", b'"1"'),), body=b'{"secret":"s3cret-of-the-answer"}')


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        yield store


async def begin(store: Store, key: str = "k", *, caller: str = "c", holder: str = "h", now: float = NOW) -> KeyUse | None:
    return await store.begin_use(use_id(caller, key), caller, b"digest", holder=holder, now=now)


async def answer(store: Store, key: str = "k", *, caller: str = "c", now: float = NOW) -> None:
    assert await begin(store, key, caller=caller, now=now) is None
    use = KeyUse(request=b"digest", answer=ANSWER)
    await store.end_use(use_id(caller, key), use, holder="h", now=now)


async def count(store: Store) -> int:
    async with store.database.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(idempotency_keys)) or 0)


async def test_what_was_answered_is_known_for_a_day(store: Store) -> None:
    await answer(store)
    for later in (0.0, KEPT_SECONDS - 1, -3600.0):
        assert await begin(store, now=NOW + later, holder="next") == KeyUse(request=b"digest", answer=ANSWER)
    assert await begin(store, now=NOW + KEPT_SECONDS) is None


async def test_what_is_at_work_in_another_process_is_waited_for_but_not_for_ever(store: Store) -> None:
    assert await begin(store, holder="dead") is None
    assert await begin(store, now=NOW + ABANDONED_SECONDS - 1) == KeyUse(request=b"digest")
    assert await begin(store, now=NOW + ABANDONED_SECONDS) is None


async def test_what_this_process_does_not_know_to_be_at_work_is_not(store: Store) -> None:
    assert await begin(store) is None
    assert await begin(store) is None


async def test_a_key_that_is_released_is_free_and_one_that_is_answered_is_not(store: Store) -> None:
    assert await begin(store) is None
    await store.release_use(use_id("c", "k"), holder="another")
    assert await begin(store, holder="third") == KeyUse(request=b"digest")
    await store.release_use(use_id("c", "k"), holder="h")
    await answer(store)
    await store.release_use(use_id("c", "k"), holder="h")
    assert await begin(store) == KeyUse(request=b"digest", answer=ANSWER)


async def test_callers_have_keys_of_their_own(store: Store) -> None:
    await answer(store)
    assert await begin(store, caller="other") is None
    assert use_id("a", "b\0c") == use_id("a\0b", "c")  # no caller's name has such a character
    assert len({use_id(caller, key) for caller in "ab" for key in "ab"}) == 4


async def test_neither_request_nor_answer_is_stored_in_clear(store: Store, tmp_path: Path) -> None:
    await answer(store)
    await store.database.scrub()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("edgeproxy.db*"))
    assert use_id("c", "k").encode() in stored
    for secret in (b"s3cret-of-the-answer", b"etag"):
        assert secret not in stored


async def test_what_does_not_open_any_more_is_used_anew(store: Store) -> None:
    await answer(store)
    async with store.database.write() as write:
        await write.connection.execute(update(idempotency_keys).values(sealed_use=b"\x01" + b"x" * 60))
    assert await begin(store) is None


async def test_a_caller_with_too_many_loses_the_oldest_that_are_answered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "PER_CALLER", 3)
    assert await begin(store, "at work", holder="other", now=NOW - 1) is None
    await answer(store, "others", caller="other", now=NOW - 2)
    for number in range(5):
        await answer(store, f"k{number}", now=NOW + number)
    assert await count(store) == 4
    assert await begin(store, "at work", now=NOW + 5) == KeyUse(request=b"digest")
    for key, caller in (("k3", "c"), ("k4", "c"), ("others", "other")):
        assert await begin(store, key, caller=caller, now=NOW + 5) is not None
    assert await begin(store, "k2", now=NOW + 5) is None


async def test_when_there_are_too_many_whoever_has_most_loses_some(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEYS", 10)
    monkeypatch.setattr("edgeproxy.control.store.base.CLEAN_EVERY", 1)
    await answer(store, "mine", caller="modest", now=NOW - 5)
    for number in range(40):
        await answer(store, f"k{number}", caller="greedy", now=NOW + number)
    assert await count(store) <= 11
    assert await begin(store, "mine", caller="modest", now=NOW + 50) is not None
    assert await begin(store, "k39", caller="greedy", now=NOW + 50) is not None


async def test_what_is_over_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.control.store.base.CLEAN_EVERY", 1)
    for number in range(5):
        await answer(store, f"k{number}")
    await answer(store, "new", now=NOW + KEPT_SECONDS)
    assert await count(store) == 1
