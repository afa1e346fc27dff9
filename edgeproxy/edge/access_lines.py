"""The access log's lines in their three forms. Pure but for the local time zone of those that people read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

LINE_MAX: Final = 4096
"""Bytes of a line: what a pipe takes whole (PIPE_BUF on Linux). A path that is too long for it is cut."""

PATH_MAX: Final = 2048
"""Characters of a path that are logged."""

_PATH_SHORT: Final = 512
_ERROR_MAX: Final = 500

Format = Callable[[float, str, str, bytes, bytes, int, int, int, float, float, bytes, str, str, str, str], bytes]
"""(Unix time, host, workspace, method, target, status, bytes in, bytes out, seconds, origin's seconds, request id, TLS version,
protocol, client address, error) → a line with its newline."""


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """A line of JSON. `bytes_in` and `bytes_out` are of bodies; `origin_ms` is the time to the origin's first byte, left out
    where no origin answered; `error` says, for the operator, why the edge answered by itself or gave up."""

    time: str
    host: str
    workspace: str
    method: str
    path: str
    status: int
    bytes_in: int
    bytes_out: int
    duration_ms: float
    request_id: str
    tls: str
    protocol: str
    client: str
    origin_ms: float | None = None
    error: str = ""


def formatter(style: Literal["auto", "json", "combined"], *, terminal: bool) -> Format:
    """The function that makes lines. "auto" is for people on a terminal, else JSON."""
    if style == "combined":
        return combined
    return human if style == "auto" and terminal else as_json


class Clock:
    """The formatted second, made once a second."""

    __slots__ = ("_make", "_second", "_text")

    def __init__(self, make: Callable[[int], str]) -> None:
        self._make = make
        self._second = -1
        self._text = ""

    def __call__(self, second: int) -> str:
        if second != self._second:
            self._text = self._make(second)
            self._second = second
        return self._text


_utc = Clock(lambda second: time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)))
_local = Clock(lambda second: time.strftime("%H:%M:%S", time.localtime(second)))
_common = Clock(lambda second: time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second)))

_encode = msgspec.json.Encoder().encode
_VERSIONS: Final = {"h2": "HTTP/2.0"}


def as_json(
    now: float,
    host: str,
    workspace: str,
    method: bytes,
    target: bytes,
    status: int,
    bytes_in: int,
    bytes_out: int,
    seconds: float,
    origin_seconds: float,
    request_id: bytes,
    tls: str,
    protocol: str,
    client: str,
    error: str,
) -> bytes:
    """One JSON object."""
    second = int(now)
    line = Line(
        f"{_utc(second)}{int((now - second) * 1000):03}Z",
        host,
        workspace,
        method.decode("latin-1"),
        target.decode("latin-1"),
        status,
        bytes_in,
        bytes_out,
        int(seconds * 1e6 + 0.5) / 1000,
        request_id.decode("latin-1"),
        tls,
        protocol,
        client,
        int(origin_seconds * 1e6 + 0.5) / 1000 if origin_seconds else None,
        error,
    )
    encoded = _encode(line) + b"\n"
    if len(encoded) > LINE_MAX:
        line.path, line.error = _cut(line.path, _PATH_SHORT), _cut(line.error, _ERROR_MAX)
        line.method, line.request_id = _cut(line.method, 32), _cut(line.request_id, 128)
        encoded = _encode(line) + b"\n"
    return encoded


def combined(
    now: float,
    host: str,
    workspace: str,
    method: bytes,
    target: bytes,
    status: int,
    bytes_in: int,
    bytes_out: int,
    seconds: float,
    origin_seconds: float,
    request_id: bytes,
    tls: str,
    protocol: str,
    client: str,
    error: str,
) -> bytes:
    """The form that most log tools read. The edge does not keep Referer and User-Agent: "-" stands for them."""
    request = _quoted(f"{_cut(method.decode('latin-1'), 32)} {_cut(target.decode('latin-1'), PATH_MAX // 4)}")
    version = _VERSIONS.get(protocol, "HTTP/1.1")
    return f'{client} - - [{_common(int(now))}] "{request} {version}" {status} {bytes_out} "-" "-"\n'.encode()


_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_COLOURS: Final = {1: "\x1b[36m", 2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}


def human(
    now: float,
    host: str,
    workspace: str,
    method: bytes,
    target: bytes,
    status: int,
    bytes_in: int,
    bytes_out: int,
    seconds: float,
    origin_seconds: float,
    request_id: bytes,
    tls: str,
    protocol: str,
    client: str,
    error: str,
) -> bytes:
    """For a terminal: when, what, how it ended, how long it took."""
    request = _printable(f"{_cut(method.decode('latin-1'), 32)} {host}{_cut(target.decode('latin-1'), 200)}")
    details = [_milliseconds(seconds)]
    if origin_seconds:
        details.append(f"origin {_milliseconds(origin_seconds)}")
    if workspace:
        details.append(workspace)
    details += [_size(bytes_out), protocol, client]
    if error:
        details.append(_printable(_cut(error, _ERROR_MAX)))
        details.append(request_id.decode("latin-1"))
    shown = f"{_COLOURS.get(status // 100, '')}{status}{_PLAIN} {request}  {_DIM}{' · '.join(details)}{_PLAIN}"
    return f"{_DIM}{_local(int(now))}{_PLAIN} {shown}\n".encode("utf-8", "replace")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024 * 1024 else f"{count / (1024 * 1024):.1f} MiB"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _printable(text: str) -> str:
    """Without what could control a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _quoted(text: str) -> str:
    """Safe between quotation marks, as nginx writes it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(
        char
        if char.isprintable() and char.isascii() and char not in '"\\'
        else f"\\x{ord(char):02X}"
        if ord(char) < 256
        else "?"
        for char in text
    )
