"""Where a request's body ends by RFC 9112, and what else changes the meaning of what follows its head. As in
test_http1_requests, with a valid request behind each case."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from tests.conformance.reading_origin import (
    AFTER,
    HOST,
    SERVED_AFTER,
    Opinion,
    all_refused,
    field,
    outcome,
    outcomes,
    served,
)
from tests.edge.client1 import answers_in, request
from tests.edge.harness import Edge, Script
from tests.edge.visiting import visiting


@pytest.fixture
def opinion(script: Script) -> Opinion:
    """The origin's."""
    return Opinion(script)


# RFC 9112 section 6: how long a body is


async def test_a_content_length_is_one_number(edge: Edge, opinion: Opinion) -> None:
    values = {
        "a list of the same": [b"5, 5"],
        "a list": [b"5, 6"],
        "a list that ends": [b"5,"],
        "the same twice": [b"5", b"5"],
        "two": [b"5", b"6"],
        "zero and another": [b"0", b"5"],
        "a plus": [b"+5"],
        "a minus": [b"-5"],
        "minus zero": [b"-0"],
        "hexadecimal": [b"0x5"],
        "hexadecimal digits": [b"a"],
        "an exponent": [b"5e0"],
        "a point": [b"5.0"],
        "underscores": [b"5_0"],
        "a blank within": [b"5 5"],
        "empty": [b""],
        "blank": [b" "],
        "quotes": [b'"5"'],
        "a semicolon": [b"5;a"],
        "huge": [b"9" * 19],
        "beyond 64 bits": [b"18446744073709551621"],
        "very long": [b"0" * 100 + b"5"],
        "other digits": [b"\xb2"],
        "digits in UTF-8": ["٥".encode()],
        "NUL behind": [b"5\x00"],
    }
    cases = {
        name: field(*(b"Content-Length: " + each for each in several), method=b"POST", body=b"hello")
        for name, several in values.items()
    }
    cases["a blank before the colon"] = field(b"Content-Length : 5", method=b"POST", body=b"hello")
    cases["folded"] = field(b"Content-Length:\r\n 5", method=b"POST", body=b"hello")
    await all_refused(edge, opinion, 400, cases)


async def test_a_valid_content_length_frames_a_body_of_any_method(edge: Edge, opinion: Opinion) -> None:
    for method, value in ((b"POST", b"5"), (b"GET", b" 5 "), (b"DELETE", b"\t5"), (b"PUT", b"0005"), (b"OPTIONS", b"5")):
        raw = field(b"content-LENGTH:" + value, method=method, body=b"hello")
        assert await outcome(edge, opinion, raw) == served(method, b"/", b"hello")
        assert opinion.understood[-2].values(b"content-length") == [b"5"]
    assert await outcome(edge, opinion, field(method=b"POST")) == served(b"POST", b"/")
    assert opinion.understood[-2].values(b"content-length") == [b"0"]


async def test_only_the_one_exact_transfer_coding_is_taken(edge: Edge, opinion: Opinion) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    unclear = {
        "a prefix": [b"xchunked"],
        "a suffix": [b"chunkedx"],
        "a list of one": [b"chunked,"],
        "an empty element": [b", chunked"],
        "twice": [b"chunked, chunked"],
        "two fields": [b"chunked", b"chunked"],
        "not last": [b"chunked, gzip"],
        "not last, in a field": [b"chunked", b"gzip"],
        "another alone": [b"gzip"],
        "identity": [b"identity"],
        "identity and chunked": [b"identity", b"chunked"],
        "empty": [b""],
        "quotes": [b'"chunked"'],
        "a parameter": [b"chunked;a=b"],
        "a blank within": [b"chun ked"],
        "a tab before": [b"\tchunked"],
        "a tab behind": [b"chunked\t"],
        "VT before": [b"\x0bchunked"],
        "FF behind": [b"chunked\x0c"],
        "NUL behind": [b"chunked\x00"],
        "NEL behind": [b"chunked\x85"],
        "NBSP before": [b"\xa0chunked"],
        "a folded line": [b"\r\n chunked"],
        "a bare LF": [b"\nchunked"],
        "a bare CR": [b"\rchunked"],
    }
    unknown = {"case": [b"Chunked"], "capitals": [b"CHUNKED"], "another before": [b"gzip, chunked"]}
    for status, spellings in ((400, unclear), (501, unknown)):
        cases = {
            name: field(*(b"Transfer-Encoding: " + each for each in several), method=b"POST", body=body)
            for name, several in spellings.items()
        }
        await all_refused(edge, opinion, status, cases)
    names = (
        b"Transfer-Encoding ",
        b"Transfer-Encoding\t",
        b" Transfer-Encoding",
        b"Transfer-Encoding\x00",
        b"Transfer-\rEncoding",
    )
    await all_refused(edge, opinion, 400, {repr(name): field(name + b": chunked", method=b"POST", body=body) for name in names})
    taken = {repr(each): b"transfer-ENCODING:" + each for each in (b"chunked", b" chunked", b"  chunked  ")}
    assert await outcomes(edge, opinion, {name: field(each, method=b"POST", body=body) for name, each in taken.items()}) == {
        name: served(b"POST", b"/", b"hello") for name in taken
    }


