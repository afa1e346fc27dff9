"""Field lines: what each one means, which are removed, which are added, and the shapes of the two heads. Pure.

A raw field line is validated and classified once and then known by its own bytes, in a bounded memo: on keep-alive
traffic nearly every line of a head is one dictionary look-up (27–30 µs instead of 310 µs a request with a general parser;
`bench/`, scenario h1). What is kept goes on as the bytes that came.
"""

from __future__ import annotations

import abc
import functools
import re
import sys
from collections.abc import Callable, Iterable

import msgspec

from edgeproxy.edge.cookies import host_only
from edgeproxy.edge.sections import Sections
from edgeproxy.limits import HEADER_MEMO_ENTRIES, HEADER_MEMO_LINE
from edgeproxy.model import wire_hostname

# What a line means. KEEP is falsy on purpose: the hot loop only looks further at what is truthy.
KEEP = 0
DROP = 1
HOST = 2
LENGTH = 3
TRANSFER = 4
CONNECTION = 5
EXPECT = 6
UPGRADE = 7
FORWARDED = 8
"""Dropped too, unless the peer is a trusted proxy; `rates.exempt_header` always."""
REFUSE = 9
MAX_FORWARDS = 10
COOKIE = 11
"""A Set-Cookie that was changed: the field says what goes on."""
LOOP = 12
"""CDN-Loop (RFC 8586): passed on, unless the request has come through here too often."""

Meaning = tuple[int, bytes, bytes]
"""(meaning, lower-case name, value)"""

Field = tuple[bytes, bytes]
"""(lower-case name, value) as HTTP/2 carries it."""

ResponseLine = tuple[int, Field, int | bytes | frozenset[bytes] | None]
"""(meaning, the line as a field, what it says): the length of Content-Length (None: malformed), the coding of
Transfer-Encoding, the options of Connection."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD_LINE = re.compile(
    # The value begins and ends with a visible byte; blanks around it are not part of it (RFC 9110 section 5.5).
    # No CR, LF, NUL or other control byte anywhere, no blank before the colon (RFC 9112 section 5.1), no obs-fold.
    rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z"
).match
_NAME = re.compile(TOKEN + rb"\Z").match
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z").match
_ACCEPT = re.compile(rb"\r\n(?i:accept):[ \t]*([^\r\n]*)").findall
_DIGITS = re.compile(rb"[0-9]{1,18}\Z").match
_UNLIKE = re.compile(rb"[^0-9a-z]")
_AUTHORITY = re.compile(
    rb"(\[[0-9A-Fa-f:.]{2,45}\]|[^\x00-\x20\[\]@:/?#\\<>\"^`{|}\x7f-\xff]{1,255})(?::([0-9]{1,5})?)?\Z"
).match

EDGE_NAMES = frozenset((b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"proxy"))
"""Names besides the workspace header that are the edge's to say, compared as `likeness` does. `proxy` is CVE-2016-5385."""

_HOP_BY_HOP = frozenset(
    (b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te", b"http2-settings", b"trailer")
)
_TRUSTABLE = frozenset((b"forwarded", b"x-request-id"))
_REQUEST_MEANINGS = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": TRANSFER,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"max-forwards": MAX_FORWARDS,
    b"cdn-loop": LOOP,
    **dict.fromkeys(_HOP_BY_HOP, DROP),
}
_RESPONSE_MEANINGS = {
    b"content-length": LENGTH,
    b"transfer-encoding": TRANSFER,
    b"connection": CONNECTION,
    **dict.fromkeys(_HOP_BY_HOP | {b"upgrade"}, DROP),
}
_NOT_IN_TRAILERS = frozenset(
    # RFC 9110 section 6.5.1: framing, routing, authentication, request modifiers, and what decides how content is read.
    b"""host content-length transfer-encoding connection trailer te upgrade expect authorization proxy-authorization
    cookie set-cookie www-authenticate proxy-authenticate cache-control max-forwards range content-encoding content-type
    content-range location age date expires vary retry-after keep-alive proxy-connection http2-settings""".split()
)


NAMES = 1024
"""Field names remembered; emptied when full, as the memo of lines."""

