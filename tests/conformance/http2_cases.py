"""The cases of h2spec that there are for a server, by its names, as frames of our own.

h2spec speaks of RFC 7540's sections; where RFC 9113 asks for something else, the outcome is that of RFC 9113.
"""

from __future__ import annotations

from typing import Any, Final

from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from tests.conformance.http2_frames import (
    ACK,
    BASE,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    PADDED,
    PING,
    PLAIN,
    POST,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Case,
    block,
    content,
    dependency,
    frame,
    headers,
    priority,
    request,
    reset,
    settings,
    widen,
)

PROTOCOL, FLOW, SIZE, COMPRESSION, CLOSED = (
    f"connection error {code}"
    for code in ("PROTOCOL_ERROR", "FLOW_CONTROL_ERROR", "FRAME_SIZE_ERROR", "COMPRESSION_ERROR", "STREAM_CLOSED")
)
STREAM_PROTOCOL = "stream error PROTOCOL_ERROR"
OPEN = headers(1, block(*POST), end=False)
SHUT: Final = ((INITIAL_WINDOW_SIZE, 0),)
"""With it an answer stays unfinished: the stream is half-closed (remote) for as long as a case needs."""


def continued(stream: int, *pieces: bytes, end: bool = True) -> bytes:
    """A head in pieces: HEADERS and CONTINUATIONs, of which the last has END_HEADERS."""
    frames = [frame(HEADERS, END_STREAM if end else 0, stream, pieces[0])]
    frames += [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:]]
    frames[-1] = frames[-1][:4] + bytes((frames[-1][4] | END_HEADERS,)) + frames[-1][5:]
    return b"".join(frames)


def data_of(frames: list[Any], stream: int) -> list[int]:
    """How long the DATA frames of a stream are."""
    return [len(one.data) for one in frames if one.type == DATA and one.stream_id == stream]


def acknowledged(frames: list[Any]) -> bool:
    """Whether every SETTINGS frame of the client was, the first one included."""
    return len([one for one in frames if one.type == SETTINGS and "ACK" in one.flags]) == 2


def pinged(payload: bytes, times: int) -> Any:
    """Whether so many PING frames came back with a payload."""
    return lambda frames: sum(one.type == PING and "ACK" in one.flags and one.opaque_data == payload for one in frames) == times


def huffman(text: bytes) -> bytes:
    """A string literal with Huffman coding."""
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    return bytes((0x80 | len(coded),)) + coded


def plain(text: bytes) -> bytes:
    """One without."""
    return bytes((len(text),)) + text


def represented() -> list[Case]:
    """generic/5: every representation of a field, and its table."""
    kinds = [("with incremental indexing", 0x40, 6), ("without indexing", 0x00, 4), ("never indexed", 0x10, 4)]
    cases = [("an indexed field", PLAIN)]
    for kind, first, prefix in kinds:
        # user-agent is entry 58 of the static table.
        indexed = encode_integer(58, prefix)
        indexed[0] |= first
        for name, begin in (("indexed name", bytes(indexed)), ("new name", bytes((first,)))):
            for coding, string in (("", plain), (", Huffman-coded", huffman)):
                field = begin + (string(b"user-agents") if name == "new name" else b"") + string(b"suite")
                cases.append((f"a literal {kind}, {name}{coding}", PLAIN + field))
    cases.append(("a table size update", b"\x20" + PLAIN))
    cases.append(("two table size updates", b"\x20\x3f\xe1\x1f" + PLAIN))
    return [
        Case(f"generic/5/{number}", what, "answered", (headers(1, fields),)) for number, (what, fields) in enumerate(cases, 1)
    ]