async def test_a_length_beside_a_coding_is_refused(edge: Edge, opinion: Opinion) -> None:
    body = b"0\r\n\r\n"
    length, coding = b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"
    cases = {
        "CL.TE": field(length, coding, method=b"POST", body=body),
        "TE.CL": field(coding, length, method=b"POST", body=body),
        "CL of zero": field(b"Content-Length: 0", coding, method=b"POST", body=body),
        "TE that is nominated": field(b"Connection: transfer-encoding", length, coding, method=b"POST", body=body),
        "CL that is nominated": field(b"Connection: content-length", length, coding, method=b"POST", body=body),
        "of HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + length + b"\r\n" + coding + b"\r\n\r\n" + body,
        "a coding of HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + coding + b"\r\n\r\n" + body,
    }
    await all_refused(edge, opinion, 400, cases)


# RFC 9112 section 7: chunks


def chunked(body: bytes) -> bytes:
    """A chunked request with these chunks, as they are."""
    return field(b"Transfer-Encoding: chunked", method=b"POST", body=body)


async def test_malformed_chunks_are_refused_and_the_origins_request_never_ends(edge: Edge, opinion: Opinion) -> None:
    bodies = {
        "no size": b"\r\nhello\r\n0\r\n\r\n",
        "no hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
        "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
        "a plus": b"+5\r\nhello\r\n0\r\n\r\n",
        "a minus": b"-5\r\nhello\r\n0\r\n\r\n",
        "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
        "a blank before": b" 5\r\nhello\r\n0\r\n\r\n",
        "a blank behind": b"5 \r\nhello\r\n0\r\n\r\n",
        "a tab behind": b"5\t\r\nhello\r\n0\r\n\r\n",
        "a huge size": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        "too many zeros": b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n",
        "two sizes": b"5,5\r\nhello\r\n0\r\n\r\n",
        "NUL behind": b"5\x00\r\nhello\r\n0\r\n\r\n",
        "LF behind the size": b"5\nhello\r\n0\r\n\r\n",
        "CR behind the size": b"5\rhello\r\n0\r\n\r\n",
        "CR CR LF": b"5\r\r\nhello\r\n0\r\n\r\n",
        "LF behind the data": b"5\r\nhello\n0\r\n\r\n",
        "CR behind the data": b"5\r\nhello\r0\r\n\r\n",
        "nothing behind the data": b"5\r\nhello0\r\n\r\n",
        "two bytes behind the data": b"5\r\nhelloXX0\r\n\r\n",
        "more than the size": b"3\r\nhello\r\n0\r\n\r\n",
        "less than the size": b"7\r\nhello\r\n0\r\n\r\n",
        "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        "NUL in an extension": b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        "an extension without its semicolon": b"5 a\r\nhello\r\n0\r\n\r\n",
        "too long an extension": b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
        "LF behind the last size": b"5\r\nhello\r\n0\n\r\n",
        "LF for the end": b"5\r\nhello\r\n0\r\n\n",
        "CR for the end": b"5\r\nhello\r\n0\r\n\rX",
    }
    got = await outcomes(edge, opinion, {name: chunked(body) for name, body in bodies.items()})
    begun = {name: each[2] for name, each in got.items() if each[2] > 1}
    assert begun == {}
    assert {name: each[:2] for name, each in got.items()} == dict.fromkeys(got, ([400], []))


