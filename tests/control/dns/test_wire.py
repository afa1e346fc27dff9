"""DNS messages as bytes, with dnspython as the second opinion."""

import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from edgeproxy.control.dns import wire
from edgeproxy.control.dns.wire import Answer, Query, Rcode, Record, Rejected, encode, labels_of, parse, rejection, truncated

NAME = "Label.aCMe.Example"
HEADER = struct.Struct(">6H")
QUESTION = b"\1a\4acme\0" + struct.pack(">HH", wire.TXT, wire.IN)


def query(name=NAME, kind="TXT", **options):
    found = parse(dns.message.make_query(name, kind, **options).to_wire())
    assert isinstance(found, Query)
    return found


def message(flags=0, questions=1, answers=0, authorities=0, additionals=0, rest=QUESTION):
    return HEADER.pack(7, flags, questions, answers, authorities, additionals) + rest


def opt(owner=b"\0", size=1232, extended=0, data=b""):
    return owner + struct.pack(">HHIH", wire.OPT, size, extended, len(data)) + data


def texts(count, owner=NAME):
    labels = labels_of(owner.lower())
    return tuple(Record(labels, wire.TXT, 1, wire.text_data(b"%043d" % number)) for number in range(count))


def test_a_question_is_read_with_its_case_and_compared_without_it():
    found = query(id=4711)
    assert found.id == 4711
    assert found.name == b"\5Label\4aCMe\7Example\0"
    assert found.labels == (b"label", b"acme", b"example")
    assert (found.type, found.klass, found.edns, found.size) == (wire.TXT, wire.IN, None, 512)
    assert found.recursion_desired


def test_what_a_client_says_with_edns_is_read():
    found = query(use_edns=0, payload=4000, ednsflags=dns.flags.DO, options=[dns.edns.GenericOption("COOKIE", b"cookie!!")])
    assert (found.edns, found.size, found.dnssec_ok) == (0, 4000, True)
    assert query(use_edns=0, payload=100).size == 512  # RFC 6891 section 6.2.3: lower values count as 512
    assert query(use_edns=1).edns == 1


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 11, message(flags=0x8000), message(flags=0x8000 | 2 << 11)], ids=["empty", "short", "answer", "other"]
)
def test_what_is_no_question_meets_silence(data):
    assert parse(data) is None


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_other_opcodes_are_not_implemented(opcode):
    rejected = parse(message(flags=opcode << 11 | 0x0100))
    assert rejected == Rejected(7, opcode, True, Rcode.NOTIMP)
    answer = dns.message.from_wire(rejection(rejected))
    assert (answer.rcode(), answer.opcode(), answer.id) == (dns.rcode.NOTIMP, opcode, 7)
    assert answer.flags & dns.flags.RD


