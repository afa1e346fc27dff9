"""The server's side of an HTTP/2 connection, against frames made by hand."""

from typing import Any

import pytest
from hpack import NeverIndexedHeaderTuple
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from edgeproxy.edge.http2 import (
    CANCEL,
    CONNECTION_WINDOW,
    NO_ERROR,
    PROTOCOL_ERROR,
    STREAM_WINDOW,
    Http2Error,
    Http2Server,
    unindexed,
)
from edgeproxy.limits import HTTP2_MALFORMED, Limits
from tests.http2_peer import GET, POST, WEBSOCKET, RawClient, Recorder, data, fields_for, parse_frames

TEXT = [(b"content-type", b"text/plain")]


def kinds(frames: list[Any]) -> list[str]:
    return [type(frame).__name__.removesuffix("Frame") for frame in frames]


def test_the_settings_bound_what_a_client_may_do() -> None:
    settings, _, window = RawClient(Limits(streams=7)).first
    assert settings.settings == {
        SettingsFrame.MAX_CONCURRENT_STREAMS: 7,
        SettingsFrame.MAX_HEADER_LIST_SIZE: 32 * 1024,
        SettingsFrame.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        SettingsFrame.ENABLE_CONNECT_PROTOCOL: 1,
        9: 1,
    }
    assert (window.stream_id, window.window_increment) == (0, CONNECTION_WINDOW - 65535)


def test_a_request_is_answered() -> None:
    client = RawClient()
    client.request(1, GET)
    assert client.sink.requests[1].host == "gallery.example.com"
    assert client.sink.ended == {1}
    client.server.send_head(1, 200, TEXT)
    client.server.send_data(1, b"hello", True)
    head, body = client.received()
    assert client.decoder.decode(head.data, raw=True) == [(b":status", b"200"), *TEXT]
    assert (body.data, "END_STREAM" in body.flags) == (b"hello", True)
    assert client.sink.closures == {1: NO_ERROR}
    assert client.server.requests == 1


def test_a_field_that_is_not_to_be_indexed_enters_no_table() -> None:
    client = RawClient()
    client.request(1, GET)
    client.server.send_head(1, 200, [unindexed((b"x-run-time", b"17")), (b"x-powered-by", b"tests")], True)
    (head,) = client.received()
    decoded = client.decoder.decode(head.data, raw=True)
    assert decoded == [(b":status", b"200"), (b"x-run-time", b"17"), (b"x-powered-by", b"tests")]
    assert [type(field) is NeverIndexedHeaderTuple for field in decoded] == [False, True, False]
    assert [entry[0] for entry in client.decoder.header_table.dynamic_entries] == [b"x-powered-by"]


def test_an_answer_without_content_is_one_frame() -> None:
    client = RawClient()
    client.request(1, GET)
    client.server.send_head(1, 204, (), True)
    (head,) = client.received()
    assert "END_STREAM" in head.flags


def test_interim_heads_and_trailers_frame_an_answer() -> None:
    client = RawClient()
    client.request(1, GET)
    client.server.send_interim(1, 103, [(b"link", b"</a.css>")])
    client.server.send_head(1, 200, TEXT)
    client.server.send_data(1, b"abc")
    client.server.send_trailers(1, [(b"x-sum", b"1")])
    frames = client.received()
    assert kinds(frames) == ["Headers", "Headers", "Data", "Headers"]
    decoded = [client.decoder.decode(frame.data, raw=True) for frame in frames if frame.type == 1]
    assert decoded == [[(b":status", b"103"), (b"link", b"</a.css>")], [(b":status", b"200"), *TEXT], [(b"x-sum", b"1")]]
    assert "END_STREAM" in frames[3].flags


def test_no_trailers_just_end_an_answer() -> None:
    client = RawClient()
    client.request(1, GET)
    client.server.send_head(1, 200, TEXT)
    client.server.send_trailers(1, [])
    assert "END_STREAM" in client.received()[1].flags


