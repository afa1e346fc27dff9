"""Every secret that the store keeps sealed: where it is, under which of the keys, in which context.

Whoever seals something in a new place notes it here, or it would not survive another state key; a test compares this list with
the schema. Works on the plain sqlite3 module, for programs that run while the edge does not.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edgeproxy.errors import MapError
from edgeproxy.keys import Purpose
from edgeproxy.published.records import Challenge, Tickets
from edgeproxy.published.seal import Sealer

BATCH = 500
"""Rows read and written at once."""

FAULTS = 20
"""Faults that are named; further ones are counted."""

PLAIN = frozenset(
    (
        "certificates.chain",
        "companions.chain",
        "orders.data",
        "removals.domain",
        "outbox.data",
        "tokens.digest",
        "mail_proofs.link_digest",
        "mail_proofs.code_digest",
    )
)
"""Binary columns in which nothing is secret, or only the digest of what is."""

Sealed = tuple[bytes, bytes]
"""A sealed secret and its context."""

Sealers = Mapping[Purpose, Sealer]


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A column that holds sealed secrets."""

    what: str
    """For people: "certificate keys"."""
    table: str
    key: str
    column: str
    purpose: Purpose
    taken: Callable[[str, bytes], list[Sealed]]
    """The secrets of a value under a key."""
    put: Callable[[bytes, list[bytes]], bytes]
    """The value with other sealed secrets in it, in the same order."""
    only: str = ""
    """Only the row with this key; empty: all."""


def _whole(prefix: bytes) -> tuple[Callable[[str, bytes], list[Sealed]], Callable[[bytes, list[bytes]], bytes]]:
    """For a value that is the sealed secret itself, with the row's key in its context."""
    return (lambda key, value: [(value, prefix + key.encode())]), (lambda _value, sealed: sealed[0])


def _in_challenge(key: str, value: bytes) -> list[Sealed]:
    record = _challenge(value)
    return [(record.sealed_key, b"alpn:" + record.hostname.encode())] if record and record.sealed_key else []


def _into_challenge(value: bytes, sealed: list[bytes]) -> bytes:
    record = _challenge(value)
    return value if record is None or not sealed else _packed(msgspec.structs.replace(record, sealed_key=sealed[0]))


def _challenge(value: bytes) -> Challenge | None:
    """The record; None for one of another kind, which has nothing sealed in it."""
    try:
        return msgspec.msgpack.decode(value, type=Challenge)
    except msgspec.MsgspecError:
        return None


def _in_tickets(_key: str, value: bytes) -> list[Sealed]:
    tickets = msgspec.msgpack.decode(value, type=Tickets)
    return [(sealed, b"ticket:%d" % start) for sealed, start in zip(tickets.secrets, tickets.starts, strict=True)]


def _into_tickets(value: bytes, sealed: list[bytes]) -> bytes:
    return _packed(msgspec.structs.replace(msgspec.msgpack.decode(value, type=Tickets), secrets=tuple(sealed)))


def _in_ca(_key: str, value: bytes) -> list[Sealed]:
    return [(msgspec.msgpack.decode(value, type=tuple[bytes, bytes])[1], b"internal_ca")]


def _into_ca(value: bytes, sealed: list[bytes]) -> bytes:
    return _packed((msgspec.msgpack.decode(value, type=tuple[bytes, bytes])[0], sealed[0]))


def _packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


MARK = Place("the mark of the key", "secrets", "name", "record", "store", *_whole(b""), "key_check")
"""What tells whether a key is the store's."""

CERTIFICATES = Place("certificate keys", "certificates", "id", "sealed_key", "map", *_whole(b"key:"))

COMPANIONS = Place("keys of companions", "companions", "id", "sealed_key", "map", *_whole(b"key:"))

