"""HTTP/2 clients for tests: one that makes frames by hand, and a sink that writes down what the server made of them."""

from collections.abc import Sequence
from typing import Any

import hpack
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

from edgeproxy.edge.headers import Field, RequestHead, RequestLines
from edgeproxy.edge.http1 import Refusal
from edgeproxy.edge.http2 import Ended, Http2Server
from edgeproxy.edge.http2_fields import RequestFields
from edgeproxy.limits import Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET: list[Field] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"gallery.example.com"),
    (b":path", b"/a?b=c"),
]
POST: list[Field] = [(b":method", b"POST"), *GET[1:]]
WEBSOCKET: list[Field] = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]


def fields_for(limits: Limits | None = None) -> RequestFields:
    return RequestFields(RequestLines("workspace-id"), limits or Limits())


class Recorder:
    """A sink that takes everything and remembers it. `server` may be set to have bodies consumed at once."""

    def __init__(self) -> None:
        self.requests: dict[int, RequestHead] = {}
        self.ended: set[int] = set()
        self.refusals: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}
        self.trailer_lines: dict[int, list[bytes]] = {}
        self.closures: dict[int, int] = {}
        self.widened = 0
        self.server: Http2Server | None = None

    def request(self, stream: int, head: RequestHead, end: bool) -> None:
        self.requests[stream] = head
        if end:
            self.ended.add(stream)

    def refused(self, stream: int, fields: Sequence[Field], refusal: Refusal, end: bool) -> None:
        self.refusals[stream] = refusal.status

    def body(self, stream: int, data: bytes, end: bool) -> None:
        self.bodies[stream] = self.bodies.get(stream, b"") + data
        if end:
            self.ended.add(stream)
        if self.server is not None:
            self.server.consumed(stream, len(data))

    def trailers(self, stream: int, lines: list[bytes]) -> None:
        self.trailer_lines[stream] = lines
        self.ended.add(stream)

    def closed(self, ended: Sequence[Ended]) -> None:
        self.closures.update((event.stream_id, event.error_code) for event in ended)

    def writable(self) -> None:
        self.widened += 1


class RawClient:
    """A server, and a client that may send it any frames."""

    def __init__(
        self,
        limits: Limits | None = None,
        settings: dict[int, int] | None = None,
        *,
        consume: bool = True,
        acknowledge: bool = True,
    ) -> None:
        limits = limits or Limits()
        self.sink = Recorder()
        self.server = Http2Server(self.sink, fields_for(limits), limits)
        if consume:
            self.sink.server = self.server
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.server.receive(PREFACE + SettingsFrame(0, settings or {}).serialize(), 0.0)
        self.first = self.received()
        if acknowledge:
            self.server.receive(SettingsFrame(0, flags=["ACK"]).serialize(), 0.0)

    def send(self, *frames: Frame | bytes) -> None:
        self.server.receive(b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames), 0.0)

    def received(self) -> list[Any]:
        """The frames that the server sends now."""
        return parse_frames(self.server.data_to_send())

    def headers(self, stream: int, fields: list[Field], *, end: bool = True, block: bytes | None = None) -> HeadersFrame:
        frame = HeadersFrame(stream, self.encoder.encode(fields) if block is None else block, flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def request(self, stream: int, fields: list[Field], *, end: bool = True) -> list[Any]:
        """Sends one request and gives what comes back at once."""
        self.send(self.headers(stream, fields, end=end))
        return self.received()


def data(stream: int, content: bytes, *, end: bool = False, padding: int = 0) -> DataFrame:
    frame = DataFrame(stream, content)
    if end:
        frame.flags.add("END_STREAM")
    if padding:
        frame.flags.add("PADDED")
        frame.pad_length = padding
    return frame


def parse_frames(output: bytes) -> list[Any]:
    frames = []
    view = memoryview(output)
    while view:
        frame, size = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + size])
        frames.append(frame)
        view = view[9 + size :]
    return frames