async def test_every_valid_chunk_is_understood_and_goes_on_without_its_extensions(edge: Edge, opinion: Opinion) -> None:
    bodies = {
        "one": b"5\r\nhello\r\n0\r\n\r\n",
        "several": b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "zeros before": b"0005\r\nhello\r\n000\r\n\r\n",
        "letters": b"5\r\nhello\r\n0\r\n\r\n",
        "a name": b"5;a\r\nhello\r\n0;b\r\n\r\n",
        "a name and a value": b'5;a=b;c="d;\\"e"\r\nhello\r\n0\r\n\r\n',
        "blanks before the semicolon": b"5 \t; a = b\r\nhello\r\n0\r\n\r\n",
    }
    assert await outcomes(edge, opinion, {name: chunked(body) for name, body in bodies.items()}) == {
        name: served(b"POST", b"/", b"hello") for name in bodies
    }
    assert await outcome(edge, opinion, chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n")) == served(
        b"POST", b"/", b"0123456789" * 2
    )


async def test_trailers_that_frame_route_or_authenticate_are_left_out(edge: Edge, opinion: Opinion) -> None:
    lines = (
        b"X-Sum: 1",
        b"Content-Length: 9",
        b"Transfer-Encoding: chunked",
        b"Host: other.test",
        b"Connection: close",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"Authorization: Basic eDp5",
        b"Cookie: a=b",
        b"Content-Type: text/html",
        b"Content_Length: 9",
        b"Workspace-Id: evil",
        b"X-Forwarded-For: 192.0.2.1",
        b"Via: 1.1 a",
        b"X-End: 2",
    )
    raw = chunked(b"\r\n".join((b"5\r\nhello\r\n0", *lines, b"", b"")))
    assert await outcome(edge, opinion, raw) == served(b"POST", b"/", b"hello")
    assert opinion.understood[-2].trailers == [(b"x-sum", b"1"), (b"x-end", b"2")]


async def test_malformed_trailers_are_refused_and_end_the_connection(edge: Edge, opinion: Opinion) -> None:
    lines = {
        "no colon": b"X-A",
        "a blank before the colon": b"X-A : 1",
        "folded": b"X-A: 1\r\n 2",
        "a bare CR": b"X-A: 1\rX-B: 2",
        "a bare LF": b"X-A: 1\nX-B: 2",
        "a request behind two LF": b"X-A: 1\n\nGET /smuggled HTTP/1.1\r\nHost: gallery.test",
        "NUL": b"X-A: \x00",
        "too many": b"\r\n".join([b"X-A: 1"] * 100),
        "too large": b"X-A: " + b"a" * 9000,
    }
    got = await outcomes(
        edge, opinion, {name: chunked(b"5\r\nhello\r\n0\r\n" + each + b"\r\n\r\n") for name, each in lines.items()}
    )
    assert {name: each[:2] for name, each in got.items()} == dict.fromkeys(lines, ([400], []))


# RFC 9110 sections 7.8 and 10.1.1: Upgrade and Expect


