"""The ClientHello, read from a connection's first bytes before any TLS state exists. Pure.

The record layer and the handshake message are RFC 8446 sections 5.1 and 4.1.2 (RFC 5246 sections 6.2.1 and 7.4.1.2 say
the same), server_name is RFC 6066 section 3, ALPN RFC 7301, acme-tls/1 RFC 8737. Only what decides the certificate is
read, and only what makes that reading doubtful is refused here: everything else is left to OpenSSL, which gets the same
bytes afterwards.
"""

from __future__ import annotations

import functools
import re
import struct
from typing import Final

import msgspec

from edgeproxy.errors import EdgeError, Fault
from edgeproxy.model import wire_hostname

UNEXPECTED_MESSAGE: Final = 10
RECORD_OVERFLOW: Final = 22
ILLEGAL_PARAMETER: Final = 47
DECODE_ERROR: Final = 50
PROTOCOL_VERSION: Final = 70
INTERNAL_ERROR: Final = 80
UNRECOGNIZED_NAME: Final = 112
NO_APPLICATION_PROTOCOL: Final = 120
"""Alerts that the edge sends (RFC 8446 section 6; the last is RFC 7301's)."""

TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304
ACME_TLS: Final = b"acme-tls/1"

RECORDS_MAX: Final = 64
"""Records that one hello may be spread over: 32 KiB in the smallest fragments that RFC 6066 section 4 lets a client ask
for (512 bytes). A hello in one-byte records, sent a byte at a time, would cost a walk over all of them for each byte."""

EXTENSIONS_MAX: Final = 128
"""Extensions in one hello; browsers send about 20. Without a bound 32 KiB of empty ones cost 3 ms."""

ALPN_MAX: Final = 64
"""Protocols in one ALPN list; browsers send 2 or 3."""

KNOWN: Final = 256
KNOWN_BYTES: Final = 128
"""Lists of protocols, versions and signature schemes that are known by their bytes, and how long they may be: browsers of one
kind send the same. 0.2 MB, however long a stranger's are."""

KNOWN_NAMES: Final = 4096
"""Server names that are known by their bytes; 2 MB with the longest that there are."""

_SERVER_NAME, _GROUPS, _SIGNATURE_ALGORITHMS, _ALPN, _SESSION_TICKET, _PRE_SHARED_KEY, _VERSIONS = 0, 10, 13, 16, 35, 41, 43

_HEADER: Final = 5
_FRAGMENT_MAX: Final = 16384
_extension = struct.Struct(">HH").unpack_from
_short = struct.Struct(">H").unpack_from
_http_method = re.compile(rb"[A-Z]{3,5}(?: |\Z)").match


class HelloError(EdgeError):
    """These bytes are no ClientHello that can be served. `detail` says why; `alert` is the TLS alert to send.

    With `plain_http` the client spoke HTTP without TLS: a plain 400 tells its user more than an alert would.
    """

    code = "bad_client_hello"
    fault = Fault.CLIENT

    def __init__(self, alert: int, reason: str, *, plain_http: bool = False) -> None:
        super().__init__(reason)
        self.alert = alert
        self.plain_http = plain_http


class ClientHello(msgspec.Struct, frozen=True, gc=False):
    """What a client says before anything is encrypted, as far as the edge decides by it."""

    server_name: str | None
    """The SNI, normalised by `model.wire_hostname`; None where the client sends none."""
    alpn: tuple[bytes, ...]
    """Protocols offered, most preferred first; empty without the extension."""
    versions: tuple[int, ...]
    """TLS versions offered (0x0303 is TLS 1.2), unknown and GREASE values included; at least one is TLS 1.2 or 1.3."""
    signature_algorithms: tuple[int, ...]
    """Signature schemes as numbered in RFC 8446 section 4.2.3, in the client's order; empty without the extension."""
    ticket: bool
    """Whether a session ticket (TLS 1.2) or a pre-shared key (TLS 1.3) is offered for resumption."""
    ciphers: bytes = b""
    """The cipher suites offered, two bytes each (RFC 5246 section 7.4.1.2), not taken apart: `signature` does that where
    a name has certificates of two kinds."""
    groups: bytes = b""
    """The content of supported_groups (RFC 8422 section 5.1.1), not taken apart; empty without the extension."""

    @property
    def acme_challenge(self) -> bool:
        """Whether a CA asks for the answer to a TLS-ALPN-01 challenge: acme-tls/1 is the one protocol (RFC 8737 section 3)."""
        return self.alpn == (ACME_TLS,)


