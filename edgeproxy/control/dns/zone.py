"""The zone that this edge answers for DNS-01: which records it has, and what it says to which question. Pure.

It holds nothing but what DNS-01 needs: SOA, NS and CAA at its apex, addresses of name servers within it, and the TXT
records of pending challenges. There is no recursion, no transfer, no update.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import ipaddress
import struct
from collections.abc import Mapping, Sequence

from edgeproxy.control.dns import wire
from edgeproxy.control.dns.wire import Answer, Labels, Query, Rcode, Record, labels_of, text_data, wire_name

LABEL_CHARACTERS = 26
"""Of a customer's label: 130 bits of the hostname's SHA-256, so that no two hostnames ever share one."""

TEXT_TTL = 1
"""Seconds for which a challenge's answer is remembered: the next order for the same name has another one."""

NEGATIVE_TTL = 1
"""Seconds for which it is remembered that there is none (RFC 2308): somebody may have asked just before it came."""

APEX_TTL = 300
"""Seconds for SOA, NS, CAA and addresses, which change with the configuration."""

_SECONDARY = (3600, 600, 604_800)
"""Refresh, retry and expiry for secondary servers, of which there are none."""

_NO_ISSUER = b"\x00\x05issue;"
"""CAA `0 issue ";"`: no certificate is ever needed for a name in this zone itself (RFC 8659 section 4.2)."""

_REFUSED_TYPES = frozenset((0, wire.OPT, *range(128, 255)))
"""No types of records but requests of another kind: transfers, keys, mail boxes (RFC 6895 section 3.1)."""

Texts = Mapping[bytes, Sequence[bytes]]
"""TXT values by label."""


def zone_label(hostname: str) -> str:
    """The label under which a hostname's challenges are answered, the same for its wildcard: customers point
    `_acme-challenge.HOST` at `LABEL.ZONE` once and for good. `hostname` is normalised (`model.hostname`)."""
    digest = hashlib.sha256(hostname.removeprefix("*.").encode("ascii")).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:LABEL_CHARACTERS]


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, and how it is counted."""

    data: bytes
    """Empty: silence."""
    rcode: Rcode | None = None
    """None where nothing was decided: silence, or only that the client come by TCP."""


class Zone:
    """The records that the configuration makes, and the answers from these and the challenges."""

    def __init__(self, name: str, nameservers: Sequence[str], addresses: Sequence[str]) -> None:
        """Normalised names. `addresses` are this edge's own, for those name servers that are within the zone."""
        self.apex = labels_of(name)
        servers = [labels_of(server) for server in nameservers]
        self._sets: dict[Labels, dict[int, tuple[Record, ...]]] = {
            self.apex: {
                wire.NS: tuple(Record(self.apex, wire.NS, APEX_TTL, wire_name(server)) for server in servers),
                wire.CAA: (Record(self.apex, wire.CAA, APEX_TTL, _NO_ISSUER),),
            }
        }
        self._master = wire_name(servers[0])
        self._mailbox = wire_name((b"hostmaster", *self.apex))
        for server in servers:
            if self.holds(server):
                self._sets.setdefault(server, {}).update(_addresses(server, addresses))
        self._glue = tuple(
            record for server in servers for kind in (wire.A, wire.AAAA) for record in self._sets.get(server, {}).get(kind, ())
        )
        # A name above another one exists, though it has no records (RFC 8020): asking for it is NODATA and not NXDOMAIN.
        self._names = {labels[start:] for labels in self._sets for start in range(len(labels) - len(self.apex) + 1)}

    def holds(self, labels: Labels) -> bool:
        """Whether a name is the zone's own or beneath it."""
        return labels[-len(self.apex) :] == self.apex

    def answer(self, query: Query, texts: Texts, serial: int) -> Answer:
        """What is said to a query of class IN, or of any other."""
        labels = query.labels
        if query.edns:  # RFC 6891 section 6.1.3
            return Answer(Rcode.BADVERS, authoritative=False)
        if query.klass != wire.IN or not self.holds(labels) or query.type in _REFUSED_TYPES:
            return Answer(Rcode.REFUSED, authoritative=False)
        soa = self._soa(serial, APEX_TTL)
        sets = dict(self._sets.get(labels, {}))
        if labels == self.apex:
            sets[wire.SOA] = (soa,)
        elif len(labels) == len(self.apex) + 1 and (values := texts.get(labels[0])):
            sets[wire.TXT] = tuple(Record(labels, wire.TXT, TEXT_TTL, text_data(value)) for value in values)
        if not sets and labels not in self._names:
            return Answer(Rcode.NXDOMAIN, authority=(self._soa(serial, NEGATIVE_TTL),))
        # Of all types one is enough for who asks for ANY, and no gift to who has the answer sent to others (RFC 8482).
        found = sets.get(next(iter(sets), 0) if query.type == wire.ANY else query.type, ())
        if not found:
            return Answer(Rcode.NOERROR, authority=(self._soa(serial, NEGATIVE_TTL),))
        return Answer(Rcode.NOERROR, answer=found, additional=self._glue if found[0].type == wire.NS else ())

    def _soa(self, serial: int, ttl: int) -> Record:
        numbers = struct.pack(">5I", serial & 0xFFFFFFFF, *_SECONDARY, NEGATIVE_TTL)
        return Record(self.apex, wire.SOA, ttl, self._master + self._mailbox + numbers)


def respond(zone: Zone, data: bytes, texts: Texts, serial: int, *, udp: bool, limited: bool = False) -> Reply:
    """From the bytes of a query to those of its answer, whatever the bytes are. `limited`: this client's network asks too much
    for the whole answer over UDP; it is told to come by TCP, where nobody can ask in another's name."""
    query = wire.parse(data)
    if query is None:
        return Reply(b"")
    if limited:
        return Reply(wire.truncated(query) if isinstance(query, Query) else b"")
    if not isinstance(query, Query):
        return Reply(wire.rejection(query), query.rcode)
    answer = zone.answer(query, texts, serial)
    return Reply(wire.encode(query, answer, min(query.size, wire.UDP_SIZE) if udp else 65_535), answer.rcode)


def _addresses(server: Labels, addresses: Sequence[str]) -> dict[int, tuple[Record, ...]]:
    parsed = [ipaddress.ip_address(address) for address in addresses]
    return {
        kind: tuple(Record(server, kind, APEX_TTL, address.packed) for address in parsed if address.version == version)
        for kind, version in ((wire.A, 4), (wire.AAAA, 6))
        if any(address.version == version for address in parsed)
    }