def test_a_body_comes_with_its_end_and_its_trailers() -> None:
    client = RawClient()
    client.send(client.headers(1, POST, end=False), data(1, b"ab"), data(1, b"", end=False), data(1, b"cd", padding=9))
    assert (client.sink.bodies, client.sink.ended) == ({1: b"abcd"}, set())
    client.send(client.headers(1, [(b"x-sum", b"1"), (b"workspace-id", b"evil"), (b"host", b"evil")]))
    assert client.sink.trailer_lines == {1: [b"x-sum: 1"]}
    assert client.sink.ended == {1}


def test_what_was_not_consumed_holds_the_client_back() -> None:
    client = RawClient(consume=False)
    client.send(client.headers(1, POST, end=False), *[data(1, b"x" * 16384) for _ in range(4)])
    assert client.received() == []
    client.server.consumed(1, 40_000)
    (update,) = client.received()
    assert (update.stream_id, update.window_increment) == (1, 40_000)
    client.server.consumed(1, 25_536)
    (update,) = client.received()
    assert (update.stream_id, update.window_increment) == (0, 65_536)


def test_a_client_that_goes_beyond_its_window_loses_the_connection() -> None:
    client = RawClient(consume=False)
    client.send(client.headers(1, POST, end=False), *[data(1, b"x" * 16384) for _ in range(5)])
    frames = client.received()
    assert kinds(frames)[-1] in ("GoAway", "RstStream")
    assert frames[-1].error_code == 3


@pytest.mark.parametrize("who", ["client", "server", "finish"])
def test_unread_bytes_of_a_stream_that_ended_are_given_back(who: str) -> None:
    client = RawClient(consume=False)
    given = 0
    for stream in range(1, 81, 2):
        client.send(client.headers(stream, POST, end=False), data(stream, b"x" * 16384), data(stream, b"x" * 16384))
        if who == "client":
            client.send(RstStreamFrame(stream, CANCEL))
        elif who == "server":
            client.server.reset(stream, CANCEL)
        else:
            client.server.send_head(stream, 413, TEXT, True)
            client.server.finish(stream)
        client.server.consumed(stream, 16384)  # what took it comes too late to say so
        given += sum(frame.window_increment for frame in client.received() if isinstance(frame, WindowUpdateFrame))
    assert given >= 40 * 32768 - CONNECTION_WINDOW // 2
    assert len(client.sink.closures) == 40


def test_bytes_of_a_frame_cut_off_by_a_reset_do_not_wear_the_window_down() -> None:
    client = RawClient()
    window = CONNECTION_WINDOW

    def widened() -> int:
        return sum(f.window_increment for f in client.received() if isinstance(f, WindowUpdateFrame) and not f.stream_id)

    for stream in range(1, 801, 4):
        frame = data(stream, b"x" * 16384).serialize()
        assert window >= 16384, "the client may not even send a frame"
        client.send(client.headers(stream, POST, end=False), frame[:16384])
        client.server.reset(stream, NO_ERROR)
        window += widened() - 16384
        client.send(frame[16384:])
        # An upload of another stream, taken in small pieces, goes on beside them.
        client.send(client.headers(stream + 2, POST, end=False), data(stream + 2, b"y" * 1000, end=True))
        client.server.send_head(stream + 2, 204, (), True)
        window += widened() - 1000
        assert window <= CONNECTION_WINDOW


def test_the_window_tells_how_much_may_be_queued() -> None:
    client = RawClient(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000})
    server = client.server
    client.request(1, GET)
    server.send_head(1, 200, TEXT)
    assert (server.window(1), server.queued) == (1000, 0)
    server.send_data(1, b"x" * 700)
    assert (server.window(1), server.queued) == (300, 700)
    server.send_data(1, b"x" * 700)
    assert (server.window(1), server.queued) == (0, 1400)
    client.received()
    assert (server.window(1), server.queued) == (0, 400)
    client.send(WindowUpdateFrame(1, window_increment=5000))
    assert client.sink.widened
    client.received()
    assert (server.window(1), server.queued) == (4600, 0)
    client.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
    assert server.window(1) == 3600
    assert server.window(99) == 0


def test_a_reset_loses_what_is_queued() -> None:
    client = RawClient()
    client.request(1, GET)
    client.server.send_head(1, 200, TEXT)
    client.server.send_data(1, b"x" * 100_000)
    client.received()
    assert client.server.queued > 0
    client.server.reset(1, CANCEL)
    assert kinds(client.received()) == ["RstStream"]
    assert client.server.queued == 0
    assert client.sink.closures == {1: CANCEL}


