"""What an ACME server says, read strictly enough and no stricter."""

import pytest

from edgeproxy.control.issuance.acme.wire import Account, Authorization, Directory, Order, OrderList, read, read_problem
from edgeproxy.errors import IssuanceError


def test_an_order_of_rfc_8555_is_read():
    body = b"""{"status": "valid", "expires": "2016-01-20T14:09:07.99Z", "notBefore": "2016-01-01T00:00:00Z",
      "identifiers": [{"type": "dns", "value": "www.example.org"}], "authorizations": ["https://example.com/authz/1"],
      "finalize": "https://example.com/finalize", "certificate": "https://example.com/cert"}"""
    order = read(body, Order)
    assert (order.status, order.identifiers[0].value) == ("valid", "www.example.org")
    assert (order.authorizations, order.certificate) == (("https://example.com/authz/1",), "https://example.com/cert")


def test_a_status_nobody_has_heard_of_is_read_all_the_same():
    assert read(b'{"status": "expired"}', Order).status == "expired"
    assert read(b'{"status": "deactivated", "challenges": [{"type": "new-01", "url": "u"}]}', Authorization).challenges


def test_a_directory_needs_its_three_urls():
    text = b'{"newNonce": "n", "newAccount": "a", "newOrder": "o", "meta": {"termsOfService": "t", "profiles": {"p": "d"}}}'
    directory = read(text, Directory)
    assert (directory.meta.terms_of_service, directory.meta.profiles) == ("t", {"p": "d"})
    with pytest.raises(IssuanceError, match=r"Is issuance\.directory an ACME directory"):
        read(b'{"newNonce": "n"}', Directory)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status": 5}', b"\xff", b"[" * 100_000])
def test_what_is_not_such_an_answer_is_an_error_in_plain_words(body):
    with pytest.raises(IssuanceError, match="cannot be understood"):
        read(body, Order)


def test_an_account_may_keep_its_orders_to_itself():
    assert read(b'{"status": "valid"}', Account).orders == ""
    assert read(b'{"orders": ["a"]}', OrderList).orders == ("a",)


def test_a_refusal_without_a_problem_document_is_named_by_its_status():
    assert read_problem(502, b"<html>").code == "http502"
    assert read_problem(403, b'{"type": "urn:ietf:params:acme:error:caa"}').code == "caa"