def parse(data: bytes | bytearray, limit: int) -> ClientHello | None:
    """The ClientHello at the start of a connection's first bytes; None while more of them are needed.

    `limit` bounds the message in bytes, without record headers: so the caller never has to hold more than
    `limit + 5 * RECORDS_MAX`, plus what one read brings. What follows the message is not looked at. The outcome does not
    depend on how the bytes were split: once not None, it stays the same however many more come.

    Raises HelloError with the alert to send: unrecognized_name for a server name that is not a hostname, decode_error for
    wrong lengths and repeated extensions, others for what is no TLS at all.
    """
    if len(data) < _HEADER:  # nothing is judged before that: plain HTTP must be told from garbage alike in every split
        return None
    # One record with the whole message is what nearly everybody sends: about 6 µs for a browser's hello.
    fragment = data[3] << 8 | data[4]
    if data[0] == 22 and data[1] == 3 and 4 <= fragment <= _FRAGMENT_MAX and len(data) >= 9 and data[5] == 1:
        size = data[6] << 16 | data[7] << 8 | data[8]
        if size + 4 <= fragment and size + 4 <= limit:
            end = 9 + size
            return _message(bytes(data[9:end])) if len(data) >= end else None
    message = _reassemble(data, limit)
    return None if message is None else _message(message)


def _reassemble(data: bytes | bytearray, limit: int) -> bytes | None:
    """The body of the handshake message from its records, judged strictly in the order of the bytes."""
    message = bytearray()
    at = 0
    for _ in range(RECORDS_MAX):
        if len(data) < at + _HEADER:
            return None
        fragment = _record_header(data, at)
        message += data[at + _HEADER : at + _HEADER + fragment]
        at += _HEADER + fragment
        if message and message[0] != 1:
            raise HelloError(UNEXPECTED_MESSAGE, "The first handshake message is not a ClientHello.")
        if len(message) >= 4:
            size = 4 + int.from_bytes(message[1:4], "big")
            if size > limit:
                raise HelloError(ILLEGAL_PARAMETER, f"The ClientHello has {size} bytes; {limit} are allowed.")
            if len(message) >= size:
                return bytes(message[4:size])
        if len(data) < at:
            return None
    raise HelloError(DECODE_ERROR, f"The ClientHello is spread over more than {RECORDS_MAX} records.")


def _record_header(data: bytes | bytearray, at: int) -> int:
    """The length of the record that starts at `at`; raises HelloError where it can not carry a part of a hello."""
    kind, major, fragment = data[at], data[at + 1], data[at + 3] << 8 | data[at + 4]
    if kind != 22:
        if at:  # RFC 8446 section 5.1: nothing may come between the records of one handshake message
            raise HelloError(UNEXPECTED_MESSAGE, "A record of another type interrupts the ClientHello.")
        if _http_method(data[:_HEADER]):
            raise HelloError(UNEXPECTED_MESSAGE, "The client speaks plain HTTP on the TLS port.", plain_http=True)
        if kind & 0x80 and data[2] == 1:
            raise HelloError(PROTOCOL_VERSION, "The client speaks SSL 2.")
        raise HelloError(UNEXPECTED_MESSAGE, "The client does not speak TLS.")
    if major != 3:  # the minor version means nothing in a first record (RFC 8446 section 5.1)
        raise HelloError(PROTOCOL_VERSION, "The record is of no known version of TLS.")
    if not fragment:  # forbidden for handshakes by RFC 8446 section 5.1 and RFC 5246 section 6.2.1
        raise HelloError(UNEXPECTED_MESSAGE, "A handshake record is empty.")
    if fragment > _FRAGMENT_MAX:
        raise HelloError(RECORD_OVERFLOW, "A record is longer than 16 KiB.")
    return fragment