BAD = {
    "no question": message(questions=0, rest=b""),
    "two questions": message(questions=2, rest=QUESTION * 2),
    "an answer in it": message(answers=1, rest=QUESTION + opt()),
    "nothing behind the header": message(rest=b""),
    "a name without an end": message(rest=b"\1a"),
    "a question without class": message(rest=QUESTION[:-1]),
    "a pointer in the name": message(rest=b"\xc0\x0c" + QUESTION[-4:]),
    "a label of an unknown kind": message(rest=b"\x41a\0" + QUESTION[-4:]),
    "a name of 256 bytes": message(rest=(b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0" + QUESTION[-4:]),
    "bytes behind the end": message(rest=QUESTION + b"\0"),
    "a record that is missing": message(additionals=1),
    "a record cut off": message(additionals=1, rest=QUESTION + opt()[:-1]),
    "options longer than the message": message(additionals=1, rest=QUESTION + b"\0" + struct.pack(">HHIH", 41, 512, 0, 9)),
    "a record's name without an end": message(additionals=1, rest=QUESTION + b"\1a"),
    "half a pointer": message(additionals=1, rest=QUESTION + b"\xc0"),
    "two OPT records": message(additionals=2, rest=QUESTION + opt() + opt()),
    "OPT with a name": message(additionals=1, rest=QUESTION + opt(b"\1a\0")),
    "OPT among the authorities": message(authorities=1, rest=QUESTION + opt()),
    "more records than anybody needs": message(additionals=9, rest=QUESTION + b"\0" + struct.pack(">HHIH", 1, 1, 0, 0) * 9),
    "a message that is too long": message(additionals=1, rest=QUESTION + opt(data=b"x" * 4096)),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_malformed_queries_are_told_so(data):
    rejected = parse(data)
    assert rejected == Rejected(7, 0, False, Rcode.FORMERR)
    assert dns.message.from_wire(rejection(rejected)).rcode() == dns.rcode.FORMERR


def test_the_longest_name_there_may_be_is_read():
    labels = (b"a" * 63,) * 3 + (b"a" * 61,)
    data = message(rest=wire.wire_name(labels) + QUESTION[-4:])
    found = parse(data)
    assert isinstance(found, Query)
    assert found.labels == labels
    assert len(found.name) == 255


def test_records_beside_opt_are_passed_over():
    signature = b"\xc0\x0c" + struct.pack(">HHIH", 250, 255, 0, 3) + b"abc"
    found = parse(message(authorities=1, additionals=2, rest=QUESTION + signature + opt() + signature))
    assert isinstance(found, Query)
    assert found.edns == 0


def test_an_answer_repeats_the_question_as_it_came():
    asked = query()
    data = encode(asked, Answer(Rcode.NOERROR, answer=texts(2)), 512)
    answer = dns.message.from_wire(data)
    assert str(answer.question[0].name) == f"{NAME}."
    assert [str(rrset.name) for rrset in answer.answer] == [f"{NAME}."]
    assert len(answer.answer[0]) == 2
    assert answer.flags & dns.flags.AA
    assert answer.flags & dns.flags.RD
    assert not answer.flags & (dns.flags.RA | dns.flags.TC | dns.flags.AD)
    assert answer.edns == -1


def test_owners_that_are_not_in_the_question_are_written_out():
    records = tuple(
        Record(labels_of(name), wire.A, 5, bytes((10, 0, 0, 1))) for name in ("acme.example", "ns.acme.example", "x")
    )
    answer = dns.message.from_wire(encode(query(), Answer(Rcode.NOERROR, additional=records), 512))
    assert [rrset.name.to_text().lower() for rrset in answer.additional] == ["acme.example.", "ns.acme.example.", "x."]


def test_additional_records_are_left_out_first_and_then_everything():
    asked = query(use_edns=0)
    extra = tuple(Record((b"ns",), wire.AAAA, 5, bytes(16)) for _ in range(20))
    whole = dns.message.from_wire(encode(asked, Answer(Rcode.NOERROR, answer=texts(5), additional=extra), 65535))
    assert (len(whole.answer[0]), len(whole.additional)) == (5, 1)
    less = encode(asked, Answer(Rcode.NOERROR, answer=texts(5), additional=extra), 512)
    parsed = dns.message.from_wire(less)
    assert len(less) <= 512
    assert (len(parsed.answer[0]), parsed.additional, parsed.flags & dns.flags.TC) == (5, [], 0)
    none = encode(asked, Answer(Rcode.NOERROR, answer=texts(20)), 512)
    parsed = dns.message.from_wire(none)
    assert len(none) <= 512
    assert (parsed.answer, parsed.flags & dns.flags.TC, parsed.edns) == ([], dns.flags.TC, 0)


def test_an_answer_of_exactly_the_limit_is_whole():
    asked, answer = query(use_edns=0), Answer(Rcode.NOERROR, answer=texts(4))
    size = len(encode(asked, answer, 65535))
    assert not dns.message.from_wire(encode(asked, answer, size)).flags & dns.flags.TC
    assert dns.message.from_wire(encode(asked, answer, size - 1)).flags & dns.flags.TC


def test_edns_is_answered_with_edns_and_the_clients_do_bit():
    asked = query(use_edns=0, payload=4000, ednsflags=dns.flags.DO)
    answer = dns.message.from_wire(encode(asked, Answer(Rcode.NXDOMAIN), 512))
    assert (answer.edns, answer.payload, answer.ednsflags) == (0, 1232, dns.flags.DO)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    wrong = dns.message.from_wire(encode(query(use_edns=1), Answer(Rcode.BADVERS, authoritative=False), 512))
    assert (wrong.rcode(), wrong.edns) == (dns.rcode.BADVERS, 0)


def test_the_advice_to_come_by_tcp_has_no_records():
    for options in ({}, {"use_edns": 0}):
        asked = query(**options)
        answer = dns.message.from_wire(truncated(asked))
        assert answer.flags & dns.flags.TC
        assert answer.answer == answer.authority == []
        assert str(answer.question[0].name) == f"{NAME}."


def test_long_texts_are_strings_of_255_bytes():
    record = Record(labels_of(NAME.lower()), wire.TXT, 1, wire.text_data(b"a" * 300))
    answer = dns.message.from_wire(encode(query(), Answer(Rcode.NOERROR, answer=(record,)), 512))
    assert [len(part) for part in next(iter(answer.answer[0])).strings] == [255, 45]
    assert wire.text_data(b"") == b"\0"
