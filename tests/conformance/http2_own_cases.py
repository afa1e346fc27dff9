"""Cases beyond those of h2spec: what else RFC 9113, RFC 8441, RFC 9218 and RFC 7541 ask of a server, by RFC and section."""

from __future__ import annotations

from typing import Final

from edgeproxy.edge.headers import Field
from tests.conformance.http2_cases import (
    CLOSED,
    COMPRESSION,
    FLOW,
    OPEN,
    PROTOCOL,
    SHUT,
    SIZE,
    STREAM_PROTOCOL,
    continued,
    data_of,
    huffman,
    plain,
)
from tests.conformance.http2_frames import (
    BASE,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    MAX_WINDOW,
    PADDED,
    PING,
    PLAIN,
    POST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Case,
    block,
    content,
    frame,
    headers,
    literal,
    request,
    reset,
    settings,
    widen,
)
from tests.http2_peer import PREFACE

TOO_MUCH = "connection error ENHANCE_YOUR_CALM"
CONNECT = (b":method", b"CONNECT")
WEBSOCKET = (b":protocol", b"websocket")


def with_fields(*fields: Field) -> tuple[bytes, ...]:
    """A request with these fields besides."""
    return (request(*BASE, *fields),)


def replaced(name: bytes, value: bytes) -> tuple[bytes, ...]:
    """A request in which a pseudo-header field has another value."""
    return (request(*[(name, value) if field[0] == name else field for field in BASE]),)


def body_of(length: bytes, *pieces: bytes) -> tuple[bytes, ...]:
    """A request that declares a length, and its content."""
    frames = [content(1, piece, end=False) for piece in pieces[:-1]] + [content(1, piece) for piece in pieces[-1:]]
    return (request(*POST, (b"content-length", length), end=not pieces) + b"".join(frames),)


def with_trailers(*fields: Field) -> tuple[bytes, ...]:
    """An upload that ends with trailers."""
    return (OPEN + content(1, b"test", end=False) + headers(1, block(*fields)),)


