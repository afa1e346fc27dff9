"""HTTP/2 against h2 as the peer and as the second opinion."""

import contextlib
import hashlib
import random
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
import pytest
from hyperframe.frame import (
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeproxy.edge.headers import Field
from edgeproxy.edge.http2 import (
    CONNECTION_WINDOW,
    STREAM_WINDOW,
    Http2Error,
    Http2Server,
)
from edgeproxy.limits import WRITE_HIGH_WATER, Limits
from tests.http2_peer import GET, POST, PREFACE, WEBSOCKET, RawClient, Recorder, data, fields_for


class Pair:
    """h2 as the client of our server, with nothing between them."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.sink = Recorder()
        self.server = self.sink.server = Http2Server(self.sink, fields_for(limits), limits)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.client.initiate_connection()
        self.events: list[Any] = []
        self.exchange()

    def exchange(self) -> list[Any]:
        """Carries bytes to and fro until nobody says any more; gives the client's events."""
        events: list[Any] = []
        while True:
            up = self.client.data_to_send()
            if up:
                self.server.receive(up, 0.0)
            down = self.server.data_to_send()
            if down:
                events += self.client.receive_data(down)
            if not up and not down:
                self.events += events
                return events


def test_an_exchange_with_everything_in_it() -> None:
    pair = Pair()
    client, server, sink = pair.client, pair.server, pair.sink
    client.send_headers(1, [*POST, (b"expect", b"100-continue"), (b"te", b"trailers"), (b"x", b"y")])
    pair.exchange()
    assert sink.requests[1].expect
    assert sink.requests[1].head == b"POST /a?b=c HTTP/1.1\r\nhost: gallery.example.com\r\nx: y\r\n"
    server.send_interim(1, 100)
    assert [type(event).__name__ for event in pair.exchange()] == ["InformationalResponseReceived"]
    client.send_data(1, b"content")
    client.send_headers(1, [(b"x-sum", b"7")], end_stream=True)
    pair.exchange()
    assert (sink.bodies[1], sink.trailer_lines[1], sink.ended) == (b"content", [b"x-sum: 7"], {1})
    server.send_head(1, 200, [(b"server", b"origin"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")])
    server.send_data(1, b"an")
    server.send_data(1, b"swer")
    server.send_trailers(1, [(b"x-end", b"1")])
    head, *bodies, trailers, end = [event for event in pair.exchange() if not isinstance(event, h2.events.WindowUpdated)]
    assert head.headers == [(b":status", b"200"), (b"server", b"origin"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]
    assert b"".join(event.data for event in bodies) == b"answer"
    assert trailers.headers == [(b"x-end", b"1")]
    assert isinstance(end, h2.events.StreamEnded)


def test_the_client_learns_our_settings() -> None:
    pair = Pair(Limits(streams=11))
    theirs = pair.client.remote_settings
    assert theirs.max_concurrent_streams == 11
    assert theirs.initial_window_size == STREAM_WINDOW
    assert theirs.enable_connect_protocol == 1
    assert theirs.max_header_list_size == 32 * 1024
    assert pair.client.outbound_flow_control_window == CONNECTION_WINDOW


def test_a_large_upload_arrives_whole_within_the_windows() -> None:
    pair = Pair()
    content = random.Random(1).randbytes(1_000_000)
    pair.client.send_headers(1, [*POST, (b"content-length", b"1000000")])
    sent = 0
    while sent < len(content):
        padding = sent % 7
        room = min(pair.client.local_flow_control_window(1), 16384, len(content) - sent + 8) - 8
        assert room > 0, "the upload stalled"
        pair.client.send_data(
            1, content[sent : sent + room], end_stream=sent + room == len(content), pad_length=padding or None
        )
        sent += room
        pair.exchange()
    assert hashlib.sha256(pair.sink.bodies[1]).digest() == hashlib.sha256(content).digest()
    assert pair.sink.requests[1].length == 1_000_000
    assert pair.sink.ended == {1}


def test_a_large_answer_arrives_whole_and_is_never_queued_beyond_its_window() -> None:
    pair = Pair()
    content = random.Random(2).randbytes(1_000_000)
    pair.client.send_headers(1, GET, end_stream=True)
    pair.exchange()
    pair.server.send_head(1, 200, [(b"content-length", b"1000000")])
    got, sent = bytearray(), 0
    while len(got) < len(content):
        room = min(pair.server.window(1), WRITE_HIGH_WATER - pair.server.queued, len(content) - sent)
        if room:
            pair.server.send_data(1, content[sent : sent + room], sent + room == len(content))
            sent += room
        for event in pair.exchange():
            if isinstance(event, h2.events.DataReceived):
                got += event.data
                pair.client.acknowledge_received_data(event.flow_controlled_length, 1)
        assert pair.server.queued <= WRITE_HIGH_WATER
    assert got == content


def test_tiny_windows_are_respected() -> None:
    client = RawClient(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1})
    client.request(1, GET)
    client.server.send_head(1, 200, ())
    client.server.send_data(1, b"0123456789", True)
    frames = client.received()
    for _ in range(9):
        assert client.received() == []
        client.send(WindowUpdateFrame(1, window_increment=1))
        frames += client.received()
    assert [frame.data for frame in frames[1:]] == [b"%d" % n for n in range(10)]
    assert client.sink.closures == {1: 0}


def test_many_streams_share_a_connection() -> None:
    pair = Pair(Limits(streams=100))
    for stream in range(1, 201, 2):
        pair.client.send_headers(stream, [*GET[:3], (b":path", b"/%d" % stream)], end_stream=True)
    pair.exchange()
    assert len(pair.sink.requests) == 100
    for stream in reversed(list(pair.sink.requests)):
        pair.server.send_head(stream, 200, ())
        pair.server.send_data(stream, b"%d" % stream, True)
    events = pair.exchange()
    bodies = {event.stream_id: event.data for event in events if isinstance(event, h2.events.DataReceived)}
    assert bodies == {stream: b"%d" % stream for stream in range(1, 201, 2)}


@pytest.mark.parametrize("acknowledged", [False, True])
def test_streams_beyond_the_limit_are_not_opened(acknowledged: bool) -> None:
    client = RawClient(Limits(streams=3), acknowledge=acknowledged)
    client.send(*[client.headers(stream, GET) for stream in (1, 3, 5, 7)])
    (refusal,) = client.received()
    if acknowledged:  # the client knew the limit
        assert (type(refusal), refusal.error_code) == (GoAwayFrame, h2.errors.ErrorCodes.PROTOCOL_ERROR)
    else:
        assert (refusal.stream_id, refusal.error_code) == (7, h2.errors.ErrorCodes.REFUSED_STREAM)
    assert list(client.sink.requests) == [1, 3, 5]


def test_a_websocket_by_extended_connect() -> None:
    pair = Pair()
    pair.client.send_headers(1, [*WEBSOCKET, (b"sec-websocket-version", b"13")])
    pair.exchange()
    assert pair.sink.requests[1].upgrade
    pair.server.send_head(1, 200, [(b"sec-websocket-protocol", b"chat")])
    pair.server.send_data(1, b"\x81\x02hi")
    pair.exchange()
    pair.client.send_data(1, b"\x81\x82aaaabb", end_stream=True)
    pair.server.send_data(1, b"", True)
    pair.exchange()
    assert pair.sink.bodies == {1: b"\x81\x82aaaabb"}
    assert pair.sink.closures == {1: 0}


# Content-Length and DATA


@pytest.mark.parametrize("length", [b"5", b"2", b"0"])
@pytest.mark.parametrize("trailers", [False, True])
def test_content_that_is_not_of_its_declared_length_is_never_taken_as_complete(length: bytes, trailers: bool) -> None:
    client = RawClient()
    client.send(client.headers(1, [*POST, (b"content-length", length)], end=False), data(1, b"abc", end=not trailers))
    if trailers:
        client.send(client.headers(1, [(b"x", b"y")]))
    assert [frame.error_code for frame in client.received()] == [h2.errors.ErrorCodes.PROTOCOL_ERROR]
    assert client.sink.ended == set()
    assert client.sink.closures == {1: 1}


@pytest.mark.parametrize(
    "fields", [[(b":path", b"/")], [(b"X", b"y")], [(b"connection", b"close")], [(b"x", b"a\r\nb: c")], [(b"te", b"gzip")]]
)
def test_malformed_trailers_are_a_stream_error(fields: list[Field]) -> None:
    client = RawClient()
    client.request(1, POST, end=False)
    client.send(client.headers(1, fields))
    assert [frame.error_code for frame in client.received()] == [h2.errors.ErrorCodes.PROTOCOL_ERROR]
    assert client.sink.trailer_lines == {}


def test_a_second_head_that_does_not_end_the_stream_is_a_stream_error() -> None:
    client = RawClient()
    client.request(1, POST, end=False)
    client.send(client.headers(1, [(b"x", b"y")], end=False))
    assert [frame.error_code for frame in client.received()] == [h2.errors.ErrorCodes.PROTOCOL_ERROR]


# Second opinion: what we take as a request, h2 does too

NAMES = [
    b":method", b":scheme", b":authority", b":path", b":protocol", b":status", b":x", b"host", b"te", b"connection", b"upgrade",
    b"keep-alive", b"proxy-connection", b"transfer-encoding", b"content-length", b"cookie", b"a", b"A", b"a b", b"a:", b"",
    b"a\xe9", b"a\0", b"workspace_id", b"expect",
]  # fmt: skip
VALUES = [
    b"GET", b"POST", b"CONNECT", b"OPTIONS", b"https", b"http", b"gallery.example.com", b"gallery.example.com:443", b"/",
    b"/a b", b"*", b"", b" ", b" x", b"x ", b"x\r\ny: z", b"x\n", b"x\0", b"trailers", b"gzip", b"0", b"00", b"-1", b"close",
    b"websocket", b"u@gallery.example.com", b"/a#b", b"\xff", b"\x7f", b"\t",
]  # fmt: skip
any_fields = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(NAMES), st.binary(max_size=6)), st.one_of(st.sampled_from(VALUES), st.binary(max_size=6))
    ),
    max_size=8,
)


@st.composite
def nearly_valid(draw: st.DrawFn) -> list[Field]:
    """A valid request with something done to it."""
    fields = list(draw(st.sampled_from([GET, POST, WEBSOCKET])))
    for _ in range(draw(st.integers(0, 2))):
        action = draw(st.integers(0, 3))
        at = draw(st.integers(0, len(fields)))
        if action == 0:
            fields.insert(at, (draw(st.sampled_from(NAMES)), draw(st.sampled_from(VALUES))))
        elif fields and action == 1:
            del fields[at % len(fields)]
        elif fields and action == 2:
            fields[at % len(fields)] = (fields[at % len(fields)][0], draw(st.sampled_from(VALUES)))
        elif fields:
            fields.append(fields[at % len(fields)])
    return fields


def h2_takes(fields: list[Field], end: bool) -> bool:
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=True)
    )
    server.local_settings = h2.settings.Settings(
        client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
    )
    server.initiate_connection()
    frame = HeadersFrame(1, hpack.Encoder().encode(fields), flags=["END_HEADERS"])
    if end:
        frame.flags.add("END_STREAM")
    try:
        events = server.receive_data(PREFACE + SettingsFrame(0).serialize() + frame.serialize())
    except h2.exceptions.ProtocolError:
        return False
    return any(isinstance(event, h2.events.RequestReceived) for event in events)


