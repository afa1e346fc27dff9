"""What a client of HTTP/2 may send, for hypothesis: frames and HPACK blocks by hand, right ones with a few wrong things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import strategies as st

from edgeproxy.edge.headers import Field

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION, ALTSVC, UNKNOWN = (*range(11), 0xFA)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
_STATIC = {
    (b":method", b"GET"): 2,
    (b":method", b"POST"): 3,
    (b":path", b"/"): 4,
    (b":scheme", b"https"): 7,
}
_NAMES = {b":authority": 1, b":method": 2, b":path": 4, b":scheme": 6, b"content-length": 28, b"cookie": 32, b"host": 38}


class RawFrame(NamedTuple):
    """One frame, of which any part may be wrong."""

    type: int
    flags: int
    stream: int
    payload: bytes

    def serialize(self) -> bytes:
        return b"".join(
            (
                len(self.payload).to_bytes(3, "big"),
                bytes((self.type & 255, self.flags & 255)),
                self.stream.to_bytes(4, "big"),
                self.payload,
            )
        )


# HPACK (RFC 7541)


def integer(value: int, prefix: int, first: int = 0, padding: int = 0) -> bytes:
    """Section 5.1; `padding` adds groups that say nothing."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((first | value,))
    value -= most
    groups = []
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    if padding:
        groups[-1] |= 128
        groups += [128] * (padding - 1) + [0]
    return bytes((first | most, *groups))


@st.composite
def strings(draw: st.DrawFn, text: bytes) -> bytes:
    how = draw(st.sampled_from(["raw", "raw", "huffman", "huffman", "padded"]))
    if how == "raw":
        return integer(len(text), 7) + text
    coded = _huffman(text)
    if how == "padded" and draw(st.integers(0, 9)) == 0:
        coded += b"\xff"  # eight bits of padding: an error (section 5.2)
    return integer(len(coded), 7, 0x80) + coded


@st.composite
def representations(draw: st.DrawFn, field: Field) -> bytes:
    """One of the ways in which a field can be written."""
    name, value = field
    static = _STATIC.get(field)
    if static and draw(st.booleans()):
        return integer(static, 7, 0x80)
    first, prefix = draw(st.sampled_from([(0x40, 6), (0x40, 6), (0x00, 4), (0x10, 4)]))
    index = _NAMES.get(name, 0) if draw(st.booleans()) else 0
    written = integer(index, prefix, first, draw(st.sampled_from([0, 0, 0, 1])) if index >= (1 << prefix) - 1 else 0)
    return written + (b"" if index else draw(strings(name))) + draw(strings(value))


_ODD = [
    b"\xbe",  # index 62: the newest of the dynamic table
    b"\xbf",
    b"\x80",  # index 0: an error
    b"\xff\x80\x01",  # far beyond the table
    b"\x20",  # table size 0
    b"\x3f\xe1\x1f",  # 4096
    b"\x3f\xe2\x1f",  # 4097: more than we allow
    b"\x20\x3f\xe1\x1f",
    b"\x7f\x00\x01x",  # literal whose name is index 63
    b"\x40\x01x",  # cut short
    b"\xff\xff\xff\xff\xff\xff\x0f",
    b"\x40\x81\xff\x00",  # Huffman: only padding
    b"\x40\x01x\x7f\x80\x80\x80\x80\x80\x00",
    b"\x40\x00\x01x",  # an empty name
]
"""Pieces of blocks that are wrong, or only right at their place."""