CONNECTIONS: list[Case] = [
    Case("9113/3.4/1", "a request of HTTP/1.1", PROTOCOL, (), preface=b"GET / HTTP/1.1\r\nhost: gallery.test\r\n\r\n"),
    Case("9113/3.4/2", "a preface that is wrong in its last byte", PROTOCOL, (), preface=PREFACE[:-1] + b"X" + settings()),
    Case("9113/3.4/3", "a preface without SETTINGS", PROTOCOL, (), preface=PREFACE + headers(1)),
    Case(
        "9113/3.4/4",
        "a preface with the acknowledgement of SETTINGS first",
        PROTOCOL,
        (),
        preface=PREFACE + frame(SETTINGS, 1, 0),
    ),
    Case("9113/3.4/5", "a request right behind the preface", "answered", (), preface=PREFACE + settings() + headers(1)),
    Case("9113/4.1/1", "HEADERS with the reserved bit", "answered", (headers(1 | 1 << 31),)),
    Case("9113/4.1/2", "HEADERS with undefined flags", "answered", (headers(1, flags=END_HEADERS | 0xD2),)),
    Case(
        "9113/4.2/1", "WINDOW_UPDATE of 5 bytes on a stream", SIZE, (headers(1) + frame(WINDOW_UPDATE, 0, 1, bytes(5)),), SHUT
    ),
    Case("9113/4.2/2", "RST_STREAM of 5 bytes", SIZE, (headers(1) + frame(RST_STREAM, 0, 1, bytes(5)),), SHUT),
    Case("9113/4.2/3", "PING of 9 bytes", SIZE, (frame(PING, 0, 0, bytes(9)),)),
    Case("9113/4.2/4", "GOAWAY of 7 bytes", SIZE, (frame(GOAWAY, 0, 0, bytes(7)),)),
    Case("9113/4.2/5", "HEADERS too short for its priority", SIZE, (headers(1, bytes(4), flags=END_HEADERS | WITH_PRIORITY),)),
    Case(
        "9113/4.2/6",
        "HEADERS too short for its padding's length",
        PROTOCOL,
        (headers(1, b"", flags=END_HEADERS | PADDED),),
        difference="code",
    ),
    Case(
        "9113/4.2/7", "DATA too short for its padding's length", PROTOCOL, (OPEN + frame(DATA, PADDED, 1),), difference="code"
    ),
    Case("9113/4.2/8", "an unknown frame of 2^14+1 bytes", SIZE, (frame(0x16, 0, 0, bytes(16385)),)),
    Case(
        "9113/5.1/1",
        "RST_STREAM, WINDOW_UPDATE on a stream that we have ended",
        "answered",
        (headers(1), widen(1, 1) + reset(1)),
    ),
    Case(
        "9113/5.1/2",
        "a body that goes on behind its reset",
        "ignored",
        (OPEN + reset(1) + content(1, b"te", end=False) + content(1),),
    ),
    Case("9113/5.1/3", "WINDOW_UPDATE on an idle stream above others", PROTOCOL, (headers(1) + widen(3, 1),)),
    Case("9113/5.1/4", "WINDOW_UPDATE on a stream that is ours to open", PROTOCOL, (widen(2, 1),)),
    Case(
        "9113/5.1.1/1",
        "HEADERS on the last stream that there is",
        "ignored",
        (headers(MAX_WINDOW),),
        check=lambda frames: [one.stream_id for one in frames if one.type == HEADERS] == [MAX_WINDOW],
    ),
    Case(
        "9113/5.1.2/1",
        "more streams than the client was told yet",
        "stream error REFUSED_STREAM",
        (),
        preface=PREFACE + settings(*SHUT) + b"".join(headers(1 + 2 * number) for number in range(129)),
    ),
    Case("9113/6.4/1", "RST_STREAM before the body ends", "ignored", (OPEN + content(1, b"te", end=False) + reset(1),)),
    Case("9113/6.5/1", "SETTINGS acknowledged that we never sent", PROTOCOL, (frame(SETTINGS, 1, 0),)),
    Case("9113/6.5.2/1", "ENABLE_PUSH 1", "answered", (settings((ENABLE_PUSH, 1)) + headers(1),)),
    Case(
        "9113/6.5.2/2",
        "MAX_CONCURRENT_STREAMS 0: no streams of ours",
        "answered",
        (settings((MAX_CONCURRENT_STREAMS, 0)) + headers(1),),
    ),
    Case("9113/6.5.2/3", "HEADER_TABLE_SIZE 0: our blocks use no table", "answered", (headers(1),), ((HEADER_TABLE_SIZE, 0),)),
    Case("9113/6.5.2/4", "HEADER_TABLE_SIZE 2^32-1", "answered", (headers(1),), ((HEADER_TABLE_SIZE, 2**32 - 1),)),
    Case("9113/6.5.2/5", "MAX_HEADER_LIST_SIZE 0: it is advice", "answered", (headers(1),), ((MAX_HEADER_LIST_SIZE, 0),)),
    Case("9113/6.5.2/6", "more than 32 settings at once", TOO_MUCH, (settings(*[(0xF0, number) for number in range(33)]),)),
    Case(
        "9113/6.9/1",
        "DATA beyond the stream's window",
        FLOW,
        (OPEN + b"".join(content(1, bytes(16384), end=False) for _ in range(5)),),
    ),
    Case(
        "9113/6.9/2",
        "DATA of several streams beyond the connection's window",
        FLOW,
        (
            b"".join(
                headers(stream, block(*POST), end=False) + content(stream, bytes(16384), end=False) * 3 for stream in (1, 3, 5)
            ),
        ),
    ),
    Case("9113/6.9/3", "empty DATA where the window is 0", "answered", (OPEN + content(1),)),
    Case(
        "9113/6.9.2/1",
        "an initial window that takes a stream's beyond 2^31-1",
        FLOW,
        (OPEN + widen(1, MAX_WINDOW - 1), settings((INITIAL_WINDOW_SIZE, 2))),
        ((INITIAL_WINDOW_SIZE, 1),),
    ),
    Case(
        "9113/6.9.2/2",
        "an initial window of 0 behind one of 3, then WINDOW_UPDATE to 0: nothing more comes",
        "ignored",
        (headers(1), settings((INITIAL_WINDOW_SIZE, 0)), widen(1, 3)),
        ((INITIAL_WINDOW_SIZE, 3),),
        check=lambda frames: data_of(frames, 1) == [3],
    ),
    Case("9113/6.10/1", "empty CONTINUATIONs, a few", "answered", (continued(1, PLAIN, *[b""] * 5),)),
    Case("9113/6.10/2", "empty CONTINUATIONs, more than a head needs", TOO_MUCH, (continued(1, PLAIN, *[b""] * 20),)),
    Case(
        "9113/6.10/3",
        "CONTINUATION of another stream",
        PROTOCOL,
        (headers(1, PLAIN[:3], flags=0) + frame(CONTINUATION, END_HEADERS, 3, PLAIN[3:]),),
    ),
]