@settings(max_examples=600, deadline=None)
@given(st.one_of(any_fields, nearly_valid(), nearly_valid()), st.booleans())
@example([*GET, (b"cookie", b"a=b"), (b"cookie", b"c=d")], True)
def test_what_we_take_as_a_request_h2_takes_too(fields: list[Field], end: bool) -> None:
    client = RawClient()
    client.send(client.headers(1, fields, end=end))
    output = client.received()
    assert client.server.ended or bool(client.sink.requests) + bool(client.sink.refusals) + bool(client.sink.closures) == 1
    if not client.sink.requests:
        assert client.sink.refusals or output, "neither served nor refused"
        return
    head = client.sink.requests[1]
    assert h2_takes(fields, end), f"h2 refuses what became {head.head!r}"
    # And as HTTP/1.1 it is one request, told by as many lines as there are fields.
    lines = head.head.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0] == b"%b %b HTTP/1.1" % (head.method, head.target)
    assert len([line for line in lines if line.lower().startswith(b"host:")]) == 1
    assert not any(b"\n" in line or b"\r" in line or b"\0" in line or b":" not in line for line in lines[1:])
    assert not any(
        line.lower().startswith((b"transfer-encoding", b"content-length", b"connection", b"upgrade")) for line in lines
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(1, 50))
def test_arbitrary_bytes_never_make_anything_but_a_clean_end(pieces: list[bytes], split: int) -> None:
    client = RawClient()
    with contextlib.suppress(Http2Error):
        for piece in pieces:
            for start in range(0, len(piece), split):
                client.server.receive(piece[start : start + split], 0.0)
            client.server.data_to_send()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_frames_never_make_anything_but_a_clean_end(drawn: st.DataObject) -> None:
    client = RawClient()
    stream = bytearray()
    for number in (1, 3, 5):
        stream += client.headers(number, POST, end=False).serialize() + data(number, b"abc", end=True, padding=3).serialize()
        stream += WindowUpdateFrame(number, window_increment=5).serialize() + PingFrame(0, opaque_data=b"12345678").serialize()
    for _ in range(drawn.draw(st.integers(1, 4))):
        stream[drawn.draw(st.integers(0, len(stream) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(Http2Error):
        client.server.receive(bytes(stream), 0.0)
        client.received()
        for number, head in client.sink.requests.items():
            assert head.head.endswith(b"\r\n")
            client.server.send_head(number, 200, ())
            client.server.send_data(number, b"x", True)
            client.server.finish(number)
        client.received()
