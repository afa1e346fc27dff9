"""What the description says of texts, beside what checks them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.webhooks import event_filter, secret
from edgeproxy.control.api import forms
from edgeproxy.control.api.shapes import from_cursor
from edgeproxy.control.api.webhooks import number_in
from edgeproxy.model import hostname, serial_number, workspace_id

CHECKED = {
    "wildcard": (forms.WILDCARD, lambda text: hostname(text, wildcard=True)),
    "workspace": (forms.WORKSPACE, workspace_id),
    "serial": (forms.SERIAL, serial_number),
    "secret": (forms.SECRET, lambda text: text and secret(text)),
    "line": (forms.LINE, forms.printable),
    "name cursor": (forms.NAME_CURSOR, from_cursor),
    "number cursor": (forms.NUMBER_CURSOR, number_in),
}


@pytest.mark.parametrize("name", CHECKED)
@given(data=st.data())
def test_what_fits_a_described_form_is_taken(name: str, data: st.DataObject):
    form, check = CHECKED[name]
    text = data.draw(st.from_regex(re.compile(form["pattern"]), fullmatch=True))
    if len(text) <= form.get("maxLength", 4_096) and "xn--" not in text and not text.endswith("\n"):
        check(text)


def test_each_filter_that_is_listed_is_one():
    assert [event_filter(each) for each in forms.FILTER["enum"]] == forms.FILTER["enum"]


def test_a_form_may_also_be_empty():
    assert forms.or_empty({"format": "uri"}) == {"anyOf": [{"maxLength": 0}, {"format": "uri"}]}
    assert forms.or_empty(forms.HOSTNAME) == {"anyOf": [{"maxLength": 0}, forms.NAME, forms.WILDCARD]}


@pytest.mark.parametrize("text", ["a\x00", "\x1b[31m", "a\nb", "\u2028", "\u202egnp", "\x85", "\x7f", "a\ud800"])
def test_what_makes_a_list_say_something_else_is_no_line(text: str):
    with pytest.raises(ValueError, match="cannot be printed"):
        forms.printable(text)


@pytest.mark.parametrize(
    ("given_", "taken"), [(3.0, 3), (3, 3), (3.5, 3.5), ("3", "3"), (True, True), (float("inf"), float("inf"))]
)
def test_whole_numbers_are_integers_however_they_are_written(given_: Any, taken: Any):
    assert forms.whole(given_) == taken
    assert type(forms.whole(given_)) is type(taken)
