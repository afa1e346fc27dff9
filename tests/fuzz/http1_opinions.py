"""What three parsers of HTTP/1.1 make of the same bytes: our codec, h11, and llhttp (the one of Node.js, by `httptools`).

Each gives a Reading: the messages that it saw, where each one ended in the stream, and how the reading ended. What a parser
refuses it need not understand; what our codec lets through the others have to understand alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.headers import LENGTH_CHUNKED, LENGTH_UNTIL_CLOSE, RequestLines, ResponseHead, ResponseLines
from edgeproxy.edge.headers import parse_line as parse_field
from edgeproxy.edge.http1 import (
    ChunkedDecoder,
    ChunkError,
    Refusal,
    ResponseError,
    incomplete_head_fault,
    parse_request,
    parse_response,
)
from edgeproxy.limits import Limits

LIMITS = Limits()
WORKSPACE = "workspace-id"

WAITS, REFUSED, CLOSES, UPGRADES = "waits for more", "refuses", "closes behind it", "leaves HTTP"
"""How a reading can end. CLOSES: it takes no other message on this connection, whatever comes. UPGRADES: the same, and what
comes behind the head is no body to it."""

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """One message as a parser understood it."""

    start: tuple[bytes, ...]
    """(method, target) or (status,)."""
    fields: Fields
    """Names in lower case, values without blanks around them."""
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    end: int | None = None
    """Offset in the stream of the first byte behind it; None where it is not complete."""
    head: Any = None
    """Ours: the RequestHead or ResponseHead."""


@dataclass
class Reading:
    """What a parser made of a stream."""

    messages: list[Message] = field(default_factory=list)
    how: str = WAITS
    why: str = ""
    """For REFUSED."""

    def facts(self) -> list[tuple[object, ...]]:
        """All that must not depend on how the stream was cut into pieces. How much came of a body that is then refused may."""
        whole = [one for one in self.messages if one.end is not None or self.how != REFUSED]
        return [(one.start, one.fields, one.body, one.trailers, one.end) for one in whole] + [(self.how,)]


def plain(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return bytes(name).lower(), bytes(value).strip(b" \t")


def fields_of(lines: Iterable[bytes]) -> Fields:
    """Of valid raw lines."""
    return [plain(*(parse_field(line) or (b"(invalid)", line))) for line in lines]


class _Ours:
    """The codec, driven as a connection drives it; `_head` and `_starts` say for which side."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._buffer = b""
        self._read = 0
        """Bytes of the stream that came."""
        self._decoder: ChunkedDecoder | None = None
        self._left: int | None = None
        """Bytes of the body that are still to come; negative where their number is not known. None between messages."""

    def feed(self, piece: bytes) -> None:
        """More of the stream."""
        self._read += len(piece)
        data = self._buffer + piece
        self._buffer = b""
        while data and self.reading.how == WAITS:
            data = self._take(data)

    def eof(self) -> None:
        """The end of the stream."""
        if self._left == LENGTH_UNTIL_CLOSE:
            self._complete(b"")
        elif self.reading.how == WAITS and (self._left is not None or self._buffer):
            self._refuse("truncated")

    def _take(self, data: bytes) -> bytes:
        if self._decoder is not None:
            return self._chunks(self._decoder, data)
        if self._left is None:
            return self._message(data)
        message = self.reading.messages[-1]
        if self._left < 0:
            message.body += data
            return b""
        content, rest = data[: self._left], data[self._left :]
        message.body += content
        self._left -= len(content)
        if not self._left:
            self._complete(rest)
        return rest

    def _chunks(self, decoder: ChunkedDecoder, data: bytes) -> bytes:
        message = self.reading.messages[-1]
        try:
            message.body += decoder.feed(data)
        except ChunkError as error:
            self._refuse(f"{error}")
            return b""
        if not decoder.done:
            return b""
        if any(parse_field(line) is None for line in decoder.trailers):
            self._refuse("malformed trailer")
            return b""
        message.trailers = fields_of(decoder.trailers)
        self._complete(decoder.rest)
        return decoder.rest

    def _message(self, data: bytes) -> bytes:
        data = self._blank(data)
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            if fault := self._fault(data):
                self._refuse(fault)
            return b""
        try:
            message, length = self._head(data[:end])
        except (Refusal, ResponseError) as error:
            self._refuse(str(error))
            return b""
        rest = data[end + 4 :]
        self.reading.messages.append(message)
        self._left = length
        if length == LENGTH_CHUNKED:
            self._decoder = ChunkedDecoder()
        elif not length:
            self._complete(rest)
        return rest

    def _complete(self, rest: bytes) -> None:
        message = self.reading.messages[-1]
        message.end = self._read - len(rest)
        self._left, self._decoder = None, None
        self.reading.how = self._after(message)

    def _refuse(self, why: str) -> None:
        self.reading.how, self.reading.why = REFUSED, why

    def _blank(self, data: bytes) -> bytes:
        return data

    def _fault(self, data: bytes) -> str:
        return ""

    def _head(self, head: bytes) -> tuple[Message, int]:
        raise NotImplementedError

    def _after(self, message: Message) -> str:
        raise NotImplementedError


