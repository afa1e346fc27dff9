"""Every sealed secret is known, opens, and can be sealed anew."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy

from edgeproxy.control.store import Account, Endpoint, InternalCa, Order, Store, StoredCertificate, schema, sealed
from edgeproxy.control.store.sealed import BATCH, FAULTS, PLACES, PLAIN, Sealers, belongs, check, reseal
from edgeproxy.control.store.webhooks import Secret
from edgeproxy.published.records import Challenge, Tickets
from edgeproxy.published.seal import Sealer
from tests.certificates import self_signed
from tests.control.store.making import NOW, certificate, config, made_companion, opened

MAP = Sealer(b"m" * 32)
OLD: Sealers = {"map": MAP, "store": Sealer(b"s" * 32), "acme": Sealer(b"a" * 32)}
"""As `making.opened` opens stores."""
NEW: Sealers = {"map": Sealer(b"1" * 32), "store": Sealer(b"2" * 32), "acme": Sealer(b"3" * 32)}

ACCOUNT = "INSERT INTO accounts (directory, url, sealed_key, contact, created_at) VALUES (?, '', ?, '', 0)"

ALL = {
    "the mark of the key": 1,
    "certificate keys": 1,
    "keys of companions": 1,
    "keys of orders under way": 1,
    "account keys": 1,
    "account keys to come": 1,
    "keys of challenges": 1,
    "session ticket secrets": 2,
    "answers under idempotency keys": 1,
    "secrets of webhooks": 1,
    "the built-in CA's key": 1,
}


def real_certificate(one: str, name: str) -> StoredCertificate:
    chain, key = self_signed(name)
    return msgspec.structs.replace(certificate(one, name), chain=chain, sealed_key=MAP.seal(key, b"key:" + one.encode()))


async def fill(store: Store) -> None:
    """Puts something into every place."""
    await store.check_key(NOW)
    await store.add_certificate(real_certificate("c1", "a.example.com"), NOW)
    chain, key = self_signed("a.example.com", kind="rsa2048")
    companion = made_companion("r1", chain=chain, sealed_key=MAP.seal(key, b"key:r1"))
    await store.set_companion("c1", companion, NOW, NOW)
    await store.save_order(Order(hostname="b.example", directory="d", step="new", key=b"order", started_at=NOW), NOW)
    await store.save_account(Account(directory="d", key=b"account", next_key=b"next"), NOW)
    await store.save_account(Account(directory="e", key=b"account"), NOW)
    alpn = Challenge(hostname="b.example", chain=b"chain", sealed_key=MAP.seal(b"alpn", b"alpn:b.example"))
    await store.put_challenge("alpn:b.example", alpn, NOW)
    await store.put_challenge("http:b.example/t", Challenge(hostname="b.example", token="t", key_authorization="t.k"), NOW)
    starts = (7200, 3600)
    tickets = Tickets(secrets=tuple(MAP.seal(b"secret", b"ticket:%d" % start) for start in starts), starts=starts)
    await store.save_tickets(tickets, NOW)
    await store.save_internal_ca(InternalCa(certificate=b"root", key=b"ca key"), NOW)
    await store.begin_use("id", "caller", b"digest", holder="h", now=NOW)
    endpoint = Endpoint(id="ep", source="api", url="https://a.test/", created_at=NOW, created_by="test", updated_at=NOW)
    await store.add_endpoint(endpoint, [Secret("whsec_")], NOW)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    async with opened(tmp_path) as store:
        await fill(store)
    return tmp_path / "edgeproxy.db"


@pytest.fixture
async def connection(path: Path) -> AsyncIterator[sqlite3.Connection]:
    made = sqlite3.connect(path, isolation_level=None)
    yield made
    made.close()


def test_every_binary_column_is_known_to_be_sealed_or_plain() -> None:
    binary = {
        f"{table.name}.{column.name}"
        for table in schema.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sqlalchemy.LargeBinary)
    }
    assert {f"{place.table}.{place.column}" for place in PLACES} | PLAIN == binary


async def test_everything_opens_under_its_key(connection: sqlite3.Connection) -> None:
    report = check(connection, OLD)
    assert report.faults == ()
    assert report.opened == ALL | {"account keys": 2}
    assert belongs(connection, OLD) is True


async def test_nothing_opens_under_another(connection: sqlite3.Connection) -> None:
    report = check(connection, NEW)
    assert report.opened == {}
    assert len(report.faults) == 13
    assert "certificate keys: c1 does not open" in report.faults
    assert belongs(connection, NEW) is False


async def test_a_store_without_its_mark_belongs_to_nobody_yet(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "edgeproxy.db")
    assert belongs(connection, OLD) is None
    assert check(connection, OLD).opened == {}
    connection.close()


async def test_what_is_sealed_anew_opens_under_the_new_keys_alone(path: Path, connection: sqlite3.Connection) -> None:
    chains = connection.execute("SELECT id, chain FROM certificates").fetchall()
    report = reseal(connection, OLD, NEW)
    assert report.faults == ()
    assert report.opened == check(connection, NEW).opened == ALL | {"account keys": 2}
    assert check(connection, OLD).opened == {}
    assert connection.execute("SELECT id, chain FROM certificates").fetchall() == chains
    connection.close()
    store = await Store.open(config(), path.parent, NEW["store"], account_sealer=NEW["acme"])
    account, order, ca = await store.account("d"), await store.order_for("b.example"), await store.internal_ca()
    tickets, challenges = await store.tickets(), await store.published_challenges(["alpn:b.example", "http:b.example/t"])
    await store.close()
    assert account is not None
    assert order is not None
    assert ca is not None
    assert tickets is not None
    assert (account.key, account.next_key, order.key, ca.key, ca.certificate) == (
        b"account",
        b"next",
        b"order",
        b"ca key",
        b"root",
    )
    secrets = [NEW["map"].open(one, b"ticket:%d" % start) for one, start in zip(tickets.secrets, tickets.starts, strict=True)]
    assert secrets == [b"secret"] * 2
    alpn = challenges["alpn:b.example"]
    assert (NEW["map"].open(alpn.sealed_key, b"alpn:b.example"), alpn.chain) == (b"alpn", b"chain")
    assert challenges["http:b.example/t"].key_authorization == "t.k"


async def test_more_than_a_batch_is_sealed_anew(tmp_path: Path) -> None:
    count = 2 * BATCH + 1
    async with opened(tmp_path) as store:
        await store.check_key(NOW)
    connection = sqlite3.connect(tmp_path / "edgeproxy.db", isolation_level=None)
    rows = [(f"h{number}", OLD["acme"].seal(b"k", b"account:h%d" % number)) for number in range(count)]
    connection.executemany(
        "INSERT INTO accounts (directory, url, sealed_key, contact, created_at) VALUES (?, '', ?, '', 0)", rows
    )
    assert reseal(connection, OLD, NEW).opened == {"the mark of the key": 1, "account keys": count}
    assert check(connection, NEW).faults == ()
    connection.close()


async def test_what_does_not_open_is_named_and_left_as_it_is(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE certificates SET sealed_key = x'0102'")
    report = reseal(connection, OLD, NEW)
    assert report.faults == ("certificate keys: c1 does not open",)
    assert connection.execute("SELECT sealed_key FROM certificates").fetchall() == [(b"\x01\x02",)]
    assert check(connection, NEW).faults == report.faults


async def test_a_key_of_another_certificate_is_a_fault(connection: sqlite3.Connection) -> None:
    _, key = self_signed("other.example.com")
    connection.execute("UPDATE certificates SET sealed_key = ?", (MAP.seal(key, b"key:c1"),))
    assert check(connection, OLD).faults == ("certificate keys: c1 opens, and is not the key of its certificate",)
    connection.execute("UPDATE certificates SET sealed_key = ?", (MAP.seal(b"junk", b"key:c1"),))
    assert check(connection, OLD).faults == ("certificate keys: c1 opens, and is not the key of its certificate",)


async def test_many_faults_are_counted(connection: sqlite3.Connection) -> None:
    rows = [(f"x{number}", b"junk") for number in range(FAULTS + 5)]
    connection.executemany(
        "INSERT INTO accounts (directory, url, sealed_key, contact, created_at) VALUES (?, '', ?, '', 0)", rows
    )
    report = check(connection, OLD)
    assert (len(report.faults), report.further) == (FAULTS, 5)


async def test_a_challenge_of_another_kind_has_nothing_sealed(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE challenges SET record = ?", (msgspec.msgpack.encode({"a": 1}),))
    assert "keys of challenges" not in check(connection, OLD).opened
    assert reseal(connection, OLD, NEW).faults == ()
    assert sealed.MARK in PLACES
