"""Rows: what they show of themselves, and that nobody changes what the store gave."""

from __future__ import annotations

import enum
import typing

import msgspec
import pytest

from edgeproxy.control import store
from edgeproxy.control.store import rows
from edgeproxy.control.store.rows import Account, InternalCa, Order, Row

SECRET = b"-----BEGIN PRIVATE KEY----- hunter2"
WITH_KEYS = {
    Account(directory="https://ca.example/dir", url="https://ca.example/acct/1", key=SECRET): "https://ca.example/acct/1",
    Order(hostname="a.example", directory="d", step="placed", key=SECRET, started_at=1.0): "a.example",
    InternalCa(certificate=b"-----BEGIN CERTIFICATE-----", key=SECRET, created_at=7.5): "7.5",
}


def kinds() -> list[type[Row]]:
    return [kind for kind in vars(rows).values() if isinstance(kind, type) and issubclass(kind, Row) and kind is not Row]


@pytest.mark.parametrize("row", WITH_KEYS, ids=lambda row: type(row).__name__)
def test_a_private_key_is_not_in_what_a_row_shows_of_itself(row: Row) -> None:
    for shown in (repr(row), str(row), f"{row}", repr([row]), str({"row": row})):
        assert "hunter2" not in shown
    assert WITH_KEYS[row] in repr(row)
    assert type(row).__name__ in repr(row)


def test_every_kind_of_row_with_a_key_was_looked_at() -> None:
    with_keys = {
        kind for kind in kinds() for field in msgspec.structs.fields(kind) if (field.name, field.type) == ("key", bytes)
    }
    assert with_keys == {type(row) for row in WITH_KEYS}


@pytest.mark.parametrize("row", WITH_KEYS, ids=lambda row: type(row).__name__)
def test_rows_that_differ_in_their_key_alone_are_different(row: Row) -> None:
    assert msgspec.structs.replace(row, key=SECRET) == row
    assert msgspec.structs.replace(row, key=b"another") != row


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_row_cannot_be_changed_and_its_fields_are_named(kind: type[Row]) -> None:
    row = msgspec.convert(
        {field.name: _some(field.type) for field in msgspec.structs.fields(kind)}, kind, strict=False, builtin_types=(bytes,)
    )
    with pytest.raises(AttributeError):
        setattr(row, msgspec.structs.fields(kind)[0].name, None)
    with pytest.raises(TypeError):
        kind("positional")


def _some(kind: object) -> object:
    """A value that a field of this type takes."""
    if isinstance(kind, type) and issubclass(kind, Row):
        return {field.name: _some(field.type) for field in msgspec.structs.fields(kind)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)[0]
    candidates: list[object] = [b"bytes", "verified", "", 1.0, 1, True, [], {}, None]
    for candidate in candidates:
        try:
            msgspec.convert(candidate, kind, builtin_types=(bytes,))
        except msgspec.ValidationError:
            continue
        return candidate
    raise AssertionError(f"no value for {kind}")


def test_what_the_rest_of_the_program_is_given_it_can_name() -> None:
    inner = {rows.SiteFacts}  # from one part of the store to another
    assert {kind.__name__ for kind in set(kinds()) - inner} <= set(store.__all__)
