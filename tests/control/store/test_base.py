"""Small things that the parts of the store share."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, literal, select

from edgeproxy.control.store.base import MAX_PAGE, listed, map_key, page, parent_of, wildcard
from edgeproxy.errors import InvalidName
from edgeproxy.model import wildcard_of
from edgeproxy.published import layout

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=10)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)


@given(NAME)
def test_sqls_wildcard_is_the_models(name: str) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        for one in (name, "*." + name):
            assert connection.scalar(select(wildcard(literal(one)))) == (wildcard_of(one) if "." in one else f"*.{one}")
    engine.dispose()


@given(st.lists(st.text(max_size=20), max_size=20))
def test_a_list_of_names_arrives_as_it_was(names: list[str]) -> None:
    names = [name.replace("\0", "") for name in names]
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        assert list(connection.scalars(select(listed(names).c.value))) == names
    engine.dispose()


@given(st.text(max_size=600))
def test_every_key_that_is_let_through_fits_the_map(key: str) -> None:
    with contextlib.suppress(InvalidName):
        assert 0 < len(map_key(key).encode()) <= layout.MAX_KEY


def test_parents_are_what_a_wildcard_covers() -> None:
    assert parent_of("a.example.com") == "example.com"
    assert parent_of("localhost") == ""
    assert parent_of("*.example.com") == ""


@pytest.mark.parametrize(("asked", "given_"), [(-1, 1), (0, 1), (7, 7), (10**9, MAX_PAGE)])
def test_pages_are_bounded(asked: int, given_: int) -> None:
    assert page(asked) == given_
