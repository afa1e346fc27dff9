"""Records survive the map's encoding, and that of a later version of this program."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.published.records import Certificate, Challenge, Change, Record, Site, Tickets

KINDS: tuple[type[Record], ...] = (Site, Certificate, Challenge, Tickets, Change)


def records() -> st.SearchStrategy[Record]:
    tickets = st.builds(Tickets, starts=st.lists(st.integers(0, 1 << 60), max_size=5).map(tuple))
    return st.one_of([tickets, *(st.from_type(kind) for kind in KINDS if kind is not Tickets)])


def same(one: Record, other: Record) -> bool:
    """Equal, with NaN equal to itself: nothing here computes with the times."""
    return repr(one) == repr(other)


@given(records())
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert same(msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record)), record)


@given(records(), st.lists(st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=5)), max_size=3))
def test_fields_that_a_later_version_appended_are_ignored(record: Record, more: list[object]) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(record))
    assert same(msgspec.msgpack.decode(msgspec.msgpack.encode(fields + more), type=type(record)), record)


def test_a_site_of_the_version_before_redirects_is_a_site_that_is_served() -> None:
    before = ["one", "http://o", "c", "registered", 0.0]
    site = msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=Site)
    assert (site.redirect_to, site.maintenance, site.suspended, site.new) == ("", False, False, False)


def test_fields_that_an_earlier_version_did_not_have_take_their_defaults() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(["one"]), type=Site) == Site(workspace="one")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=40))
def test_anything_else_is_a_decoding_error_and_nothing_worse(kind: type[Record], data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        msgspec.msgpack.decode(data, type=kind)
