"""What a client may send by RFC 9112 and RFC 9110, and what the origin gets of it: nothing, or exactly one request.

Each case is sent over TLS with a valid request behind it. Where the case is refused, that one must never be served; where it
is served, a second opinion at the origin (h11) has to find exactly the two.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.reading_origin import HOST, Opinion, all_refused, field, line, outcome, outcomes, refused, served
from tests.edge.client1 import request
from tests.edge.harness import Edge, Script, fields


@pytest.fixture
def opinion(script: Script) -> Opinion:
    """The origin's."""
    return Opinion(script)


# RFC 9112 section 2 and 3: the message and its first line


MALFORMED_LINES = {
    "HTTP/0.9": b"GET /",
    "HTTP/0.9 with a blank": b"GET / ",
    "two spaces": b"GET  / HTTP/1.1",
    "a tab": b"GET\t/ HTTP/1.1",
    "a blank in the target": b"GET /a b HTTP/1.1",
    "a blank behind": b"GET / HTTP/1.1 ",
    "a blank before": b" GET / HTTP/1.1",
    "no target": b"GET HTTP/1.1",
    "no method": b"/ HTTP/1.1",
    "a method that is no token": b"G(T / HTTP/1.1",
    "a control byte in the method": b"G\x01T / HTTP/1.1",
    "a control byte in the target": b"GET /\x0b HTTP/1.1",
    "NUL in the target": b"GET /\x00 HTTP/1.1",
    "DEL in the target": b"GET /\x7f HTTP/1.1",
    "bytes above ASCII": b"GET /\xc3\xa4 HTTP/1.1",
    "a fragment": b"GET /a#b HTTP/1.1",
    "lower-case HTTP": b"GET / http/1.1",
    "no minor version": b"GET / HTTP/1",
    "two digits": b"GET / HTTP/1.10",
    "two digits before": b"GET / HTTP/01.1",
    "a comma": b"GET / HTTP/1,1",
    "another protocol": b"GET / ICY/1.1",
    "a bare CR": b"GET /\r HTTP/1.1",
    "a bare CR for a blank": b"GET\r/\rHTTP/1.1",
    "an answer": b"HTTP/1.1 200 OK",
}


async def test_a_malformed_request_line_is_refused(edge: Edge, opinion: Opinion) -> None:
    await all_refused(edge, opinion, 400, {name: line(first) for name, first in MALFORMED_LINES.items()})


