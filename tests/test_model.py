"""What is a hostname, whose a name is covered by, and what a workspace is called."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.errors import InvalidName
from edgeproxy.model import SERVED, DomainState, covers, hostname, serial_number, wildcard_of, wire_hostname, workspace_id

LABEL_63 = "a" * 63
NAME_252 = ".".join([LABEL_63, LABEL_63, LABEL_63, "b" * 57, "io"])
assert len(NAME_252) == 252

LETTERS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
NEARLY_NAMES = st.text("aZ09-_.*:/x é\u212a\0\n", max_size=24) | st.lists(LETTERS, max_size=4).map(".".join)


def strictly(name: str) -> str | None:
    """The same as `wire_hostname`, said rule by rule instead of by one expression."""
    if not name.isascii():
        return None
    labels = name.lower().removesuffix(".").split(".")
    for label, last in zip(labels, [*[False] * (len(labels) - 1), True], strict=True):
        if not 1 <= len(label) <= 63 or label.startswith("-") or label.endswith("-"):
            return None
        if set(label) - set("abcdefghijklmnopqrstuvwxyz0123456789-" + ("" if last else "_")):
            return None
    hexadecimal = labels[-1].startswith("0x") and not set(labels[-1][2:]) - set("0123456789abcdef")
    if labels[-1].isdecimal() or hexadecimal or (len(labels) == 1 and labels != ["localhost"]):
        return None
    joined = ".".join(labels)
    return joined if len(joined) <= 253 else None


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        ("Gallery.Example.COM", "gallery.example.com"),
        ("gallery.example.com.", "gallery.example.com"),
        ("localhost", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("_dmarc.a_b.example.com", "_dmarc.a_b.example.com"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("1.2.3.example", "1.2.3.example"),
        ("a.0xyz", "a.0xyz"),
        ("a--b.example", "a--b.example"),
        (f"{LABEL_63}.example", f"{LABEL_63}.example"),
        (NAME_252 + "m", NAME_252 + "m"),
        (NAME_252 + "m.", NAME_252 + "m"),
    ],
)
def test_a_hostname_off_the_wire_is_normalised(wire: str, name: str) -> None:
    assert wire_hostname(wire) == name


@pytest.mark.parametrize(
    "wire",
    [
        "",
        ".",
        "example",
        "localhost..",
        ".example.com",
        "a..example.com",
        "a.example.com..",
        "-a.example.com",
        "a-.example.com",
        f"{LABEL_63}a.example",
        NAME_252 + "mm",
        "192.0.2.1",
        "a.192",
        "a.0x1f",
        "a.0X",
        "::1",
        "[::1]",
        "a.b_c",
        "*.example.com",
        "a.example.com:443",
        "a.example.com/",
        "user@a.example.com",
        "a b.example.com",
        " a.example.com",
        "a.example.com\n",
        "a\0.example.com",
        "münchen.de",
        "\u212aitty.example",  # the sign for Kelvin, whose lower case is the letter k
    ],
)
def test_what_is_no_hostname_is_told_from_one(wire: str) -> None:
    assert wire_hostname(wire) is None


@given(NEARLY_NAMES)
@example("a.0x")
def test_the_rules_are_the_same_however_they_are_said(text: str) -> None:
    name = wire_hostname(text)
    assert name == strictly(text)
    if name is not None:
        assert wire_hostname(name) == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("  Gallery.Example.com \n", "gallery.example.com"),
        ("gallery.example.com.", "gallery.example.com"),
        ("München.DE", "xn--mnchen-3ya.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("faß.de", "xn--fa-hia.de"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("\u212aitty.example", "kitty.example"),
    ],
)
def test_a_hostname_as_people_write_it_becomes_a_labels(written: str, name: str) -> None:
    assert hostname(written) == name


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("192.0.2.1", "is an IP address"),
        ("[2001:db8::1]", "is an IP address"),
        ("2001:db8::1", "is an IP address"),
        ("example", "is not a valid hostname: it is a single label. Write it like gallery.example.com."),
        ("https://a.example.com", "without scheme, port or path"),
        ("a.example.com:8443", "without scheme, port or path"),
        ("a.example.com/x", "without scheme, port or path"),
        ("a b.example.com", "is not a valid hostname"),
        ("*.example.com", "is not a valid hostname"),
        ("a.*.example.com", "is not a valid hostname"),
        ("１２７.０.０.１", "is not a valid hostname"),
        ("mün chen.de", "is not a valid internationalised name"),
        ("☃.net", "is not a valid internationalised name"),
        ("ü" * 70 + ".de", "is not a valid internationalised name"),
        ("xn--a.example", "has an invalid A-label 'xn--a'"),
        ("a.xn--n3h.net", "has an invalid A-label 'xn--n3h'"),
    ],
)
def test_what_a_person_wrote_wrong_is_quoted_and_told(written: str, told: str) -> None:
    with pytest.raises(InvalidName) as caught:
        hostname(written)
    assert told in caught.value.detail
    assert not written.strip() or repr(written) in caught.value.detail


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("*.Example.com", "*.example.com"),
        ("*.münchen.de.", "*.xn--mnchen-3ya.de"),
        ("*.localhost", "*.localhost"),
        ("a.example.com", "a.example.com"),
    ],
)
def test_a_wildcard_is_a_name_only_where_it_is_wanted(written: str, name: str) -> None:
    assert hostname(written, wildcard=True) == name
    if written.startswith("*"):
        with pytest.raises(InvalidName):
            hostname(written)


@pytest.mark.parametrize("written", ["*", "*.", "*.*.example.com", "*.com", "*.192.0.2.1", "a*.example.com", "**.example.com"])
def test_a_star_is_the_whole_first_label_before_a_name(written: str) -> None:
    with pytest.raises(InvalidName):
        hostname(written, wildcard=True)


@given(NEARLY_NAMES | st.text(max_size=40), st.booleans())
@example("xn--\u0660.example", False)
@example("xn--" + "9" * 59 + ".example", False)
def test_whatever_is_written_is_a_name_for_good_or_refused(written: str, wildcard: bool) -> None:
    try:
        name = hostname(written, wildcard=wildcard)
    except InvalidName:
        return
    assert hostname(name, wildcard=wildcard) == name
    bare = name.removeprefix("*.") if wildcard else name
    assert wire_hostname(bare) == bare


@pytest.mark.parametrize("text", ["a", "7", "spandantest", "Acme-Store_2.eu", "a" * 63, "a.", "a-"])
def test_workspace_ids_are_taken_as_they_are(text: str) -> None:
    assert workspace_id(text) == text


@pytest.mark.parametrize("text", ["", "a" * 64, "-a", ".a", "_a", "a b", "a\n", "a\r\nx-admin: 1", "a/b", "é", "a\0", "\u0661"])
def test_what_could_be_read_otherwise_in_a_header_is_no_workspace_id(text: str) -> None:
    with pytest.raises(InvalidName, match=re.escape(repr(text))):
        workspace_id(text)


@given(st.lists(LETTERS, min_size=2, max_size=5))
def test_a_wildcard_covers_exactly_one_label(labels: list[str]) -> None:
    name, parent = ".".join(labels), ".".join(labels[1:])
    assert wildcard_of(name) == f"*.{parent}"
    assert covers(f"*.{parent}", name)
    assert covers(name, name)
    assert not covers(f"*.{parent}", parent)
    assert not covers(f"*.{parent}", f"more.{name}")
    assert not covers(parent, name)
    assert not covers(f"*.{name}", name)


def test_names_are_compared_as_a_whole() -> None:
    assert not covers("*.example.com", "a.badexample.com")
    assert not covers("a.example.com", "b.example.com")
    assert not covers("*.example.com", "*.b.example.com")


@pytest.mark.parametrize("state", ["pending_validation", "awaiting_cutover", "suspended", "parked", "removed"])
def test_a_domain_that_is_not_proven_not_paid_or_gone_is_not_served(state: str) -> None:
    assert DomainState(state) not in SERVED


@pytest.mark.parametrize("state", ["verified", "issuing", "active", "attention"])
def test_a_domain_that_fails_after_it_worked_goes_on_being_served(state: str) -> None:
    assert DomainState(state) in SERVED


@pytest.mark.parametrize("text", ["3a1f", "03A1F", "0x03a1f", "00:3A:1F", " 3a1f\n", "03:a1:f"])
def test_a_serial_number_is_read_as_people_have_it(text: str) -> None:
    assert serial_number(text) == "3a1f"


@pytest.mark.parametrize("text", ["", "0", "00:00", "xyz", "3a1f 3a20", "12-34", "f" * 65, "٣"])
def test_what_is_no_serial_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidName, match="serial number"):
        serial_number(text)
