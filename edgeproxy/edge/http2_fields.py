"""HTTP/2's fields and HTTP/1.1's lines: a request's fields to the head for the origin, an origin's lines to fields. Pure.

What a field means is decided in `headers`; here is what RFC 9113 sections 8.2 and 8.3 and RFC 8441 demand of a request. Fields
come from ngh2, which refuses most of what is malformed; nothing here relies on that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeproxy.edge.headers import (
    DROP,
    FORWARDED,
    HOST,
    KEEP,
    LENGTH,
    LOOP,
    MAX_FORWARDS,
    REFUSE,
    TOKEN,
    Field,
    RequestHead,
    RequestLines,
    parse_authority,
)
from edgeproxy.edge.http1 import Refusal, max_forwards_line, passes_until
from edgeproxy.limits import HEADER_MEMO_ENTRIES, HEADER_MEMO_LINE, Limits

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z").match
_VALUE = re.compile(
    # RFC 9113 section 8.2.1 and RFC 9110 section 5.5: no control bytes, no blanks at the ends.
    rb"(?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?\Z"
).match
_IN_VALUES = bytes(byte for byte in range(256) if byte in b"\t " or 0x21 <= byte <= 0x7E or byte >= 0x80)
_METHOD = re.compile(TOKEN + rb"\Z").match
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*\Z").match
_DIGITS = re.compile(rb"[0-9]{1,18}\Z").match
_SCHEMES = frozenset((b"https", b"http"))
_COMMON = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_CONNECTION_SPECIFIC = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_TUNNEL_ONLY = (b"sec-websocket-key: ", b"sec-websocket-accept: ")

_SHARED_VALUE = 128
"""Bytes of a value that connections may have in common: what is longer is a cookie or a token, and one visitor's alone."""


def _valid(value: bytes) -> bool:
    """Whether a value is one. A long one costs half of what the expression takes: HPACK brings 4 KB of it by one byte."""
    if len(value) <= HEADER_MEMO_LINE:
        return _VALUE(value) is not None
    return not value.translate(None, _IN_VALUES) and value.strip(b" \t") == value


class Malformed(Exception):
    """A request that is not one (RFC 9113 section 8.1.1): its stream is reset, nothing is forwarded."""


