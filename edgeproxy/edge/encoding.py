"""Which answers are compressed, with what, and what their heads say then (RFC 9110 sections 8.4 and 12.5.3). Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from edgeproxy.edge.headers import LENGTH_CHUNKED, Field, RequestHead, ResponseHead
from edgeproxy.policies import NONE, Policies

if TYPE_CHECKING:
    from edgeproxy.config.compression import Compression

_SAID: Final = re.compile(
    rb"\r\n(?i:(accept-encoding|range|cache-control|if-none-match)):[ \t]*([^\r\n]*)"
).findall  # names that mean nothing else in any spelling: those with an underscore for the hyphen are other fields
_ELEMENT: Final = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?\Z"
).match
_ELEMENTS: Final = 64
"""Elements of Accept-Encoding that are read. Browsers send four."""
_LONGEST: Final = 1024
"""Bytes of it that are read at all: longer ones accept nothing."""
_STAGES: Final = 4
"""How often a path is unescaped to see whether it begins like one that is never compressed."""
_DEEPEST: Final = 128
"""Segments that one of those has at most (config.compression): deeper down there is nothing to compare."""

_NO_CONTENT: Final = frozenset((204, 205, 206, 304))
"""Besides 1xx: a part of a representation (206) has its place in the uncompressed one."""
_FORBIDS: Final = frozenset(
    # Content that is coded already or is a part, and what is said of the very bytes: a digest (RFC 9530 and its forerunners)
    # would be wrong, a signature (RFC 9421) most often too.
    (b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"digest", b"content-md5", b"signature")
)
_ENTITY_TAG: Final = re.compile(rb"""(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\Z""").match


class Rules(msgspec.Struct, frozen=True):
    """What is compressed, of a configuration."""

    codings: tuple[str, ...]
    """Most preferred first."""
    types: frozenset[bytes]
    families: tuple[bytes, ...]
    """Beginnings of types, slash included."""
    minimum: int
    never: tuple[bytes, ...]
    """Beginnings of paths, lower case."""


class Wishes(msgspec.Struct, frozen=True):
    """What a request says of it."""

    open: bool
    """Whether its answer may be compressed, as far as the request has a say: not on a path of `Rules.never`, nor with Range or
    `Cache-Control: no-transform`."""
    coding: str
    """What with; "" where the client would rather have the answer as it is."""
    none_match: bytes = b""
    """The value of If-None-Match."""


def rules(compression: Compression, own: Policies = NONE) -> Rules | None:
    """The rules of a configuration, and of a domain with settings of its own; None where nothing is compressed."""
    on = own.compression == "on" if own.compression else compression.enabled
    if not on or not compression.codings:
        return None
    return Rules(
        codings=compression.codings,
        types=frozenset(kind.encode("ascii") for kind in compression.types if not kind.endswith("/*")),
        families=tuple(kind[:-1].encode("ascii") for kind in compression.types if kind.endswith("/*")),
        minimum=compression.minimum,
        never=tuple(path.encode().lower() for path in (*compression.never, *own.compression_never)),
    )


@functools.lru_cache(maxsize=256)
def accepted(value: bytes, offered: tuple[str, ...]) -> str:
    """The coding that an Accept-Encoding field wants of those offered; "" for none.

    The greatest quality decides, among equals the order of `offered`. A coding that is not named has the quality of `*`, where
    there is one, and is else not accepted. No coding at all (`identity`) is taken where it is named with more than the best
    one has; without being named it is what is left when nothing else is. What is malformed does not count.
    """
    if len(value) > _LONGEST:
        return ""
    qualities: dict[str, float] = {}
    for part in value.split(b",")[:_ELEMENTS]:
        match = _ELEMENT(part)
        if match is not None:
            name = match[1].decode("ascii").lower()
            # RFC 9110 section 8.4.1.3: x-gzip is gzip. Of two words on one coding the first counts.
            qualities.setdefault("gzip" if name == "x-gzip" else name, float(match[2] or 1))
    every = qualities.get("*", 0.0)
    best, quality = "", 0.0
    for coding in offered:
        found = qualities.get(coding, every)
        if found > quality:
            best, quality = coding, found
    return best if quality >= qualities.get("identity", 0.0) else ""


def wishes(request: RequestHead, known: Rules) -> Wishes:
    """What a request says of the compression of its answer."""
    codings: list[bytes] = []
    tags: list[bytes] = []
    open_ = not (known.never and hidden(request.target, known.never))
    for name, value in _SAID(request.head):
        lower = name.lower()
        if lower == b"accept-encoding":
            codings.append(value)
        elif lower == b"if-none-match":
            tags.append(value)
        elif lower == b"range" or b"no-transform" in value.lower():
            open_ = False
    # RFC 9110 section 12.5.3: without the field every coding is acceptable. Who does not send it most often knows none.
    coding = accepted(b",".join(codings), known.codings) if open_ and codings else ""
    return Wishes(open_, coding, b",".join(tags))


def hidden(target: bytes, never: Sequence[bytes]) -> bool:
    """Whether a request's path begins with one of these, in any form that an origin could read so.

    Who is after a secret chooses how the path is written: what an origin might take for one of these counts as one, as it
    stands, unescaped, and with its dots and slashes resolved.
    """
    path = target.partition(b"?")[0].lower()
    beginnings = tuple(never)
    for _ in range(_STAGES):
        if path.startswith(beginnings) or _passes(path, beginnings):
            return True
        unescaped = unquote_to_bytes(path).lower()
        if unescaped == path:
            return False
        path = unescaped
    return True  # escaped so often that nobody means well


def _passes(path: bytes, beginnings: tuple[bytes, ...]) -> bool:
    """Whether a path begins so, or has on its way, without parameters (`;x=1`), repeated slashes and dot segments."""
    kept: list[bytes] = []
    for segment in path.replace(b"\\", b"/").split(b"/"):
        name = segment.partition(b";")[0].strip()
        if name == b"..":
            del kept[-1:]
        elif name not in (b"", b"."):
            kept.append(name)
            if len(kept) <= _DEEPEST and (b"/" + b"/".join(kept)).startswith(beginnings):
                return True
    return False


def compressible(head: ResponseHead, known: Rules) -> bool:
    """Whether an answer may be compressed, whatever its client accepts."""
    status = head.status
    if status < 200 or status in _NO_CONTENT:
        return False
    kind = length = None
    for name, value in head.fields:
        if name in _FORBIDS:
            return False
        if name == b"content-type":
            if kind is not None:
                return False
            kind = value.partition(b";")[0].rstrip(b" \t").lower()
        elif name == b"content-length":
            length = int(value)
        elif name == b"cache-control" and b"no-transform" in value.lower():
            return False
    if kind is None or (length is not None and length < max(1, known.minimum)):
        return False
    return kind in known.types or kind.startswith(known.families)


def with_vary(head: ResponseHead) -> ResponseHead:
    """The head, saying that the answer depends on Accept-Encoding."""
    said = [value for name, value in head.fields if name == b"vary"]
    names = [each.strip(b" \t") for value in said for each in value.split(b",")]
    if b"*" in names or b"accept-encoding" in [name.lower() for name in names]:
        return head
    return _changed(head, {b"vary"}, [(b"vary", b", ".join([*filter(None, names), b"Accept-Encoding"]))])


def encoded_head(head: ResponseHead, coding: str, length: int | None) -> ResponseHead:
    """The head of the compressed answer; `length` is that of its content, None where it is not known yet.

    Its ETag becomes a weak one (RFC 9110 section 8.8.1): the bytes are other ones. Ranges of it are not offered.
    """
    head = with_vary(head)
    fields: list[Field] = [(b"content-encoding", coding.encode("ascii"))]
    fields += [(name, weak(value)) for name, value in head.fields if name == b"etag" and weak(value)]
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    changed = _changed(head, {b"etag", b"content-length", b"accept-ranges"}, fields)
    changed.length = LENGTH_CHUNKED if length is None else length
    return changed


def refreshed_head(head: ResponseHead, none_match: bytes) -> ResponseHead:
    """The head of a 304 for a client that has the compressed answer: with the tag that it knows."""
    for name, value in head.fields:
        if name == b"etag" and not value.startswith(b"W/") and b"W/" + value in none_match:
            return with_vary(_changed(head, {b"etag"}, [(b"etag", weak(value))]))
    return head


def weak(tag: bytes) -> bytes:
    """An entity tag as a weak one; "" for what is none."""
    if not _ENTITY_TAG(tag):
        return b""
    return tag if tag.startswith(b"W/") else b"W/" + tag


def _changed(head: ResponseHead, without: set[bytes], added: list[Field]) -> ResponseHead:
    """A copy of the head without the fields of these names, and with others."""
    lines = [line for line in head.lines if line.partition(b":")[0].lower() not in without]
    lines += [b"%b: %b" % field for field in added]
    fields = [field for field in head.fields if field[0] not in without] + added
    return ResponseHead(head.status, head.start_line, lines, [], fields, head.length, head.keep, head.withheld)
