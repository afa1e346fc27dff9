"""What an origin's answers have in common: it is found, it is given up, and it never changes what an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.beginning import REST, Beginning
from edgeproxy.edge.headers import ResponseHead, ResponseLines
from edgeproxy.edge.http1 import ResponseError, parse_response
from edgeproxy.limits import Limits

LIMITS = Limits()
COMMON = (b"HTTP/1.1 200 OK", b"Server: nginx", b"Date: Sat, 21 Nov 2026 12:00:00 GMT", b"Content-Type: text/html")
LATER = (*COMMON[:2], b"Date: Sat, 21 Nov 2026 12:00:01 GMT", COMMON[3])


@pytest.fixture
def known() -> ResponseLines:
    return ResponseLines()


def parse(known: ResponseLines, beginning: Beginning, *lines: bytes, method: bytes = b"GET") -> ResponseHead:
    return parse_response(b"\r\n".join(lines), known, LIMITS, method, beginning)


def text(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


def test_two_answers_that_begin_alike_show_what_is_common(known):
    beginning = Beginning()
    parse(known, beginning, *COMMON, b"Content-Length: 1", b"X: 1")
    assert beginning.lines == []
    parse(known, beginning, *COMMON, b"Content-Length: 2", b"X: 2")
    assert beginning.text == text(*COMMON)
    head = parse(known, beginning, *COMMON, b"Content-Length: 3", b"X: 3")
    assert (head.status, head.start_line, head.length, head.keep) == (200, b"HTTP/1.1 200 OK", 3, True)
    assert head.lines == [*COMMON[1:], b"Content-Length: 3", b"X: 3"]
    assert head.whole == b"\r\n".join((*COMMON, b"Content-Length: 3", b"X: 3"))
    assert [name for name, _ in head.fields] == [b":status", b"server", b"date", b"content-type", b"content-length", b"x"]


def test_a_head_never_is_all_of_it(known):
    beginning = Beginning()
    for _ in range(3):
        assert parse(known, beginning, *COMMON, b"X: 1").lines == [*COMMON[1:], b"X: 1"]
    assert beginning.text == text(*COMMON)


def test_what_is_common_shrinks_with_the_first_answer_that_shares_less(known):
    beginning = Beginning()
    for number in range(2):
        parse(known, beginning, *COMMON, b"X-Workspace: a", b"X: %d" % number)
    assert beginning.text == text(*COMMON, b"X-Workspace: a")
    parse(known, beginning, *COMMON, b"X-Workspace: b", b"X: 3")
    assert beginning.text == text(*COMMON)


def test_an_odd_answer_changes_nothing_and_a_second_like_it_does(known):
    beginning = Beginning()
    for number in range(2):
        parse(known, beginning, *COMMON, b"X: %d" % number)
    parse(known, beginning, b"HTTP/1.1 404 Not Found", *LATER[1:], b"X: 1")
    assert beginning.text == text(*COMMON)
    for number in range(2):
        parse(known, beginning, *LATER, b"X: %d" % number)
    assert beginning.text == text(*COMMON)  # 404 and the later date had nothing in common: rests
    for number in range(REST + 1):
        parse(known, beginning, *LATER, b"X: %d" % number)
    assert beginning.text == text(*LATER)


def test_the_date_goes_on(known):
    beginning = Beginning()
    for lines in (COMMON, COMMON, LATER, LATER):
        parse(known, beginning, *lines, b"X: 1")
    assert beginning.text == text(*LATER)


def test_answers_that_always_differ_are_left_alone(known):
    beginning = Beginning()
    for number in range(3 * REST):
        parse(known, beginning, b"HTTP/1.1 200 OK", b"X-Request-Id: %d" % number, *COMMON[1:], b"X: 1")
    assert beginning.lines == []


@pytest.mark.parametrize(
    "line", [b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: X", b"X-Long: " + b"x" * 1000]
)
def test_a_line_that_decides_about_others_is_not_common(known, line):
    beginning = Beginning()
    for _ in range(3):
        parse(known, beginning, *COMMON, line, b"X: 1", b"Y: 1")
    assert beginning.text == text(*COMMON)


def test_a_second_content_length_is_still_refused(known):
    beginning = Beginning()
    for number in range(2):
        parse(known, beginning, *COMMON, b"Content-Length: 1", b"X: %d" % number)
    assert beginning.length == 1
    for line in (b"Content-Length: 1", b"Transfer-Encoding: chunked"):
        with pytest.raises(ResponseError):
            parse(known, beginning, *COMMON, b"Content-Length: 1", line)


def test_the_number_of_fields_is_bounded_over_both_parts(known):
    beginning = Beginning()
    for number in range(2):
        parse(known, beginning, *COMMON, b"X: %d" % number)
    with pytest.raises(ResponseError):
        parse(known, beginning, *COMMON, *[b"X: 1"] * (LIMITS.header_count - 2))


LINE = st.sampled_from(
    (
        *COMMON[1:],
        *(b"Content-Length: 0", b"Content-Length: 5", b"content-length: x", b"Transfer-Encoding: chunked", b"Upgrade: h2c"),
        *(
            b"Connection: keep-alive",
            b"Connection: close",
            b"Connection: Server, X",
            b"X: 1",
            b"X: 2",
            b"Bad : 1",
            b"Keep-Alive: 5",
        ),
    )
)
STATUS = st.sampled_from(
    (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 103 Early", b"nonsense")
)
HEAD = st.builds(lambda status, lines: (status, *lines), STATUS, st.lists(LINE, max_size=4))


SHARED = st.tuples(
    st.sampled_from((b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK")),
    st.permutations((*COMMON[1:], b"Content-Length: 5", b"Connection: keep-alive")),
)


@given(
    SHARED,
    st.lists(st.one_of(HEAD, st.lists(LINE, min_size=1, max_size=2)), min_size=4, max_size=12),
    st.sampled_from((b"GET", b"HEAD")),
)
def test_it_never_changes_what_an_answer_means(shared, heads, method):
    known, beginning = ResponseLines(), Beginning()
    for head in heads:
        lines = head if isinstance(head, tuple) else (shared[0], *shared[1], *head)
        try:
            wanted = parse(known, Beginning(), *lines, method=method)
        except ResponseError as error:
            with pytest.raises(ResponseError, match=str(error)):
                parse(known, beginning, *lines, method=method)
        else:
            head = parse(known, beginning, *lines, method=method)
            assert head.whole in (b"", b"\r\n".join((wanted.start_line, *wanted.lines)))
            head.whole = b""
            assert head == wanted
