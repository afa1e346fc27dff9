"""The HTTP/1.1 codec: what is understood, what is refused, and that h11 never understands an accepted message otherwise."""

from __future__ import annotations

import contextlib

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.headers import LENGTH_CHUNKED, LENGTH_UNTIL_CLOSE, RequestHead, RequestLines, ResponseHead, ResponseLines
from edgeproxy.edge.http1 import (
    ChunkedDecoder,
    ChunkError,
    Refusal,
    ResponseError,
    chunk,
    incomplete_head_fault,
    incomplete_response_fault,
    last_chunk,
    parse_request,
    parse_response,
    status_line,
)
from edgeproxy.limits import Limits

LIMITS = Limits()


def request(*lines: bytes, known: RequestLines | None = None) -> RequestHead:
    return parse_request(b"\r\n".join(lines), known or RequestLines("workspace-id"), LIMITS)


def response(*lines: bytes, method: bytes = b"GET") -> ResponseHead:
    return parse_response(b"\r\n".join(lines), ResponseLines(), LIMITS, method, Beginning())


def test_a_plain_head_goes_on_as_the_bytes_that_came():
    head = request(b"GET /a?b=c HTTP/1.1", b"Host: a.test:8443", b"X-A:b", b"x-a:  c ")
    assert head.head == b"GET /a?b=c HTTP/1.1\r\nHost: a.test:8443\r\nX-A:b\r\nx-a:  c \r\n"
    assert (head.method, head.target, head.host, head.authority) == (b"GET", b"/a?b=c", "a.test", b"a.test:8443")
    assert (head.length, head.expect, head.upgrade, head.close) == (0, False, False, False)


def test_a_later_minor_version_is_not_passed_on():
    assert request(b"GET / HTTP/1.9", b"Host: a.test").head == b"GET / HTTP/1.1\r\nHost: a.test\r\n"


def test_what_a_gateway_may_take_for_a_framing_field_is_left_out():
    head = request(b"POST / HTTP/1.1", b"Host: a.test", b"Transfer_Encoding: chunked", b"content.length: 9", b"X_A: 1")
    assert (head.length, head.head) == (0, b"POST / HTTP/1.1\r\nHost: a.test\r\nX_A: 1\r\n")


def test_hosts_are_normalised():
    assert request(b"GET / HTTP/1.1", b"Host: A.TeSt.").host == "a.test"
    assert request(b"GET / HTTP/1.1", b"Host: [::1]:80").host == ""


