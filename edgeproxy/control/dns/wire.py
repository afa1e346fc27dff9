"""DNS messages as bytes (RFC 1035 section 4, EDNS(0): RFC 6891). Pure.

Made for an authoritative server that strangers write to: a question is read in one pass over at most MESSAGE bytes, and
nothing in it makes that pass longer. What is not a well-formed query is answered with as little as the RFCs ask for, or not
at all.
"""

from __future__ import annotations

import dataclasses
import enum
import struct

MESSAGE = 4096
"""Bytes of a query at most. A name, a type and the options of EDNS have a few hundred."""

UDP_SIZE = 1232
"""Bytes of an answer over UDP at most, whatever the client offers: more may be fragmented, and fragments can be forged
(DNS flag day 2020)."""

UDP_PLAIN = 512
"""The same for a client without EDNS (RFC 1035 section 4.2.1)."""

RECORDS = 8
"""Records that a query may have behind its question: OPT, a signature, the SOA of an IXFR."""

A, NS, SOA, TXT, AAAA, OPT, IXFR, AXFR, ANY, CAA = 1, 2, 6, 16, 28, 41, 251, 252, 255, 257
IN = 1

Labels = tuple[bytes, ...]
"""A name as its labels in lower case, without the root's empty one."""

_HEADER = struct.Struct(">6H")
_QR, _AA, _TC, _RD = 0x8000, 0x0400, 0x0200, 0x0100
_OPCODE = 0x7800
_DNSSEC_OK = 0x8000
_POINTER = 0xC0
_NAME = 255
_QUESTION_AT = _HEADER.size


class Rcode(enum.IntEnum):
    """What became of a query (RFC 6895 section 2.3)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A well-formed query with its one question."""

    id: int
    recursion_desired: bool
    name: bytes
    """The name asked for as it came, with its case: a resolver may have mixed it and look for that (0x20)."""
    labels: Labels
    type: int
    klass: int
    edns: int | None = None
    """The version of EDNS; None where the client does not speak it."""
    size: int = UDP_PLAIN
    """Bytes that the client takes over UDP."""
    dnssec_ok: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """What came is not a query that anybody answers; the header alone goes back."""

    id: int
    opcode: int
    recursion_desired: bool
    rcode: Rcode


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A resource record of class IN."""

    owner: Labels
    type: int
    ttl: int
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a query."""

    rcode: Rcode
    authoritative: bool = True
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


class _Malformed(Exception):
    """The bytes are no message."""


def parse(data: bytes) -> Query | Rejected | None:
    """What came in one datagram, or behind one length over TCP. None: silence, since nothing is known to whom to answer what,
    or since it is an answer itself, and two servers that answer each other's answers never end."""
    if len(data) < _HEADER.size:
        return None
    number, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & _QR:
        return None
    opcode = (flags & _OPCODE) >> 11
    desired = bool(flags & _RD)
    if opcode:
        return Rejected(number, opcode, desired, Rcode.NOTIMP)
    malformed = Rejected(number, opcode, desired, Rcode.FORMERR)
    # More than one question means nothing (RFC 9619), and none at all nothing here.
    if questions != 1 or answers or authorities + additionals > RECORDS or len(data) > MESSAGE:
        return malformed
    try:
        labels, at = _question_name(data)
        kind, klass = struct.unpack_from(">HH", data, at)
        options = _options(data, at + 4, authorities, additionals)
    except (_Malformed, struct.error):
        return malformed
    query = Query(number, desired, data[_QUESTION_AT:at], labels, kind, klass)
    if options is None:
        return query
    size, extended = options
    return dataclasses.replace(
        query, edns=(extended >> 16) & 0xFF, size=max(size, UDP_PLAIN), dnssec_ok=bool(extended & _DNSSEC_OK)
    )


def encode(query: Query, answer: Answer, limit: int) -> bytes:
    """The answer's bytes, at most `limit`. What does not fit is left out, whole: first the additional records, which nobody
    needs; then all of them, and the client is told to come by TCP."""
    options = b"" if query.edns is None else _own_options(answer.rcode, dnssec_ok=query.dnssec_ok)
    room = limit - _QUESTION_AT - len(query.name) - 4 - len(options)
    sections = [_encoded(query, records) for records in (answer.answer, answer.authority, answer.additional)]
    truncated = 0
    if sum(map(_bytes, sections)) > room:
        sections[2] = []
    if sum(map(_bytes, sections)) > room:
        sections, truncated = [[], [], []], _TC
    flags = _QR | truncated | (answer.rcode & 0xF)
    flags |= _AA if answer.authoritative else 0
    flags |= _RD if query.recursion_desired else 0
    counts = [len(section) for section in sections]
    header = _HEADER.pack(query.id, flags, 1, counts[0], counts[1], counts[2] + (1 if options else 0))
    question = query.name + struct.pack(">HH", query.type, query.klass)
    return b"".join((header, question, *sections[0], *sections[1], *sections[2], options))