class _OurServer(_Ours):
    def __init__(self, lines: RequestLines) -> None:
        super().__init__()
        self._lines = lines

    def _blank(self, data: bytes) -> bytes:
        while data[:2] == b"\r\n":
            data = data[2:]
        return data

    def _fault(self, data: bytes) -> str:
        return incomplete_head_fault(data)

    def _head(self, head: bytes) -> tuple[Message, int]:
        request = parse_request(head, self._lines, LIMITS)
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.split(b" ")
        return Message((method, target), fields_of(lines), head=request), request.length

    def _after(self, message: Message) -> str:
        return CLOSES if message.head.close or message.head.upgrade else WAITS


class _OurClient(_Ours):
    def __init__(self, lines: ResponseLines, beginning: Beginning, method: bytes) -> None:
        super().__init__()
        self._lines, self._beginning, self._method = lines, beginning, method

    def _head(self, head: bytes) -> tuple[Message, int]:
        response = parse_response(head, self._lines, LIMITS, self._method, self._beginning)
        lines = head.split(b"\r\n")[1:]
        return Message((b"%d" % response.status,), fields_of(lines), head=response), response.length

    def _after(self, message: Message) -> str:
        head: ResponseHead = message.head
        return WAITS if head.keep and head.status != 101 else CLOSES


def our_requests(pieces: Iterable[bytes], lines: RequestLines | None = None) -> Reading:
    """What the edge makes of a client's bytes, which come in these pieces."""
    ours = _OurServer(lines or RequestLines(WORKSPACE))
    for piece in pieces:
        ours.feed(piece)
    return ours.reading


def our_responses(
    pieces: Iterable[bytes], method: bytes, lines: ResponseLines | None = None, beginning: Beginning | None = None
) -> Reading:
    """What the edge makes of an origin's bytes, behind which the connection ends."""
    ours = _OurClient(lines or ResponseLines(), beginning or Beginning(), method)
    for piece in pieces:
        ours.feed(piece)
    ours.eof()
    return ours.reading


def h11_requests(data: bytes) -> Reading:
    """h11 as server."""
    return _h11(data, h11.SERVER, b"")


def h11_responses(data: bytes, method: bytes) -> Reading:
    """h11 as client, the connection ending behind the bytes."""
    return _h11(data, h11.CLIENT, method)


def _h11(data: bytes, role: Any, method: bytes) -> Reading:
    reading = Reading()
    at = 0
    try:
        while at < len(data) and reading.how == WAITS:
            connection = h11.Connection(role, max_incomplete_event_size=1 << 20)
            if role is h11.CLIENT:
                asked = h11.Request(method=method, target="/", headers=[("host", "a.test")])
                connection.send(asked)
                connection.send(h11.EndOfMessage())
            at = _h11_message(connection, data, at, reading)
    except h11.RemoteProtocolError as error:
        reading.how, reading.why = REFUSED, str(error)
    return reading


def _h11_message(connection: h11.Connection, data: bytes, at: int, reading: Reading) -> int:
    """Reads one message, interim answers included; where it ends."""
    client = connection.our_role is h11.CLIENT
    connection.receive_data(data[at:])
    ended = False
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            reading.messages.append(Message((event.method, event.target), [plain(*one) for one in event.headers]))
        elif isinstance(event, h11.InformationalResponse):
            end = len(data) - len(connection.trailing_data[0])
            reading.messages.append(Message((b"%d" % event.status_code,), [plain(*one) for one in event.headers], end=end))
        elif isinstance(event, h11.Response):
            reading.messages.append(Message((b"%d" % event.status_code,), [plain(*one) for one in event.headers]))
        elif isinstance(event, h11.Data):
            reading.messages[-1].body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            message = reading.messages[-1]
            message.trailers = [plain(*one) for one in event.headers]
            message.end = len(data) - len(connection.trailing_data[0])
            if connection.their_state is not h11.DONE:
                reading.how = CLOSES
            return message.end
        elif event is h11.NEED_DATA and client and not ended:
            ended = True
            connection.receive_data(b"")
        else:
            if event is h11.PAUSED:
                reading.how = UPGRADES
            return len(data)