def _message(body: bytes) -> ClientHello:
    """The ClientHello whose handshake message has this body."""
    try:
        legacy_version = body[0] << 8 | body[1]
        at = 35 + body[34]  # version, random, session id
        if body[34] > 32:
            raise _malformed("session id")
        (size,) = _short(body, at)
        if not size or size & 1:
            raise _malformed("cipher suites")
        ciphers = body[at + 2 : at + 2 + size]
        at += 2 + size
        if not body[at]:
            raise _malformed("compression methods")
        at += 1 + body[at]
        found = _extensions(body, at) if at != len(body) else {}
    except (IndexError, struct.error):
        raise _malformed("message") from None
    get = found.get
    name, alpn, versions, algorithms, ticket = (
        get(_SERVER_NAME),
        get(_ALPN),
        get(_VERSIONS),
        get(_SIGNATURE_ALGORITHMS),
        get(_SESSION_TICKET),
    )
    offered = (legacy_version,) if versions is None else _numbers(versions, 1, "supported_versions")
    if TLS_1_3 not in offered and TLS_1_2 not in offered and (versions is not None or not TLS_1_2 <= legacy_version < 0x0400):
        raise HelloError(PROTOCOL_VERSION, "The client offers neither TLS 1.2 nor TLS 1.3.")
    return ClientHello(
        None if name is None else _hostname(name),
        () if alpn is None else _protocols(alpn),
        offered,
        () if algorithms is None else _numbers(algorithms, 2, "signature_algorithms"),
        bool(ticket) or _PRE_SHARED_KEY in found,
        ciphers,
        get(_GROUPS, b""),
    )


def _extensions(body: bytes, at: int) -> dict[int, bytes]:
    """The extensions' contents by type. Raises IndexError or struct.error as well, where the message ends too early."""
    end = len(body)
    if at + 2 + _short(body, at)[0] != end:
        raise _malformed("extensions")
    at += 2
    found: dict[int, bytes] = {}
    count = 0
    while at < end:
        kind, size = _extension(body, at)
        at += 4
        count += 1
        found[kind] = body[at : at + size]
        at += size
    if at != end or count > EXTENSIONS_MAX:
        raise _malformed("extensions")
    if len(found) != count:  # RFC 8446 section 4.2: two readers of a repeated one might take different ones
        raise HelloError(DECODE_ERROR, "The ClientHello repeats an extension.")
    return found


@functools.lru_cache(KNOWN_NAMES)
def _hostname(content: bytes) -> str:
    """The host name of a server_name extension: exactly one entry, of type host_name, as OpenSSL wants it too."""
    size = len(content)
    if size < 6 or _short(content)[0] != size - 2 or content[2] or _short(content, 3)[0] != size - 5:
        raise _malformed("server_name")
    try:
        name = wire_hostname(content[5:].decode("ascii"))
    except UnicodeDecodeError:
        name = None
    if name is None:
        raise HelloError(UNRECOGNIZED_NAME, "The server name is not a hostname.")
    return name


def _protocols(content: bytes) -> tuple[bytes, ...]:
    return (_known_protocols if len(content) <= KNOWN_BYTES else _read_protocols)(content)


def _read_protocols(content: bytes) -> tuple[bytes, ...]:
    """The protocols of an ALPN extension (RFC 7301 section 3.1)."""
    end = len(content)
    if end < 4 or _short(content)[0] != end - 2:
        raise _malformed("ALPN")
    protocols: list[bytes] = []
    at = 2
    while at < end:
        size = content[at]
        at += 1 + size
        if not size or at > end or len(protocols) == ALPN_MAX:
            raise _malformed("ALPN")
        protocols.append(content[at - size : at])
    return tuple(protocols)


def _numbers(content: bytes, prefix: int, what: str) -> tuple[int, ...]:
    return (_known_numbers if len(content) <= KNOWN_BYTES else _read_numbers)(content, prefix, what)


def _read_numbers(content: bytes, prefix: int, what: str) -> tuple[int, ...]:
    """A non-empty list of 16-bit numbers behind a length of `prefix` bytes."""
    size = len(content) - prefix
    if size < 2 or size & 1 or int.from_bytes(content[:prefix], "big") != size:
        raise _malformed(what)
    return struct.unpack_from(f">{size >> 1}H", content, prefix)


_known_protocols = functools.lru_cache(KNOWN)(_read_protocols)
_known_numbers = functools.lru_cache(KNOWN)(_read_numbers)


def _malformed(what: str) -> HelloError:
    return HelloError(DECODE_ERROR, f"The ClientHello is malformed: {what}.")


_ALERTS: Final = tuple(bytes((21, 3, 3, 0, 2, 2, alert)) for alert in range(256))


def alert_record(alert: int) -> bytes:
    """A fatal alert as the plain record that answers a ClientHello (RFC 8446 sections 5.1 and 6.2)."""
    return _ALERTS[alert]
