"""Every input that is kept, through its parser: taken or refused as its folder says, and read as others do."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from edgeproxy.edge.headers import RequestHead
from edgeproxy.edge.hello import ClientHello
from edgeproxy.model import wire_hostname
from tests import hellos
from tests.fuzz import corpus, test_dns, test_hello, test_http1_requests, test_http1_responses, test_http2
from tests.fuzz.http1_opinions import REFUSED, our_requests, our_responses
from tests.fuzz.http2_opinions import our_view


def each(kind: str) -> pytest.MarkDecorator:
    """The files of a folder."""
    found = corpus.files(kind)
    assert found
    return pytest.mark.parametrize(("name", "data"), found.items(), ids=found)


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@each("http1/requests")
def test_requests(name: str, data: bytes) -> None:
    ours = test_http1_requests.check_understood(data)
    test_http1_requests.check_forwarded(ours)
    assert (ours.how == REFUSED) == name.startswith("refused/"), ours.why
    assert our_requests(one_by_one(data)).facts() == ours.facts()


@each("http1/responses")
def test_responses(name: str, data: bytes) -> None:
    ours = test_http1_responses.check_understood(data, b"GET")
    test_http1_responses.check_sent(ours, b"GET")
    assert (ours.how == REFUSED) == name.startswith("refused/"), ours.why
    assert our_responses(one_by_one(data), b"GET").facts() == ours.facts()


@each("http2")
def test_sessions(name: str, data: bytes) -> None:
    view = test_http2.check_alike(test_http2.frames_of(data))
    taken = not view.over and not view.lost and all(isinstance(head, RequestHead) for head in view.requests.values())
    assert (taken and view.requests != {}) == name.startswith("taken/"), view
    assert our_view(one_by_one(data)).facts() == our_view([data]).facts()


@each("hello")
def test_hellos(name: str, data: bytes) -> None:
    found = test_hello.outcome(data)
    first = next((then for end in range(len(data)) if (then := test_hello.outcome(data[:end])) is not None), found)
    assert first == found, "more bytes changed what was known"
    if isinstance(found, ClientHello):
        seen = hellos.name_seen_by_openssl(data)
        assert seen == "?" or found.server_name == (None if seen is None else wire_hostname(seen))


@each("dns")
def test_queries(name: str, data: bytes) -> None:
    for udp in (True, False):
        reply = test_dns.said(data, udp=udp).data
        if reply:
            assert reply[:2] == data[:2]
            assert dns.message.from_wire(reply).flags & dns.flags.QR
