"""HTTP/2 against clients that mean harm: floods, bombs, and what is bounded besides."""

from __future__ import annotations

from collections.abc import Callable

import h2.errors
import hpack
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from edgeproxy.edge.http2 import CANCEL, CONNECTION_WINDOW, Http2Error
from edgeproxy.limits import (
    HTTP2_CHATTER,
    HTTP2_CHATTER_PER,
    HTTP2_CRUMBS,
    HTTP2_GLITCHES,
    HTTP2_RESETS,
    Limits,
)
from edgeproxy.units import Size
from tests.http2_peer import GET, POST, RawClient, data, parse_frames


def flood(client: RawClient, frame: Callable[[int], bytes | Frame], count: int, *, every: int = 50) -> int:
    """Sends frames, reading what comes back now and then, until the connection has ended; gives how many were taken."""
    pending = b""
    for number in range(count):
        made = frame(number)
        pending += made if isinstance(made, bytes) else made.serialize()
        if number % every == every - 1:
            try:
                client.server.receive(pending, 0.0)
                client.server.data_to_send()
            except Http2Error:
                return number + 1
            pending = b""
            if client.server.ended:
                return number + 1
    return count


def test_rapid_reset_ends_the_connection() -> None:
    client = RawClient()

    def request_and_reset(number: int) -> bytes:
        stream = 1 + 2 * number
        return client.headers(stream, GET).serialize() + RstStreamFrame(stream, CANCEL).serialize()

    assert flood(client, request_and_reset, 20_000) <= 2 * HTTP2_RESETS[0]
    assert len(client.sink.requests) <= 2 * HTTP2_RESETS[0]


def test_rapid_reset_within_one_turn_of_the_loop_is_bounded_too() -> None:
    """The loop may read a socket thirty times before anything is sent: see Front2.flush_soon."""
    client = RawClient()
    client.server.data_to_send()

    def pairs(begin: int) -> bytes:
        streams = range(begin, begin + 200, 2)
        return b"".join(client.headers(each, GET).serialize() + RstStreamFrame(each, CANCEL).serialize() for each in streams)

    def attack() -> None:
        for begin in range(1, 10_000, 200):
            client.server.receive(pairs(begin), 0.0)

    with pytest.raises(Http2Error) as caught:
        attack()
    assert b"too many streams were reset" in caught.value.last_words
    assert len(client.sink.requests) <= HTTP2_RESETS[0] + 100
    assert client.server.ended


def test_resets_provoked_from_us_end_the_connection_too() -> None:
    """CVE-2025-8671: the client makes the server reset its streams."""
    client = RawClient()
    block = hpack.Encoder().encode([*GET[:3], (b":path", b"x")])
    taken = flood(client, lambda number: client.headers(1 + 2 * number, [], block=block), 20_000)
    assert taken <= 2 * HTTP2_GLITCHES[0]
    client = RawClient()
    taken = flood(
        client,
        lambda number: (
            client.headers(1 + 2 * number, GET).serialize()
            + WindowUpdateFrame(1 + 2 * number, window_increment=0x7FFFFFFF).serialize()
        ),
        20_000,
    )
    assert taken <= 2 * HTTP2_GLITCHES[0]


def test_a_flood_of_continuations_ends_the_connection() -> None:
    """CVE-2024-27316 and its like."""
    client = RawClient()
    first = HeadersFrame(1, client.encoder.encode(GET), flags=["END_STREAM"])
    client.send(first)
    assert flood(client, lambda _: ContinuationFrame(1, b""), 10_000, every=1) <= 100
    assert client.sink.requests == {}


@pytest.mark.parametrize(
    "frame",
    [PingFrame(0, opaque_data=b"12345678"), SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 65535})],
    ids=["ping", "settings"],
)
def test_answers_that_a_client_does_not_read_are_bounded(frame: Frame) -> None:
    """CVE-2019-9512 and CVE-2019-9515."""
    client = RawClient()
    with pytest.raises(Http2Error):
        client.send(*[frame] * 5000)
    assert client.server.ended


@pytest.mark.parametrize(
    "frame",
    [PriorityFrame(1, depends_on=0), b"\0\0\0\xfa\0\0\0\0\0", data(1, b"")],
    ids=["priority", "unknown", "empty data"],
)
def test_frames_that_do_nothing_end_the_connection(frame: Frame | bytes) -> None:
    """CVE-2019-9513 and CVE-2019-9518."""
    client = RawClient()
    client.request(1, POST, end=False)
    assert flood(client, lambda _: frame, 20_000) <= 2 * HTTP2_GLITCHES[0]


