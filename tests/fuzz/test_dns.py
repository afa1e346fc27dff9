"""The DNS server's core against arbitrary, mutated and well-formed queries, with dnspython as the second opinion."""

import struct
import time

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.dns import wire
from edgeproxy.control.dns.wire import Query, parse
from edgeproxy.control.dns.zone import NEGATIVE_TTL, Zone, respond, zone_label
from tests.fuzz.amount import cases

ZONE = Zone("acme.example", ["ns.acme.example", "deep.in.acme.example"], ["192.0.2.1", "2001:db8::1"])
LABELS = [zone_label(f"host{number}.test") for number in range(3)]
TEXTS = {
    label.encode(): tuple(b"%043d" % value for value in range(count)) for label, count in zip(LABELS, (1, 2, 40), strict=True)
}

plain = st.sampled_from(["acme", "example", "ns", "in", "deep", "ACME", "x", "*", *LABELS, LABELS[0].upper()])
labels = st.one_of(plain.map(str.encode), st.binary(min_size=1, max_size=63))
inside = st.lists(labels, max_size=3).map(lambda first: [*first, b"aCmE", b"example"])
names = st.one_of(inside, st.lists(labels, max_size=8)).filter(lambda each: sum(1 + len(label) for label in each) < 255)
kinds = st.one_of(st.sampled_from([1, 2, 5, 6, 15, 16, 28, 41, 43, 251, 252, 255, 257]), st.integers(0, 65535))
classes = st.one_of(st.just(1), st.sampled_from([3, 254, 255]), st.integers(0, 65535))


@st.composite
def opts(draw):
    data = draw(st.binary(max_size=30))
    extended = draw(st.sampled_from([0, 0x8000, 1 << 16, 0xFFFFFFFF]))
    return b"\0" + struct.pack(">HHIH", 41, draw(st.integers(0, 65535)), extended, len(data)) + data


records = st.one_of(
    opts(),
    st.builds(lambda data: b"\xc0\x0c" + struct.pack(">HHIH", 250, 255, 0, len(data)) + data, st.binary(max_size=20)),
    st.binary(max_size=20),
)


@st.composite
def queries(draw):
    """Nearly right messages: a few bytes changed, a few records wrong."""
    name = b"".join(bytes((len(label),)) + label for label in draw(names)) + b"\0"
    question = name + struct.pack(">HH", draw(kinds), draw(classes))
    rest = draw(st.lists(records, max_size=3))
    flags = draw(st.one_of(st.sampled_from([0, 0x0100, 0x0110]), st.integers(0, 65535)))
    counts = draw(st.one_of(st.just((1, 0, 0, len(rest))), st.tuples(*[st.integers(0, 3)] * 4)))
    data = bytearray(struct.pack(">6H", draw(st.integers(0, 65535)), flags, *counts) + question + b"".join(rest))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=2)):
        data[position % len(data)] = value
    return bytes(data)


def said(data, *, udp=True, limited=False):
    return respond(ZONE, data, TEXTS, 1, udp=udp, limited=limited)


@given(st.one_of(queries(), st.binary(max_size=600)), st.booleans(), st.booleans())
@cases(400)
def test_any_bytes_are_answered_well_formed_or_not_at_all(data, udp, limited):
    reply = said(data, udp=udp, limited=limited)
    if not reply.data:
        return
    assert len(reply.data) <= (wire.UDP_SIZE if udp else 65535)
    assert reply.data[:2] == data[:2]
    answer = dns.message.from_wire(reply.data)  # well-formed, to the last byte
    assert answer.flags & dns.flags.QR
    assert not answer.flags & (dns.flags.RA | dns.flags.AD)
    assert answer.opcode() == (data[2] >> 3) & 15
    if limited:
        assert len(reply.data) <= len(data) + 11


@given(queries())
@cases(400)
def test_dnspython_understands_what_we_understand_and_agrees(data):
    found = parse(data)
    if not isinstance(found, Query):
        return
    try:
        other = dns.message.from_wire(data, ignore_trailing=False)
    except dns.exception.DNSException:
        # It looks into what we pass over: the data of records and of options, and classes of questions without sense.
        assert data[10:12] != b"\0\0" or data[8:10] != b"\0\0" or found.klass != wire.IN
        return
    question = other.question[0]
    assert tuple(label.lower() for label in question.name.labels[:-1]) == found.labels
    assert question.name.to_wire() == found.name
    assert (question.rdtype, question.rdclass) == (found.type, found.klass)
    assert (other.edns if other.edns >= 0 else None) == found.edns


@given(names, st.integers(0, 65535), st.integers(1, 65535), st.booleans())
@cases(400)
def test_what_is_well_formed_is_answered_as_the_zone_has_it(name, kind, number, udp):
    question = b"".join(bytes((len(label),)) + label for label in name) + b"\0" + struct.pack(">HH", kind, 1)
    answer = dns.message.from_wire(said(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question, udp=udp).data)
    lower = tuple(label.lower() for label in name)
    known = {(), (b"ns",), (b"in",), (b"deep", b"in"), *((label.encode(),) for label in LABELS)}
    if lower[-2:] != (b"acme", b"example") or kind in (0, 41) or 128 <= kind < 255:
        assert (answer.rcode(), answer.answer, answer.authority) == (dns.rcode.REFUSED, [], [])
        return
    exists = lower[:-2] in known
    assert answer.rcode() == (dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN)
    assert answer.flags & dns.flags.AA
    if not answer.answer and not answer.flags & dns.flags.TC:
        assert [(rrset.rdtype, rrset.ttl) for rrset in answer.authority] == [(dns.rdatatype.SOA, NEGATIVE_TTL)]
    for rrset in answer.answer:
        assert kind in (rrset.rdtype, dns.rdatatype.ANY)
        assert rrset.name.to_wire() == question[:-4]


def test_the_dearest_query_there_may_be_costs_little():
    deepest = b"\x01a" * 127 + b"\0" + struct.pack(">HH", wire.TXT, 1)
    record = b"\x01a" * 127 + b"\0" + struct.pack(">HHIH", 1, 1, 0, 0)
    data = struct.pack(">6H", 1, 0, 1, 0, 0, wire.RECORDS) + deepest + record * wire.RECORDS
    asked = struct.pack(">6H", 1, 0, 1, 0, 0, 0)
    most = b"".join(bytes((len(label),)) + label.encode() for label in (LABELS[2], "acme", "example")) + b"\0\0\x10\0\1"
    for query in (data[: wire.MESSAGE], asked + deepest, asked + most):
        began = time.process_time()
        for _ in range(100):
            said(query, udp=False)
        assert (time.process_time() - began) / 100 < 0.005  # some 0.1 ms, on a machine that is not busy
