"""Attacks on an HTTP/2 server, each as frames: what is sent once, what is sent again and again, and how that must end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from edgeproxy.limits import HTTP2_CHATTER, HTTP2_GLITCHES, HTTP2_MALFORMED, HTTP2_RESETS, Limits
from tests.conformance.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_WINDOW,
    PADDED,
    PING,
    PLAIN,
    POST,
    WITH_PRIORITY,
    block,
    content,
    dependency,
    frame,
    headers,
    literal,
    priority,
    reset,
    settings,
    widen,
)

BAD_AUTHORITY = PLAIN.replace(b"\x0cgallery.test", b"\x12gallery.test:99999")
UPLOAD = block(*POST)
SHORT_UPLOAD = block(*POST, (b"content-length", b"1"))
OPEN = headers(1, UPLOAD, end=False)


class Attack(NamedTuple):
    """One of them."""

    name: str
    code: str
    """Of the GOAWAY with which the connection ends; "": it need not end, since it costs no more than an upload."""
    most: float
    """How many of the repeated pieces are taken before."""
    again: Callable[[int], bytes]
    """The piece of this number, from 0."""
    once: bytes = b""
    first: tuple[tuple[int, int], ...] = ()
    """The settings with which the client begins."""


def stream(number: int) -> int:
    """The stream of a piece, above those that are opened once."""
    return 1001 + 2 * number


def always(piece: bytes) -> Callable[[int], bytes]:
    """The same piece each time."""
    return lambda _number: piece


def provoking(what: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """An upload that goes to the origin, and then what makes us reset it."""
    return lambda number: headers(stream(number), UPLOAD, end=False) + what(stream(number))


CALM: Final = "ENHANCE_YOUR_CALM"
ATTACKS: Final = [
    Attack("rapid reset (CVE-2023-44487)", CALM, HTTP2_RESETS[0], lambda n: headers(stream(n)) + reset(stream(n))),
    Attack("rapid reset of uploads", CALM, HTTP2_RESETS[0], provoking(reset)),
    # Made-you-reset (CVE-2025-8671): the client does something for which the server resets the stream.
    Attack(
        "content beyond its length",
        CALM,
        HTTP2_MALFORMED,
        lambda n: headers(stream(n), SHORT_UPLOAD, end=False) + content(stream(n), b"test", end=False),
    ),
    Attack(
        "content short of its length",
        CALM,
        HTTP2_MALFORMED,
        lambda n: headers(stream(n), SHORT_UPLOAD, end=False) + content(stream(n)),
    ),
    Attack("a head in the middle", CALM, HTTP2_MALFORMED, provoking(lambda at: headers(at, block((b"x", b"y")), end=False))),
    Attack("malformed trailers", CALM, HTTP2_MALFORMED, provoking(lambda at: headers(at, block((b":path", b"/"))))),
    Attack(
        "a field name in upper case", CALM, HTTP2_GLITCHES[0], lambda n: headers(stream(n), PLAIN + literal(b"\0", b"X", b"y"))
    ),
    Attack("empty HEADERS", CALM, HTTP2_GLITCHES[0], lambda n: headers(stream(n), b"")),
    Attack("an authority that only we refuse", CALM, HTTP2_MALFORMED, lambda n: headers(stream(n), BAD_AUTHORITY)),
    Attack("WINDOW_UPDATE of 0", "PROTOCOL_ERROR", 1, provoking(lambda at: widen(at, 0))),
    Attack("WINDOW_UPDATE beyond 2^31-1", "FLOW_CONTROL_ERROR", 1, provoking(lambda at: widen(at, MAX_WINDOW))),
    Attack(
        "content behind the end",
        "STREAM_CLOSED",
        1,
        lambda n: headers(stream(n)) + content(stream(n), b"x"),
        first=((INITIAL_WINDOW_SIZE, 0),),
    ),
    Attack(
        "a dependency on itself",
        "PROTOCOL_ERROR",
        1,
        lambda n: headers(stream(n), dependency(stream(n)) + PLAIN, flags=END_HEADERS | WITH_PRIORITY),
    ),
    # Frames that bring nothing.
    Attack("PING (CVE-2019-9512)", CALM, HTTP2_CHATTER[0], always(frame(PING, 0, 0, bytes(8)))),
    Attack("PING with ACK", CALM, HTTP2_CHATTER[0], always(frame(PING, ACK, 0, bytes(8)))),
    Attack("SETTINGS (CVE-2019-9515)", CALM, HTTP2_CHATTER[0], always(settings())),
    Attack(
        "initial windows up and down over a hundred streams",
        CALM,
        HTTP2_CHATTER[0],
        lambda n: settings((INITIAL_WINDOW_SIZE, n % 2)),
        b"".join(headers(1 + 2 * at, UPLOAD, end=False) for at in range(100)),
    ),
    Attack("empty DATA (CVE-2019-9518)", CALM, HTTP2_GLITCHES[0], always(content(1, end=False)), OPEN),
    Attack("DATA that is padding", CALM, HTTP2_CHATTER[0], always(frame(DATA, PADDED, 1, b"\x03\0\0\0")), OPEN),
    Attack("empty CONTINUATION (CVE-2024-27316)", CALM, 100, always(frame(CONTINUATION, 0, 1)), frame(HEADERS, 1, 1, PLAIN)),
    Attack(
        "CONTINUATION full of fields",
        CALM,
        100,
        always(frame(CONTINUATION, 0, 1, literal(b"\0", b"x", bytes(b"y" * 100)) * 150)),
        frame(HEADERS, 1, 1, PLAIN),
    ),
    Attack("PRIORITY (CVE-2019-9513)", CALM, HTTP2_GLITCHES[0], lambda n: priority(1, 3 + n % 2), OPEN),
    Attack("PRIORITY on idle streams", CALM, HTTP2_GLITCHES[0], lambda n: priority(stream(n))),
    Attack("PRIORITY on stream 0", CALM, HTTP2_GLITCHES[0], always(priority(0))),
    Attack("PRIORITY_UPDATE", CALM, HTTP2_GLITCHES[0], always(frame(0x10, 0, 0, b"\0\0\0\1u=1")), OPEN),
    Attack("frames of unknown type", CALM, HTTP2_GLITCHES[0], always(frame(0xFA, 0, 0, bytes(64)))),
    Attack("WINDOW_UPDATE of the connection", CALM, HTTP2_CHATTER[0], always(widen(0, 1))),
    Attack("WINDOW_UPDATE of a stream", CALM, HTTP2_CHATTER[0], always(widen(1, 1)), OPEN),
    Attack("GOAWAY", CALM, HTTP2_CHATTER[0], always(frame(GOAWAY, 0, 0, bytes(8))), OPEN),
    Attack("RST_STREAM of what is over", CALM, HTTP2_CHATTER[0], always(reset(1)), headers(1) + reset(1)),
    Attack("SETTINGS acknowledged twice", "PROTOCOL_ERROR", 1, always(frame(4, ACK, 0))),
    # Large from small.
    Attack(
        "a large entry of the table named again and again (CVE-2016-6581)",
        CALM,
        1,
        lambda n: headers(stream(n), PLAIN + b"\xbe" * 10_000),
        headers(1, PLAIN + literal(b"\x40", b"x", bytes(b"y" * 3000))),
    ),
    Attack(
        "heads of 60 KB, each time from fifteen bytes",
        CALM,
        HTTP2_MALFORMED,
        lambda n: headers(stream(n), PLAIN + b"\xbe" * 15),
        headers(1, PLAIN + literal(b"\x40", b"x", bytes(b"y" * 3900))),
    ),
    Attack(
        "trailers of 45 KB, each time from fifteen bytes",
        CALM,
        HTTP2_MALFORMED,
        provoking(lambda at: headers(at, b"\xbe" * 15)),
        headers(1, PLAIN + literal(b"\x40", b"x", bytes(b"y" * 3000))),
    ),
    Attack(
        "streams that are opened and never finished",
        "PROTOCOL_ERROR",
        Limits().streams + 1,
        lambda n: headers(stream(n), UPLOAD, end=False),
    ),
    Attack("DATA on a stream that is over", "", 0, always(content(1, bytes(1000))), OPEN + reset(1)),
    Attack(
        "HEADERS on a stream that is over",
        CALM,
        HTTP2_GLITCHES[0],
        always(headers(1, PLAIN + bytes(literal(b"\0", b"x", b"y")) * 100)),
        OPEN + reset(1),
    ),
]
