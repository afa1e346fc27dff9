"""HTTP/1.1 requests as the sample origin reads them: strictly, so that it is a second opinion on what the edge forwards.

Pure. RFC 9112 and 9110; what is not exactly right is refused, and nothing is repaired.
"""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import parse_qs, unquote

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/1\.([01])\Z")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t -~\x80-\xff]*)?\Z")


class BadRequest(Exception):
    """A request that is not HTTP/1.1 as it should be, with the status to answer and a sentence."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request's head. Field names as they came."""

    method: str
    target: str
    minor: int
    fields: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The path, decoded, without the query."""
        return unquote(self.target.partition("?")[0], errors="replace")

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of repeated ones the last."""
        return {name: values[-1] for name, values in parse_qs(self.target.partition("?")[2], keep_blank_values=True).items()}

    def all(self, name: str) -> list[str]:
        """Every value of a field, in the order in which they came."""
        return [value for field, value in self.fields if field.lower() == name]

    def get(self, name: str, default: str = "") -> str:
        """A field's values as one."""
        return ", ".join(self.all(name)) or default

    def tokens(self, name: str) -> set[str]:
        """The members of a list field, in lower case."""
        return {token.strip().lower() for token in self.get(name).split(",")} - {""}

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow."""
        options = self.tokens("connection")
        return "close" not in options and (self.minor == 1 or "keep-alive" in options)

    @property
    def length(self) -> int:
        """The body's length; -1: chunked."""
        return -1 if self.all("transfer-encoding") else int(self.get("content-length", "0"))


def parse_head(data: bytes) -> Request:
    """A request line and its fields, without the blank line; raises BadRequest."""
    lines = data.split(b"\r\n")
    found = _REQUEST_LINE.match(lines[0])
    if found is None:
        raise BadRequest("the request line is malformed")
    fields = []
    for line in lines[1:]:
        field = _FIELD.match(line)
        if field is None:
            raise BadRequest("a header field is malformed")
        fields.append((field[1].decode("ascii"), field[2].decode("utf-8", "replace")))
    request = Request(found[1].decode("ascii"), found[2].decode("ascii"), int(found[3]), tuple(fields))
    _check_framing(request)
    return request


def _check_framing(request: Request) -> None:
    hosts, lengths, codings = request.all("host"), request.all("content-length"), request.all("transfer-encoding")
    if len(hosts) > 1 or (request.minor == 1 and not hosts):
        raise BadRequest("there must be exactly one Host")
    if not (request.target.startswith("/") or (request.target == "*" and request.method == "OPTIONS")):
        raise BadRequest("an origin is asked for a path")
    if codings and (lengths or request.minor == 0):
        raise BadRequest("Transfer-Encoding and Content-Length together, or in HTTP/1.0, are ambiguous")
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise BadRequest("the only transfer coding here is chunked", 501)
    if len(lengths) > 1 or (lengths and not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) <= 18)):
        raise BadRequest("Content-Length is not one number")


def chunk_size(line: bytes) -> int:
    """The size in a chunk's first line, without CRLF; raises BadRequest."""
    found = _CHUNK.match(line)
    if found is None:
        raise BadRequest("a chunk's size is malformed")
    return int(found[1], 16)


def is_trailer(line: bytes) -> bool:
    """Whether a line after the last chunk, without CRLF, is a well-formed field."""
    return _FIELD.match(line) is not None