_ALWAYS_ANOTHER = frozenset(
    # Remembering these would only drive out what comes again, and some of them are secrets.
    b"""referer cookie authorization set-cookie if-none-match if-modified-since range etag last-modified location
    traceparent tracestate x-amzn-trace-id cf-ray""".split()
)


def likeness(name: bytes) -> bytes:
    """A field name as an origin might read it: CGI and its descendants turn case and punctuation into one thing.

    "Workspace_ID", "workspace-id" and "workspace.id" are alike.
    """
    return _UNLIKE.sub(b"-", name.lower())


def parse_line(line: bytes) -> tuple[bytes, bytes] | None:
    """Name as sent and value without blanks around it; None where the line is not a valid field line."""
    match = _FIELD_LINE(line)
    return (match[1], match[2]) if match is not None else None


@functools.lru_cache(maxsize=HEADER_MEMO_ENTRIES)
def parse_authority(value: bytes) -> str | None:
    """The hostname of a Host field or :authority, normalised and without port; "" where it is well-formed but names no
    host that could be served (an IP literal, a single label); None where it is malformed."""
    match = _AUTHORITY(value)
    if match is None or (match[2] and int(match[2]) > 65535):
        return None
    return wire_hostname(match[1].decode("ascii")) or ""


UNINDEXED_VALUE = 64
"""Bytes of a response's value that is always another up to which HPACK's table is spared it, and keeps what does come again.
Longer ones are kept: most are one customer's (a policy, links), and cost much if they are sent in full each time."""
VALUES = 256
"""Lines of one name that are remembered. A name with more of them is one whose value is always another (a request's id, a
date of change): remembering those would drive out, and empty again and again, what does come again."""


NO_OPTIONS: frozenset[bytes] = frozenset()
_connection_options: dict[bytes, frozenset[bytes]] = {
    b"keep-alive": NO_OPTIONS,
    b"Keep-Alive": NO_OPTIONS,
    b"close": frozenset((b"close",)),
}


def connection_options(value: bytes) -> frozenset[bytes]:
    """The options of a Connection field but keep-alive, lower case."""
    known = _connection_options.get(value)
    if known is not None:
        return known
    return frozenset(option for option in (part.strip(b" \t").lower() for part in value.split(b",")) if option) - {
        b"keep-alive"
    }


def _is_value(value: bytes) -> bool:
    """Whether it has no control byte but tabs (RFC 9110 section 5.5)."""
    # Half the price of the expression, which then has the last word on tabs and on what Latin-1 does not print.
    return value.decode("latin-1").isprintable() or _VALUE(value) is not None


class _Name:
    """What is known of a field name."""

    __slots__ = ("left", "lower", "meaning")

    def __init__(self, lower: bytes, meaning: int) -> None:
        self.lower = lower
        self.meaning = meaning
        self.left = 0 if lower in _ALWAYS_ANOTHER else sys.maxsize if lower == b"date" else VALUES
        """Lines that may still be remembered. A date is another every second, and until then that of all answers."""