def test_the_clients_reset_is_told_and_later_answers_go_nowhere() -> None:
    client = RawClient()
    client.request(1, GET)
    client.send(RstStreamFrame(1, CANCEL))
    assert client.sink.closures == {1: CANCEL}
    server = client.server
    server.send_interim(1, 103)
    server.send_head(1, 200, TEXT)
    server.send_data(1, b"x", True)
    server.send_trailers(1, [(b"a", b"b")])
    server.consumed(1, 5)
    server.finish(1)
    assert client.received() == []


def test_an_early_answer_goes_out_whole_before_the_upload_is_stopped() -> None:
    client = RawClient()
    client.request(1, POST, end=False)
    client.server.send_head(1, 413, TEXT)
    client.server.send_data(1, b"x" * 70_000, True)
    client.server.finish(1)
    client.send(data(1, b"more"))
    assert client.sink.bodies == {}
    frames = client.received()
    assert "RstStream" not in kinds(frames)
    client.send(WindowUpdateFrame(1, window_increment=5000), WindowUpdateFrame(0, window_increment=5000))
    frames += client.received()
    assert sum(len(frame.data) for frame in frames if type(frame).__name__ == "DataFrame") == 70_000
    assert "END_STREAM" in frames[-2].flags
    assert (kinds(frames)[-1], frames[-1].error_code) == ("RstStream", NO_ERROR)


def test_an_upload_that_had_ended_is_not_stopped() -> None:
    client = RawClient()
    client.send(client.headers(1, POST, end=False), data(1, b"x", end=True))
    client.server.send_head(1, 200, TEXT, True)
    client.server.finish(1)
    assert kinds(client.received()) == ["Headers"]


def test_output_comes_in_pieces_of_the_wanted_size() -> None:
    client = RawClient()
    client.request(1, POST, end=False)
    client.server.send_head(1, 200, TEXT)
    client.server.send_data(1, b"x" * 50_000, True)
    client.server.finish(1)
    pieces = []
    while piece := client.server.data_to_send(3000):
        pieces.append(piece)
    assert max(map(len, pieces)) <= 3000
    frames = parse_frames(b"".join(pieces))
    assert (kinds(frames)[0], kinds(frames)[-1]) == ("Headers", "RstStream")
    assert sum(frame.body_len for frame in frames if type(frame).__name__ == "DataFrame") == 50_000


def test_a_malformed_request_ends_its_stream_only() -> None:
    client = RawClient()
    (reset,) = client.request(1, [*GET, (b"host", b"other.example.com")])
    assert (reset.stream_id, reset.error_code) == (1, PROTOCOL_ERROR)
    (reset,) = client.request(3, [*POST, (b"host", b"other.example.com")], end=False)
    assert (reset.stream_id, reset.error_code) == (3, PROTOCOL_ERROR)
    client.send(data(3, b"x"))
    client.request(5, GET)
    assert list(client.sink.requests) == [5]
    assert client.sink.bodies == {}


@pytest.mark.parametrize("authority", [b"gallery.example.com:99999", b"[gallery.example.com]"])
def test_an_authority_that_only_we_find_malformed_ends_its_stream_only(authority: bytes) -> None:
    client = RawClient()
    (reset,) = client.request(1, [(name, authority if name == b":authority" else value) for name, value in GET])
    assert (reset.stream_id, reset.error_code) == (1, PROTOCOL_ERROR)
    client.request(3, GET)
    assert list(client.sink.requests) == [3]


def test_malformed_trailers_end_their_stream() -> None:
    client = RawClient(Limits(header_count=4))
    client.request(1, POST, end=False)
    client.send(client.headers(1, [(b"a", b"b")] * 5))
    assert kinds(client.received()) == ["RstStream"]
    assert client.sink.trailer_lines == {}
    assert client.sink.closures == {1: PROTOCOL_ERROR}


def test_too_many_malformed_requests_end_the_connection() -> None:
    client = RawClient()
    for n in range(HTTP2_MALFORMED):
        client.request(1 + 2 * n, [*GET, (b"host", b"other.example.com")])
    with pytest.raises(Http2Error, match="malformed"):
        client.request(10_001, [*GET, (b"host", b"other.example.com")])
    assert client.server.ended
    assert client.received() == []