GENERIC: list[Case] = [
    Case("generic/1/1", "the client's preface", "ignored", ()),
    Case("generic/2/1", "PRIORITY on an idle stream", "answered", (priority(1) + headers(1),)),
    Case("generic/2/2", "WINDOW_UPDATE on a half-closed (remote) stream", "answered", (headers(1), widen(1, 100)), SHUT),
    Case("generic/2/3", "PRIORITY on a half-closed (remote) stream", "answered", (headers(1), priority(1) + widen(1, 9)), SHUT),
    Case("generic/2/4", "RST_STREAM on a half-closed (remote) stream", "ignored", (headers(1), reset(1)), SHUT),
    Case("generic/2/5", "PRIORITY on a closed stream", "answered", (headers(1), priority(1))),
    Case("generic/3.1/1", "a DATA frame", "answered", (OPEN + content(1, b"test"),)),
    Case("generic/3.1/2", "several DATA frames", "answered", (OPEN + content(1, b"te", end=False) + content(1, b"st"),)),
    Case(
        "generic/3.1/3",
        "a DATA frame with padding",
        "answered",
        (OPEN + frame(DATA, END_STREAM | PADDED, 1, b"\x06test" + bytes(6)),),
    ),
    Case("generic/3.2/1", "a HEADERS frame", "answered", (headers(1),)),
    Case(
        "generic/3.2/2",
        "a HEADERS frame with padding",
        "answered",
        (headers(1, b"\x05" + PLAIN + bytes(5), flags=END_HEADERS | PADDED),),
    ),
    Case(
        "generic/3.2/3",
        "a HEADERS frame with priority",
        "answered",
        (headers(1, dependency(0, 255) + PLAIN, flags=END_HEADERS | WITH_PRIORITY),),
    ),
    Case("generic/3.3/1", "PRIORITY with weight 1", "answered", (priority(1, 0, 0) + headers(1),)),
    Case("generic/3.3/2", "PRIORITY with weight 256", "answered", (priority(1, 0, 255) + headers(1),)),
    Case("generic/3.3/3", "PRIORITY with a dependency", "answered", (priority(3, 1) + headers(1),)),
    Case("generic/3.3/4", "an exclusive PRIORITY", "answered", (priority(3, 1, exclusive=True) + headers(1),)),
    Case("generic/3.3/5", "PRIORITY for an idle stream, HEADERS for a lower one", "answered", (priority(5) + headers(1),)),
    Case("generic/3.4/1", "RST_STREAM", "ignored", (headers(1) + reset(1),), SHUT),
    Case("generic/3.5/1", "SETTINGS", "ignored", (settings((3, 100)),), check=acknowledged),
    Case("generic/3.7/1", "PING", "ignored", (frame(PING, 0, 0, b"h2 suite"),), check=pinged(b"h2 suite", 1)),
    Case("generic/3.8/1", "GOAWAY", "ended in order", (frame(GOAWAY, 0, 0, bytes(8)),)),
    Case("generic/3.9/1", "WINDOW_UPDATE of the connection", "ignored", (widen(0, 1),)),
    Case("generic/3.9/2", "WINDOW_UPDATE of a stream", "answered", (headers(1) + widen(1, 1),)),
    Case("generic/3.10/1", "a CONTINUATION frame", "answered", (continued(1, PLAIN[:3], PLAIN[3:]),)),
    Case("generic/3.10/2", "several CONTINUATION frames", "answered", (continued(1, PLAIN[:3], PLAIN[3:9], PLAIN[9:]),)),
    Case("generic/4/1", "a GET request", "answered", (headers(1),)),
    Case("generic/4/2", "a HEAD request", "answered", (request((b":method", b"HEAD"), *BASE[1:]),)),
    Case("generic/4/3", "a POST request", "answered", (OPEN + content(1, b"test"),)),
    Case(
        "generic/4/4",
        "a POST request with trailers",
        "answered",
        (OPEN + content(1, b"test", end=False) + headers(1, block((b"x-sum", b"7"))),),
    ),
    *represented(),
]

