"""A domain's own settings: what may be written, and how they are kept."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy import policies
from edgeproxy.policies import Hsts, Policies, decode, header, merged, parse_hsts, rate, shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("365d", b"max-age=31536000"),
        ("0s", b"max-age=0"),
        ("12h", b"max-age=43200"),
        ("5m; includeSubDomains", b"max-age=300; includeSubDomains"),
        ("730d; includeSubDomains; preload", b"max-age=63072000; includeSubDomains; preload"),
    ],
)
def test_hsts_is_read_as_it_is_written(text: str, value: bytes) -> None:
    found = parse_hsts(text)
    assert found is not None
    assert found.value == value


def test_off_is_no_hsts_and_subdomains_are_included_only_where_that_is_said() -> None:
    assert parse_hsts("off") is None
    assert parse_hsts("1d") == Hsts(86_400, include_subdomains=False, preload=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "365",
        "365d ",
        "1.5d",
        "-1d",
        "12345d",
        "0d",
        "365d;includeSubDomains",
        "365d; preload",
        "30d; includeSubDomains; preload",
    ]
    + [
        "365d; includeSubDomains; preload\n",
        "off; includeSubDomains",
        "0s; includeSubDomains",
        "365d\r\nset-cookie: a=b",
        "٣d",
    ],
)
def test_hsts_that_says_nothing_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="365d; includeSubDomains"):
        parse_hsts(text)


@given(st.from_regex(re.compile(policies.HSTS, re.ASCII), fullmatch=True))
def test_what_fits_the_description_can_be_read(text: str) -> None:
    parse_hsts(text.removesuffix("\n"))


def test_a_rate_is_stored_as_it_is_usually_written() -> None:
    assert [rate(text) for text in ("100/s", "100 / m  burst 7", "off")] == ["100/s", "100/m burst 7", "off"]
    for text in ("", "Off", "0/s", "1/h burst 25", "100/s\n"):
        with pytest.raises(ValueError, match='or "off"'):
            rate(text)


def test_a_header_is_kept_in_lower_case() -> None:
    assert header("X-Frame-Options", "DENY") == ("x-frame-options", "DENY")
    assert header("referrer-policy", "") == ("referrer-policy", "")


@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "x" * 65, "a\n", *sorted(policies.NOT_SET), "Content-Length"])
def test_a_name_that_is_none_or_frames_an_answer_cannot_be_set(name: str) -> None:
    with pytest.raises(ValueError, match=r"; write one like|; leave it out"):
        header(name, "1")


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\n", "\x00", " a", "a ", "é", "a\tb", "x" * 4_097])
def test_a_value_that_would_be_another_line_or_none_cannot_be_set(value: str) -> None:
    with pytest.raises(ValueError, match="one line of printable ASCII"):
        header("x-a", value)


def test_a_change_replaces_what_it_names_and_takes_away_what_it_empties() -> None:
    stored = merged("", {"hsts": "1d", "deny": ["192.0.2.0/24"]})
    assert stored == '{"deny":["192.0.2.0/24"],"hsts":"1d"}'
    assert decode(stored) == Policies(hsts="1d", deny=("192.0.2.0/24",))
    assert merged(stored, {"headers": {"x-a": "1"}, "hsts": None}) == '{"deny":["192.0.2.0/24"],"headers":{"x-a":"1"}}'
    assert merged(stored, {"deny": [], "hsts": "", "headers": {}}) == ""
    assert merged(stored, None) == ""
    assert merged(stored, {}) == stored
    assert (decode(""), shown("")) == (policies.NONE, {})


def test_what_a_later_version_stored_is_kept_and_read_over() -> None:
    later = '{"colour":"red","hsts":"1d"}'
    assert decode(later) == Policies(hsts="1d")
    assert merged(later, {"allow": ["10.0.0.0/8"]}) == '{"allow":["10.0.0.0/8"],"colour":"red","hsts":"1d"}'
    sent = msgspec.msgpack.encode({"hsts": "1d", "colour": "red"})
    assert msgspec.msgpack.decode(sent, type=Policies) == Policies(hsts="1d")


def test_empty_is_what_each_field_begins_with() -> None:
    for name, value in msgspec.structs.asdict(Policies()).items():
        assert value in ((), "", None), f"{name} could not be told apart from one that is set"