BAD_FIELDS: list[tuple[str, Field]] = [
    ("CR in a value", (b"x", b"a\rb")),
    ("LF in a value", (b"x", b"a\nb")),
    ("NUL in a value", (b"x", b"a\0b")),
    ("CR LF and a field in a value", (b"x", b"a\r\nhost: other.test")),
    ("a control byte in a value", (b"x", b"a\x01b")),
    ("DEL in a value", (b"x", b"a\x7fb")),
    ("a value that begins with a space", (b"x", b" a")),
    ("a value that ends with a space", (b"x", b"a ")),
    ("a value that begins with a tab", (b"x", b"\ta")),
    ("a value that ends with a tab", (b"x", b"a\t")),
    ("a name in upper case", (b"xY", b"a")),
    ("a space in a name", (b"x y", b"a")),
    ("a colon in a name", (b"x:y", b"a")),
    ("a control byte in a name", (b"x\ny", b"a")),
    ("a byte above 0x7e in a name", (b"x\xe9", b"a")),
    ("an empty name", (b"", b"a")),
]
SPECIFIC = (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
LENGTHS = (b"-1", b"+4", b"", b"4, 4", b"0x4", b"4 4", b"99999999999999999999", b"\xb2")

FIELDS: list[Case] = [
    *[
        Case(f"9113/8.2.1/{number}", what, STREAM_PROTOCOL, with_fields(field))
        for number, (what, field) in enumerate(BAD_FIELDS, 1)
    ],
    *[
        Case(f"9113/8.2.1/{number}", f"{what}, in trailers", STREAM_PROTOCOL, with_trailers(field))
        for number, (what, field) in enumerate(BAD_FIELDS, len(BAD_FIELDS) + 1)
    ],
    Case("9113/8.2.1/33", "a blank and a tab within a value", "answered", with_fields((b"x", b"a \t b"))),
    Case("9113/8.2.1/34", "an empty value", "answered", with_fields((b"x", b""))),
    Case("9113/8.2.1/35", "bytes above 0x7f in a value", "answered", with_fields((b"x", b"\xe9\xff"))),
    Case("9113/8.2.1/36", "LF in a cookie", STREAM_PROTOCOL, with_fields((b"cookie", b"a=b\nc"))),
    *[
        Case(f"9113/8.2.2/{number}", name.decode(), STREAM_PROTOCOL, with_fields((name, b"x")))
        for number, name in enumerate(SPECIFIC, 1)
    ],
    *[
        Case(f"9113/8.2.2/{number}", f"{name.decode()} in trailers", STREAM_PROTOCOL, with_trailers((name, b"x")))
        for number, name in enumerate(SPECIFIC, 6)
    ],
    Case("9113/8.2.2/11", "te: trailers", "answered", with_fields((b"te", b"trailers"))),
    Case("9113/8.2.3/1", "a cookie in crumbs", "answered", with_fields((b"cookie", b"a=b"), (b"cookie", b"c=d"))),
]

REQUESTS: list[Case] = [
    Case(
        "9113/8.1/1",
        "trailers that do not end the stream",
        STREAM_PROTOCOL,
        (OPEN + headers(1, block((b"x", b"y")), end=False),),
    ),
    Case(
        "9113/8.1/2",
        "content behind trailers",
        CLOSED,
        (headers(1, block(*POST), end=False) + headers(1, block((b"x", b"y"))) + content(1, b"test"),),
        SHUT,
    ),
    Case("9113/8.1/3", "trailers", "answered", with_trailers((b"x-sum", b"7"))),
    Case("9113/8.1/4", "empty trailers", "answered", with_trailers()),
    *[
        Case(f"9113/8.1.1/{number}", f"content-length {length.decode('latin-1')!r}", STREAM_PROTOCOL, body_of(length, b"test"))
        for number, length in enumerate(LENGTHS, 1)
    ],
    Case("9113/8.1.1/9", "less content than its length", STREAM_PROTOCOL, body_of(b"5", b"te", b"st")),
    Case("9113/8.1.1/10", "more content than its length", STREAM_PROTOCOL, body_of(b"3", b"te", b"st")),
    Case("9113/8.1.1/11", "content of its length", "answered", body_of(b"4", b"te", b"st")),
    Case("9113/8.1.1/12", "a length and no content", STREAM_PROTOCOL, body_of(b"4")),
    Case("9113/8.1.1/13", "a length of 0 and no content", "answered", body_of(b"0")),
    Case(
        "9113/8.1.1/14",
        "content-length twice",
        STREAM_PROTOCOL,
        (request(*POST, *[(b"content-length", b"4")] * 2, end=False) + content(1, b"test"),),
    ),
    Case(
        "9113/8.1.1/15",
        "content-length twice, differing",
        STREAM_PROTOCOL,
        (request(*POST, (b"content-length", b"4"), (b"content-length", b"5"), end=False) + content(1, b"test"),),
    ),
    Case(
        "9113/8.1.1/16",
        "less content than its length, then trailers",
        STREAM_PROTOCOL,
        (
            request(*POST, (b"content-length", b"5"), end=False)
            + content(1, b"test", end=False)
            + headers(1, block((b"x", b"y"))),
        ),
    ),
    Case("9113/8.3/1", "an unknown pseudo-header field", STREAM_PROTOCOL, (request((b":x", b"y"), *BASE),)),
    Case("9113/8.3/2", "a pseudo-header field in upper case", STREAM_PROTOCOL, (request((b":METHOD", b"GET"), *BASE[1:]),)),
    Case("9113/8.3.1/1", "host that differs from :authority", STREAM_PROTOCOL, with_fields((b"host", b"other.test"))),
    Case("9113/8.3.1/2", "host that is :authority", "answered", with_fields((b"host", b"gallery.test"))),
    Case("9113/8.3.1/3", "host that is :authority, twice", STREAM_PROTOCOL, with_fields(*[(b"host", b"gallery.test")] * 2)),
    Case(
        "9113/8.3.1/4", "host and no :authority", "answered", (request(BASE[0], BASE[1], BASE[3], (b"host", b"gallery.test")),)
    ),
    Case("9113/8.3.1/5", "neither host nor :authority", STREAM_PROTOCOL, (request(BASE[0], BASE[1], BASE[3]),)),
    Case("9113/8.3.1/6", ":authority twice", STREAM_PROTOCOL, (request(BASE[2], *BASE),)),
    Case("9113/8.3.1/7", "an empty :authority", STREAM_PROTOCOL, replaced(b":authority", b"")),
    Case("9113/8.3.1/8", ":authority with userinfo", STREAM_PROTOCOL, replaced(b":authority", b"user@gallery.test")),
    Case("9113/8.3.1/9", ":authority with a space", STREAM_PROTOCOL, replaced(b":authority", b"gallery.test a")),
    Case("9113/8.3.1/10", ":authority with LF", STREAM_PROTOCOL, replaced(b":authority", b"gallery.test\na: b")),
    Case("9113/8.3.1/11", ":path without its slash", STREAM_PROTOCOL, replaced(b":path", b"a")),
    Case("9113/8.3.1/12", ":path with a space", STREAM_PROTOCOL, replaced(b":path", b"/a HTTP/1.1")),
    Case("9113/8.3.1/13", ":path with a fragment", STREAM_PROTOCOL, replaced(b":path", b"/a#b")),
    Case("9113/8.3.1/14", ":path with CR LF", STREAM_PROTOCOL, replaced(b":path", b"/ HTTP/1.1\r\nhost: other.test")),
    Case("9113/8.3.1/15", ":path that is a whole URI", STREAM_PROTOCOL, replaced(b":path", b"https://gallery.test/")),
    Case("9113/8.3.1/16", ":path * with GET", STREAM_PROTOCOL, replaced(b":path", b"*")),
    Case(
        "9113/8.3.1/17", ":path * with OPTIONS", "answered", (request((b":method", b"OPTIONS"), *BASE[1:3], (b":path", b"*")),)
    ),
    Case("9113/8.3.1/18", "an empty :method", STREAM_PROTOCOL, replaced(b":method", b"")),
    Case("9113/8.3.1/19", ":method with a space", STREAM_PROTOCOL, replaced(b":method", b"GET /a")),
    Case("9113/8.3.1/20", "a method that nobody knows", "answered", replaced(b":method", b"BREW")),
    Case("9113/8.3.1/21", "an empty :scheme", STREAM_PROTOCOL, replaced(b":scheme", b"")),
    Case("9113/8.3.1/22", ":scheme ftp", "status 400", replaced(b":scheme", b"ftp")),
    Case("9113/8.3.1/23", ":scheme with LF", STREAM_PROTOCOL, replaced(b":scheme", b"https\n")),
    Case("9113/8.5/1", "CONNECT", "status 405", (request(CONNECT, BASE[2]),)),
    Case("9113/8.5/2", "CONNECT with :scheme and :path", STREAM_PROTOCOL, replaced(b":method", b"CONNECT")),
    Case("9113/8.5/3", "CONNECT without :authority", STREAM_PROTOCOL, (request(CONNECT),)),
    Case(
        "8441/4/1",
        "an extended CONNECT of a :protocol that we do not know",
        "status 501",
        (request(CONNECT, (b":protocol", b"x"), *BASE[1:], end=False),),
    ),
    Case("8441/4/2", ":protocol without CONNECT", STREAM_PROTOCOL, (request(WEBSOCKET, *BASE),)),
    Case(
        "8441/4/3", "an extended CONNECT without :path", STREAM_PROTOCOL, (request(CONNECT, WEBSOCKET, *BASE[1:3], end=False),)
    ),
    Case("8441/4/4", "a WebSocket that ends as it begins", "status 400", (request(CONNECT, WEBSOCKET, *BASE[1:]),)),
    Case("9110/9.3.8/1", "TRACE", "status 405", replaced(b":method", b"TRACE")),
    Case("9110/10.1.1/1", "an expectation that nobody knows", "status 417", with_fields((b"expect", b"200-ok"))),
]

A, B = literal(b"\x40", b"x-a", b"1"), literal(b"\x40", b"x-b", b"2")
TABLES: list[Case] = [
    Case(
        "7541/2.3.2/1",
        "an entry of the dynamic table is named",
        "answered",
        (headers(1, PLAIN + A), headers(3, PLAIN + b"\xbe")),
    ),
    Case(
        "7541/4.4/1",
        "an entry larger than the table empties it",
        COMPRESSION,
        (headers(1, PLAIN + A + literal(b"\x40", b"x-c", bytes(b"y" * 5000))), headers(3, PLAIN + b"\xbe")),
    ),
    Case(
        "7541/4.2/1",
        "a table shrunk to 0 and widened again is empty",
        COMPRESSION,
        (headers(1, PLAIN + A), headers(3, b"\x20\x3f\xe1\x1f" + PLAIN + b"\xbe")),
    ),
    Case("7541/4.2/2", "a table size update behind a field", COMPRESSION, (headers(1, PLAIN[:1] + b"\x20" + PLAIN[1:]),)),
    Case(
        "7541/4.3/1",
        "what a smaller table puts out is no more",
        COMPRESSION,
        (headers(1, PLAIN + A + B), headers(3, b"\x3f\x05" + PLAIN + b"\xbf")),
    ),
    Case(
        "7541/4.3/2",
        "what stays in a smaller table is there",
        "answered",
        (headers(1, PLAIN + A + B), headers(3, b"\x3f\x05" + PLAIN + b"\xbe")),
    ),
    Case(
        "7541/5.1/1", "an index too large for any integer", COMPRESSION, (headers(1, PLAIN + b"\xff" + b"\xff" * 9 + b"\x7f"),)
    ),
    Case("7541/5.1/2", "an integer that does not end", COMPRESSION, (headers(1, PLAIN + b"\xff\x80\x80"),)),
    Case("7541/5.2/1", "a string longer than its block", COMPRESSION, (headers(1, PLAIN + b"\x00\x01x\x7e"),)),
    Case("7541/5.2/2", "a block that ends in a name", COMPRESSION, (headers(1, PLAIN + b"\x00\x05x"),)),
    Case("7541/5.2/3", "a block that ends before a value", COMPRESSION, (headers(1, PLAIN + b"\x00\x01x"),)),
    Case(
        "7541/6.2.3/1",
        "a field never to be indexed enters no table",
        COMPRESSION,
        (headers(1, PLAIN + literal(b"\x10", b"x-a", b"1")), headers(3, PLAIN + b"\xbe")),
    ),
    Case("7541/6.3/1", "a table size of 2^32", COMPRESSION, (headers(1, b"\x3f\xe1\xff\xff\xff\x0f" + PLAIN),)),
    Case(
        "9113/4.3/1",
        "the table is kept in step over a head that is thrown away",
        STREAM_PROTOCOL,
        (
            headers(1, PLAIN + literal(b"\x40", b"x-a", b"\0")),
            headers(3, PLAIN + literal(b"\x40", b"x-b", b"2")),
            headers(5, PLAIN + b"\xbe"),
        ),
        check=lambda frames: [one.stream_id for one in frames if one.type == HEADERS] == [3, 5],
    ),
    Case(
        "7541/5.2/4",
        "a name in upper case, Huffman-coded",
        STREAM_PROTOCOL,
        (headers(1, PLAIN + b"\x00" + huffman(b"X-Test") + plain(b"y")),),
    ),
]

OWN: Final = [*CONNECTIONS, *FIELDS, *REQUESTS, *TABLES]

DEPENDS_ON_TIME: Final = frozenset(("9113/6.9/1", "9113/6.9/2"))
"""Not run against a worker: an origin that takes content meanwhile widens the windows that the client goes beyond."""