def test_a_refused_request_may_be_answered() -> None:
    client = RawClient()
    client.request(1, [(b":method", b"CONNECT"), (b":authority", b"gallery.example.com:443")], end=False)
    assert client.sink.refusals == {1: 405}
    client.server.send_head(1, 405, TEXT, True)
    client.server.finish(1)
    assert kinds(client.received()) == ["Headers", "RstStream"]


def test_a_websocket_is_a_tunnel_both_ways() -> None:
    client = RawClient()
    client.request(1, WEBSOCKET, end=False)
    assert client.sink.requests[1].upgrade
    client.server.send_head(1, 200, ())
    client.server.send_data(1, b"\x81\x01a")
    client.send(data(1, b"\x81\x81aaaa "))
    assert client.sink.bodies == {1: b"\x81\x81aaaa "}
    assert kinds(client.received()) == ["Headers", "Data"]
    client.server.send_data(1, b"", True)
    client.send(data(1, b"", end=True))
    client.received()
    assert client.sink.closures == {1: NO_ERROR}


def test_an_announced_goaway_still_serves_what_is_under_way() -> None:
    client = RawClient()
    client.request(1, GET)
    client.server.goaway(final=False)
    (notice,) = client.received()
    assert isinstance(notice, GoAwayFrame)
    assert notice.last_stream_id == 2**31 - 1
    client.request(3, GET)
    assert list(client.sink.requests) == [1, 3]
    client.server.goaway()
    (final,) = client.received()
    assert (final.last_stream_id, final.error_code) == (3, NO_ERROR)
    client.request(5, GET)
    assert list(client.sink.requests) == [1, 3]
    assert not client.server.ended
    for stream in (1, 3):
        client.server.send_head(stream, 204, (), True)
    assert len(client.received()) == 2
    assert client.server.ended


def test_an_idle_connection_ends_with_its_goaway() -> None:
    client = RawClient()
    client.server.goaway()
    assert kinds(client.received()) == ["GoAway"]
    assert client.server.ended


def test_the_clients_goaway_ends_the_connection_when_all_is_answered() -> None:
    client = RawClient()
    client.request(1, GET)
    client.send(GoAwayFrame(0))
    assert not client.server.ended
    client.server.send_head(1, 204, (), True)
    client.received()
    assert client.server.ended


def test_a_request_before_the_end_in_one_read_is_still_told() -> None:
    client = RawClient()
    client.send(client.headers(1, GET), RstStreamFrame(1, CANCEL), GoAwayFrame(0))
    assert list(client.sink.requests) == [1]
    assert client.sink.closures == {1: CANCEL}
    use_everything(client)


def test_a_protocol_error_is_told_before_the_end() -> None:
    client = RawClient()
    client.request(1, GET)
    client.send(WindowUpdateFrame(0, window_increment=0x7FFFFFFF))
    (goaway,) = client.received()
    assert (kinds([goaway]), goaway.error_code) == (["GoAway"], 3)
    assert client.server.ended
    use_everything(client)


def test_after_an_error_everything_is_quiet() -> None:
    client = RawClient(consume=False)
    client.send(client.headers(1, POST, end=False), data(1, b"x"))
    with pytest.raises(Http2Error):
        client.send(*[b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)] * 2000)
    use_everything(client)


def use_everything(client: RawClient) -> None:
    server = client.server
    assert server.ended
    server.receive(b"anything", 0.0)
    server.consumed(1, 1)
    server.send_interim(1, 103)
    server.send_head(1, 200, TEXT)
    server.send_data(1, b"x", True)
    server.send_trailers(1, [])
    server.reset(1, CANCEL)
    server.finish(1)
    server.goaway()
    server.goaway(final=False)
    assert server.window(1) == 0
    assert server.queued == 0
    assert server.data_to_send() == b""


def test_something_that_is_not_http2_ends_the_connection() -> None:
    server = Http2Server(Recorder(), fields_for(), Limits())
    with pytest.raises(Http2Error):
        server.receive(b"GET / HTTP/1.1\r\nHost: gallery.example.com\r\n\r\n", 0.0)
    assert server.ended