def test_the_same_head_means_the_same_with_a_warm_memo():
    known = RequestLines("workspace-id")
    lines = (b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: 3", b"Connection: close, x-b", b"X-B: 1", b"X-C: 2")
    assert request(*lines, known=known) == request(*lines, known=known)


def test_max_forwards_counts_for_options_alone():
    lines = (b"Host: a.test", b"Max-Forwards: 5", b"X-A: 1")
    assert request(b"OPTIONS / HTTP/1.1", *lines).head.endswith(b"\r\nHost: a.test\r\nX-A: 1\r\nmax-forwards: 4\r\n")
    assert request(b"GET / HTTP/1.1", *lines).head.endswith(b"\r\nHost: a.test\r\nX-A: 1\r\nmax-forwards: 5\r\n")
    assert b"orwards" not in request(b"GET / HTTP/1.1", *lines, b"Connection: max-forwards").head
    assert b"orwards" not in request(b"GET / HTTP/1.1", b"Host: a.test", b"Max_Forwards: 5").head


def test_framing_fields_are_taken_out_and_told():
    head = request(b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: 3")
    assert head.length == 3
    assert b"ength" not in head.head
    head = request(b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked")
    assert head.length == -1
    assert b"ncoding" not in head.head


def test_an_absolute_target_becomes_a_path():
    assert request(b"GET http://a.test/x?y HTTP/1.1", b"Host: a.test").head.startswith(b"GET /x?y HTTP/1.1\r\n")
    assert request(b"GET HTTPS://A.test HTTP/1.1", b"Host: a.test").target == b"/"
    assert request(b"GET http://a.test?q HTTP/1.1", b"Host: a.test").target == b"/?q"
    assert request(b"OPTIONS http://a.test HTTP/1.1", b"Host: a.test").target == b"*"
    assert request(b"OPTIONS * HTTP/1.1", b"Host: a.test").target == b"*"


def test_http_1_0_is_forwarded_as_1_1_and_closed():
    head = request(b"GET / HTTP/1.0", b"Host: a.test")
    assert head.head.startswith(b"GET / HTTP/1.1\r\n")
    assert head.close
    assert head.version == 0


def test_every_line_that_is_dropped_or_nominated_goes_however_often_it_came():
    nominated = (b"Connection: close, X-A, te, host, content-length", b"X-A: 1", b"x-a: 1", b"X-A: 1", b"TE: a", b"TE: a")
    head = request(b"POST / HTTP/1.1", b"Host: a.test", b"X-B: 1", *nominated, b"X-B: 1", b"Content-Length: 3", b"Via: x")
    assert head.head == b"POST / HTTP/1.1\r\nHost: a.test\r\nX-B: 1\r\nX-B: 1\r\n"
    assert (head.close, head.length) == (True, 3)


def test_several_connection_fields_count_together_and_keep_alive_counts_nothing():
    fields = (b"Connection: keep-alive", b"Connection: x-a", b"X-A: 1", b"Connection: Upgrade", b"Upgrade: websocket")
    head = request(b"GET / HTTP/1.1", b"Host: a.test", *fields)
    assert (head.head, head.upgrade, head.close) == (b"GET / HTTP/1.1\r\nHost: a.test\r\n", True, False)
    assert request(b"GET / HTTP/1.1", b"Host: a.test", b"Connection: Keep-Alive").head == head.head


def test_a_client_of_http_1_0_neither_expects_nor_upgrades():
    head = request(b"PUT / HTTP/1.0", b"Host: a.test", b"Content-Length: 3", b"Expect: 100-continue")
    assert (head.length, head.expect) == (3, False)
    assert not request(b"GET / HTTP/1.0", b"Host: a.test", b"Connection: Upgrade", b"Upgrade: websocket").upgrade


def test_a_websocket_needs_the_whole_spell():
    spell = (b"GET / HTTP/1.1", b"Host: a.test", b"Upgrade: WebSocket")
    assert request(*spell, b"Connection: keep-alive, Upgrade").upgrade
    assert not request(*spell).upgrade
    assert not request(b"GET / HTTP/1.1", b"Host: a.test", b"Connection: Upgrade", b"Upgrade: h2c").upgrade


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, [b"GET / HTTP/1.1"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"Host: a.test"]),
        (400, [b"GET / HTTP/1.1", b"Host: a test"]),
        (400, [b"GET / HTTP/1.1", b"Host: user@a.test"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test:99999"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b" folded"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"X-A: b", b"\tfolded"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"X-A : b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b": b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"no colon"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"X-A: b\rc"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"X-A: b\nContent-Length: 3"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"X-A: b\x00c"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b"X-A: \x7f"]),
        (400, [b"GET / HTTP/1.1", b"Host: a.test", b""]),
        (400, [b"GET  / HTTP/1.1", b"Host: a.test"]),
        (400, [b"GET / HTTP/1.1 ", b"Host: a.test"]),
        (400, [b"GET /", b"Host: a.test"]),
        (400, [b"GET / http/1.1", b"Host: a.test"]),
        (400, [b"GET /\xc3\xa4 HTTP/1.1", b"Host: a.test"]),
        (400, [b"GET /a#b HTTP/1.1", b"Host: a.test"]),
        (400, [b"GET a.test HTTP/1.1", b"Host: a.test"]),
        (400, [b"GET ftp://a.test/ HTTP/1.1", b"Host: a.test"]),
        (400, [b"GET http://b.test/ HTTP/1.1", b"Host: a.test"]),
        (400, [b"GET * HTTP/1.1", b"Host: a.test"]),
        (400, [b"G\x00T / HTTP/1.1", b"Host: a.test"]),
        (405, [b"CONNECT a.test:443 HTTP/1.1", b"Host: a.test"]),
        (405, [b"TRACE / HTTP/1.1", b"Host: a.test"]),
        (505, [b"GET / HTTP/2.0", b"Host: a.test"]),
        (505, [b"GET / HTTP/0.9", b"Host: a.test"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: 3", b"Content-Length: 3"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: 3, 3"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: +3"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: -3"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: 0x3"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length:"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: " + b"9" * 30]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Content-Length: 3", b"Transfer-Encoding: chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked", b"Content-Length: 3"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"]),
        (400, [b"POST / HTTP/1.0", b"Host: a.test", b"Transfer-Encoding: chunked"]),
        (501, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: Chunked"]),
        (501, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: gzip, chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: identity"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: xchunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked\t"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding:\tchunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding:"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked, gzip"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked, chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: gzip, chunked , br, chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: chunked;a"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b'Transfer-Encoding: "chunked"']),
        (501, [b"POST / HTTP/1.1", b"Host: a.test", b"Transfer-Encoding: gzip ,br,CHUNKED"]),
        (501, [b"OPTIONS / HTTP/1.1", b"Host: a.test", b"Max-Forwards: 0"]),
        (400, [b"OPTIONS / HTTP/1.1", b"Host: a.test", b"Max-Forwards: -1"]),
        (417, [b"POST / HTTP/1.1", b"Host: a.test", b"Expect: 200-ok"]),
        (400, [b"POST / HTTP/1.1", b"Host: a.test", b"Upgrade: websocket", b"Connection: upgrade"]),
        (431, [b"GET / HTTP/1.1", b"Host: a.test", *[b"X: y"] * 128]),
        (414, [b"GET /" + b"a" * 16384 + b" HTTP/1.1", b"Host: a.test"]),
    ],
)
def test_refusals(status: int, lines: list[bytes]):
    with pytest.raises(Refusal) as caught:
        request(*lines)
    assert caught.value.status == status
    assert caught.value.reason


TOKEN = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=20) | st.sampled_from([b"chunked", b"3", b"a.test", b"close", b"x-a", b"100-continue"])
NAME = TOKEN | st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Content-length", b"X-A", b"TE"]
)
FIELD = st.tuples(NAME, st.sampled_from([b":", b": ", b" :", b":\t"]), VALUE).map(b"".join)
TARGET = st.sampled_from([b"/", b"*", b"/a b", b"http://a.test/", b"a.test:80"]) | st.binary(max_size=12)
START = st.tuples(TOKEN | st.just(b"GET"), TARGET, st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b""])).map(b" ".join)


@given(START, st.lists(FIELD, max_size=5))
@example(b"GET / HTTP/1.1", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
def test_no_bytes_raise_anything_but_a_refusal_and_h11_reads_what_we_forward_as_we_do(start: bytes, lines: list[bytes]):
    raw = b"\r\n".join((start, b"Host: a.test", *lines))
    try:
        head = parse_request(raw, RequestLines("workspace-id"), LIMITS)
    except Refusal:
        return
    framing = (
        b""
        if head.length == 0
        else b"transfer-encoding: chunked\r\n"
        if head.length < 0
        else b"content-length: %d\r\n" % head.length
    )
    second = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    second.receive_data(head.head + framing + b"\r\n")
    event = second.next_event()
    assert isinstance(event, h11.Request)
    assert event.method == head.method
    assert event.target == head.target
    assert event.http_version == b"1.1"
    assert [value for name, value in event.headers if name == b"host"] == [b"a.test"]
    sent = [line.split(b":", 1) for line in head.head.split(b"\r\n")[1:-1]]
    assert [(name.lower(), value.strip(b" \t")) for name, value in sent] == list(event.headers)[: len(sent)]
    assert not {b"connection", b"te", b"upgrade", b"workspace-id"} & {name for name, _ in event.headers}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_refusal(raw: bytes):
    with contextlib.suppress(Refusal):
        parse_request(raw, RequestLines("workspace-id"), LIMITS)


def test_the_beginning_of_a_head_is_judged_early():
    assert incomplete_head_fault(b"GET / HTTP/1.1\nHost: a\n\n")
    assert incomplete_head_fault(b"GET / HTTP/1.1\r\nX: \x00")
    assert incomplete_head_fault(b"GET / HTTP/1.1\r\nX: a\rb")
    assert incomplete_head_fault(b"GET /\r\n")
    assert incomplete_head_fault(b"SSH-2.0-x\r\n")
    for start in (b"", b"\r", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r", b"PRI * HTTP/2.0\r\n"):
        assert not incomplete_head_fault(start)


def test_the_beginning_of_an_answer_is_judged_early():
    for start in (b"SSH-2.0-x\r\n", b"\r\n", b"\x15\x03\x01", b"HTTP/2", b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 OK\r\nX: \x00"):
        assert incomplete_response_fault(start)
    for start in (b"", b"HTT", b"HTTP/1.1 200 OK\r\nX: a\r"):
        assert not incomplete_response_fault(start)


# responses


def test_a_response_keeps_its_lines_but_those_of_the_connection():
    head = response(
        b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Connection: keep-alive, x-a", b"X-A: 1", b"Set-Cookie: a", b"Set-Cookie: b"
    )
    assert head.lines == [b"Content-Length: 5", b"Set-Cookie: a", b"Set-Cookie: b"]
    assert (head.status, head.start_line, head.length, head.keep) == (200, b"HTTP/1.1 200 OK", 5, True)


def test_how_a_response_is_framed():
    assert response(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked").length == LENGTH_CHUNKED
    assert response(b"HTTP/1.1 200 OK").length == LENGTH_UNTIL_CLOSE
    assert not response(b"HTTP/1.1 200 OK").keep
    assert not response(b"HTTP/1.1 200 OK", b"Content-Length: 0", b"Connection: close").keep
    assert not response(b"HTTP/1.0 200 OK", b"Content-Length: 0").keep
    assert response(b"HTTP/1.1 200 OK", b"Content-Length: 5", method=b"HEAD").length == 0
    assert response(b"HTTP/1.1 304 Not Modified", b"Content-Length: 5").lines == [b"Content-Length: 5"]
    assert response(b"HTTP/1.1 204 No Content", b"Content-Length: 5").lines == []
    assert response(b"HTTP/1.1 100 Continue").length == 0


@pytest.mark.parametrize(
    ("method", "lines", "withheld"),
    [
        (b"GET", (b"HTTP/1.1 200 OK", b"Content-Length: 5"), False),
        (b"GET", (b"HTTP/1.1 200 OK", b"Content-Length: 0"), False),
        (b"HEAD", (b"HTTP/1.1 200 OK", b"Content-Length: 5"), True),
        (b"HEAD", (b"HTTP/1.1 200 OK",), True),
        (b"GET", (b"HTTP/1.1 204 No Content",), False),
        (b"GET", (b"HTTP/1.1 204 No Content", b"Content-Length: 0"), False),
        (b"GET", (b"HTTP/1.1 204 No Content", b"Transfer-Encoding: chunked"), True),
        (b"GET", (b"HTTP/1.1 304 Not Modified",), False),
        (b"GET", (b"HTTP/1.1 304 Not Modified", b"Content-Length: 5"), True),
    ],
)
def test_content_that_a_head_announces_and_that_may_not_come_is_known(
    method: bytes, lines: tuple[bytes, ...], withheld: bool
) -> None:
    head = response(*lines, method=method)
    assert head.withheld == withheld
    assert not (withheld and head.length)


@pytest.mark.parametrize(
    "lines",
    [
        [b"HTTP/1.1 OK"],
        [b"HTTP/1.1 099 X"],
        [b"HTTP/2 200"],
        [b"HTTP/1.1 200 O\rK"],
        [b"HTTP/1.1  200 OK"],
        [b"HTTP/1.1 200 OK", b"X: a\nb"],
        [b"HTTP/1.1 200 OK", b" folded"],
        [b"HTTP/1.1 200 OK", b"X : a"],
        [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 5"],
        [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip"],
        [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked\t"],
        [b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.1 200 OK", *[b"X: y"] * 129],
    ],
)
def test_responses_that_are_not_forwarded(lines: list[bytes]):
    with pytest.raises(ResponseError):
        response(*lines)


@given(st.integers(100, 599).filter(lambda status: status != 101), st.lists(FIELD, max_size=5))
def test_h11_agrees_on_every_accepted_response(status: int, lines: list[bytes]):
    raw = b"\r\n".join((b"HTTP/1.1 %d X" % status, *lines))
    try:
        head = parse_response(raw, ResponseLines(), LIMITS, b"GET", Beginning())
    except ResponseError:
        return
    framing = b"transfer-encoding: chunked\r\n" if head.length == LENGTH_CHUNKED else b""
    second = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    second.send(h11.Request(method="GET", target="/", headers=[("host", "a.test")]))
    second.receive_data(head.start_line + b"\r\n" + b"".join(line + b"\r\n" for line in head.lines) + framing + b"\r\n")
    event = second.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert event.status_code == status
    lengths = [value for name, value in event.headers if name == b"content-length"]
    if head.length > 0:
        assert lengths == [b"%d" % head.length]


def test_a_missing_reason_is_filled_in():
    assert status_line(404) == b"HTTP/1.1 404 Not Found"
    assert status_line(299) == b"HTTP/1.1 299 "


# chunked bodies


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(1, 30)), st.binary(max_size=10))
def test_a_chunked_body_is_the_same_however_it_is_split(pieces: list[bytes], cuts: list[int], rest: bytes):
    raw = b"".join(map(chunk, pieces)) + last_chunk([b"X-A: 1"]) + rest
    decoder = ChunkedDecoder()
    content, at = b"", 0
    for cut in [*cuts, len(raw)]:
        if decoder.done or at >= len(raw):
            break
        content += decoder.feed(raw[at : at + cut])
        at += cut
    assert decoder.done
    assert content == b"".join(pieces)
    assert decoder.trailers == [b"X-A: 1"]
    assert decoder.rest + raw[at:] == rest


@given(st.binary(max_size=60))
@example(b"1\r\na\r\n0\r\n\r\n")
def test_h11_agrees_on_every_accepted_chunked_body(raw: bytes):
    decoder = ChunkedDecoder()
    try:
        content = decoder.feed(raw)
    except ChunkError:
        return
    if not decoder.done:
        return
    second = h11.Connection(h11.SERVER)
    second.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    second.next_event()
    other = b""
    while isinstance(event := second.next_event(), h11.Data):
        other += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert other == content


@pytest.mark.parametrize(
    "raw",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\n",
        b"1 \r\na\r\n",
        b" 1\r\na\r\n",
        b"\r\n",
        b"1\na\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1;a\nb\r\na\r\n",
        b"1;a\rb\r\na\r\n",
        b"F" * 16 + b"\r\n",
        b"1;" + b"a" * 300 + b"\r\n",
        b"1" * 300,
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\nX: a\r\n folded\r\n\r\n",
        b"0\r\nX: a\n\nGET / HTTP/1.1\r\n\r\n",
        b"0\r\n" + b"X: " + b"a" * 9000 + b"\r\n\r\n",
        b"0\r\n" + b"X: a\r\n" * 100 + b"\r\n",
    ],
)
def test_malformed_chunks_are_refused(raw: bytes):
    with pytest.raises(ChunkError):
        ChunkedDecoder().feed(raw)


def test_a_responses_fields_are_its_lines_for_http2():
    head = response(
        b"HTTP/1.1 204 No Content", b"Server: a", b"Content-Length: 0", b"Keep-Alive: x", b"X-Hop: 1", b"Connection: x-hop"
    )
    assert head.fields == [(b":status", b"204"), (b"server", b"a")]
    assert head.lines == [b"Server: a"]