async def test_other_versions_are_told_so(edge: Edge, opinion: Opinion) -> None:
    cases = {each.decode(): line(b"GET / " + each) for each in (b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9")}
    cases["the preface of HTTP/2"] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    await all_refused(edge, opinion, 505, cases)


async def test_later_minor_versions_are_understood_and_go_on_as_ours(edge: Edge, opinion: Opinion) -> None:
    for minor in (b"2", b"9"):
        assert await outcome(edge, opinion, line(b"GET /a HTTP/1." + minor)) == served(b"GET", b"/a")


async def test_a_request_of_http_1_0_ends_the_connection(edge: Edge, opinion: Opinion) -> None:
    for keep in (b"", b"Connection: keep-alive\r\n"):
        raw = b"POST /a HTTP/1.0\r\n" + HOST + keep + b"Content-Length: 3\r\n\r\nabc"
        assert await outcome(edge, opinion, raw) == ([200], [(b"POST", b"/a", b"abc")], 1)


async def test_http_0_9_is_answered_at_once(edge: Edge, opinion: Opinion) -> None:
    assert fields(await edge.exchange("gallery.test", b"GET /\r\n"))[0] == 400


async def test_empty_lines_before_a_request_are_ignored(edge: Edge, opinion: Opinion) -> None:
    for empty in (b"\r\n", b"\r\n\r\n"):
        assert await outcome(edge, opinion, empty + line(b"GET /a HTTP/1.1")) == served(b"GET", b"/a")
    others = {"LF": b"\n", "CR": b"\r", "blanks": b" \r\n", "NUL": b"\x00\r\n"}
    await all_refused(edge, opinion, 400, {name: start + line(b"GET /a HTTP/1.1") for name, start in others.items()})


async def test_no_line_ends_with_less_than_crlf(edge: Edge, opinion: Opinion) -> None:
    whole = field(b"X-A: 1")
    cases = {
        "LF everywhere": whole.replace(b"\r\n", b"\n"),
        "CR everywhere": whole.replace(b"\r\n", b"\r"),
        "LF behind the request line": whole.replace(b"\r\n", b"\n", 1),
        "CR behind the request line": whole.replace(b"\r\n", b"\r", 1),
        "LF behind a field": whole.replace(b"1\r\n", b"1\n"),
        "CR behind a field": whole.replace(b"1\r\n", b"1\r"),
        "CR CR LF": whole.replace(b"1\r\n", b"1\r\r\n"),
        "LF CR": whole.replace(b"1\r\n", b"1\n\r"),
        "an empty line of LF": whole.replace(b"1\r\n\r\n", b"1\r\n\n"),
        "an empty line of CR": whole.replace(b"1\r\n\r\n", b"1\r\n\r"),
        "two LF": whole.replace(b"1\r\n\r\n", b"1\n\n"),
    }
    await all_refused(edge, opinion, 400, cases)


async def test_a_target_has_one_of_three_forms(edge: Edge, opinion: Opinion) -> None:
    taken = {
        b"GET /a?b=c HTTP/1.1": b"/a?b=c",
        b"GET //a HTTP/1.1": b"//a",
        b"GET /%2e%2e/%00 HTTP/1.1": b"/%2e%2e/%00",
        b"OPTIONS * HTTP/1.1": b"*",
        b"GET http://gallery.test/a HTTP/1.1": b"/a",
        b"GET https://GALLERY.test HTTP/1.1": b"/",
        b"GET https://gallery.test?a HTTP/1.1": b"/?a",
        b"OPTIONS https://gallery.test HTTP/1.1": b"*",
    }
    assert await outcomes(edge, opinion, {first.decode(): line(first) for first in taken}) == {
        first.decode(): served(first.split(b" ")[0], target) for first, target in taken.items()
    }
    wrong = {
        "an asterisk": b"GET * HTTP/1.1",
        "an authority": b"GET gallery.test HTTP/1.1",
        "an authority with port": b"GET gallery.test:443 HTTP/1.1",
        "a relative path": b"GET a/b HTTP/1.1",
        "another scheme": b"GET ftp://gallery.test/ HTTP/1.1",
        "one slash": b"GET http:/gallery.test/ HTTP/1.1",
        "no authority": b"GET http:///a HTTP/1.1",
        "a user": b"GET http://gallery.test@gallery.test/ HTTP/1.1",
        "a fragment": b"GET http://gallery.test/#a HTTP/1.1",
    }
    await all_refused(edge, opinion, 400, {name: line(first) for name, first in wrong.items()})


async def test_a_target_that_disagrees_with_host_is_refused(edge: Edge, opinion: Opinion) -> None:
    targets = (
        b"http://other.test/",
        b"https://gallery.test:8443/",
        b"http://gallery.test./",
        b"http://gallery.test,other.test/",
    )
    await all_refused(edge, opinion, 400, {each.decode(): line(b"GET " + each + b" HTTP/1.1") for each in targets})


async def test_an_https_target_is_not_answered_in_clear(edge: Edge) -> None:
    for target, status in ((b"https://gallery.test/", 421), (b"HTTPS://gallery.test/a", 421), (b"http://gallery.test/a", 308)):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
        writer.write(request(b"GET " + target, close=True))
        assert fields(await asyncio.wait_for(reader.read(), 60))[0] == status
        writer.close()


async def test_too_long_a_line_and_too_large_a_head_have_their_own_status(edge: Edge, opinion: Opinion) -> None:
    assert await outcome(edge, opinion, line(b"GET /" + b"a" * 17_000 + b" HTTP/1.1")) == refused(414)
    cases = {"a field": field(b"X-A: " + b"a" * 40_000), "many fields": field(*[b"X-A: b"] * 200)}
    await all_refused(edge, opinion, 431, cases)


# RFC 9112 section 3.2 and RFC 9110 section 7.2: Host


async def test_a_request_has_exactly_one_valid_host(edge: Edge, opinion: Opinion) -> None:
    hosts: dict[str, bytes] = {
        "none": b"",
        "two": HOST + HOST,
        "two names": HOST + b"Host: other.test\r\n",
        "empty": b"Host:\r\n",
        "blank": b"Host:  \r\n",
        "a blank within": b"Host: gallery test\r\n",
        "a user": b"Host: a@gallery.test\r\n",
        "a path": b"Host: gallery.test/a\r\n",
        "a query": b"Host: gallery.test?a\r\n",
        "a fragment": b"Host: gallery.test#a\r\n",
        "a backslash": b"Host: gallery.test\\a\r\n",
        "a port that is none": b"Host: gallery.test:a\r\n",
        "a port that is too large": b"Host: gallery.test:99999\r\n",
        "two ports": b"Host: gallery.test:1:2\r\n",
        "NUL": b"Host: gallery.test\x00\r\n",
        "bytes above ASCII": b"Host: g\xc3\xa4llery.test\r\n",
        "a quote": b'Host: "gallery.test"\r\n',
        "half a bracket": b"Host: [::1\r\n",
    }
    cases = {name: b"GET / HTTP/1.1\r\n" + host + b"\r\n" for name, host in hosts.items()}
    cases["none with HTTP/1.0"] = b"GET / HTTP/1.0\r\n\r\n"
    cases["none with an absolute target"] = b"GET http://gallery.test/ HTTP/1.1\r\n\r\n"
    await all_refused(edge, opinion, 400, cases)


@pytest.mark.parametrize(
    "host",
    [b"other.test", b"127.0.0.1", b"[::1]", b"gallery.test,other.test", b"gallery.test;a=b", b"gallery", b"a.gallery.test"],
)
async def test_a_host_that_the_connection_is_not_for_is_misdirected(edge: Edge, opinion: Opinion, host: bytes) -> None:
    answer = await edge.exchange("gallery.test", request(b"GET /", host=host, close=True))
    assert (fields(answer)[0], opinion.begun) == (421, 0)


async def test_the_names_of_a_host_are_one_name_in_any_case_and_with_a_port(edge: Edge, opinion: Opinion) -> None:
    for host in (b"GALLERY.test", b"gallery.test.", b"gallery.test:443", b"gallery.test:", b"gallery.test:8443"):
        raw = b"GET /a HTTP/1.1\r\nHost:" + host + b" \t\r\n\r\n"
        assert await outcome(edge, opinion, raw) == served(b"GET", b"/a")
        assert opinion.understood[-2].values(b"host") == [host]


# RFC 9110 section 9: methods


async def test_connect_and_trace_are_refused_with_what_is_allowed(edge: Edge, opinion: Opinion) -> None:
    cases = {
        "CONNECT": line(b"CONNECT gallery.test:443 HTTP/1.1"),
        "CONNECT and a path": line(b"CONNECT / HTTP/1.1"),
        "TRACE": line(b"TRACE / HTTP/1.1"),
    }
    await all_refused(edge, opinion, 405, cases)
    assert b"OPTIONS" in fields(await edge.exchange("gallery.test", cases["TRACE"]))[1][b"allow"]


async def test_any_other_method_goes_on_as_it_came(edge: Edge, opinion: Opinion) -> None:
    for method in (
        b"GET",
        b"POST",
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"PROPFIND",
        b"get",
        b"M-SEARCH",
        b"!#$%&'*+-.^_`|~",
    ):
        assert await outcome(edge, opinion, line(method + b" /a HTTP/1.1")) == served(method, b"/a")


async def test_max_forwards_is_counted_down_for_options(edge: Edge, opinion: Opinion) -> None:
    cases = {"zero": field(b"Max-Forwards: 0", method=b"OPTIONS")}
    await all_refused(edge, opinion, 501, cases)
    for method, value in ((b"OPTIONS", b"4"), (b"GET", b"5")):
        assert await outcome(edge, opinion, field(b"Max-Forwards: 5", method=method)) == served(method, b"/")
        assert opinion.understood[-2].values(b"max-forwards") == [value]


# RFC 9112 section 5 and RFC 9110 section 5: fields


async def test_a_malformed_field_line_is_refused(edge: Edge, opinion: Opinion) -> None:
    lines = {
        "a blank before the colon": b"X-A : 1",
        "a tab before the colon": b"X-A\t: 1",
        "a blank in the name": b"X A: 1",
        "no colon": b"X-A",
        "an empty name": b": 1",
        "a colon alone": b":",
        "a folded line": b"X-A: 1\r\n 2",
        "a folded line with a tab": b"X-A: 1\r\n\t2",
        "a folded empty line": b"X-A: 1\r\n ",
        "a name in quotes": b'"X-A": 1',
        "a name in brackets": b"(X-A): 1",
        "a name above ASCII": b"X-\xc3\xa4: 1",
        "a control byte in the name": b"X\x01A: 1",
        "NUL in the name": b"X\x00A: 1",
        "a CR in the name": b"X\rA: 1",
        "a bare CR": b"X-A: 1\rX-B: 2",
        "a bare LF": b"X-A: 1\nX-B: 2",
        "NUL": b"X-A: 1\x002",
        "BEL": b"X-A: \x07",
        "ESC": b"X-A: \x1b",
        "DEL": b"X-A: \x7f",
        "VT before": b"X-A:\x0b1",
        "FF behind": b"X-A: 1\x0c",
    }
    await all_refused(edge, opinion, 400, {name: field(each) for name, each in lines.items()})
    first = b"GET / HTTP/1.1\r\n Host: gallery.test\r\n\r\n"
    await all_refused(edge, opinion, 400, {"blanks before the first field": first})


async def test_every_valid_field_goes_on_in_its_order(edge: Edge, opinion: Opinion) -> None:
    sent = [b"X-A: 1", b"x-b:2", b"X-A:\t 3 \t", b"X-C:", b"X-D: \x80\xff", b"!#$%&'*+-.^_`|~: a\tb", b'X-E: ;,"']
    assert await outcome(edge, opinion, field(*sent)) == served(b"GET", b"/")
    names = {each.partition(b":")[0].lower() for each in sent}
    assert [each for each in opinion.understood[-2].fields if each[0] in names] == [
        (name.lower(), value.strip(b" \t")) for name, _, value in (each.partition(b":") for each in sent)
    ]


async def test_what_belongs_to_the_clients_connection_ends_here(edge: Edge, opinion: Opinion) -> None:
    hop = (
        b"Connection: keep-alive, X-A , te",
        b"connection:x-b",
        b"X-A: 1",
        b"x-a: 2",
        b"X-B: 3",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"TE: trailers",
        b"Trailer: X-Sum",
        b"Proxy-Authorization: Basic eDp5",
        b"HTTP2-Settings: AAMAAABk",
        b"X-C: 4",
    )
    assert await outcome(edge, opinion, field(*hop)) == served(b"GET", b"/")
    names = [name for name, _ in opinion.understood[-2].fields]
    gone = {b"x-a", b"x-b", b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"http2-settings"}
    assert not {*names} & (gone | {b"proxy-authorization"})
    assert b"x-c" in names


async def test_what_frames_and_routes_cannot_be_nominated_away(edge: Edge, opinion: Opinion) -> None:
    nominated = b"Connection: host, content-length, transfer-encoding, workspace-id, x-forwarded-for, via, forwarded"
    assert await outcome(edge, opinion, field(nominated, b"Content-Length: 3", method=b"PUT", body=b"abc")) == served(
        b"PUT", b"/", b"abc"
    )
    got = opinion.understood[-2]
    once = (b"host", b"content-length", b"workspace-id", b"x-forwarded-for", b"via", b"forwarded")
    assert {name: len(got.values(name)) for name in once} == dict.fromkeys(once, 1)


async def test_what_an_origin_may_read_as_another_field_is_left_out(edge: Edge, opinion: Opinion) -> None:
    alike = (
        b"Content_Length: 9",
        b"transfer_encoding: chunked",
        b"Transfer.Encoding: chunked",
        b"Workspace_Id: evil",
        b"HOST_: a",
    )
    assert await outcome(edge, opinion, field(*alike, method=b"POST")) == served(b"POST", b"/")
    got = opinion.understood[-2]
    assert {name for name, _ in got.fields} & {
        b"content_length",
        b"transfer_encoding",
        b"transfer.encoding",
        b"workspace_id",
    } == set()
    assert got.values(b"content-length") == [b"0"]
