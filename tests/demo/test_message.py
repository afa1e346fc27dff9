"""Requests as the sample origin reads them."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.demo.message import BadRequest, chunk_size, is_trailer, parse_head


def head(*lines):
    return "\r\n".join(("GET /a%20b?x=1&x=2&y= HTTP/1.1", *lines)).encode()


def test_a_request_is_taken_apart():
    request = parse_head(head("Host: gallery.localhost", "Cookie: a", "cookie:  b \t", "Connection: Keep-Alive, x"))
    assert (request.method, request.target, request.path) == ("GET", "/a%20b?x=1&x=2&y=", "/a b")
    assert request.query == {"x": "2", "y": ""}
    assert request.all("cookie") == ["a", "b"]
    assert request.get("cookie") == "a, b"
    assert request.tokens("connection") == {"keep-alive", "x"}
    assert request.keep_alive
    assert request.length == 0


@pytest.mark.parametrize(("line", "length"), [("Content-Length: 7", 7), ("Transfer-Encoding: Chunked", -1)])
def test_the_framing_is_known(line, length):
    assert parse_head(head("Host: a", line)).length == length


def test_close_is_heeded():
    assert not parse_head(head("Host: a", "Connection: close")).keep_alive
    assert not parse_head(b"GET / HTTP/1.0\r\nHost: a").keep_alive


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1",
        b"GET / HTTP/2.0\r\nHost: a",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET http://a/ HTTP/1.1\r\nHost: a",
        b"GET * HTTP/1.1\r\nHost: a",
        b"G(T / HTTP/1.1\r\nHost: a",
        head("Host: a", "Host: a"),
        head("Host: a", "X : 1"),
        head("Host: a", " folded"),
        head("Host: a", "X: a\x00b"),
        head("Host: a", "X: a\nb"),
        head("Host: a", "Content-Length: +1"),
        head("Host: a", "Content-Length: 1, 1"),
        head("Host: a", "Content-Length: 1", "Content-Length: 1"),
        head("Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"),
        head("Host: a", "Transfer-Encoding: gzip, chunked"),
        head("Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked",
    ],
)
def test_what_is_not_exactly_right_is_refused(data):
    with pytest.raises(BadRequest):
        parse_head(data)


@given(st.binary(max_size=80).map(lambda end: b"GET / HTTP/1.1\r\nHost: a\r\n" + end) | st.binary(max_size=80))
def test_what_is_accepted_here_h11_accepts_too(data):
    try:
        parse_head(data)
    except BadRequest:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data + b"\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Request)


def test_chunks_and_trailers_are_strict():
    assert (chunk_size(b"1aF"), chunk_size(b"0;a=b")) == (0x1AF, 0)
    for line in (b"", b"-1", b"0x1", b"123456789", b"1 1", b"1\n"):
        with pytest.raises(BadRequest):
            chunk_size(line)
    assert is_trailer(b"x-sum: 1")
    assert not is_trailer(b"x sum: 1")