class _Names(abc.ABC):
    """Field names by their bytes as sent, each with what it means."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[bytes, _Name] = {}

    @abc.abstractmethod
    def name_meaning(self, lower: bytes) -> int:
        """What a field of this lower-case name means."""

    def _name(self, name: bytes) -> _Name:
        known = self._names.get(name)
        if known is None:
            if _NAME(name) is None:
                return _INVALID
            lower = name.lower()
            known = _Name(lower, self.name_meaning(lower))
            if len(name) <= 64:
                if len(self._names) >= NAMES:
                    self._names.clear()
                self._names[name] = known
        return known


_INVALID = _Name(b"", REFUSE)


class RequestLines(_Names):
    """Field lines of requests. `workspace_header` is the configured name (`origin.header`), any case; `exempt_header` that of
    tokens (`rates.exempt_header`), empty where there are none."""

    __slots__ = ("_edge_names", "_exempt_name", "memo", "sections")

    def __init__(self, workspace_header: str, exempt_header: str = "") -> None:
        super().__init__()
        self.memo: dict[bytes, Meaning | int] = {}
        self.sections = Sections()
        """Of HTTP/1.1, whose lines were found to be valid together."""
        self._edge_names = EDGE_NAMES | {likeness(workspace_header.encode("ascii"))}
        self._exempt_name = exempt_header.lower().encode("ascii")

    def classify(self, line: bytes) -> Meaning | int:
        """What a line means that the memo does not know: KEEP, or a Meaning. Lines refused are not remembered."""
        raw, colon, value = line.partition(b":")
        name = self._name(raw)
        if name.meaning == REFUSE or not colon or not _is_value(value):
            return REFUSE, b"", line
        meaning: Meaning | int = KEEP
        if name.meaning:
            value = value.strip(b" \t" if name.meaning != TRANSFER else b" ")  # see ResponseLines.classify
            # A Connection that only says keep-alive says nothing.
            silent = name.meaning == CONNECTION and not connection_options(value)
            meaning = DROP if silent else name.meaning, name.lower, value
        if name.left and len(line) <= HEADER_MEMO_LINE:
            name.left -= 1
            if len(self.memo) >= HEADER_MEMO_ENTRIES:  # emptied: see limits.HEADER_MEMO_ENTRIES
                self.memo.clear()
            self.memo[line] = meaning
        return meaning

    def name_meaning(self, lower: bytes) -> int:
        """What a field of this lower-case name means in a request; used for HTTP/2 too."""
        alike = likeness(lower)
        if alike in self._edge_names:
            return DROP
        if alike in _TRUSTABLE or alike.startswith(b"x-forwarded-"):
            # "x_forwarded_for" is nobody's word, not even a trusted proxy's.
            return FORWARDED if alike == lower else DROP
        if self._exempt_name and alike == likeness(self._exempt_name):
            return FORWARDED if lower == self._exempt_name else DROP  # who else learnt the secret could use it
        meaning = _REQUEST_MEANINGS.get(alike, KEEP)
        # "transfer_encoding" frames nothing here, and must not do so behind a gateway that takes it for the real one.
        return meaning if alike == lower or meaning == KEEP else DROP


class ResponseLines(_Names):
    """Field lines of origins' responses. `unindexed` marks a field that HPACK is not to keep in its table."""

    __slots__ = ("_removed", "_shared", "_unindexed", "memo")

    def __init__(
        self,
        unindexed: Callable[[Field], Field] = lambda field: field,
        *,
        removed: Iterable[str] = (),
        shared: frozenset[str] = frozenset(),
    ) -> None:
        """`removed`: lower-case names that are taken out of answers (`http.remove_headers`). `shared`: the domains for which no
        answer sets a cookie (`cookies.shared_domains`)."""
        super().__init__()
        self._unindexed = unindexed
        self._removed = frozenset(name.encode("ascii") for name in removed)
        self._shared = shared
        self.memo: dict[bytes, ResponseLine] = {}

    def classify(self, line: bytes) -> ResponseLine:
        """What a line is that the memo does not know. Lines refused are not remembered."""
        raw, colon, value = line.partition(b":")
        name = self._names.get(raw) or self._name(raw)
        meaning = name.meaning
        value = value.strip(b" \t")
        if (
            not name.left and not meaning and colon and value.decode("latin-1").isprintable()
        ):  # of every answer there are one or two
            field = name.lower, value
            return KEEP, self._unindexed(field) if len(value) <= UNINDEXED_VALUE else field, None
        if meaning == REFUSE or not colon or not _is_value(value):
            return REFUSE, (b"", line), None
        says: int | bytes | frozenset[bytes] | None = None
        if meaning == LENGTH:
            says = int(value) if _DIGITS(value) else None
        elif meaning == CONNECTION:
            says = connection_options(value)
        elif meaning == TRANSFER:
            # With a tab beside it others do not know `chunked` (llhttp), and read the body until the connection's end.
            says = value.lower() if b"\t" not in line else b""
        elif meaning == COOKIE:
            kept = host_only(value, self._shared)
            meaning, value = (KEEP, value) if kept == value else (COOKIE, kept)
        field = name.lower, value
        if not name.left:
            return meaning, self._unindexed(field) if len(value) <= UNINDEXED_VALUE else field, says
        known = meaning, field, says
        if len(line) <= HEADER_MEMO_LINE:
            name.left -= 1
            if len(self.memo) >= HEADER_MEMO_ENTRIES:
                self.memo.clear()
            self.memo[line] = known
        return known

    def fields(self, lines: Iterable[bytes]) -> list[Field]:
        """Valid lines as fields, in order."""
        return [(self.memo.get(line) or self.classify(line))[1] for line in lines]

    def name_meaning(self, lower: bytes) -> int:
        """What a field of this lower-case name means in a response."""
        if lower in self._removed:
            return DROP
        if lower == b"set-cookie" and self._shared:
            return COOKIE
        return _RESPONSE_MEANINGS.get(lower, KEEP)


