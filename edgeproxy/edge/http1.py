"""The HTTP/1.1 codec (RFC 9112): heads and chunked bodies, strict. Pure.

Strict means: what two parties could read differently is refused. One CRLF ends a line, one colon ends a name, one
Content-Length or exactly `chunked` frames a body; nothing is repaired and passed on.
"""

from __future__ import annotations

import functools
import http
import re

from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.headers import (
    CONNECTION,
    COOKIE,
    DROP,
    EXPECT,
    FORWARDED,
    HOST,
    LENGTH,
    LENGTH_CHUNKED,
    LENGTH_UNTIL_CLOSE,
    LOOP,
    MAX_FORWARDS,
    NO_OPTIONS,
    TOKEN,
    TRANSFER,
    UPGRADE,
    Field,
    Meaning,
    RequestHead,
    RequestLines,
    ResponseHead,
    ResponseLines,
    connection_options,
    parse_authority,
    parse_line,
)
from edgeproxy.edge.sections import Section
from edgeproxy.limits import Limits

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/1\.([0-9])\Z").match
_OTHER_VERSION = re.compile(TOKEN + rb" [\x21\x22\x24-\x7e]+ HTTP/[0-9]\.[0-9]\Z").match
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(/[^#]*|\?[^#]*)?\Z").match
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\Z").match
_DIGITS = re.compile(rb"[0-9]{1,18}\Z").match
_UNKNOWN_CODINGS = re.compile(
    # Others and then chunked, in whatever case: 501 (RFC 9112 section 6.1). Where chunked is not the last, or is applied twice,
    # nobody can tell where the body ends: 400 (section 6.3).
    rb"(?i:(?:(?!chunked[ \t]*,)" + TOKEN + rb"[ \t]*,[ \t]*)*chunked)\Z"
).match
_CHUNK_LINE = re.compile(
    # chunk-size, then extensions: dropped, but held to their grammar (RFC 9112 section 7.1.1). A bare CR or LF is where some
    # servers end the line and others do not; a quote that is not closed is one behind whose CRLF some may look on for its end.
    rb"([0-9A-Fa-f]{1,15})(?:(?:[ \t]*;[ \t]*"
    + TOKEN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + TOKEN
    + rb'|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)+[ \t]*)?\Z'
).match

_NOT_NOMINATED = frozenset((b"close", b"upgrade", b"host", b"content-length", b"transfer-encoding", b"connection"))
"""Options of a request's Connection that name no field to be dropped: what frames and routes a message is never one."""

_VERSION = b"HTTP/1."
MAX_CHUNK_LINE = 256
MAX_PASSES = 3
"""How often a request may have come through an edge like this one."""
MAX_TRAILERS = 8 * 1024
_REASONS = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}


class Refusal(Exception):
    """A message that is not forwarded: the status to answer with, and the reason for log and page."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def parse_request(head: bytes, known_lines: RequestLines, limits: Limits) -> RequestHead:
    """The head of a request without its empty line, as one value; raises Refusal.

    `head` ends before the CRLF CRLF that was found in the stream. Its size is the caller's to bound.
    """
    line, _, section = head.partition(b"\r\n")
    match = _REQUEST_LINE(line)
    if match is None or len(line) > limits.request_line:
        raise _request_line_fault(line, limits)
    method, target, minor = match.groups()
    if method == b"CONNECT" or method == b"TRACE":
        raise Refusal(405, f"{method.decode('ascii')} is not offered")
    plain = minor == b"1" and target[0] == 0x2F  # "/"
    sections = known_lines.sections
    known = sections.recent.get(section) or sections.again(section)
    if known is not None and plain:
        head = line + known.kept
        return RequestHead(method, target, known.host, head, known.authority, 0, False, False, (), known.close)
    lines = section.split(b"\r\n") if section else []
    if len(lines) > limits.header_count:
        raise Refusal(431, f"more than {limits.header_count} header fields (limits.header_count)")
    version = 0 if minor == b"0" else 1
    authority, dropped, said = _sort_fields(lines, known_lines)
    host = parse_authority(authority)
    if host is None:
        raise Refusal(400, "malformed Host")
    # Persistent connections of HTTP/1.0 are not offered: nothing but monitoring still speaks it.
    request = RequestHead(method, target, host, b"", authority, 0, False, False, (), version == 0, version)
    options = _apply(said, request, lines) if said else NO_OPTIONS
    if names := options - _NOT_NOMINATED:
        dropped += _nominated(names, lines, dropped)
    if not plain:  # RFC 9112 section 2.3: what goes on has the edge's own version
        if target[0] != 0x2F:
            request.target = _other_target(method, target, authority)
        line = method + b" " + request.target + b" HTTP/1.1"
    for each in dropped:
        lines.remove(each)
    kept = b"\r\n".join((b"", *lines, b""))
    # What says more than that has to do with the method, or is of this request alone.
    if known is None and all(kind == CONNECTION for kind, _, _ in said):
        sections.add(section, Section(authority, host, kept, b"close" in options))
    request.head = line + kept
    return request


def _request_line_fault(line: bytes, limits: Limits) -> Refusal:
    """What is wrong with a request line that is not taken."""
    if len(line) > limits.request_line:
        return Refusal(414, f"the request line has more than {limits.request_line} (limits.request_line)")
    if _OTHER_VERSION(line) is not None:
        return Refusal(505, "HTTP version not supported on this connection")
    return Refusal(400, "malformed request line")


def _sort_fields(lines: list[bytes], known_lines: RequestLines) -> tuple[bytes, list[bytes], list[Meaning]]:
    """The value of Host, the lines that are not passed on, and the meanings of those among them that say something of the
    message or of the connection. Raises Refusal."""
    authority: bytes | None = None
    dropped: list[bytes] = []
    said: list[Meaning] = []
    known, classify = known_lines.memo.get, known_lines.classify
    for line in lines:
        meaning = known(line)
        if meaning is None:
            meaning = classify(line)
        if not meaning:
            continue
        kind = meaning[0]  # type: ignore[index]  # truthy: a Meaning
        if kind == HOST:
            if authority is not None:
                raise Refusal(400, "more than one Host")
            authority = meaning[2]  # type: ignore[index]
            continue
        dropped.append(line)
        if kind != DROP:
            said.append(meaning)  # type: ignore[arg-type]
    if authority is None:
        raise Refusal(400, "no Host")
    return authority, dropped, said


def _apply(said: list[Meaning], request: RequestHead, lines: list[bytes]) -> frozenset[bytes]:
    """Notes in the request what its fields say, and adds to its lines what one of them becomes; the options of Connection.
    Raises Refusal."""
    options = NO_OPTIONS
    length = -1
    passes = 0
    chunked = expect = websocket = False
    for kind, name, value in said:
        if kind == LENGTH:
            if length >= 0 or not _DIGITS(value):
                raise Refusal(400, "malformed or repeated Content-Length")
            length = int(value)
        elif kind == CONNECTION:
            options |= connection_options(value)
        elif kind == TRANSFER:
            if chunked or value != b"chunked" or request.version == 0:
                unknown = request.version and not chunked and _UNKNOWN_CODINGS(value) is not None
                raise Refusal(501 if unknown else 400, "a transfer coding other than one exact `chunked`")
            chunked = True
        elif kind == FORWARDED:
            request.forwarded += ((name, value),)
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise Refusal(417, "an expectation other than 100-continue")
            expect = request.version == 1
        elif kind == UPGRADE:
            websocket = value.lower() == b"websocket"
        elif kind == MAX_FORWARDS:
            lines.append(max_forwards_line(request.method, value))
        elif kind == LOOP:
            passes = passes_until(passes, value)
            lines.append(b"cdn-loop: " + value)
        else:
            raise Refusal(400, "malformed header field")
    if chunked and length >= 0:
        raise Refusal(400, "both Content-Length and Transfer-Encoding")
    if chunked or length > 0:
        request.length = length  # -1 where it is chunked
        request.expect = expect
    if options:
        request.close = request.close or b"close" in options
        request.upgrade = _upgraded(request) if websocket and b"upgrade" in options else False
    return options


def max_forwards_line(method: bytes, value: bytes) -> bytes:
    """Max-Forwards as it goes on (RFC 9110 section 7.6.2: it counts for OPTIONS, and for TRACE, which is not offered); raises
    Refusal."""
    if method != b"OPTIONS":
        return b"max-forwards: " + value
    if not _DIGITS(value):
        raise Refusal(400, "malformed Max-Forwards")
    if int(value) == 0:  # the edge itself is asked, and has nothing to say
        raise Refusal(501, "OPTIONS for the edge itself")
    return b"max-forwards: %d" % (int(value) - 1)


def passes_until(passes: int, value: bytes) -> int:
    """How often a request has been at an edge like this one, by `passes` and one more CDN-Loop field; raises Refusal.

    A domain's origin may be a name that leads here again (RFC 8586 section 1): each request would become as many as one address
    may have connections. Some passes are right: an edge before another one is no loop.
    """
    passes += sum(each.partition(b";")[0].strip(b" \t").lower() == b"edgeproxy" for each in value.split(b","))
    if passes > MAX_PASSES:
        raise Refusal(508, f"it has come through an edge {passes} times: does the domain's origin lead here again?")
    return passes


def _upgraded(request: RequestHead) -> bool:
    """Whether a request that asks for a WebSocket gets one; raises Refusal."""
    if request.version == 0:  # RFC 9110 section 7.8: Upgrade of an HTTP/1.0 request is ignored
        return False
    if request.method != b"GET" or request.length:
        raise Refusal(400, "a WebSocket begins with a GET without a body")
    return True


def _nominated(names: frozenset[bytes], lines: list[bytes], dropped: list[bytes]) -> list[bytes]:
    """The lines that are dropped because Connection names them (RFC 9110 section 7.6.1), but for those in `dropped`."""
    return [line for line in lines if line.partition(b":")[0].lower() in names and line not in dropped]


def _other_target(method: bytes, target: bytes, host_value: bytes) -> bytes:
    """The origin form of an absolute-form target (RFC 9112 section 3.2.2), or "*"; raises Refusal."""
    if target == b"*":
        if method != b"OPTIONS":
            raise Refusal(400, "`*` as target of another method than OPTIONS")
        return target
    match = _ABSOLUTE(target)
    if match is None:
        raise Refusal(400, "malformed request target")
    # The RFC lets the target's authority win over Host. Two different names are somebody's attempt at confusion.
    if match[1].lower() != host_value.lower():
        raise Refusal(400, "the target's authority differs from Host")
    path = match[2] or (b"*" if method == b"OPTIONS" else b"/")
    return path if path[:1] != b"?" else b"/" + path


def incomplete_head_fault(data: bytes) -> str:
    """What is wrong already with the beginning of a request's head whose end has not come; "" when it may yet become one.

    Found early, so that a client that ends lines with a bare LF, or speaks HTTP/0.9, is told so instead of being timed out.
    """
    line, end, _ = data.partition(b"\r\n")
    if end and _REQUEST_LINE(line) is None and _OTHER_VERSION(line) is None:
        return "malformed request line"
    return _line_fault(data)


def _line_fault(data: bytes) -> str:
    ends = data.count(b"\r\n")
    if b"\x00" in data or data.count(b"\n") != ends or data.count(b"\r") - data.endswith(b"\r") != ends:
        return "a line of the head is not ended by CRLF"
    return ""


def incomplete_response_fault(data: bytes) -> str:
    """The same for an origin's answer: an origin that does not speak HTTP/1 is not waited for."""
    if not data.startswith(_VERSION[: len(data)]):
        return "its answer is not HTTP/1"
    return _line_fault(data)


class ResponseError(Exception):
    """The origin's answer breaks the protocol: nothing of it is forwarded."""


def parse_response(
    head: bytes, known_lines: ResponseLines, limits: Limits, method: bytes, beginning: Beginning
) -> ResponseHead:
    """The head of a response to `method` without its empty line; raises ResponseError.

    A head with status 1xx has length 0 and leaves the final answer to come. `beginning` is what the origin's answers have in
    common, which changes what this costs and nothing else.
    """
    known, classify = known_lines.memo.get, known_lines.classify
    length = -3
    options = NO_OPTIONS
    status_said = None
    if head.startswith(beginning.text):
        rest = head[len(beginning.text) :]
        new = rest.split(b"\r\n")
        lines = beginning.lines + new
        dropped, fields = beginning.dropped.copy(), beginning.fields.copy()
        status, keep, start_line = beginning.status, beginning.keep, beginning.start_line
        if beginning.length is not None:
            length = beginning.length
    else:
        lines = new = head.split(b"\r\n")
        status_said = status, keep, start_line, status_field = _parse_status_line(lines[0])
        del lines[0]
        dropped, fields = [], [status_field]
    if len(lines) > limits.header_count:
        raise ResponseError(f"more than {limits.header_count} header fields")
    keep_field = fields.append
    for line in new:
        kind, field, says = known(line) or classify(line)
        if not kind:
            keep_field(field)
            continue
        if kind == LENGTH:
            if length != -3 or says is None:
                raise ResponseError("malformed, repeated or contradicted Content-Length")
            length = says  # type: ignore[assignment]  # of a LENGTH it is one
            keep_field(field)
            continue
        dropped.append(line)
        if kind == CONNECTION:
            if says:
                options |= says  # type: ignore[operator]  # of a CONNECTION
        elif kind == TRANSFER:
            if length != -3 or says != b"chunked" or not keep:
                raise ResponseError("a transfer coding other than one `chunked`, or one beside Content-Length")
            length = LENGTH_CHUNKED
        elif kind == COOKIE:
            keep_field(field)
            lines = [*lines, field[0] + b": " + field[1]]
        elif kind != DROP:
            raise ResponseError("malformed header field")
    if status_said is not None:
        beginning.learn(head, status_said, known)
    unsaid = NO_OPTIONS
    withheld = False
    if options:
        if b"close" in options:
            keep = False
        unsaid = options - {b"close", b"content-length", b"upgrade"}
    if status < 200 or status == 204:
        if length != -3:
            unsaid |= {b"content-length"}  # RFC 9110 section 8.6: none here; one that is there is not passed on
            withheld = length != 0
        length = 0
    elif status == 304 or method == b"HEAD":
        withheld = length not in (-3, 0) or method == b"HEAD"
        length = 0
    elif length == -3:
        length, keep = LENGTH_UNTIL_CLOSE, False
    if unsaid:
        dropped += [line for line in lines if line.partition(b":")[0].lower() in unsaid]
        fields = [field for field in fields if field[0] not in unsaid]
    whole = beginning.whole + rest if status_said is None and len(dropped) == len(beginning.dropped) else b""
    return ResponseHead(status, start_line, lines, dropped, fields, length, keep, withheld, whole)


@functools.lru_cache(maxsize=128)
def _parse_status_line(line: bytes) -> tuple[int, bool, bytes, Field]:
    """Status, whether it is HTTP/1.1, the status line that goes on, and the status as HTTP/2 has it; raises ResponseError."""
    match = _STATUS_LINE(line)
    if match is None:
        raise ResponseError("malformed status line")
    status = int(match[2])
    return status, match[1] == b"1", status_line(status, match[3] or b""), (b":status", match[2])


class ChunkError(Exception):
    """A chunked body that does not follow RFC 9112 section 7.1."""


class ChunkedDecoder:
    """Decodes one chunked body.

    Feed it bytes until `done`; `rest` then holds what came behind the body, `trailers` the raw trailer lines.
    """

    __slots__ = ("_buffer", "_left", "_state", "done", "rest", "trailers")

    _SIZE, _DATA, _DATA_END, _TRAILERS = range(4)

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._state = self._SIZE
        self.done = False
        self.rest = b""
        self.trailers: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """The content in `data`, possibly none; raises ChunkError."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        content = []
        at, end = 0, len(data)
        while at < end:
            if self._state == self._DATA:
                piece = data[at : at + self._left]
                content.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = self._DATA_END
                continue
            if self._state == self._DATA_END:
                if end - at < 2:
                    self._keep(data[at:], 2)
                    break
                if data[at : at + 2] != b"\r\n":
                    raise ChunkError("no CRLF behind a chunk's data")
                at += 2
                self._state = self._SIZE
                continue
            stop = data.find(b"\r\n", at)
            bound = MAX_CHUNK_LINE if self._state == self._SIZE else MAX_TRAILERS
            if stop < 0:
                self._keep(data[at:], bound)
                break
            if stop - at > bound:
                raise ChunkError("a chunk's size line or the trailers are too long")
            line = data[at:stop]
            at = stop + 2
            if self._state == self._SIZE:
                self._size(line)
            elif line:
                if parse_line(line) is None:  # where another ends the trailers at a bare LF, the next message begins in here
                    raise ChunkError("malformed trailer")
                self.trailers.append(line)
                if sum(map(len, self.trailers)) > MAX_TRAILERS or len(self.trailers) > 64:
                    raise ChunkError("too many trailers")
            else:
                self.done = True
                self.rest = data[at:]
                break
        return content[0] if len(content) == 1 else b"".join(content)

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE(line)
        if match is None:
            raise ChunkError("malformed chunk size")
        self._left = int(match[1], 16)
        self._state = self._DATA if self._left else self._TRAILERS

    def _keep(self, tail: bytes, bound: int) -> None:
        if len(tail) > bound + 1:
            raise ChunkError("a chunk's size line or the trailers are too long")
        # Only a CR that may yet be followed by LF can stand at the end; any other bare CR or LF is found here already.
        if b"\n" in tail or b"\r" in tail[:-1]:
            raise ChunkError("a bare CR or LF")
        self._buffer = tail


def status_line(status: int, reason: bytes = b"") -> bytes:
    """The status line for an HTTP/1.1 client, without CRLF. A missing reason is filled in where the status is a common one."""
    return b"HTTP/1.1 %d %b" % (status, reason or _REASONS.get(status, b""))


def chunk(data: bytes | memoryview) -> bytes:
    """One chunk; nothing for no data, since an empty chunk would end the body."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if data else b""


def last_chunk(trailers: list[bytes]) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n\r\n" if not trailers else b"\r\n".join((b"0", *trailers, b"", b""))
