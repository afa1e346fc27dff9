"""Rows: nobody changes what the store gave, and everybody can name it."""

from __future__ import annotations

import enum
import typing

import msgspec
import pytest

from edgeproxy.control import store
from edgeproxy.control.store.rows import access, certificates, domains, issuance, publishing, telling
from edgeproxy.control.store.rows.row import Row

ROOMS = (access, certificates, domains, issuance, publishing, telling)


def kinds() -> list[type[Row]]:
    found = [kind for room in ROOMS for kind in vars(room).values() if isinstance(kind, type) and issubclass(kind, Row)]
    return [kind for kind in found if kind is not Row]


def test_no_room_of_rows_is_left_out() -> None:
    known = {kind for kind in Row.__subclasses__() if kind.__module__.startswith("edgeproxy.")}
    assert known == set(kinds())


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
    inner = {publishing.SiteFacts}  # from one part of the store to another
    assert {kind.__name__ for kind in set(kinds()) - inner} <= set(store.__all__)