_EXTRA: list[Field] = [
    (b"x-a", b"b"),
    (b"x-a", b""),
    (b"x-a", b" b"),
    (b"x-a", b"b\t"),
    (b"x-a", b"a\rb"),
    (b"x-a", b"a\nb"),
    (b"x-a", b"a\0b"),
    (b"x-a", b"\x7f"),
    (b"x-a", b"\x01"),
    (b"x-a", b"\xe4\xff"),
    (b"x-a", b"a" * 300),
    (b"X-A", b"b"),
    (b"x a", b"b"),
    (b"x:a", b"b"),
    (b"x\0", b"b"),
    (b"x\xff", b"b"),
    (b"", b"b"),
    (b":x", b"b"),
    (b":status", b"200"),
    (b":path", b"/other"),
    (b":method", b"PUT"),
    (b":authority", b"b.test"),
    (b":protocol", b"websocket"),
    (b"host", b"a.test"),
    (b"host", b"b.test"),
    (b"cookie", b"a=b"),
    (b"cookie", b"c=d"),
    (b"connection", b"close"),
    (b"keep-alive", b"1"),
    (b"proxy-connection", b"close"),
    (b"transfer-encoding", b"chunked"),
    (b"upgrade", b"h2c"),
    (b"te", b"trailers"),
    (b"te", b"gzip"),
    (b"content-length", b"3"),
    (b"content-length", b"0"),
    (b"content-length", b"5"),
    (b"content-length", b"3, 3"),
    (b"content-length", b"+3"),
    (b"content-length", b""),
    (b"expect", b"100-continue"),
    (b"workspace-id", b"other"),
    (b"x-forwarded-for", b"1.2.3.4"),
]
_RIGHT: list[Field] = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.test")]
_PSEUDO: list[list[bytes]] = [
    [b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"", b"G T", b"get", b"GET\0", b"GET / HTTP/1.1\r\nx: y"],
    [b"http", b"HTTPS", b"", b"ftp", b"ht tp", b"https\0"],
    [b"/a?b", b"*", b"", b"a", b"/a b", b"/\xe4", b"/\0", b"/#f", b"https://a.test/", b"//b.test", b"/\r\nx: y", b"/\x7f"],
    [b"a.test:443", b"", b"u@a.test", b"a.test/", b"a test", b"A.test", b"[::1]", b"a.test, b.test", b"a.test\r\nx: y"],
]


def _changed(number: int, value: bytes) -> list[Field]:
    return [*_RIGHT[:number], (_RIGHT[number][0], value), *_RIGHT[number + 1 :]]


FIELDS: list[list[Field]] = [
    _RIGHT,
    *(_changed(number, value) for number, values in enumerate(_PSEUDO) for value in values),
    *([*_RIGHT, extra] for extra in _EXTRA),
    *([extra, *_RIGHT] for extra in _EXTRA[:1]),
    *([*_RIGHT[:at], *_RIGHT[at + 1 :]] for at in range(4)),
    [*_RIGHT[:3], (b"host", b"a.test")],
    [_RIGHT[1], *_RIGHT[2:], (b":method", b"CONNECT")],
    [(b":method", b"CONNECT"), (b":authority", b"a.test:443")],
    [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *_RIGHT[1:]],
    [*_RIGHT, (b"content-length", b"3"), (b"content-length", b"3")],
    [*_RIGHT, (b"cookie", b"a=b"), (b"x-a", b"b"), (b"cookie", b"c=d")],
    [*_RIGHT, (b"host", b"a.test"), (b"host", b"a.test")],
]
"""Fields of a request, with no or one thing odd."""


@st.composite
def blocks(draw: st.DrawFn, fields: list[Field]) -> bytes:
    parts = [draw(representations(field)) for field in fields]
    if draw(st.integers(0, 9)) == 0:
        parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(_ODD)))
    return b"".join(parts)


def plain(fields: list[Field]) -> bytes:
    """Without tables or Huffman's code."""
    return b"".join(b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value for name, value in fields)


# Frames (RFC 9113)


@st.composite
def heads(draw: st.DrawFn, stream: int, block: bytes, end: bool) -> list[RawFrame]:
    """HEADERS with its CONTINUATIONs."""
    flags, before, after = END_STREAM * end, b"", b""
    if draw(st.integers(0, 4)) == 0:
        flags |= PADDED
        padding = draw(st.integers(0, 3))
        before, after = bytes((padding,)), b"\0" * padding
    if draw(st.integers(0, 4)) == 0:
        flags |= WITH_PRIORITY
        before += draw(st.sampled_from([0, 1, 3, 0x80000000])).to_bytes(4, "big") + b"\x10"
    cuts = sorted(draw(st.lists(st.integers(0, len(block)), max_size=2))) if draw(st.integers(0, 2)) == 0 else []
    pieces = [block[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(block)], strict=True)]
    frames = [RawFrame(HEADERS, flags, stream, before + pieces[0] + after)]
    frames += [RawFrame(CONTINUATION, 0, stream, piece) for piece in pieces[1:]]
    return [*frames[:-1], frames[-1]._replace(flags=frames[-1].flags | END_HEADERS)]