class _Llhttp:
    """Collects what llhttp says."""

    def __init__(self, kind: Any) -> None:
        self.reading = Reading()
        self.at = 0
        """Bytes that it was fed."""
        self._url = b""
        self._fields: Fields = []
        self._heads = False
        self.parser = kind(self)

    def on_message_begin(self) -> None:
        self._url, self._fields, self._heads = b"", [], True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._fields if self._heads else self.reading.messages[-1].trailers).append(plain(name, value))

    def on_headers_complete(self) -> None:
        self._heads = False
        if isinstance(self.parser, httptools.HttpRequestParser):
            start: tuple[bytes, ...] = (self.parser.get_method(), self._url)
        else:
            start = (b"%d" % self.parser.get_status_code(),)
        self.reading.messages.append(Message(start, self._fields))

    def on_body(self, data: bytes) -> None:
        self.reading.messages[-1].body += data

    def on_message_complete(self) -> None:
        self.reading.messages[-1].end = self.at
        if not self.parser.should_keep_alive():
            self.reading.how = CLOSES

    def read(self, data: bytes) -> Reading:
        """Byte by byte, so that it is seen where a message ends."""
        for self.at in range(1, len(data) + 1):
            try:
                self.parser.feed_data(data[self.at - 1 : self.at])
            except httptools.HttpParserUpgrade:
                self.reading.how = UPGRADES
            except httptools.HttpParserError as error:
                self.reading.how, self.reading.why = REFUSED, str(error)
            if self.reading.how != WAITS:
                break
        return self.reading


def llhttp_requests(data: bytes) -> Reading:
    """llhttp, strict, as server."""
    return _Llhttp(httptools.HttpRequestParser).read(data)


def llhttp_responses(data: bytes) -> Reading:
    """llhttp, strict, as client that asked by GET, the connection ending behind the bytes."""
    reading = _Llhttp(httptools.HttpResponseParser).read(data)
    last = reading.messages[-1] if reading.messages else None
    if last is not None and last.end is None and reading.how == WAITS and not _framing(last.fields):
        last.end, reading.how = len(data), CLOSES
    return reading


def _framing(fields: Fields) -> bool:
    """Whether one of them frames a message."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in fields)


def _passed_on(message: Message) -> Fields:
    """Trailers without those that frame, which we leave out; h11 makes one of several."""
    return [one for one in message.trailers if not _framing([one])]


def _announces_nothing(message: Message) -> bool:
    """An answer whose status has no content, with a length all the same: llhttp believes the length. Clients get none."""
    (status, *_) = message.start
    return (status[:1] == b"1" or status in (b"204", b"304")) and _framing(message.fields)


def _as_h11_does(fields: Fields) -> Fields:
    """It gives the coding in lower case."""
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]


def disagreement(ours: Reading, theirs: Reading) -> str:
    """How another parser understands what we let through otherwise than we do; "" where it does not."""
    for number, (mine, other) in enumerate(itertools.zip_longest(ours.messages, theirs.messages)):
        if other is None:
            return "" if theirs.how != WAITS else f"message {number} is none for them"
        if mine is None:
            return "" if ours.how != WAITS else f"message {number} is none for us"
        if mine.start != other.start:
            return f"message {number} begins {mine.start} and {other.start}"
        if _as_h11_does(mine.fields) != _as_h11_does(other.fields):
            return f"message {number} has the fields {mine.fields} and {other.fields}"
        if (theirs.how == UPGRADES and other is theirs.messages[-1]) or _announces_nothing(mine):
            return ""
        if mine.end is not None and other.end is not None:
            if (mine.end, mine.body) != (other.end, other.body) or _passed_on(mine) != _passed_on(other):
                return f"message {number} is {mine} and {other}"
        elif mine.end is not None and theirs.how != REFUSED:
            return f"message {number} is over for us only"
        elif other.end is not None and ours.how != REFUSED:
            return f"message {number} is over for them only"
        elif not mine.body.startswith(other.body) and not other.body.startswith(mine.body):
            return f"message {number} has the content {mine.body!r} and {other.body!r}"
    return ""


def stricter(ours: Reading, theirs: Reading) -> str:
    """Why another parser refuses what we have taken whole; "" where it does not.

    Framing fields in trailers do not count: others refuse them, in their own words each; we leave them out.
    """
    taken = [one for one in ours.messages if one.end is not None]
    understood = [one for one in theirs.messages if one.end is not None]
    if theirs.how != REFUSED or len(understood) >= len(taken) or any(_framing(one.trailers) for one in taken):
        return ""
    return theirs.why
