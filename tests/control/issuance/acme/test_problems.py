"""A CA's complaints in plain words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.acme.problems import RETRY_AFTER_MAX, refusal, retry_after, unreachable
from edgeproxy.control.issuance.acme.wire import Identifier, Problem, read_problem
from edgeproxy.errors import Fault

PREFIX = "urn:ietf:params:acme:error:"


def problem(code, **fields):
    return Problem(type=PREFIX + code, **fields)


@pytest.mark.parametrize(
    ("code", "fault", "words"),
    [
        ("connection", Fault.CUSTOMER_DNS, "could not connect to a.example on port 443"),
        ("unauthorized", Fault.CUSTOMER_DNS, "another server"),
        ("tls", Fault.CUSTOMER_DNS, "TLS handshake of tls-alpn-01 with a.example failed"),
        ("dns", Fault.CUSTOMER_DNS, "could not look up a.example"),
        ("caa", Fault.CUSTOMER_DNS, "CAA record of a.example forbids"),
        ("rateLimited", Fault.CA, "rate limit"),
        ("externalAccountRequired", Fault.OPERATOR, "issuance.eab.key_id"),
        ("invalidContact", Fault.OPERATOR, "issuance.email"),
        ("serverInternal", Fault.CA, "out of order"),
        ("neverHeardOf", Fault.CA, "refused a.example"),
    ],
)
def test_each_problem_says_what_happened_and_whose_fault_it_is(code, fault, words):
    error = refusal(problem(code, detail="Because."), status=400, name="a.example", challenge="tls-alpn-01")
    assert error.fault is fault
    assert words in error.detail
    assert error.detail.endswith("The CA says: Because.")
    assert error.problem == code


def test_http_01_names_port_80():
    assert "on port 80" in refusal(problem("connection"), name="a.example", challenge="http-01").detail


def test_an_identifier_stands_in_for_an_unknown_name_and_a_subproblem_for_its_frame():
    inner = problem("rejectedIdentifier", detail="Policy", identifier=Identifier(value="b.example"))
    error = refusal(problem("compound", subproblems=(inner,)), status=400)
    assert error.detail == "The CA issues no certificates for b.example. The CA says: Policy."
    assert not error.retryable


def test_a_cas_words_are_one_bounded_printable_line():
    error = refusal(problem("dns", detail="a\r\n\x1b[31mb" + "c" * 1000), name="a.example")
    assert "\n" not in error.detail
    assert "\x1b" not in error.detail
    assert len(error.detail) < 600


@given(st.text(), st.text(), st.text(max_size=30), st.integers(0, 999))
def test_no_problem_document_breaks_the_sentence(code, detail, name, status):
    error = refusal(Problem(type=code, detail=detail), status=status, name=name)
    assert error.detail


@given(st.binary())
def test_whatever_a_refusal_holds_becomes_a_problem(body):
    assert isinstance(read_problem(500, body).code, str)


def test_only_a_failed_validation_suggests_another_challenge():
    assert refusal(problem("connection"), challenge="http-01").another_challenge_may_help
    assert refusal(problem("unauthorized"), challenge="http-01").another_challenge_may_help
    assert not refusal(problem("caa"), challenge="http-01").another_challenge_may_help
    assert not refusal(problem("unauthorized")).another_challenge_may_help
    assert not unreachable("ca.example", "connection refused").another_challenge_may_help


def test_trouble_of_the_ca_is_told_from_trouble_with_a_name():
    assert unreachable("ca.example", "connection refused").about_the_ca
    assert refusal(Problem(type="about:blank"), status=503).about_the_ca
    assert refusal(problem("serverInternal"), status=500).about_the_ca
    assert not refusal(problem("rateLimited"), status=429).about_the_ca
    assert not refusal(problem("dns"), status=400).about_the_ca


def test_an_unreachable_ca_is_named_with_what_to_look_at():
    detail = unreachable("ca.example", "connection refused").detail
    assert detail.startswith("The certificate authority at ca.example cannot be reached: connection refused.")
    assert "issuance.directory" in detail


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        (" 7 ", 7),
        ("99999999999999999999", RETRY_AFTER_MAX),
        ("-5", 0),
        ("1.5", 0),
        ("٣", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("Thu, 01 Jan 2099 00:00:10 GMT", RETRY_AFTER_MAX),
        ("Thu, 99 Jan 2099 00:00:10 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after(value, now=40.0) == seconds


@pytest.mark.parametrize(
    ("code", "status", "challenge", "about_the_ca", "about_the_account", "order_lives"),
    [
        ("rateLimited", 429, "", False, False, True),
        ("serverInternal", 500, "", True, False, True),
        ("unauthorized", 403, "", False, True, True),
        ("unauthorized", 403, "http-01", False, False, False),
        ("unauthorized", 400, "", False, False, False),
        ("accountDoesNotExist", 400, "", False, True, True),
        ("userActionRequired", 403, "", False, True, True),
        ("rejectedIdentifier", 400, "", False, False, False),
        ("caa", 403, "", False, False, False),
    ],
)
def test_what_a_refusal_is_about_decides_what_is_done(code, status, challenge, about_the_ca, about_the_account, order_lives):
    error = refusal(problem(code), status=status, challenge=challenge)
    found = error.about_the_ca, error.about_the_account, error.order_lives
    assert found == (about_the_ca, about_the_account, order_lives)


@pytest.mark.parametrize(
    ("status", "body", "whole"),
    [
        (503, b"<html>", True),
        (502, b"", True),
        (504, b"", True),
        (429, b"Slow down", True),
        (500, b"<html>", True),
        (503, b'{"type": "urn:ietf:params:acme:error:rateLimited"}', True),
        (429, b'{"type": "urn:ietf:params:acme:error:rateLimited"}', False),
        (500, b'{"type": "urn:ietf:params:acme:error:serverInternal"}', False),
        (404, b"", False),
    ],
)
def test_what_comes_from_a_server_without_time_for_anybody_is_told_from_one_orders_trouble(status, body, whole):
    assert refusal(read_problem(status, body), status=status).whole_ca is whole


def test_an_account_that_may_not_is_not_called_a_wrong_server():
    detail = refusal(problem("unauthorized", detail="Not yours"), status=403, name="a.example").detail
    assert detail == "The CA does not let our account do this for a.example. The CA says: Not yours."


@pytest.mark.parametrize(
    ("terms", "instance", "words"),
    [
        ("https://ca.example/t", "https://ca.example/a", "Read them at https://ca.example/t. Agree at https://ca.example/a;"),
        ("", "", "waits for you to agree. Agree with the CA; it is tried again by itself."),
    ],
)
def test_terms_to_agree_to_are_told_with_where_to_go(terms, instance, words):
    error = refusal(problem("userActionRequired", instance=instance), status=403, terms=terms)
    assert words in error.detail
    assert (error.fault, error.retryable) == (Fault.OPERATOR, True)