@st.composite
def messages(draw: st.DrawFn, stream: int) -> list[RawFrame]:
    """All frames of one request."""
    fields = draw(st.one_of(st.just(_RIGHT), st.sampled_from(FIELDS)))
    content = draw(st.sampled_from([[], [], [b"abc"], [b"a", b"bc"], [b""], [b"abc", b""]]))
    trailers = draw(st.sampled_from([False, False, False, True]))
    frames = draw(heads(stream, draw(blocks(fields)), not content and not trailers))
    for number, piece in enumerate(content):
        padding = draw(st.sampled_from([-1, -1, 0, 4]))
        end = END_STREAM * (number == len(content) - 1 and not trailers)
        if padding >= 0:
            frames.append(RawFrame(DATA, end | PADDED, stream, bytes((padding,)) + piece + b"\0" * padding))
        else:
            frames.append(RawFrame(DATA, end, stream, piece))
    if trailers:
        said: list[Field] = draw(st.sampled_from([[(b"x-t", b"y")], [], [(b":path", b"/")], [(b"content-length", b"9")]]))
        frames += draw(heads(stream, draw(blocks(said)), draw(st.integers(0, 7)) > 0))
    return frames


_NOISE = [
    RawFrame(PING, 0, 0, b"12345678"),
    RawFrame(PING, ACK, 0, b"12345678"),
    RawFrame(PING, 0, 1, b"12345678"),
    RawFrame(PING, 0, 0, b"1234567"),
    RawFrame(WINDOW, 0, 0, b"\0\0\0\1"),
    RawFrame(WINDOW, 0, 1, b"\0\0\0\1"),
    RawFrame(WINDOW, 0, 0, b"\0\0\0\0"),
    RawFrame(WINDOW, 0, 1, b"\0\0\0\0"),
    RawFrame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"),
    RawFrame(WINDOW, 0, 9, b"\0\0\0\1"),
    RawFrame(WINDOW, 0, 0, b"\0\0\1"),
    RawFrame(SETTINGS, 0, 0, b""),
    RawFrame(SETTINGS, ACK, 0, b""),
    RawFrame(SETTINGS, ACK, 0, b"\0\1\0\0\0\0"),
    RawFrame(SETTINGS, 0, 0, b"\0\4\0\0\0\1"),
    RawFrame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
    RawFrame(SETTINGS, 0, 0, b"\0\2\0\0\0\2"),
    RawFrame(SETTINGS, 0, 0, b"\0\5\0\0\0\1"),
    RawFrame(SETTINGS, 0, 0, b"\xfa\xfa\0\0\0\1"),
    RawFrame(SETTINGS, 0, 1, b""),
    RawFrame(SETTINGS, 0, 0, b"\0\1\0"),
    RawFrame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    RawFrame(PRIORITY, 0, 9, b"\0\0\0\3\x10"),
    RawFrame(PRIORITY, 0, 1, b"\0\0\0\1\x10"),
    RawFrame(PRIORITY, 0, 0, b"\0\0\0\1\x10"),
    RawFrame(PRIORITY, 0, 1, b"\0\0\0\0"),
    RawFrame(RESET, 0, 1, b"\0\0\0\x08"),
    RawFrame(RESET, 0, 0, b"\0\0\0\x08"),
    RawFrame(RESET, 0, 9, b"\0\0\0\x08"),
    RawFrame(RESET, 0, 1, b"\0\0\x08"),
    RawFrame(PUSH, END_HEADERS, 1, b"\0\0\0\2\x82"),
    RawFrame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0"),
    RawFrame(GOAWAY, 0, 1, b"\0\0\0\0\0\0\0\0"),
    RawFrame(UNKNOWN, 0xFF, 1, b"?"),
    RawFrame(UNKNOWN, 0, 0, b""),
    RawFrame(ALTSVC, 0, 0, b"\0\1aq"),
    RawFrame(CONTINUATION, END_HEADERS, 1, b"\x82"),
    RawFrame(DATA, 0, 0, b"x"),
    RawFrame(DATA, PADDED, 1, b"\xffx"),
    RawFrame(DATA, 0, 9, b"x"),
    RawFrame(DATA, 0, 2, b"x"),
]


