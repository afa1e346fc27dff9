"""Rows of issuance: what those with private keys show of themselves."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.control.store.rows import issuance
from edgeproxy.control.store.rows.issuance import Account, InternalCa, Order
from edgeproxy.control.store.rows.row import Row

SECRET = b"-----BEGIN PRIVATE KEY----- hunter2"
WITH_KEYS = {
    Account(directory="https://ca.example/dir", url="https://ca.example/acct/1", key=SECRET): "https://ca.example/acct/1",
    Order(hostname="a.example", directory="d", step="placed", key=SECRET, started_at=1.0): "a.example",
    InternalCa(certificate=b"-----BEGIN CERTIFICATE-----", key=SECRET, created_at=7.5): "7.5",
}


@pytest.mark.parametrize("row", WITH_KEYS, ids=lambda row: type(row).__name__)
def test_a_private_key_is_not_in_what_a_row_shows_of_itself(row: Row) -> None:
    for shown in (repr(row), str(row), f"{row}", repr([row]), str({"row": row})):
        assert "hunter2" not in shown
    assert WITH_KEYS[row] in repr(row)
    assert type(row).__name__ in repr(row)


def test_every_kind_of_row_with_a_key_was_looked_at() -> None:
    kinds = [kind for kind in Row.__subclasses__() if kind.__module__.startswith("edgeproxy.")]
    with_keys = {kind for kind in kinds for field in msgspec.structs.fields(kind) if (field.name, field.type) == ("key", bytes)}
    assert with_keys == {type(row) for row in WITH_KEYS}
    assert {kind.__module__ for kind in with_keys} == {issuance.__name__}


@pytest.mark.parametrize("row", WITH_KEYS, ids=lambda row: type(row).__name__)
def test_rows_that_differ_in_their_key_alone_are_different(row: Row) -> None:
    assert msgspec.structs.replace(row, key=SECRET) == row
    assert msgspec.structs.replace(row, key=b"another") != row
