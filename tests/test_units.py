"""Durations and sizes, as people write them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.units import Duration, Size, decode_hook, encode_hook

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


class Both(msgspec.Struct):
    duration: Duration
    size: Size


@given(st.integers(0, 10**9), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "  "]))
def test_a_duration_is_a_number_and_its_unit(count: int, unit: str, space: str) -> None:
    assert Duration.parse(f"{count}{space}{unit}") == pytest.approx(count * UNITS[unit])


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("1.5s", 1.5), ("0.5h", 1800.0), ("0s", 0.0), ("365d", 31536000)]
)
def test_a_duration_may_have_a_fraction(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "30",
        "s",
        "-1s",
        "+1s",
        "1.s",
        ".5s",
        "1e3s",
        "1,5s",
        "30S",
        "5 min",
        "5m30s",
        " 5m",
        "5m\n",
        "٣s",
        30,
        30.0,
        True,
        None,
        [],
    ],
)
def test_what_is_no_duration_is_told_with_what_would_be_right(value: object) -> None:
    with pytest.raises(ValueError, match='like "250ms", "30s", "5m", "12h" or "7d"'):
        Duration.parse(value)


@pytest.mark.parametrize("parse", [Duration.parse, Size.parse])
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_too_long_to_be_one_is_refused_like_any_other_mistake(parse, digits: int) -> None:
    for unit in ("d", "GiB"):
        with pytest.raises(ValueError, match="with a unit"):
            parse("9" * digits + unit)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.5, "1500ms"),
        (59, "59s"),
        (60, "1m"),
        (90, "90s"),
        (5400, "90m"),
        (86400, "1d"),
        (90000, "25h"),
    ],
)
def test_a_duration_is_shown_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert str(Duration(seconds)) == text
    assert f"{Duration(seconds)}" == text


@given(st.integers(0, 366 * 86400 * 1000))
def test_a_duration_that_is_shown_reads_back_as_the_same(milliseconds: int) -> None:
    duration = Duration(milliseconds / 1000)
    assert Duration.parse(str(duration)) == pytest.approx(duration, abs=1e-6)
    assert str(Duration.parse(str(duration))) == str(duration)


@given(st.integers(0, 10**6), st.sampled_from(sorted(BYTES)), st.sampled_from(["", " "]))
def test_a_size_is_a_number_and_its_unit(count: int, unit: str, space: str) -> None:
    assert Size.parse(f"{count}{space if unit else ''}{unit}") == count * BYTES[unit]


@given(st.integers(0, 2**49))
def test_a_size_is_shown_exactly_and_reads_back(count: int) -> None:
    assert Size.parse(count) == count
    assert Size.parse(str(Size(count))) == count


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1025, "1025B"), (3 * 2**20, "3MiB"), (2**30, "1GiB")]
)
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(count: int, text: str) -> None:
    assert str(Size(count)) == text


@pytest.mark.parametrize(
    "value", ["", "KiB", "-1", "1.5KiB", "64kib", "64K", "64 Kib", " 1", "1\n", "٣", -1, 1.0, True, None, ["64KiB"]]
)
def test_what_is_no_size_is_told_with_what_would_be_right(value: object) -> None:
    with pytest.raises(ValueError, match='like "64KiB" or "1MiB"'):
        Size.parse(value)


def test_both_go_through_msgspec_as_people_write_them() -> None:
    both = Both(Duration(90), Size(65536))
    data = msgspec.json.encode(both, enc_hook=encode_hook)
    assert data == b'{"duration":"90s","size":"64KiB"}'
    decoded = msgspec.json.decode(data, type=Both, dec_hook=decode_hook)
    assert decoded == both
    assert type(decoded.duration) is Duration
    assert type(decoded.size) is Size
    with pytest.raises(msgspec.ValidationError, match="a duration is a string with a unit"):
        msgspec.json.decode(b'{"duration": 90, "size": 1}', type=Both, dec_hook=decode_hook)


def test_types_that_are_not_ours_are_not_guessed_at() -> None:
    class Odd(msgspec.Struct):
        value: complex

    with pytest.raises(NotImplementedError, match="complex"):
        msgspec.json.encode(Odd(1j), enc_hook=encode_hook)
    with pytest.raises(NotImplementedError, match="complex"):
        msgspec.json.decode(b'{"value": "1"}', type=Odd, dec_hook=decode_hook)
