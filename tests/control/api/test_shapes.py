"""What the operator API takes and gives: nothing converted, nothing unbounded, times and cursors that come back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.shapes import (
    PAGE,
    PAGE_MAX,
    CertificateIn,
    CertificateQuery,
    DomainIn,
    DomainQuery,
    certain_moment,
    from_cursor,
    moment,
    to_cursor,
)
from edgeproxy.model import DomainState

DOMAIN = {"domain": "a.example.com", "workspace_id": "w"}


def fields_at_fault(kind: type[BaseModel], value: object) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(value)
    return {str(error["loc"][0]) for error in caught.value.errors()}


def test_a_domain_needs_a_name_and_a_workspace_and_the_rest_is_as_an_operator_means_it() -> None:
    domain = DomainIn.model_validate(DOMAIN)
    assert (domain.origin, domain.auto_configure, domain.verify) == ("", True, False)
    assert fields_at_fault(DomainIn, {}) == {"domain", "workspace_id"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("domain", 7),
        ("domain", None),
        ("domain", "a" * 261),
        ("workspace_id", 7),
        ("workspace_id", "w" * 64),
        ("origin", "http://" + "x" * 2042),
        ("origin", None),
        ("verify", "true"),
        ("verify", 1),
        ("auto_configure", "no"),
        ("colour", "red"),
    ],
)
def test_a_domain_with_a_field_that_does_not_fit_is_not_guessed_at(field: str, value: object) -> None:
    assert fields_at_fault(DomainIn, {**DOMAIN, field: value}) == {field}


def test_the_longest_name_and_workspace_that_there_can_be_fit() -> None:
    DomainIn.model_validate({"domain": "*." + "a" * 253 + ".", "workspace_id": "w" * 63, "origin": "x" * 2048})


@pytest.mark.parametrize(
    ("field", "value"),
    [("type", "letsencrypt"), ("auto_renew", "yes"), ("cert_data", "x" * 65_537), ("key_data", "x" * 16_385), ("key", "x")],
)
def test_a_certificate_with_a_field_that_does_not_fit_is_not_guessed_at(field: str, value: object) -> None:
    assert fields_at_fault(CertificateIn, {field: value}) == {field}


def test_a_private_key_is_not_in_what_is_shown_of_a_body() -> None:
    body = CertificateIn(type="custom", cert_data="chain", key_data="hunter2")
    assert "hunter2" not in repr(body)
    assert "hunter2" not in str(body)
    assert body.key_data == "hunter2"


@pytest.mark.parametrize("kind", [DomainQuery, CertificateQuery])
def test_a_page_is_bounded_and_its_query_has_nothing_unknown(kind: type[BaseModel]) -> None:
    assert kind.model_validate({}).model_dump()["limit"] == PAGE
    for limit in ("1", str(PAGE_MAX)):  # a query's numbers come as text
        assert kind.model_validate({"limit": limit}).model_dump()["limit"] == int(limit)
    for limit in ("0", "-1", str(PAGE_MAX + 1), "many", ""):
        assert fields_at_fault(kind, {"limit": limit}) == {"limit"}
    assert fields_at_fault(kind, {"cursor": "x" * 513}) == {"cursor"}
    assert fields_at_fault(kind, {"colour": "red"}) == {"colour"}


def test_the_cursor_after_the_longest_name_fits_into_a_query() -> None:
    cursor = to_cursor("*." + "a" * 253)
    assert from_cursor(DomainQuery(cursor=cursor).cursor) == "*." + "a" * 253
    assert from_cursor(CertificateQuery(cursor=to_cursor("a" * 128)).cursor) == "a" * 128


def test_domains_are_listed_by_a_state_that_there_is() -> None:
    assert DomainQuery.model_validate({"state": "active"}).state is DomainState.ACTIVE
    assert fields_at_fault(DomainQuery, {"state": "sleeping"}) == {"state"}


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100))
def test_a_cursor_leads_back_to_its_entry_and_needs_no_quoting(last: str) -> None:
    cursor = to_cursor(last)
    assert from_cursor(cursor) == last
    assert set(cursor) <= set("0123456789abcdef")


def test_no_cursor_is_the_beginning() -> None:
    assert from_cursor("") == ""


@given(st.text(max_size=40) | st.text("abAB01-_=+/", max_size=12))
@example("a")
@example("_____w")
@example("YQ==")
@example("YQ\n")
def test_a_cursor_that_no_page_gave_is_refused_or_harmless(cursor: str) -> None:
    try:
        found = from_cursor(cursor)
    except Refused as refused:
        assert (refused.status, refused.code) == (422, "invalid_cursor")  # noqa: PT017
    else:
        assert found.encode() or not cursor  # real text, that the store can be asked with


@given(st.integers(1, 253_402_300_799))
def test_a_moment_is_utc_and_reads_back(at: int) -> None:
    text = moment(at)
    assert text is not None
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(at, UTC)
    assert certain_moment(at) == text


def test_moments_have_whole_seconds_and_may_be_missing() -> None:
    assert moment(1_800_000_000.987) == "2027-01-15T08:00:00Z"
    assert moment(None) is None
    assert moment(0.0) is None
    assert certain_moment(0.0) == "1970-01-01T00:00:00Z"