@pytest.mark.parametrize(
    "frame",
    [
        WindowUpdateFrame(0, window_increment=1),
        WindowUpdateFrame(1, window_increment=1),
        WindowUpdateFrame(0, window_increment=10_000),
        WindowUpdateFrame(1, window_increment=10_000),
        PingFrame(0, opaque_data=b"12345678"),
        PingFrame(0, opaque_data=b"12345678", flags=["ACK"]),
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 65535}),
        GoAwayFrame(0),
        RstStreamFrame(3, CANCEL),
        data(1, b"", padding=3),
    ],
    ids=[
        "window",
        "stream's window",
        "large window",
        "large stream's window",
        "ping",
        "ping's answer",
        "settings",
        "goaway",
        "reset of what is over",
        "padding",
    ],
)
def test_frames_that_hardly_do_anything_end_the_connection_where_they_are_too_many(frame: Frame) -> None:
    """Their answers are read, so that nothing piles up."""
    client = RawClient()
    client.request(1, POST, end=False)
    client.request(3, GET)
    client.server.respond(3, [(b":status", b"200")], b"", True)
    client.received()
    assert HTTP2_CHATTER[0] - 10 <= flood(client, lambda _: frame, 2 * HTTP2_CHATTER[0]) <= HTTP2_CHATTER[0] + 50
    assert client.server.ended


@pytest.mark.parametrize("frame", [WindowUpdateFrame(0, window_increment=1), PingFrame(0, opaque_data=b"12345678")])
def test_as_many_of_them_as_anybody_needs_are_taken_for_ever(frame: Frame) -> None:
    client = RawClient()
    every = HTTP2_CHATTER[1] // 20
    for turn in range(5 * 20):
        client.server.receive(frame.serialize() * every, turn / 20)
        client.received()
    assert not client.server.ended


def test_who_has_been_quiet_for_long_may_not_say_more_at_once() -> None:
    client = RawClient()
    with pytest.raises(Http2Error):
        client.server.receive(PingFrame(0, opaque_data=b"12345678", flags=["ACK"]).serialize() * (HTTP2_CHATTER[0] + 1), 1e6)


def test_a_download_acknowledged_frame_by_frame_is_no_flood() -> None:
    """Twice each, for its stream and for the connection, however fast."""
    client = RawClient()
    client.request(1, GET)
    client.server.respond(1, [(b":status", b"200")], b"", False)
    size = 2 * HTTP2_CHATTER_PER
    updates = b"".join(WindowUpdateFrame(stream, window_increment=size).serialize() for stream in (0, 1))
    for _ in range(HTTP2_CHATTER[0]):
        client.server.send_data(1, bytes(size))
        client.server.data_to_send()
        client.server.receive(updates, 0.0)
    assert client.server.window(1) == 65535
    assert not client.server.ended


def test_who_ends_the_connection_by_too_much_is_told_why() -> None:
    client = RawClient()
    client.received()
    with pytest.raises(Http2Error) as caught:
        client.send(*[WindowUpdateFrame(0, window_increment=1)] * (HTTP2_CHATTER[0] + 10))
    (goaway,) = parse_frames(caught.value.last_words)
    assert isinstance(goaway, GoAwayFrame)
    assert (goaway.error_code, goaway.last_stream_id) == (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, 2**31 - 1)
    assert goaway.additional_data == b"too many frames that bring neither a request nor content"
    assert client.server.failed


def test_a_header_bomb_is_stopped_before_it_grows() -> None:
    """CVE-2016-6581: a large entry of the dynamic table named again and again."""
    client = RawClient()
    client.request(1, [*GET, (b"x-bomb", b"x" * 3000)])
    block = client.encoder.encode(GET)
    indexed = client.encoder.encode([(b"x-bomb", b"x" * 3000)])
    assert len(indexed) == 1
    with pytest.raises(Http2Error):
        client.send(client.headers(3, [], block=block + indexed * 10_000))
    assert list(client.sink.requests) == [1]


def test_a_head_somewhat_over_the_bounds_is_answered() -> None:
    client = RawClient(Limits(request_head=Size(4096), header_count=16))
    client.request(1, [*GET, (b"x", b"y" * 5000)])
    client.request(3, [*GET, *[(b"x%d" % n, b"y") for n in range(30)]])
    client.request(5, GET)
    assert client.sink.refusals == {1: 431, 3: 431}
    assert list(client.sink.requests) == [5]


def test_more_fields_than_anybody_needs_end_the_connection() -> None:
    client = RawClient()
    with pytest.raises(Http2Error):
        client.request(1, [*GET, *[(b"a", b"")] * HTTP2_CRUMBS])


def test_data_for_streams_that_never_were_ends_the_connection() -> None:
    client = RawClient()
    client.send(data(9, b"x"))
    assert [frame.error_code for frame in client.received()] == [h2.errors.ErrorCodes.PROTOCOL_ERROR]
    assert client.server.ended


def test_padding_counts_against_the_window_and_is_given_back() -> None:
    client = RawClient()
    client.request(1, POST, end=False)
    received = 0
    for _ in range(2000):
        client.send(data(1, b"x", padding=255))
        received += sum(frame.window_increment for frame in client.received() if not frame.stream_id)
    assert client.sink.bodies == {1: b"x" * 2000}
    assert received >= 2000 * 257 - CONNECTION_WINDOW