DIFFERENCES: Final = {
    "closed": "RFC 9113 section 5.1 lets a server end the connection where a client sends on a closed stream, and h2spec asks "
    "for it. We take in what keeps the header compression in step and throw the frame away: what was under way when a stream "
    "ended looks the same. Nothing of it is served.",
    "lower": "RFC 9113 section 5.1.1 asks for a connection error. libnghttp2 does not remember which streams have been, and "
    "takes a stream with a lower number for one that is closed: what comes on it is thrown away, nothing of it is served.",
    "priority": "RFC 9113 section 6.3 asks for a connection error on stream 0, h2spec also for a stream error where a stream "
    "depends on itself. We announce SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218 section 2.1): PRIORITY frames mean nothing here "
    "and are thrown away unread, but counted (HTTP2_GLITCHES below).",
    "code": "The connection ends, as RFC 9113 section 4.2 asks, but libnghttp2 says PROTOCOL_ERROR and not FRAME_SIZE_ERROR.",
    "stricter": "A stream error would do. RFC 9113 section 5.4.1 lets a server end the connection instead, and that leaves "
    "nothing to be repeated (CVE-2025-8671).",
}
"""Where and why an outcome is another one than h2spec asks for."""

HPACK: list[Case] = [
    Case("hpack/2.3.3/1", "an indexed field beyond the tables", COMPRESSION, (headers(1, PLAIN + b"\xc6"),)),
    Case("hpack/2.3.3/2", "a literal whose name is beyond the tables", COMPRESSION, (headers(1, PLAIN + b"\x7f\x07\x01x"),)),
    Case("hpack/4.2/1", "a table size update at the end of a block", COMPRESSION, (headers(1, PLAIN + b"\x20"),)),
    Case(
        "hpack/5.2/1",
        "a Huffman string padded by more than 7 bits",
        COMPRESSION,
        (
            headers(
                1, PLAIN + b"\x00" + plain(b"x") + bytes((0x80 | (huffman(b"test")[0] + 1),)) + huffman(b"test")[1:] + b"\xff"
            ),
        ),
    ),
    Case(
        "hpack/5.2/2",
        "a Huffman string padded with zeros",
        COMPRESSION,
        (headers(1, PLAIN + b"\x00" + plain(b"x") + b"\x81\x18"),),  # "a" is 00011, and then 000 instead of 111
    ),
    Case(
        "hpack/5.2/3",
        "a Huffman string with EOS",
        COMPRESSION,
        (headers(1, PLAIN + b"\x00" + plain(b"x") + b"\x84\xff\xff\xff\xff"),),
    ),
    Case("hpack/6.1/1", "an indexed field of index 0", COMPRESSION, (headers(1, PLAIN + b"\x80"),)),
    Case("hpack/6.3/1", "a table size beyond SETTINGS_HEADER_TABLE_SIZE", COMPRESSION, (headers(1, b"\x3f\xe2\x1f" + PLAIN),)),
]