PLACES: tuple[Place, ...] = (
    MARK,
    CERTIFICATES,
    COMPANIONS,
    Place("keys of orders under way", "orders", "hostname", "sealed_key", "store", *_whole(b"order:")),
    Place("account keys", "accounts", "directory", "sealed_key", "acme", *_whole(b"account:")),
    Place("account keys to come", "accounts", "directory", "sealed_next_key", "acme", *_whole(b"account:")),
    Place("keys of challenges", "challenges", "key", "record", "map", _in_challenge, _into_challenge),
    Place("session ticket secrets", "secrets", "name", "record", "map", _in_tickets, _into_tickets, "tickets"),
    Place("answers under idempotency keys", "idempotency_keys", "id", "sealed_use", "store", *_whole(b"idempotency:")),
    Place("secrets of webhooks", "endpoints", "id", "sealed_secrets", "store", *_whole(b"endpoint:")),
    Place("the built-in CA's key", "secrets", "name", "record", "store", _in_ca, _into_ca, "internal_ca"),
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at."""

    opened: dict[str, int]
    """How many secrets opened, by what they are; only kinds that there are."""
    faults: tuple[str, ...]
    """What did not open or does not fit, named; at most FAULTS."""
    further: int = 0
    """Faults beyond those."""


def belongs(connection: sqlite3.Connection, sealers: Sealers) -> bool | None:
    """Whether a key is the one that the store was made with; None for a store that has no mark yet."""
    for _, value in _rows(connection, MARK):
        return _opened(sealers, MARK, value, MARK.only.encode()) is not None
    return None


def check(connection: sqlite3.Connection, sealers: Sealers) -> Report:
    """Opens everything, and compares certificates' keys with their chains. Writes nothing."""
    noted = _Noted()
    for place in PLACES:
        for key, value in _rows(connection, place):
            for sealed, context in place.taken(key, value):
                secret = _opened(sealers, place, sealed, context)
                if secret is None:
                    noted.fault(f"{place.what}: {key} does not open")
                elif place in (CERTIFICATES, COMPANIONS) and not _fits(connection, place, key, secret):
                    noted.fault(f"{place.what}: {key} opens, and is not the key of its certificate")
                else:
                    noted.opened(place)
    return noted.report()


def reseal(connection: sqlite3.Connection, old: Sealers, new: Sealers) -> Report:
    """Seals everything under new keys, within the caller's transaction. What does not open stays as it is: nobody could open
    it before either. Its faults are those."""
    noted = _Noted()
    for place in PLACES:
        for rows in _batches(connection, place):
            changed = []
            for key, value in rows:
                sealed = _resealed(place, key, value, old, new, noted)
                if sealed is not None:
                    changed.append((sealed, key))
            connection.executemany(
                f'UPDATE "{place.table}" SET "{place.column}" = ? WHERE "{place.key}" = ?',  # noqa: S608 our own names
                changed,
            )
    return noted.report()


def _resealed(place: Place, key: str, value: bytes, old: Sealers, new: Sealers, noted: _Noted) -> bytes | None:
    found = place.taken(key, value)
    secrets = [_opened(old, place, sealed, context) for sealed, context in found]
    known = [secret for secret in secrets if secret is not None]
    if not found:
        return None
    if len(known) < len(found):
        noted.fault(f"{place.what}: {key} does not open")
        return None
    sealer = new[place.purpose]
    sealed = [sealer.seal(secret, context) for secret, (_, context) in zip(known, found, strict=True)]
    for _ in sealed:
        noted.opened(place)
    return place.put(value, sealed)


class _Noted:
    """A report in the making."""

    def __init__(self) -> None:
        self._opened: dict[str, int] = {}
        self._faults: list[str] = []

    def opened(self, place: Place) -> None:
        self._opened[place.what] = self._opened.get(place.what, 0) + 1

    def fault(self, text: str) -> None:
        self._faults.append(text)

    def report(self) -> Report:
        faults = tuple(self._faults[:FAULTS])
        return Report(opened=self._opened, faults=faults, further=len(self._faults) - len(faults))


def _opened(sealers: Sealers, place: Place, sealed: bytes, context: bytes) -> bytes | None:
    try:
        return sealers[place.purpose].open(sealed, context)
    except MapError:
        return None


def _fits(connection: sqlite3.Connection, place: Place, certificate_id: str, key: bytes) -> bool:
    query = f'SELECT chain FROM "{place.table}" WHERE id = ?'  # noqa: S608 our own names
    (chain,) = connection.execute(query, (certificate_id,)).fetchone()
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        mine = serialization.load_pem_private_key(key, password=None).public_key().public_bytes(encoding, form)
        return mine == x509.load_pem_x509_certificate(chain).public_key().public_bytes(encoding, form)
    except (ValueError, TypeError):
        return False


def _rows(connection: sqlite3.Connection, place: Place) -> Iterator[tuple[str, bytes]]:
    for rows in _batches(connection, place):
        yield from rows


def _batches(connection: sqlite3.Connection, place: Place) -> Iterator[Sequence[tuple[str, bytes]]]:
    """Keys and values of a place, in the order of the keys, so that writing in between moves nothing."""
    only = f'AND "{place.key}" = :only' if place.only else ""
    query = (
        f'SELECT "{place.key}", "{place.column}" FROM "{place.table}" WHERE "{place.key}" > :after '  # noqa: S608 our own names
        f'AND "{place.column}" IS NOT NULL {only} ORDER BY "{place.key}" LIMIT :limit'
    )
    after = ""
    while rows := connection.execute(query, {"after": after, "limit": BATCH, "only": place.only}).fetchall():
        yield rows
        after = rows[-1][0]