def trailer_lines(lines: Iterable[bytes], lines_of: RequestLines | None = None) -> list[bytes] | None:
    """The trailer lines that may be passed on; None where one is malformed.

    Fields that carry framing, routing or authentication are left out (RFC 9110 section 6.5.1), and of requests
    (`lines_of` given) the edge's own names too.
    """
    kept = []
    for line in lines:
        match = _FIELD_LINE(line)
        if match is None:
            return None
        lower = match[1].lower()
        if lower in _NOT_IN_TRAILERS or (lines_of is not None and lines_of.name_meaning(lower) != KEEP):
            continue
        kept.append(line)
    return kept


class RequestHead(msgspec.Struct, gc=False):
    """The head of a request, made by the HTTP/1.1 and the HTTP/2 side alike.

    A msgspec struct: made in 0.2 µs where a class of Python takes 0.6.
    """

    method: bytes
    target: bytes
    """Origin form ("/a?b"), or "*" with OPTIONS."""
    host: str
    """Normalised hostname without port; "" where the authority is well-formed but can name no site."""
    head: bytes
    """For the origin: request line, Host and kept fields, each line ended by CRLF, without the empty line. No framing
    fields and none of the edge's names."""
    authority: bytes = b""
    """Host or :authority as sent, port included: for x-forwarded-host."""
    length: int = 0
    """Of the body, in bytes: 0 none, -1 not known (chunked, or HTTP/2 without content-length)."""
    expect: bool = False
    """The client waits for 100 (Continue)."""
    upgrade: bool = False
    """A WebSocket is asked for. By extended CONNECT (version 2) `head` is that of a GET, without Sec-WebSocket-Key."""
    forwarded: tuple[tuple[bytes, bytes], ...] = ()
    """x-forwarded-*, forwarded and x-request-id as sent: (lower-case name, value), only for trusted proxies; and
    `rates.exempt_header`, which goes no further."""
    close: bool = False
    """HTTP/1.1: the client wants the connection closed afterwards."""
    version: int = 1
    """1 for HTTP/1.1, 0 for HTTP/1.0, 2 for HTTP/2."""

    @property
    def accept(self) -> bytes:
        """The value of the last Accept field, for the edge's own pages."""
        return accept_in(self.head) or b""


def accept_in(head: bytes) -> bytes | None:
    """The value of the last Accept field of a head, whether or not anything else in it is right; None where there is none."""
    found = _ACCEPT(head)
    return found[-1] if found else None


LENGTH_CHUNKED = -1
LENGTH_UNTIL_CLOSE = -2


class ResponseHead(msgspec.Struct, gc=False):
    """The head of an origin's response."""

    status: int
    start_line: bytes
    """The status line for a client of HTTP/1.1, without CRLF."""
    raw: list[bytes]
    """All its field lines, without CRLF."""
    dropped: list[bytes]
    """Those of them that are not passed on."""
    fields: list[Field]
    """Those that are, as HTTP/2 has them, :status first."""
    length: int
    """Bytes of the body that follows: 0.., LENGTH_CHUNKED or LENGTH_UNTIL_CLOSE."""
    keep: bool
    """Whether the origin's connection may serve another request."""
    withheld: bool = False
    """There is no content, though the head announces some or answers HEAD: a careless origin may send it all the same."""
    whole: bytes = b""
    """All of it for a client of HTTP/1.1, without the CRLF of the last line; empty where it has to be put together of
    `start_line` and `lines`. Who changes one of those empties it."""

    @property
    def lines(self) -> list[bytes]:
        """The lines that are passed on. Content-Length among them where the origin sent one."""
        dropped = self.dropped
        if len(dropped) == 1:  # nearly always: `Connection: keep-alive`, or nothing at all
            lines = self.raw.copy()
            lines.remove(dropped[0])
            return lines
        return [line for line in self.raw if line not in dropped] if dropped else self.raw