FRAMES: list[Case] = [
    Case("http2/3.5/1", "the preface: ours comes first", "ignored", (), check=lambda frames: frames[0].type == SETTINGS),
    Case("http2/3.5/2", "something else than the preface", PROTOCOL, (), preface=b"INVALID CONNECTION PREFACE\r\n\r\n"),
    Case("http2/4.1/1", "a frame of unknown type", "ignored", (frame(0x16, 0, 0, bytes(8)),)),
    Case("http2/4.1/2", "PING with undefined flags", "ignored", (frame(PING, 0x16, 0, bytes(8)),), check=pinged(bytes(8), 1)),
    Case(
        "http2/4.1/3", "PING with the reserved bit", "ignored", (frame(PING, 0, 1 << 31, bytes(8)),), check=pinged(bytes(8), 1)
    ),
    Case("http2/4.2/1", "DATA of 2^14 bytes", "answered", (OPEN + content(1, bytes(16384)),)),
    Case("http2/4.2/2", "DATA beyond SETTINGS_MAX_FRAME_SIZE", SIZE, (OPEN + content(1, bytes(16385)),)),
    Case(
        "http2/4.2/3", "HEADERS beyond SETTINGS_MAX_FRAME_SIZE", SIZE, (headers(1, PLAIN + block(*[(b"x", bytes(97))] * 170)),)
    ),
    Case(
        "http2/4.3/1", "a block that cannot be decoded", COMPRESSION, (headers(1, b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\x0f"),)
    ),
    Case("http2/4.3/2", "PRIORITY within a block", PROTOCOL, (headers(1, PLAIN, flags=0) + priority(1),)),
    Case("http2/4.3/3", "HEADERS of another stream within a block", PROTOCOL, (headers(1, PLAIN, flags=0) + headers(3),)),
    Case("http2/5.1/1", "idle: DATA", PROTOCOL, (content(1, b"test"),)),
    Case("http2/5.1/2", "idle: RST_STREAM", PROTOCOL, (reset(1),)),
    Case("http2/5.1/3", "idle: WINDOW_UPDATE", PROTOCOL, (widen(1, 100),)),
    Case("http2/5.1/4", "idle: CONTINUATION", PROTOCOL, (frame(CONTINUATION, END_HEADERS, 1, PLAIN),)),
    Case("http2/5.1/5", "half-closed (remote): DATA", CLOSED, (headers(1), content(1, b"test")), SHUT),
    Case("http2/5.1/6", "half-closed (remote): HEADERS", CLOSED, (headers(1), headers(1)), SHUT),
    Case(
        "http2/5.1/7",
        "half-closed (remote): CONTINUATION",
        PROTOCOL,
        (headers(1), frame(CONTINUATION, END_HEADERS, 1, PLAIN)),
        SHUT,
    ),
    Case("http2/5.1/8", "closed by RST_STREAM: DATA", "ignored", (OPEN, reset(1), content(1, b"test")), difference="closed"),
    Case("http2/5.1/9", "closed by RST_STREAM: HEADERS", "ignored", (OPEN, reset(1), headers(1)), difference="closed"),
    Case(
        "http2/5.1/10",
        "closed by RST_STREAM: CONTINUATION",
        PROTOCOL,
        (OPEN, reset(1), frame(CONTINUATION, END_HEADERS, 1, PLAIN)),
    ),
    Case("http2/5.1/11", "closed: DATA", "answered", (headers(1), content(1, b"test")), difference="closed"),
    Case(
        "http2/5.1/12",
        "closed: HEADERS",
        "answered",
        (headers(1), headers(1)),
        difference="closed",
        check=lambda frames: len(data_of(frames, 1)) == 1,
    ),
    Case("http2/5.1/13", "closed: CONTINUATION", PROTOCOL, (headers(1), frame(CONTINUATION, END_HEADERS, 1, PLAIN))),
    Case("http2/5.1.1/1", "a stream with an even number", PROTOCOL, (headers(2),)),
    Case(
        "http2/5.1.1/2",
        "a stream with a lower number than one before",
        "ignored",
        (headers(5) + headers(3),),
        difference="lower",
        check=lambda frames: [one.stream_id for one in frames if one.type == HEADERS] == [5],
    ),
    Case(
        "http2/5.1.2/1",
        "more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
        PROTOCOL,
        (b"".join(headers(1 + 2 * number) for number in range(129)),),
        SHUT,
        difference="stricter",
    ),
    Case(
        "http2/5.3.1/1",
        "HEADERS that depend on their own stream",
        PROTOCOL,
        (headers(1, dependency(1) + PLAIN, flags=END_HEADERS | WITH_PRIORITY),),
        difference="stricter",
    ),
    Case("http2/5.3.1/2", "PRIORITY that depends on its own stream", "ignored", (priority(1, 1),), difference="priority"),
    Case("http2/5.4.1/1", "an invalid PING: the connection is closed", SIZE, (frame(PING, 0, 0, bytes(6)),)),
    Case("http2/5.4.1/2", "an invalid PING: GOAWAY comes first", SIZE, (frame(PING, 0, 0, bytes(6)),)),
    Case("http2/5.5/1", "an unknown extension frame", "ignored", (frame(0x16, 0, 0, bytes(8)),)),
    Case(
        "http2/5.5/2",
        "an unknown extension frame within a block",
        PROTOCOL,
        (headers(1, PLAIN, flags=0) + frame(0x16, 0, 0, bytes(8)),),
    ),
    Case("http2/6.1/1", "DATA on stream 0", PROTOCOL, (content(0, b"test"),)),
    Case("http2/6.1/2", "DATA on a stream that is not open", CLOSED, (headers(1), content(1, b"test")), SHUT),
    Case(
        "http2/6.1/3",
        "DATA whose padding is longer than itself",
        PROTOCOL,
        (OPEN + frame(DATA, END_STREAM | PADDED, 1, b"\x06test"),),
    ),
    Case("http2/6.2/1", "HEADERS without END_HEADERS, then PRIORITY", PROTOCOL, (headers(1, PLAIN, flags=0) + priority(1),)),
    Case("http2/6.2/2", "HEADERS without END_HEADERS, then another's", PROTOCOL, (headers(1, PLAIN, flags=0) + headers(3),)),
    Case("http2/6.2/3", "HEADERS on stream 0", PROTOCOL, (headers(0),)),
    Case(
        "http2/6.2/4",
        "HEADERS whose padding is longer than itself",
        PROTOCOL,
        (headers(1, b"\xff" + PLAIN, flags=END_HEADERS | PADDED),),
    ),
    Case("http2/6.3/1", "PRIORITY on stream 0", "ignored", (priority(0),), difference="priority"),
    Case("http2/6.3/2", "PRIORITY of another length than 5", SIZE, (headers(1) + frame(PRIORITY, 0, 1, bytes(4)),), SHUT),
    Case("http2/6.4/1", "RST_STREAM on stream 0", PROTOCOL, (reset(0),)),
    Case("http2/6.4/2", "RST_STREAM on an idle stream", PROTOCOL, (reset(1),)),
    Case("http2/6.4/3", "RST_STREAM of another length than 4", SIZE, (headers(1) + frame(RST_STREAM, 0, 1, bytes(3)),), SHUT),
    Case("http2/6.5/1", "SETTINGS with ACK and a payload", SIZE, (frame(SETTINGS, ACK, 0, bytes(1)),)),
    Case("http2/6.5/2", "SETTINGS on a stream", PROTOCOL, (frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"),)),
    Case("http2/6.5/3", "SETTINGS of another length than a multiple of 6", SIZE, (frame(SETTINGS, 0, 0, bytes(3)),)),
    Case("http2/6.5.2/1", "ENABLE_PUSH neither 0 nor 1", PROTOCOL, (settings((ENABLE_PUSH, 2)),)),
    Case("http2/6.5.2/2", "INITIAL_WINDOW_SIZE above 2^31-1", FLOW, (settings((INITIAL_WINDOW_SIZE, 2**31)),)),
    Case("http2/6.5.2/3", "MAX_FRAME_SIZE below 2^14", PROTOCOL, (settings((MAX_FRAME_SIZE, 2**14 - 1)),)),
    Case("http2/6.5.2/4", "MAX_FRAME_SIZE above 2^24-1", PROTOCOL, (settings((MAX_FRAME_SIZE, 2**24)),)),
    Case("http2/6.5.2/5", "a setting that nobody knows", "ignored", (settings((0xFF, 1)),), check=acknowledged),
    Case(
        "http2/6.5.3/1",
        "INITIAL_WINDOW_SIZE twice: the last one holds",
        "ignored",
        (settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)), headers(1)),
        check=lambda frames: data_of(frames, 1) == [1],
    ),
    Case("http2/6.5.3/2", "SETTINGS: they are acknowledged", "ignored", (settings(),), check=acknowledged),
    Case("http2/6.7/1", "PING: it comes back", "ignored", (frame(PING, 0, 0, b"h2 suite"),), check=pinged(b"h2 suite", 1)),
    Case(
        "http2/6.7/2",
        "PING with ACK: none comes back",
        "ignored",
        (frame(PING, ACK, 0, b"h2 suite"),),
        check=pinged(b"h2 suite", 0),
    ),
    Case("http2/6.7/3", "PING on a stream", PROTOCOL, (frame(PING, 0, 1, bytes(8)),)),
    Case("http2/6.7/4", "PING of another length than 8", SIZE, (frame(PING, 0, 0, bytes(6)),)),
    Case("http2/6.8/1", "GOAWAY on a stream", PROTOCOL, (frame(GOAWAY, 0, 1, bytes(8)),)),
    Case("http2/6.9/1", "WINDOW_UPDATE of 0 for the connection", PROTOCOL, (widen(0, 0),)),
    Case("http2/6.9/2", "WINDOW_UPDATE of 0 for a stream", PROTOCOL, (headers(1) + widen(1, 0),), SHUT, difference="stricter"),
    Case("http2/6.9/3", "WINDOW_UPDATE of another length than 4", SIZE, (frame(WINDOW_UPDATE, 0, 0, bytes(3)),)),
    Case(
        "http2/6.9.1/1",
        "an initial window of 1",
        "ignored",
        (headers(1),),
        ((INITIAL_WINDOW_SIZE, 1),),
        check=lambda frames: data_of(frames, 1) == [1],
    ),
    Case("http2/6.9.1/2", "the connection's window above 2^31-1", FLOW, (widen(0, MAX_WINDOW) + widen(0, MAX_WINDOW),)),
    Case(
        "http2/6.9.1/3",
        "a stream's window above 2^31-1",
        FLOW,
        (headers(1) + widen(1, MAX_WINDOW) + widen(1, MAX_WINDOW),),
        ((INITIAL_WINDOW_SIZE, 1),),
        difference="stricter",
    ),
    Case(
        "http2/6.9.2/1",
        "a wider initial window while an answer waits",
        "ignored",
        (headers(1), settings((INITIAL_WINDOW_SIZE, 1))),
        SHUT,
        check=lambda frames: data_of(frames, 1) == [1],
    ),
    Case(
        "http2/6.9.2/2",
        "a narrower initial window: the stream's goes below 0",
        "ignored",
        (headers(1), settings((INITIAL_WINDOW_SIZE, 1)), widen(1, 1), widen(1, 2)),
        ((INITIAL_WINDOW_SIZE, 3),),
        check=lambda frames: data_of(frames, 1) == [3, 1],
    ),
    Case("http2/6.9.2/3", "INITIAL_WINDOW_SIZE above 2^31-1", FLOW, (settings((INITIAL_WINDOW_SIZE, 2**31)),)),
    Case("http2/6.10/1", "several CONTINUATIONs behind HEADERS", "answered", (continued(1, PLAIN[:3], PLAIN[3:9], PLAIN[9:]),)),
    Case(
        "http2/6.10/2",
        "DATA behind a CONTINUATION without END_HEADERS",
        PROTOCOL,
        (headers(1, PLAIN[:3], end=False, flags=0) + frame(CONTINUATION, 0, 1, PLAIN[3:]) + content(1, b"test"),),
    ),
    Case(
        "http2/6.10/3",
        "CONTINUATION on stream 0",
        PROTOCOL,
        (headers(1, PLAIN[:3], flags=0) + frame(CONTINUATION, 4, 0, PLAIN[3:]),),
    ),
    Case(
        "http2/6.10/4",
        "CONTINUATION behind HEADERS with END_HEADERS",
        PROTOCOL,
        (headers(1) + frame(CONTINUATION, 4, 1, PLAIN),),
    ),
    Case(
        "http2/6.10/5",
        "CONTINUATION behind the one with END_HEADERS",
        PROTOCOL,
        (continued(1, PLAIN[:3], PLAIN[3:]) + frame(CONTINUATION, 4, 1, PLAIN),),
    ),
    Case(
        "http2/6.10/6",
        "CONTINUATION behind DATA",
        PROTOCOL,
        (headers(1, PLAIN[:3], end=False, flags=0) + content(1, b"test") + frame(CONTINUATION, 4, 1, PLAIN[3:]),),
    ),
    Case("http2/7/1", "GOAWAY with an unknown code", "ended in order", (frame(GOAWAY, 0, 0, bytes(4) + b"\0\0\0\xff"),)),
    Case("http2/7/2", "RST_STREAM with an unknown code", "ignored", (headers(1) + reset(1, 0xFF),), SHUT),
]

MESSAGES: list[Case] = [
    Case(
        "http2/8.1/1",
        "a second HEADERS frame without END_STREAM",
        STREAM_PROTOCOL,
        (OPEN + headers(1, block((b"x", b"y")), end=False),),
    ),
    Case("http2/8.1.2/1", "a field name in upper case", STREAM_PROTOCOL, (request(*BASE, (b"X-TEST", b"ok")),)),
    Case("http2/8.1.2.1/1", "an unknown pseudo-header field", STREAM_PROTOCOL, (request(*BASE, (b":test", b"ok")),)),
    Case("http2/8.1.2.1/2", "a response's pseudo-header field", STREAM_PROTOCOL, (request(*BASE, (b":status", b"200")),)),
    Case(
        "http2/8.1.2.1/3",
        "a pseudo-header field in trailers",
        STREAM_PROTOCOL,
        (OPEN + content(1, b"test", end=False) + headers(1, block((b":method", b"200"))),),
    ),
    Case(
        "http2/8.1.2.1/4",
        "a pseudo-header field behind another field",
        STREAM_PROTOCOL,
        (request(*BASE[:3], (b"x", b"ok"), BASE[3]),),
    ),
    Case("http2/8.1.2.2/1", "a connection-specific field", STREAM_PROTOCOL, (request(*BASE, (b"connection", b"keep-alive")),)),
    Case(
        "http2/8.1.2.2/2",
        "te with anything but trailers",
        STREAM_PROTOCOL,
        (request(*BASE, (b"trailers", b"test"), (b"te", b"trailers, deflate")),),
    ),
    Case("http2/8.1.2.3/1", "an empty :path", STREAM_PROTOCOL, (request(*BASE[:3], (b":path", b"")),)),
    Case("http2/8.1.2.3/2", "no :method", STREAM_PROTOCOL, (request(*BASE[1:]),)),
    Case("http2/8.1.2.3/3", "no :scheme", STREAM_PROTOCOL, (request(BASE[0], *BASE[2:]),)),
    Case("http2/8.1.2.3/4", "no :path", STREAM_PROTOCOL, (request(*BASE[:3]),)),
    Case("http2/8.1.2.3/5", ":method twice", STREAM_PROTOCOL, (request(BASE[0], *BASE),)),
    Case("http2/8.1.2.3/6", ":scheme twice", STREAM_PROTOCOL, (request(BASE[1], *BASE),)),
    Case("http2/8.1.2.3/7", ":path twice", STREAM_PROTOCOL, (request(*BASE, BASE[3]),)),
    Case(
        "http2/8.1.2.6/1",
        "content-length that differs from the DATA",
        STREAM_PROTOCOL,
        (request(*POST, (b"content-length", b"1"), end=False) + content(1, b"test"),),
    ),
    Case(
        "http2/8.1.2.6/2",
        "content-length that differs from all DATA together",
        STREAM_PROTOCOL,
        (request(*POST, (b"content-length", b"1"), end=False) + content(1, b"test", end=False) + content(1, b"test"),),
    ),
    Case("http2/8.2/1", "PUSH_PROMISE", PROTOCOL, (OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)) + PLAIN),)),
]

H2SPEC: Final = [*GENERIC, *HPACK, *FRAMES, *MESSAGES]