def _spoil(frames: list[RawFrame], draw: st.DrawFn) -> None:
    """One frame is wrong, gone, there twice or at another place."""
    at = draw(st.integers(0, len(frames) - 1))
    frame = frames[at]
    match draw(st.sampled_from(["flags", "stream", "type", "shorter", "longer", "byte", "twice", "drop", "swap"])):
        case "flags":
            frames[at] = frame._replace(flags=frame.flags ^ draw(st.sampled_from([1, 4, 8, 0x20, 2])))
        case "stream":
            frames[at] = frame._replace(stream=draw(st.sampled_from([0, 1, 2, 3, 5, 0x80000001, 0x7FFFFFFF])))
        case "type":
            frames[at] = frame._replace(type=draw(st.integers(0, 11)))
        case "shorter":
            frames[at] = frame._replace(payload=frame.payload[:-1])
        case "longer":
            frames[at] = frame._replace(payload=frame.payload + b"\0")
        case "byte" if frame.payload:
            payload = bytearray(frame.payload)
            payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
            frames[at] = frame._replace(payload=bytes(payload))
        case "twice":
            frames.insert(at, frame)
        case "drop":
            del frames[at]
        case _:
            frames.insert(draw(st.integers(0, len(frames) - 1)), frames.pop(at))


@st.composite
def sessions(draw: st.DrawFn) -> list[RawFrame]:
    """What a client sends behind its preface and settings: one to three requests, frames of other kinds between them, and at
    times something wrong."""
    frames: list[RawFrame] = []
    for stream in draw(st.sampled_from([[1], [1, 3], [1, 3, 5], [1, 5], [3, 1], [1, 1]])):
        frames += draw(messages(stream))
    if draw(st.integers(0, 3)) == 0:
        frames.insert(draw(st.integers(0, len(frames))), draw(st.sampled_from(_NOISE)))
    if draw(st.integers(0, 3)) == 0:
        _spoil(frames, draw)
    return frames


def one_thing_odd() -> Iterator[list[RawFrame]]:
    """Every odd request, odd piece of a block and odd frame at each place, with a right request behind it."""
    behind = RawFrame(HEADERS, END_HEADERS | END_STREAM, 7, plain(_RIGHT))
    body = RawFrame(DATA, END_STREAM, 1, b"abc")
    trailers = RawFrame(HEADERS, END_HEADERS | END_STREAM, 1, plain([(b"x-t", b"y")]))
    for fields in FIELDS:
        yield [RawFrame(HEADERS, END_HEADERS, 1, plain(fields)), body, behind]
        yield [RawFrame(HEADERS, END_HEADERS | END_STREAM, 1, plain(fields)), behind]
    right = RawFrame(HEADERS, END_HEADERS, 1, plain(_RIGHT))
    for field in _EXTRA:
        yield [right, body._replace(flags=0), trailers._replace(payload=plain([field])), behind]
    for odd in _ODD:
        for block in (odd + plain(_RIGHT), plain(_RIGHT[:2]) + odd + plain(_RIGHT[2:]), plain(_RIGHT) + odd):
            yield [right._replace(payload=block), body, behind]
    whole = [right, body._replace(flags=0), trailers, behind]
    for noise in _NOISE:
        for at in range(len(whole)):
            yield [*whole[:at], noise, *whole[at:]]
    head = [right._replace(flags=0, payload=right.payload[:9]), RawFrame(CONTINUATION, END_HEADERS, 1, right.payload[9:])]
    for noise in _NOISE:
        yield [head[0], noise, head[1], body, behind]
    for at, frame in enumerate(whole[:3]):
        for flags in range(64):
            yield [*whole[:at], frame._replace(flags=flags), *whole[at + 1 :]]
        for stream in (0, 2, 3, 9, 0x80000001):
            yield [*whole[:at], frame._replace(stream=stream), *whole[at + 1 :]]
        yield [*whole[:at], *whole[at + 1 :]]
        yield [*whole[:at], frame, frame, *whole[at + 1 :]]