def truncated(query: Query) -> bytes:
    """No answer, but that there is one over TCP."""
    flags = _QR | _TC | (_RD if query.recursion_desired else 0)
    options = b"" if query.edns is None else _own_options(Rcode.NOERROR, dnssec_ok=query.dnssec_ok)
    header = _HEADER.pack(query.id, flags, 1, 0, 0, 1 if options else 0)
    return header + query.name + struct.pack(">HH", query.type, query.klass) + options


def rejection(rejected: Rejected) -> bytes:
    """The header that goes back."""
    flags = _QR | rejected.opcode << 11 | (_RD if rejected.recursion_desired else 0) | rejected.rcode
    return _HEADER.pack(rejected.id, flags, 0, 0, 0, 0)


def wire_name(labels: Labels) -> bytes:
    """A name's bytes, uncompressed."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def labels_of(name: str) -> Labels:
    """The labels of a normalised hostname."""
    return tuple(name.encode("ascii").split(b"."))


def text_data(value: bytes) -> bytes:
    """The data of a TXT record: strings of at most 255 bytes (RFC 1035 section 3.3.14)."""
    parts = [value[at : at + 255] for at in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((len(part),)) + part for part in parts)


def _question_name(data: bytes) -> tuple[Labels, int]:
    """The name in the question, and where it ends. There is nothing before it that a pointer could mean."""
    labels: list[bytes] = []
    at = _QUESTION_AT
    while at < len(data):
        length = data[at]
        if length == 0:
            return tuple(labels), at + 1
        if length >= 64 or at + 1 + length - _QUESTION_AT >= _NAME:
            break
        labels.append(data[at + 1 : at + 1 + length].lower())
        at += 1 + length
    raise _Malformed


def _options(data: bytes, at: int, authorities: int, additionals: int) -> tuple[int, int] | None:
    """Class and TTL of the OPT record among what follows the question: the client's size, and its extended flags."""
    found: tuple[int, int] | None = None
    for index in range(authorities + additionals):
        root = data[at : at + 1] == b"\0"
        at = _behind_name(data, at)
        kind, size, extended, length = struct.unpack_from(">HHIH", data, at)
        at += 10 + length
        if kind == OPT:
            # There is one at most, and only there (RFC 6891 section 6.1.1).
            if found is not None or not root or index < authorities:
                raise _Malformed
            found = (size, extended)
    if at != len(data):
        raise _Malformed
    return found


def _behind_name(data: bytes, at: int) -> int:
    """Where a name ends. Pointers are not followed: what the name is, nobody wants to know."""
    start = at
    while at < len(data):
        length = data[at]
        if length == 0:
            return at + 1
        if length >= _POINTER:
            return at + 2
        if length >= 64 or at + 1 + length - start >= _NAME:
            break
        at += 1 + length
    raise _Malformed


def _encoded(query: Query, records: tuple[Record, ...]) -> list[bytes]:
    return [
        _owner(query, record.owner) + struct.pack(">HHIH", record.type, IN, record.ttl, len(record.data)) + record.data
        for record in records
    ]


def _owner(query: Query, owner: Labels) -> bytes:
    """As a pointer into the question where the name ends so: the answer has the question's case then."""
    above = len(query.labels) - len(owner)
    if owner and above >= 0 and query.labels[above:] == owner:
        offset = _QUESTION_AT + sum(1 + len(label) for label in query.labels[:above])
        return struct.pack(">H", _POINTER << 8 | offset)
    return wire_name(owner)


def _own_options(rcode: Rcode, *, dnssec_ok: bool) -> bytes:
    """Our OPT record. DO comes back as it came (RFC 3225 section 3)."""
    return b"\0" + struct.pack(">HHBBHH", OPT, UDP_SIZE, rcode >> 4, 0, _DNSSEC_OK if dnssec_ok else 0, 0)


def _bytes(section: list[bytes]) -> int:
    return sum(map(len, section))
