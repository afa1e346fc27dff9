"""Errors: an address for programs, a sentence for people, and whose they are."""

from __future__ import annotations

import copy
import re

import pytest

from edgeproxy import errors
from edgeproxy.errors import ConfigError, EdgeError, Fault, InvalidName, IssuanceDenied, IssuanceError, LinkError, StateError


def kinds(kind: type[EdgeError] = EdgeError) -> list[type[EdgeError]]:
    """Every kind of error in the module, the base included."""
    return [kind, *(below for each in kind.__subclasses__() if each.__module__ == errors.__name__ for below in kinds(each))]


def test_a_code_tells_one_kind_from_every_other() -> None:
    codes = [kind.code for kind in kinds()]
    assert len(codes) >= 12
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_an_error_is_its_sentence_wherever_it_is_shown(kind: type[EdgeError]) -> None:
    error = kind("The disk is full. Make room.")
    assert str(error) == error.detail == "The disk is full. Make room."
    assert isinstance(error.fault, Fault)
    assert isinstance(error.retryable, bool)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_what_one_error_says_of_itself_goes_before_its_kind_and_leaves_the_kind_as_it_is(kind: type[EdgeError]) -> None:
    before = kind("x").code, kind("x").fault, kind("x").retryable
    for retryable in (True, False):
        error = kind("x", code="own", fault=Fault.CUSTOMER_DNS, retryable=retryable)
        assert (error.code, error.fault, error.retryable) == ("own", Fault.CUSTOMER_DNS, retryable)
    assert (kind("x").code, kind("x").fault, kind("x").retryable) == before


def test_a_copy_says_the_same() -> None:
    error = copy.copy(StateError("x", code="own", fault=Fault.EDGE, retryable=True))
    assert (error.detail, error.code, error.fault, error.retryable) == ("x", "own", Fault.EDGE, True)


def test_a_denial_is_caught_with_failures_and_not_tried_again_like_them() -> None:
    with pytest.raises(IssuanceError) as caught:
        raise IssuanceDenied("x")
    assert not caught.value.retryable
    assert caught.value.fault is Fault.CLIENT
    assert IssuanceError("x").retryable


def test_a_wrong_name_is_a_wrong_value_for_those_who_know_nothing_of_names() -> None:
    with pytest.raises(ValueError, match="no name"):
        raise InvalidName("no name")


def test_what_only_the_operator_can_cure_is_not_called_the_edges_doing() -> None:
    assert ConfigError("x").fault is StateError("x").fault is Fault.OPERATOR
    assert LinkError("x").fault is Fault.EDGE


def test_faults_read_as_programs_know_them() -> None:
    assert {str(fault) for fault in Fault} == {"client", "customer_dns", "ca", "origin", "operator", "edge"}
    assert Fault("customer_dns") is Fault.CUSTOMER_DNS
