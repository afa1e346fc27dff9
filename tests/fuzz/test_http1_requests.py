"""Requests over HTTP/1.1: what the edge takes, and what it makes of that for the origin, others understand as it does."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.forwarding import Destination, origin_head
from edgeproxy.edge.headers import RequestLines, likeness, trailer_lines
from edgeproxy.edge.http1 import chunk, last_chunk
from tests.fuzz.amount import cases
from tests.fuzz.http1_opinions import (
    REFUSED,
    WAITS,
    WORKSPACE,
    Message,
    Reading,
    disagreement,
    h11_requests,
    llhttp_requests,
    our_requests,
    stricter,
)
from tests.fuzz.http1_streams import cuts, one_thing_wrong, request_streams

OTHERS = {"h11": h11_requests, "llhttp": llhttp_requests}
THEY_ARE_STRICTER = re.compile(
    # h11
    r"no request line received"  # an empty line before the request line
    r"|illegal chunk header: bytearray\(b'[0-9a-f]+([ \\t]|\\\\t)+[\\r;]"  # blanks between size and extension
    # llhttp
    r"|Invalid method encountered|Expected space after method"  # it has a list of methods
    r"|Expected HTTP/2 Connection Preface"  # with PRI in it
    r"|Invalid HTTP version"  # HTTP/1.2 to 1.9
    r"|Invalid character in chunk (extensions|size)"  # which we drop; a blank before them (RFC 9112 section 7.1.1: BWS)
).match
"""What others refuse of what we take. None of it reaches an origin as it came, but for the methods."""

WARM = RequestLines(WORKSPACE)
"""Field lines known from all cases before, as a worker knows them."""


def forwarded(message: Message) -> bytes:
    """What the origin gets of a request whose body came whole."""
    head = message.head
    destination = Destination(head.authority, None, b"workspace-id: w1\r\nx-request-id: ")  # type: ignore[arg-type]
    text = origin_head(head, destination, b"r1")
    if head.upgrade:
        return text
    if head.length >= 0:
        return text + message.body
    lines = trailer_lines([name + b": " + value for name, value in message.trailers], WARM)
    assert lines is not None
    return text + chunk(message.body) + last_chunk(lines)


def check_understood(data: bytes) -> Reading:
    """Ours of a client's stream, once it has been seen that nobody takes it for anything else."""
    ours = our_requests([data], WARM)
    for name, read in OTHERS.items():
        theirs = read(data)
        difference = disagreement(ours, theirs)
        assert not difference, f"{name}: {difference}"
        why = stricter(ours, theirs)
        assert not why or THEY_ARE_STRICTER(why), f"{name} refuses what we take: {why}"
    return ours


def check_forwarded(ours: Reading) -> None:
    """Each request that came whole is exactly one at the origin, with the method, the body and the workspace of ours."""
    for message in ours.messages:
        if message.end is None:
            continue
        text = forwarded(message)
        for name, read in OTHERS.items():
            theirs = read(text)
            if theirs.how == REFUSED:
                assert THEY_ARE_STRICTER(theirs.why), f"{name} refuses what goes to the origin: {theirs.why}"
                continue
            (one,) = theirs.messages
            assert one.start == (message.start[0], message.head.target), name
            assert message.head.upgrade or (one.body, one.end) == (message.body, len(text)), name
            names = [likeness(field) for field, _ in one.fields]
            assert names.count(b"host") == 1, name
            assert [value for field, value in one.fields if likeness(field) == b"workspace-id"] == [b"w1"], name
            assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, name
            assert not {b"te", b"keep-alive", b"proxy-connection", b"http2-settings"} & set(names), name


def test_whatever_one_thing_is_wrong_we_refuse_it_or_others_take_it_for_the_same() -> None:
    found = Counter[str]()
    for data in one_thing_wrong(answers=False):
        ours = check_understood(data)
        check_forwarded(ours)
        found[ours.how] += 1
    assert found[REFUSED] > 600
    assert found[WAITS] > 60, "nearly nothing is taken: nothing is compared"


@given(request_streams)
@cases(80)
def test_what_we_take_others_take_for_the_same(data: bytes) -> None:
    check_forwarded(check_understood(data))


@given(st.data())
@cases(80)
def test_a_stream_means_the_same_however_it_is_cut(data: st.DataObject) -> None:
    stream = data.draw(request_streams)
    assert our_requests(data.draw(cuts(stream)), WARM).facts() == our_requests([stream]).facts()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\nHost: a.test\r\n\r\n", "request line"),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", ""),
    ],
)
def test_a_reading_says_how_far_it_came(data: bytes, why: str) -> None:
    ours = our_requests([data])
    assert [one.end for one in ours.messages] == [32]
    assert why in ours.why


def test_a_difference_is_found() -> None:
    data = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    mine, other = our_requests([data]), our_requests([data])
    assert not disagreement(mine, other)
    assert other.messages[0].end is not None
    other.messages[0].end += 3
    assert disagreement(mine, other)
    other.messages[0].end = None
    assert "over for us only" in disagreement(mine, other)
    del other.messages[0]
    assert disagreement(mine, other)
    assert "none for them" in disagreement(mine, Reading())
    assert not disagreement(mine, Reading(how=REFUSED, why="no"))
    assert stricter(mine, Reading(how=REFUSED, why="no")) == "no"
