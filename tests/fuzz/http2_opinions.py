"""What our server's side of HTTP/2 (over libnghttp2) and h2 (python-hyper, with its own HPACK) make of the same frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import SettingsFrame

from edgeproxy.edge.headers import Field, RequestHead, RequestLines, trailer_lines
from edgeproxy.edge.http1 import Refusal
from edgeproxy.edge.http2 import STREAM_WINDOW, Http2Error, Http2Server
from edgeproxy.edge.http2_fields import Malformed, RequestFields
from edgeproxy.limits import Limits
from tests.http2_peer import PREFACE, Recorder, fields_for

LIMITS = Limits()
OPENING = PREFACE + SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize()


@dataclass
class View:
    """What came of a client's bytes."""

    requests: dict[int, RequestHead | int | None] = field(default_factory=dict)
    """By stream: the head; the status of a refusal; None for a malformed one."""
    bodies: dict[int, bytes] = field(default_factory=dict)
    trailers: dict[int, list[bytes] | None] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    """Streams that the client has ended in good order."""
    lost: set[int] = field(default_factory=set)
    """Those that were reset, by either side."""
    over: str = ""
    """Why the connection is over."""

    def facts(self) -> tuple[object, ...]:
        """What must not depend on how the bytes were cut; of a connection that broke, only that it did."""
        if self.over:
            return ("over",)
        return self.requests, self.bodies, self.trailers, self.ended, self.lost


def our_view(pieces: Iterable[bytes]) -> View:
    """Ours of what comes behind OPENING."""
    sink = Recorder()
    server = sink.server = Http2Server(sink, fields_for(LIMITS), LIMITS)
    server.receive(OPENING, 0.0)
    server.data_to_send()
    view = View()
    try:
        for piece in pieces:
            server.receive(piece, 0.0)
            server.data_to_send()
            if server.ended:
                view.over = "ended"
                break
    except Http2Error as error:
        view.over = str(error)
    view.requests = {**sink.refusals, **sink.requests}
    view.bodies = {stream: body for stream, body in sink.bodies.items() if body}
    view.trailers = dict(sink.trailer_lines)
    view.ended = sink.ended
    view.lost = set(sink.closures)
    return view


class _H2:
    """h2 as a server with our settings."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None, normalize_inbound_headers=False)
        self.connection = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self.connection.update_settings(
            {
                codes.MAX_CONCURRENT_STREAMS: LIMITS.streams,
                codes.ENABLE_CONNECT_PROTOCOL: 1,
                codes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            }
        )
        self.connection.receive_data(PREFACE)
        self.view = View()
        self._fields: RequestFields = fields_for(LIMITS)

    def take(self, piece: bytes) -> None:
        for event in self.connection.receive_data(piece):
            self._event(event)

    def _event(self, event: h2.events.Event) -> None:
        view = self.view
        if isinstance(event, h2.events.RequestReceived):
            stream = event.stream_id or 0
            view.requests[stream] = self._head(list(event.headers or ()), event.stream_ended is not None)
        elif isinstance(event, h2.events.DataReceived):
            stream = event.stream_id or 0
            if event.data:
                view.bodies[stream] = view.bodies.get(stream, b"") + event.data
            self.connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        elif isinstance(event, h2.events.TrailersReceived):
            lines = [b"%b: %b" % (bytes(name), bytes(value)) for name, value in event.headers or ()]
            view.trailers[event.stream_id or 0] = trailer_lines(lines, RequestLines("workspace-id"))
        elif isinstance(event, h2.events.StreamEnded):
            view.ended.add(event.stream_id or 0)
        elif isinstance(event, h2.events.StreamReset):
            view.lost.add(event.stream_id or 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            view.over = "GOAWAY"

    def _head(self, headers: list[Field], end: bool) -> RequestHead | int | None:
        """The same fields, judged by the same rules: what differs was decoded or framed otherwise."""
        try:
            return self._fields.head([(bytes(name), bytes(value)) for name, value in headers], end)
        except Refusal as refusal:
            return refusal.status
        except Malformed:
            return None


def h2_view(frames: Iterable[bytes]) -> View:
    """h2's of the same. It drops what it understood of a piece behind which it breaks off: a frame each."""
    other = _H2()
    try:
        other.take(OPENING[len(PREFACE) :])
        for frame in frames:
            other.take(frame)
    except h2.exceptions.ProtocolError as error:
        other.view.over = f"{type(error).__name__}: {error}"
    return other.view
