"""Frames made by hand, and what a case of the HTTP/2 suite is: what a client sends, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hpack.hpack import encode_integer

from edgeproxy.edge.headers import Field

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
MAX_WINDOW: Final = 2**31 - 1

BASE: list[Field] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"gallery.test"),
    (b":path", b"/"),
]
POST: list[Field] = [(b":method", b"POST"), *BASE[1:]]
REST: Final = b"\x87\x01\x0cgallery.test\x84"
"""The block of :scheme https, :authority (literal, in no table) and :path /."""
PLAIN: Final = b"\x82" + REST
"""The block of BASE, which needs no dynamic table."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame, right or wrong; the length is the payload's."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(*fields: Field) -> bytes:
    """A field block that needs no dynamic table and leaves none behind."""
    return b"".join(literal(b"\0", name, value) for name, value in fields)


def literal(kind: bytes, name: bytes, value: bytes) -> bytes:
    """A literal field with a new name, without Huffman coding (RFC 7541 section 6.2); `kind` is its first byte."""
    return kind + b"".join(encode_integer(len(text), 7) + text for text in (name, value))


def headers(stream: int, fields: bytes = PLAIN, *, end: bool = True, flags: int = END_HEADERS) -> bytes:
    """A HEADERS frame of a whole block."""
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, fields)


def request(*fields: Field, end: bool = True) -> bytes:
    """A request of these fields on stream 1."""
    return headers(1, block(*fields), end=end)


def content(stream: int, text: bytes = b"", *, end: bool = True) -> bytes:
    """A DATA frame."""
    return frame(DATA, END_STREAM if end else 0, stream, text)


def widen(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: int = 8) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame; as pairs, since order and repetition matter."""
    return frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


def priority(stream: int, depends_on: int = 0, weight: int = 15, *, exclusive: bool = False) -> bytes:
    """What a PRIORITY frame carries, and a HEADERS frame with its flag."""
    return frame(PRIORITY, 0, stream, dependency(depends_on, weight, exclusive=exclusive))


def dependency(depends_on: int, weight: int = 15, *, exclusive: bool = False) -> bytes:
    """The five bytes of a priority."""
    return (depends_on | (exclusive << 31)).to_bytes(4, "big") + bytes((weight,))


class Case(NamedTuple):
    """One case of the suite."""

    name: str
    """For those of h2spec its group, section (of RFC 7540 and 7541) and number; else RFC and section of the rule."""
    sent: str
    """What the client sends."""
    outcome: str
    """What we do: "answered" (stream 1 with 200), "status N", "ignored" (the connection goes on and no stream is reset),
    "stream error CODE" (RST_STREAM, the connection goes on), "connection error CODE" (GOAWAY, then the connection ends), or
    "ended in order"."""
    steps: tuple[bytes, ...]
    """Before the next one, all that comes of one is awaited."""
    first: tuple[tuple[int, int], ...] = ()
    """The settings with which the client begins."""
    check: Callable[[list[Any]], bool] | None = None
    """What is to hold of the frames that came besides, as hyperframe has them."""
    preface: bytes | None = None
    """The whole beginning, where it is not the usual one."""
    difference: str = ""
    """Which of http2_cases.DIFFERENCES is the reason for another outcome than h2spec's."""
