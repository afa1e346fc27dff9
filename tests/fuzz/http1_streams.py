"""Streams of HTTP/1.1 messages for hypothesis: valid ones, changed at the places where parsers differ.

A message is a list of parts, each of a kind; a change puts one of the kind's ill spellings in place of a part. So nearly all
of a message stays right, and what a parser makes of the one thing that is wrong is seen in what comes behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Part = tuple[str, bytes]

ILL: dict[str, list[bytes]] = {
    "line end": [
        b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n", b"\t\r\n", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b"", b"\x0b\r\n",
        b"\0\r\n", b"\r\n \r\n", b"\r \n", b"\x85", b"\n\n", b"\r\n\r", b"\r\n\n",
    ],
    "space": [
        b"  ", b"\t", b"", b"\x0b", b"\xa0", b" \t", b"\r", b"\0",
    ],
    "colon": [
        b" : ", b"\t:", b":", b":\t ", b"::", b"", b" ", b":\x0b", b":\r\n ", b": \0", b";", b"\0:", b":\r", b"\r: ", b"\n: ",
    ],
    "version": [
        b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.10", b"HTTP/11", b"HTTP/1", b"http/1.1",
        b"HTTP/1.1 ", b"HTTP /1.1", b"HTTP/1. 1", b"HTTP/1,1", b"HTTP/+1.1", b"HTTP/01.1", b"HTTPS/1.1", b"", b"HTTP/1.1\0",
        b"ICE/1.0", b"RTSP/1.0",
    ],
    "name": [
        b"Content-Length", b"content-length", b"Content_Length", b"Content-Length\0", b"Content Length", b"", b"\0",
        b"Transfer-Encoding", b"transfer-encoding", b"Transfer_Encoding", b"Transfer\xadEncoding", b"Host", b"Connection",
        b"Proxy-Connection", b"Upgrade", b"Trailer", b"Expect", b"Workspace-Id", b"X-Forwarded-For", b"[x]", b"x\xe9", b"(x)",
        b" x", b"\tx", b"x@", b"x\x7f", b'"x"', b"x/y", b"Keep-Alive", b"TE",
    ],
    "length": [
        b"+3", b"-1", b"-0", b"3 ", b" 3", b"03", b"3,3", b"3, 3", b"3,5", b",3", b"3,", b"0x3", b"3_0", b"\xb23", b"3;",
        b"3.0", b"1e1", b"", b"99999999999999999999", b"18446744073709551619", b"9223372036854775807", b"9223372036854775808",
        b"4294967299", b"3\t", b"3 3", b"0", b"00", b"3\x0b", b"3\0", b"'3'", b"5", b"1", b"000000000000000000000003",
    ],
    "coding": [
        b"Chunked", b"CHUNKED", b"chunked ", b" chunked", b"chunked,", b",chunked", b", chunked", b"chunked, chunked",
        b"identity", b"identity, chunked", b"chunked, identity", b"gzip, chunked", b"gzip", b"xchunked", b"chunkedx",
        b"chunked;q=1", b"chunked; a=b", b'"chunked"', b"\x0bchunked", b"chunked\x0b", b"chunked\0", b"chun\0ked",
        b"c hunked", b"chunke\xe4", b"", b"\tchunked\t", b"chunked\r\n ", b"\r\n chunked", b"trailers", b"chunke",
    ],
    "host": [
        b"a.test:80", b"A.TEST", b"a.test.", b"", b"a.test,b.test", b"a.test b.test", b"a.test:", b"a.test:99999",
        b"a.test/x", b"u@a.test", b"[::1]", b"[::1", b"a.test\t", b"a_b.test", b"http://a.test", b"b.test", b"a.test#",
        b"a.test?", b"a.te\xc3\xa4st", b"%61.test",
    ],
    "size": [
        b"0", b"00", b"3 ", b" 3", b"\t3", b"+3", b"-3", b"0x3", b"3_", b"03", b"0000000000000003", b"00000000000000003",
        b"ffffffffffffffff", b"10000000000000003", b"7fffffffffffffff", b"8000000000000000", b"100000003", b"3.", b"g", b"",
        b"3\0", b"3\x0b", b"A", b"a", b"3\r", b"3\n", b"2", b"4", b"3g", b"3 0",
    ],
    "extension": [
        b";", b";a", b";a=b", b'; a="b"', b";a=b;c", b" ;a", b";a=b ", b'; a="b\r\n"', b";a\n", b";a\r", b";\0", b"\x0b;a",
        b";a=\xff", b"=a", b",a", b";" + b"a" * 300, b';a="', b"; a = b", b";\x7f", b" ; a ; b", b"\t", b" a",
        b'; a="\\"; b="', b";;",
    ],
    "content": [
        b"", b"ab", b"abcd", b"a\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"abc\n", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ],
    "target": [
        b"/\xe4", b"/a b", b"/#f", b"*", b"a.test:443", b"http://a.test/", b"https://a.test/x?y", b"http://b.test/", b"/\0",
        b"/\t", b"/a\x7f", b"", b"a", b"//b.test/", b"/%00", b"/a\rb", b"/a\nb", b'/"<>\\^`{|}', b"http://a.test", b"?a",
        b"HTTP/1.1", b"/ HTTP/1.1", b"http://u@a.test/", b"/../..", b"https://a.test:443/", b"http:///", b"/\x0b",
    ],
    "method": [
        b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE", b"PATCH", b"get", b"G ET", b"", b"GE\0T", b"\nGET",
        b"\r\nGET", b" GET", b"\r\n\r\nGET", b"G\xc8T", b"PRI", b"GET\t", b"(GET)", b"\0GET",
    ],
    "status": [
        b"100", b"101", b"103", b"204", b"205", b"206", b"304", b"302", b"404", b"500", b"599", b"600", b"999", b"099", b"20",
        b"2000", b"2 0", b"+20", b"abc", b"", b"-10", b"200 ", b"0200", b"199",
    ],
    "value": [
        b"", b"a b", b"a\tb", b"\xe4\xff", b"a\0", b"a\x7f", b"a\x01", b"a\r", b"a\rb", b"a\nb", b"a\x0b", b"a\x0c",
        b"\x1b[0m", b"close", b"keep-alive", b"close, x", b"a\r\n b", b"a\r\n\tb", b"a\r\n", b'"', b"a" * 600, b"upgrade",
        b"h2c", b"websocket", b"100-continue", b"\x85", b"a\r\nContent-Length: 3",
    ],
    "reason": [
        b"", b"OK\0", b"\xe4", b"a\tb", b"O\rK", b"a\x7f", b"a b", b"\x0b", b" OK", b"OK ", b"\t",
    ],
    "extra": [
        b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Host: a.test\r\n", b"Transfer-Encoding: identity\r\n", b"Host: b.test\r\n", b"Connection: close\r\n",
        b"Connection: content-length\r\n", b" x: y\r\n", b"Connection: transfer-encoding, host\r\n", b"Upgrade: h2c\r\n",
        b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"\r\n", b":\r\n", b"x\r\n", b"Expect: 100-continue\r\n",
        b"Content-Length:\r\n", b"Transfer-Encoding:\r\n", b"Trailer: x\r\n", b"\0: x\r\n", b"x: y\n",
        b"Transfer-Encoding : chunked\r\n", b"Content-Length : 3\r\n", b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"X\xff: y\r\n", b"Transfer-Encoding\t:chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n",
        b"X-A: b\rContent-Length: 3\r\n", b"Workspace_Id: other\r\n", b"Transfer-Encoding: gzip\r\n", b"TE: trailers\r\n",
        b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    ],
}  # fmt: skip
"""What may stand in place of a part of each kind."""

END: Part = "line end", b"\r\n"


def line(name: bytes, value: bytes, kind: str = "value") -> list[Part]:
    return [("extra", b""), ("name", name), ("colon", b": "), (kind, value), END]


def chunked(pieces: list[bytes], trailers: list[bytes]) -> list[Part]:
    """A chunked body."""
    parts: list[Part] = []
    for piece in pieces:
        parts += [("size", b"%x" % len(piece)), ("extension", b""), END, ("content", piece), END]
    parts += [("size", b"0"), ("extension", b""), END]
    for value in trailers:
        parts += line(b"X-Trailer", value)
    return [*parts, END]


@st.composite
def bodies(draw: st.DrawFn) -> list[Part]:
    """The rest of a message: its framing fields, the empty line, its body."""
    kind = draw(st.sampled_from(["none", "length", "chunked", "chunked"]))
    if kind == "none":
        return [("extra", b""), END]
    if kind == "length":
        content = draw(st.sampled_from([b"abc", b"", b"0\r\n\r\n", b"x" * 12]))
        return [*line(b"Content-Length", b"%d" % len(content), "length"), END, ("content", content)]
    pieces = draw(st.lists(st.sampled_from([b"abc", b"x" * 16, b"\r\n", b"0\r\n\r\n"]), max_size=3))
    trailers = draw(st.sampled_from([[], [], [b"y"], [b"y", b"z"]]))
    return [*line(b"Transfer-Encoding", b"chunked", "coding"), END, *chunked(pieces, trailers)]


@st.composite
def requests(draw: st.DrawFn) -> list[Part]:
    method, target = draw(st.sampled_from([(b"GET", b"/"), (b"POST", b"/a?b=c")]))
    parts: list[Part] = [
        ("method", method),
        ("space", b" "),
        ("target", target),
        ("space", b" "),
        ("version", b"HTTP/1.1"),
        END,
    ]
    parts += line(b"Host", b"a.test", "host")
    if draw(st.booleans()):
        parts += line(b"X-A", b"b")
    return parts + draw(bodies())


@st.composite
def responses(draw: st.DrawFn) -> list[Part]:
    parts: list[Part] = [("version", b"HTTP/1.1"), ("space", b" "), ("status", b"200"), ("space", b" "), ("reason", b"OK"), END]
    if draw(st.booleans()):
        parts += line(b"Server", b"x")
    return parts + draw(bodies())


_LENGTH = [*line(b"Content-Length", b"3", "length"), END, ("content", b"abc")]
_CHUNKED = [*line(b"Transfer-Encoding", b"chunked", "coding"), END, *chunked([b"abc"], [b"y"])]
_BEHIND = b"GET /behind HTTP/1.1\r\nHost: a.test\r\n\r\n", b"HTTP/1.1 404 Behind\r\nContent-Length: 3\r\n\r\nabc"


def one_thing_wrong(*, answers: bool) -> Iterator[bytes]:
    """Every part of a message put in every ill way, with a right message behind it. Messages with a length, and with chunks."""
    for rest in (_LENGTH, _CHUNKED):
        first: list[Part]
        if answers:
            first = [("version", b"HTTP/1.1"), ("space", b" "), ("status", b"200"), ("space", b" "), ("reason", b"OK"), END]
        else:
            first = [("method", b"POST"), ("space", b" "), ("target", b"/a?b"), ("space", b" "), ("version", b"HTTP/1.1"), END]
            first += line(b"Host", b"a.test", "host")
        parts = [*first, *rest]
        for at, (kind, _) in enumerate(parts):
            for text in ILL[kind]:
                yield b"".join([*(one for _, one in parts[:at]), text, *(one for _, one in parts[at + 1 :]), _BEHIND[answers]])


def _streams(messages: st.SearchStrategy[list[Part]]) -> st.SearchStrategy[bytes]:
    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        parts = [part for message in draw(st.lists(messages, min_size=1, max_size=3)) for part in message]
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 2, 3]))):
            at = draw(st.integers(0, len(parts) - 1))
            kind = parts[at][0]
            parts[at] = kind, draw(st.sampled_from(ILL[kind]))
        data = bytearray(b"".join(text for _, text in parts))
        if data and draw(st.integers(0, 7)) == 0:
            _change(data, draw)
        return bytes(data)

    return build()


def _change(data: bytearray, draw: Any) -> None:
    """One byte more, less, or another one, anywhere."""
    at = draw(st.integers(0, len(data) - 1))
    byte = draw(st.sampled_from(b"\r\n\0 \t:;,0a\x0b\x7f\x80\xff"))
    match draw(st.sampled_from(["put", "drop", "replace", "cut"])):
        case "put":
            data.insert(at, byte)
        case "drop":
            del data[at]
        case "replace":
            data[at] = byte
        case _:
            del data[at:]


request_streams = _streams(requests())
"""One to three requests behind one another, none to three things in them changed."""

response_streams = _streams(responses())
"""The same of answers."""


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes in pieces: cut at up to six places, or everywhere."""
    if draw(st.integers(0, 4)) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True) if end > start]
