"""Certificates with an RSA key beside those with an ECDSA key."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from edgeproxy.control.store import CUSTOM, Store, StoredCertificate
from edgeproxy.control.store.schema import companions
from edgeproxy.errors import NotFound
from tests.control.store.making import DAY, NOW, certificate, logged, made_companion, opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        yield store


def on_p256(one: str, *names: str, **changed: object) -> StoredCertificate:
    return msgspec.structs.replace(certificate(one, *names), key_type="p256", **changed)


async def test_a_companion_is_stored_published_and_shown_with_its_certificate(store: Store) -> None:
    await store.add_certificate(on_p256("c1", "a.example", "b.example"), NOW)
    head = await store.head_change()
    number = await store.set_companion("c1", made_companion("r1"), NOW + 60 * DAY, NOW)
    stored = await store.get_certificate("c1")
    assert stored is not None
    assert stored.companion == made_companion("r1")
    assert stored.companion_at == NOW + 60 * DAY
    assert await logged(store, head) == [("certificates", "c1")]
    assert number == head + 1
    record = (await store.published_certificates(["c1"]))["c1"]
    assert record.companion is not None
    assert (record.key_type, record.companion.id, record.companion.chain) == ("p256", "r1", b"rsa chain")
    current = await store.current_certificate("b.example")
    assert current is not None
    assert current.companion is not None


async def test_a_companion_takes_the_place_of_the_one_before(store: Store) -> None:
    await store.add_certificate(on_p256("c1", "a.example"), NOW)
    await store.set_companion("c1", made_companion("r1"), NOW, NOW)
    await store.set_companion("c1", made_companion("r2"), NOW, NOW)
    assert await ids(store) == ["r2"]


async def test_a_renewed_certificate_may_keep_the_companion_until_there_is_another(store: Store) -> None:
    await store.add_certificate(on_p256("c1", "a.example"), NOW)
    await store.set_companion("c1", made_companion("r1"), NOW, NOW)
    await store.add_certificate(on_p256("c2", "a.example", companion=made_companion("r1")), NOW + 1)
    assert await ids(store) == ["r1"]
    old, new = await store.get_certificate("c1"), await store.get_certificate("c2")
    assert old is not None
    assert new is not None
    assert (old.companion, new.companion) == (None, made_companion("r1"))


async def test_a_companion_goes_with_its_certificate(store: Store) -> None:
    await store.add_certificate(on_p256("c1", "a.example"), NOW)
    await store.set_companion("c1", made_companion("r1"), NOW, NOW)
    await store.remove_certificate("c1", NOW)
    assert await ids(store) == []


async def test_no_companion_for_a_certificate_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.set_companion("c1", made_companion("r1"), NOW, NOW)


async def test_tells_which_certificates_lack_one(store: Store) -> None:
    for stored in (
        on_p256("lacks", "a.example"),
        on_p256("later", "b.example", companion_at=NOW + 60),
        on_p256("due", "c.example", renew_at=NOW),
        on_p256("uploaded", "d.example", issuer=CUSTOM),
        on_p256("expired", "e.example", not_after=NOW - 1),
        on_p256("never", "f.example", renew_at=math.inf),
        msgspec.structs.replace(certificate("rsa", "g.example"), key_type="rsa2048"),
        certificate("unknown", "h.example"),
        on_p256("old", "i.example"),
        on_p256("new", "i.example"),
        on_p256("revoked", "j.example"),
    ):
        await store.add_certificate(stored, NOW)
    await store.begin_revocation("revoked", "keyCompromise", actor="uid:0", now=NOW)
    assert {stored.id for stored in await store.certificates_to_accompany(NOW, 10)} == {"lacks", "never", "new"}
    await store.put_off_companion("lacks", NOW + 90)
    await store.put_off_companion("none", NOW + 60)
    assert [stored.id for stored in await store.certificates_to_accompany(NOW + 90, 10)] == ["never", "new", "later", "lacks"]


async def ids(store: Store) -> list[str]:
    async with store.database.read() as connection:
        return list((await connection.scalars(select(companions.c.id))).all())


async def test_a_companions_life_is_in_the_history(store: Store) -> None:
    await store.add_certificate(on_p256("c1", "a.example"), NOW)
    await store.set_companion("c1", made_companion("r1"), NOW, NOW + 1)
    await store.set_companion("c1", made_companion("r2"), NOW, NOW + 2)
    await store.remove_certificate("c1", NOW + 3, actor="uid:0")
    told = [
        (entry.certificate_id, entry.added_at, entry.ended_at, entry.ended_why) for entry in await store.history_of("a.example")
    ]
    assert told == [
        ("r2", NOW + 2, NOW + 3, "removed"),
        ("r1", NOW + 1, NOW + 2, "renewed"),
        ("c1", NOW, NOW + 3, "removed"),
    ]


async def test_one_whose_serial_number_is_listed_is_due_at_once(store: Store) -> None:
    await store.add_certificate(on_p256("c1", "a.example", serial="c1"), NOW)
    companion = made_companion("r1")
    await store.set_companion("c1", companion, NOW + 60 * DAY, NOW)
    assert await store.bring_forward([companion.serial, "none"], actor="uid:0", now=NOW) == {companion.serial}
    stored = await store.get_certificate("c1")
    assert stored is not None
    assert (stored.companion_at, stored.renew_at) == (0.0, NOW + 60 * DAY)
    assert await store.bring_forward(["c1", companion.serial], actor="uid:0", now=NOW) == {"c1", companion.serial}