class RequestFields(dict[Field, bytes | tuple[int, bytes, bytes]]):
    """Decoded request fields, each with what becomes of it; classified once and then known, within bounds.

    A value is the line for the origin (b"" to leave it out) or, for what matters beyond its own line, (meaning, name, value).
    One for a whole worker.
    """

    def __init__(self, lines: RequestLines, limits: Limits) -> None:
        super().__init__()
        self.lines = lines
        self._line = self.__getitem__
        self._count_limit = limits.header_count
        self._size_limit = limits.request_head
        self._line_limit = limits.request_line
        self.hosts: dict[bytes, str] = {}
        self._shared: dict[Field, Field] = {}

    def __missing__(self, field: Field) -> bytes | tuple[int, bytes, bytes]:
        name, value = field
        if name in _PSEUDO:
            return REFUSE, name, value
        if _NAME(name) is None or not _valid(value):
            raise Malformed("invalid field name or value")
        if name in _CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
            # RFC 9113 section 8.2.2.
            raise Malformed("connection-specific field")
        meaning = self.lines.name_meaning(name)
        result: bytes | tuple[int, bytes, bytes]
        if meaning == KEEP:
            result = b"%b: %b\r\n" % (name, value)
        elif meaning == DROP:
            result = b""
        else:
            # HOST, LENGTH, EXPECT, FORWARDED, MAX_FORWARDS, LOOP: all others were refused above.
            result = meaning, name, value
        # A class of its own marks what the client wants compressed by no table, since it is secret (RFC 7541 section 7.1.3).
        if len(name) + len(value) <= HEADER_MEMO_LINE and field.__class__ is tuple:
            if len(self) >= HEADER_MEMO_ENTRIES:
                self.clear()
            self[name, value] = result
        return result

    def host(self, authority: bytes) -> str:
        """The hostname of an authority as `headers.parse_authority`; raises Malformed."""
        known = self.hosts.get(authority)
        if known is not None:
            return known
        host = parse_authority(authority)
        if host is None:
            raise Malformed("invalid authority")
        if len(self.hosts) >= HEADER_MEMO_ENTRIES:
            self.hosts.clear()
        self.hosts[authority] = host
        return host

    def shared(self, fields: Sequence[Field]) -> tuple[Field, ...]:
        """Equal ones, each of which all connections have in common where it is one that many send."""
        shared = self._shared
        if len(shared) >= HEADER_MEMO_ENTRIES:
            shared.clear()
        return tuple([shared.setdefault(field, field) if len(field[1]) <= _SHARED_VALUE else field for field in fields])

    def room(self, size: int) -> int:
        """Bytes that a request's target may have if all else of its head has this size."""
        return min(self._line_limit, self._size_limit - size)

    def plain(self, fields: Sequence[Field]) -> RequestHead | None:
        """The head of what nearly every request without a body is: four pseudo-fields, then fields that need no second look.

        None where `head` has to decide. Everything here is a call into C for all fields at once: 1.5 µs instead of 4.
        """
        if len(fields) - 3 > self._count_limit:
            return None
        pseudo = dict(fields[:4])
        try:
            method, target, authority = pseudo[b":method"], pseudo[b":path"], pseudo[b":authority"]
            head = b"".join((method, b" ", target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n", *map(self._line, fields[4:])))  # type: ignore[arg-type]
        except (KeyError, TypeError):
            # A field is missing, or one has a meaning and is no plain line.
            return None
        if (
            pseudo.get(b":scheme") not in _SCHEMES
            or len(head) > self._size_limit
            or len(target) > self._line_limit
            or method not in _COMMON
            or _TARGET(target) is None
            or head.count(b"\r\ncookie: ") > 1
        ):
            return None
        host = self.hosts.get(authority) or self.host(authority)
        return RequestHead(method, target, host, head, authority, 0, False, False, (), False, 2)

    def head(self, fields: Sequence[Field], end: bool) -> RequestHead:
        """Any request's head, field by field; with `end` it has no body. Raises Malformed or Refusal. This is what decides: the
        quick way only agrees with it."""
        count = len(fields) - 3
        if count > self._count_limit:
            # :method, :scheme and :path are not fields in HTTP/1.1, :authority stands for Host, and all crumbs are one Cookie.
            count -= max(0, sum(name == b"cookie" for name, _ in fields) - 1)
        if count > self._count_limit:
            raise self._too_large()
        pseudo: dict[bytes, bytes] = {}
        lines: list[bytes] = []
        crumbs: list[bytes] = []
        forwarded: list[Field] = []
        host_field: bytes | None = None
        length = -1
        expect = False
        size = cookie_at = passes = 0
        for field in fields:
            name, value = field
            size += len(name) + len(value) + 4
            if size > self._size_limit:
                raise self._too_large()
            if name[:1] == b":":
                if name in pseudo or name not in _PSEUDO or lines or crumbs or host_field is not None:
                    raise Malformed("misplaced, repeated or unknown pseudo-header field")
                pseudo[name] = value
                continue
            if name == b"cookie":
                if not _valid(value):
                    raise Malformed("invalid field value")
                if not crumbs:
                    cookie_at = len(lines)
                crumbs.append(value)
                continue
            line = self._line(field)
            if line.__class__ is bytes:
                lines.append(line)
                continue
            kind = line[0]
            if kind == HOST:
                if host_field is not None:
                    raise Malformed("more than one Host")
                host_field = value
            elif kind == LENGTH:
                if length != -1 or _DIGITS(value) is None:
                    raise Malformed("invalid or repeated content-length")
                length = int(value)
            elif kind == FORWARDED:
                forwarded.append((name, value))
            elif kind == MAX_FORWARDS:
                lines.append(max_forwards_line(pseudo.get(b":method", b""), value) + b"\r\n")
            elif kind == LOOP:
                passes = passes_until(passes, value)
                lines.append(b"cdn-loop: %b\r\n" % value)
            elif value.lower() != b"100-continue":
                raise Refusal(417, "an expectation other than 100-continue")
            else:
                expect = True
        if end and length > 0:
            raise Malformed("content-length without content")
        if crumbs:
            lines.insert(cookie_at, b"cookie: %b\r\n" % b"; ".join(crumbs))
        head = self._head(pseudo, host_field, lines)
        if end and head.upgrade:
            raise Refusal(400, "a WebSocket that the client ends as it begins")
        head.length = 0 if end or head.upgrade else length
        head.expect = expect and not end and not head.upgrade
        head.forwarded = tuple(forwarded)
        return head

    def _too_large(self) -> Refusal:
        return Refusal(
            431,
            f"more than {self._count_limit} header fields (limits.header_count), or {self._size_limit} of them "
            "(limits.request_head)",
        )

    def _head(self, pseudo: dict[bytes, bytes], host_field: bytes | None, lines: list[bytes]) -> RequestHead:
        """Checks what makes a request (RFC 9113 section 8.3.1, RFC 8441 section 4) and puts its head together."""
        method, scheme, target = pseudo.get(b":method", b""), pseudo.get(b":scheme"), pseudo.get(b":path")
        authority, protocol = pseudo.get(b":authority"), pseudo.get(b":protocol")
        if _METHOD(method) is None:
            raise Malformed("no method, or an invalid one")
        if method == b"CONNECT" and protocol is None:
            if scheme is not None or target is not None or authority is None:
                raise Malformed("CONNECT with :scheme or :path, or without :authority")
            raise Refusal(405, "CONNECT is not offered")
        if authority is None:
            authority = host_field
        elif host_field is not None and host_field.lower() != authority.lower():
            raise Malformed("Host differs from :authority")
        if not scheme or target is None or authority is None:
            raise Malformed("a pseudo-header field is missing")
        host = self.host(authority)
        if _TARGET(target) is None and (target != b"*" or method != b"OPTIONS"):
            raise Malformed("invalid :path")
        if len(target) > self._line_limit:
            raise Refusal(414, f"the path has more than {self._line_limit} (limits.request_line)")
        if scheme.lower() not in _SCHEMES:
            raise Refusal(400, "a scheme other than https")
        if method == b"TRACE":
            raise Refusal(405, "TRACE is not offered")
        upgrade = protocol is not None
        if upgrade:
            if method != b"CONNECT":
                raise Malformed(":protocol without CONNECT")
            if protocol != b"websocket":
                raise Refusal(501, "a :protocol other than websocket")
            # To the origin it is an HTTP/1.1 upgrade, whose key is the edge's own (RFC 8441 section 5.1).
            method = b"GET"
            lines = [line for line in lines if not line.startswith(_TUNNEL_ONLY)]
        head = b"".join((method, b" ", target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n", *lines))
        return RequestHead(method, target, host, head, authority=authority, upgrade=upgrade, version=2)


class Repeated:
    """Heads of requests without a body on one connection, whose fields are those of the request before but for the path: a
    page's images, the calls of a script. Comparing them costs half of looking each one up."""

    __slots__ = ("_after", "_at", "_authority", "_before", "_fields", "_host", "_method", "_room", "_tail")

    def __init__(self, fields: RequestFields) -> None:
        self._fields = fields
        self._at = -1
        """Which of the fields is :path; -1 before the first request."""
        self._before: Sequence[Field] = ()
        self._after: Sequence[Field] = ()
        self._method = self._authority = self._tail = b""
        self._host = ""
        self._room = 0
        """Bytes that a target may have, so that line and head stay within their limits."""

    def head(self, fields: Sequence[Field]) -> RequestHead | None:
        """As RequestFields.plain."""
        at = self._at
        if at >= 0 and fields[at + 1 :] == self._after and fields[:at] == self._before:
            name, target = fields[at]
            if name == b":path" and _TARGET(target) is not None and len(target) <= self._room:
                text = b"".join((self._method, b" ", target, self._tail))
                return RequestHead(self._method, target, self._host, text, self._authority, 0, False, False, (), False, 2)
        head = self._fields.plain(fields)
        if head is not None:
            self._learn(fields, head)
        return head

    def forget(self) -> None:
        """Lets go of what is remembered, until the next request."""
        self._at = -1
        self._before = self._after = ()
        self._method = self._authority = self._tail = b""

    def _learn(self, fields: Sequence[Field], head: RequestHead) -> None:
        first, at = self._at < 0, fields.index((b":path", head.target))
        if first:
            fields = self._fields.shared(fields)  # 4 KB of a connection that then is idle; 2 µs, hence only once
        self._at, self._before, self._after = at, fields[:at], fields[at + 1 :]
        self._method, self._authority, self._host = head.method, head.authority, head.host
        size = len(head.method) + 1 + len(head.target)
        self._tail = head.head[size:]
        self._room = self._fields.room(len(head.head) - len(head.target))
