"""Header sections that are known whole: what they say never depends on that, and they are bounded and forgotten."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.headers import RequestHead, RequestLines
from edgeproxy.edge.http1 import Refusal, parse_request
from edgeproxy.edge.sections import ENTRY_BYTES, SECTION_MOST, SECTIONS_BYTES, SECTIONS_SECONDS, Section, Sections
from edgeproxy.limits import Limits
from edgeproxy.units import Size

LIMITS = Limits(request_line=Size(64), header_count=6)
BROWSER = (b"Host: a.test:8443", b"Connection: keep-alive", b"X-A:b", b"Cookie: a=b")

LINES = st.sampled_from(
    (
        b"Host: a.test",
        b"Host: b.test:8443",
        b"Host: ?",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Connection: X-A, close",
        b"X-A: b",
        b"x-a:b",
        b"TE: trailers",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"Max-Forwards: 2",
        b"CDN-Loop: edgeproxy",
        b"X-Forwarded-For: 192.0.2.1",
        b"workspace-id: evil",
        b"Cookie: a=b",
        b"Accept: text/html",
        b"no colon",
        b"",
    )
)
STARTS = st.sampled_from(
    (
        b"GET / HTTP/1.1",
        b"GET /other?a=b HTTP/1.1",
        b"POST / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET / HTTP/1.7",
        b"GET / HTTP/2.0",
        b"GET http://a.test/x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"OPTIONS / HTTP/1.1",
        b"CONNECT a.test:443 HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"GET /" + b"a" * 80 + b" HTTP/1.1",
        b"GET  / HTTP/1.1",
    )
)


def parsed(head: bytes, lines: RequestLines) -> RequestHead | tuple[int, str]:
    try:
        return parse_request(head, lines, LIMITS)
    except Refusal as refusal:
        return refusal.status, refusal.reason


@given(st.lists(st.tuples(STARTS, st.lists(LINES, max_size=7)), max_size=6), st.lists(st.integers(0, 5), max_size=12))
def test_what_a_request_says_does_not_depend_on_those_before(heads: list[tuple[bytes, list[bytes]]], order: list[int]) -> None:
    lines = RequestLines("workspace-id")
    for number in (*range(len(heads)), *order):
        if number < len(heads):
            start, fields = heads[number]
            for again in (start, b"GET /again HTTP/1.1", b"GET / HTTP/1.0", b"GET  / HTTP/1.1"):
                head = b"\r\n".join((again, *fields))
                assert parsed(head, lines) == parsed(head, RequestLines("workspace-id"))


def test_a_section_that_came_before_is_known_whole():
    lines = RequestLines("workspace-id")
    first = parse_request(b"\r\n".join((b"GET /1 HTTP/1.1", *BROWSER)), lines, LIMITS)
    lines.memo.clear()
    second = parse_request(b"\r\n".join((b"PUT /2 HTTP/1.1", *BROWSER)), lines, LIMITS)
    assert not lines.memo, "no line was looked at"
    assert second.head == b"PUT /2 HTTP/1.1\r\nHost: a.test:8443\r\nX-A:b\r\nCookie: a=b\r\n"
    assert (second.host, second.authority) == (first.host, first.authority) == ("a.test", b"a.test:8443")


def test_so_is_one_after_which_the_connection_ends():
    lines = RequestLines("workspace-id")
    for number in range(2):
        head = b"GET /%d HTTP/1.1\r\nHost: a.test\r\nConnection: X-A, close\r\nX-A: b\r\nX-B: c" % number
        request = parse_request(head, lines, LIMITS)
        assert request.close
        assert request.head == b"GET /%d HTTP/1.1\r\nHost: a.test\r\nX-B: c\r\n" % number
    assert [known.close for known in lines.sections.recent.values()] == [True]


@pytest.mark.parametrize(
    "more", [b"Content-Length: 3", b"Upgrade: websocket", b"X-Forwarded-For: 192.0.2.1", b"CDN-Loop: a", b"Max-Forwards: 1"]
)
def test_one_that_says_something_of_its_message_alone_is_not(more):
    lines = RequestLines("workspace-id")
    parse_request(b"\r\n".join((b"GET / HTTP/1.1", b"Host: a.test", more)), lines, LIMITS)
    assert not lines.sections.recent


def section(number: int, size: int) -> bytes:
    return b"%0*d" % (size, number)


def known(authority: bytes = b"a.test") -> Section:
    return Section(authority, "a.test", b"")


@pytest.mark.parametrize("size", [9, 100, 2000])
def test_it_is_bounded_whoever_fills_it(size):
    lines = RequestLines("workspace-id")
    head = b"GET / HTTP/1.1\r\nHost: a.test\r\nA: "
    tracemalloc.start()
    try:
        for number in range(2 * SECTIONS_BYTES // (2 * size + ENTRY_BYTES)):
            lines.memo.clear()  # has a bound of its own
            parse_request(head + section(number, size), lines, LIMITS)
        assert tracemalloc.get_traced_memory()[0] < 2 * SECTIONS_BYTES * 1.1
    finally:
        tracemalloc.stop()


def test_one_that_comes_again_otherwise_takes_no_more_room():
    lines = RequestLines("workspace-id")
    for _ in range(10_000):
        parse_request(b"GET / HTTP/1.0\r\nHost: a.test", lines, LIMITS)
    assert len(lines.sections.recent) == 1
    assert not lines.sections._older


def test_who_comes_again_stays():
    size = 2000
    sections = Sections()
    mine = known()
    sections.add(b"mine", mine)
    for number in range(4 * SECTIONS_BYTES // (2 * size)):
        sections.add(section(number, size), known())
        assert (sections.recent.get(b"mine") or sections.again(b"mine")) is mine
    assert sections.recent.get(section(0, size)) is None
    assert sections.again(section(0, size)) is None
    sections.add(b"x" * (SECTION_MOST + 1), known())
    assert b"x" * (SECTION_MOST + 1) not in sections.recent


def test_what_does_not_come_again_is_forgotten_in_time():
    sections = Sections()
    sections.sweep(1000.0)
    sections.add(b"cookie", known())
    sections.sweep(1000.0 + SECTIONS_SECONDS / 2)
    assert sections.recent.get(b"cookie") is not None
    sections.sweep(1000.0 + SECTIONS_SECONDS)
    sections.sweep(1000.0 + 2 * SECTIONS_SECONDS)
    assert sections.recent.get(b"cookie") is None
    assert sections.again(b"cookie") is None