async def test_no_other_protocol_is_switched_to(edge: Edge, opinion: Opinion) -> None:
    connection = b"Connection: Upgrade, HTTP2-Settings"
    cases = {
        "h2c": field(connection, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        "h2c with a body": field(connection, b"Upgrade: h2c", b"Content-Length: 3", method=b"POST", body=b"abc"),
        "h2c and websocket": field(connection, b"Upgrade: h2c, websocket"),
        "two fields": field(connection, b"Upgrade: websocket", b"Upgrade: h2c"),
        "TLS": field(connection, b"Upgrade: TLS/1.0"),
        "a version": field(connection, b"Upgrade: websocket/13"),
        "websocket that is not nominated": field(b"Upgrade: websocket"),
        "of HTTP/1.0": b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    }
    got = await outcomes(edge, opinion, cases)
    assert {name: (each[0], len(each[1])) for name, each in got.items()} == dict.fromkeys(cases, ([200, 200], 2))
    for each in opinion.understood:
        assert not {name for name, _ in each.fields} & {b"upgrade", b"connection", b"http2-settings"}


async def test_a_websocket_begins_with_a_get_without_a_body(edge: Edge, opinion: Opinion) -> None:
    spell = (b"Connection: Upgrade", b"Upgrade: websocket")
    cases = {
        "POST": field(*spell, method=b"POST"),
        "a length": field(*spell, b"Content-Length: 3", body=b"abc"),
        "chunks": field(*spell, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    }
    await all_refused(edge, opinion, 400, cases)


async def test_a_websocket_that_the_origin_does_not_open_leaves_the_next_request_a_request(
    edge: Edge, opinion: Opinion
) -> None:
    raw = field(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777")
    assert await outcome(edge, opinion, raw) == served(b"GET", b"/")


async def test_expectations_but_for_one_are_refused(edge: Edge, opinion: Opinion) -> None:
    await all_refused(
        edge,
        opinion,
        417,
        {
            each.decode(): field(b"Expect: " + each, method=b"POST")
            for each in (b"200-ok", b"", b"100-continue, a", b"100-continue;a")
        },
    )
    for method, lines, body in ((b"POST", (b"Content-Length: 3",), b"abc"), (b"GET", (), b"")):
        raw = field(b"Expect: 100-Continue", *lines, method=method, body=body)
        assert await outcome(edge, opinion, raw) == served(method, b"/", body)
        assert opinion.understood[-2].values(b"expect") == ([b"100-continue"] if body else [])
    old = b"POST / HTTP/1.0\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    assert await outcome(edge, opinion, old) == ([200], [(b"POST", b"/", b"abc")], 1)
    assert opinion.understood[-1].values(b"expect") == []


# RFC 9112 section 9: the connection


async def test_nothing_is_served_behind_the_request_that_asked_for_the_end(edge: Edge, opinion: Opinion) -> None:
    for said in (b"close", b"CLOSE", b"keep-alive, close", b"x-a,close"):
        raw = field(b"Connection: " + said, b"Content-Length: 3", method=b"POST", body=b"abc")
        assert await outcome(edge, opinion, raw) == ([200], [(b"POST", b"/", b"abc")], 1)


async def test_a_refusal_says_that_the_connection_ends(edge: Edge, opinion: Opinion) -> None:
    (answer,) = await answers_in(await edge.exchange("gallery.test", field(b"X-A : 1") + AFTER))
    assert (answer.field(b"connection"), answer.version) == (b"close", b"HTTP/1.1")
    assert opinion.understood == []


@pytest.mark.parametrize("protocol", ["h1", "h2"])
async def test_the_edges_own_answers_are_dated(edge: Edge, protocol: str) -> None:
    async with visiting(edge, protocol) as ask:
        own = (await ask(host="other.test")).field(b"date")
    assert own is not None
    assert abs(parsedate_to_datetime(own.decode()).timestamp() - time.time()) < 600


async def test_a_body_is_never_taken_for_a_request(edge: Edge, opinion: Opinion) -> None:
    hidden = request(b"GET /smuggled")
    assert await outcome(edge, opinion, field(b"Content-Length: %d" % len(hidden), method=b"POST", body=hidden)) == served(
        b"POST", b"/", hidden
    )
    assert await outcome(edge, opinion, chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden))) == served(
        b"POST", b"/", hidden
    )
    got = await edge.exchange(
        "gallery.test", field(method=b"GET") + hidden + AFTER
    )  # a body that nothing announces is a request
    assert [answer.status for answer in await answers_in(got)] == [200] * 3
    assert [each.short for each in opinion.understood[-3:]] == [(b"GET", b"/", b""), (b"GET", b"/smuggled", b""), SERVED_AFTER]
    assert opinion.faults == []
