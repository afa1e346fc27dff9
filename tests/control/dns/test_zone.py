"""Which records the zone has, and what it says to which question."""

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from edgeproxy.control.dns.wire import Rcode
from edgeproxy.control.dns.zone import Zone, respond, zone_label

ZONE = Zone("acme.example", ["ns.acme.example", "deep.in.acme.example", "edge.other.test"], ["192.0.2.1", "2001:db8::1"])
LABEL = zone_label("gallery.customer.test")
TEXTS = {LABEL.encode(): (b"first-value", b"second-value")}
SERIAL = 1_700_000_000


def ask(name, kind="TXT", *, udp=True, limited=False, zone=ZONE, texts=TEXTS, **options):
    query = dns.message.make_query(name, kind, **options)
    answer = dns.message.from_wire(respond(zone, query.to_wire(), texts, SERIAL, udp=udp, limited=limited).data)
    assert query.is_response(answer)
    return answer


def sections(answer):
    """Rcode, and the types in each section."""
    types = [
        " ".join(dns.rdatatype.to_text(rrset.rdtype) for rrset in section)
        for section in (answer.answer, answer.authority, answer.additional)
    ]
    return (dns.rcode.to_text(answer.rcode()), *types)


def values(answer):
    return sorted(record.to_text() for rrset in answer.answer for record in rrset)


def test_a_hostname_and_its_wildcard_have_one_label_that_never_changes():
    assert zone_label("gallery.example.com") == "ex7nf45s7zx7nph5oozplciqjt"
    assert zone_label("*.gallery.example.com") == zone_label("gallery.example.com")
    assert zone_label("shop.example.com") != zone_label("gallery.example.com")


def test_a_challenge_is_answered_with_all_its_values_and_a_short_life():
    answer = ask(f"{LABEL}.acme.example")
    assert sections(answer) == ("NOERROR", "TXT", "", "")
    assert values(answer) == ['"first-value"', '"second-value"']
    assert answer.answer[0].ttl <= 60
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.RA


def test_the_case_of_the_question_is_kept_and_does_not_count():
    name = f"{LABEL.upper()}.aCmE.eXaMpLe."
    answer = ask(name)
    assert values(answer) == ['"first-value"', '"second-value"']
    assert answer.question[0].name.to_text() == answer.answer[0].name.to_text() == name


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("acme.example", "SOA", ("NOERROR", "SOA", "", "")),
        ("acme.example", "NS", ("NOERROR", "NS", "", "A AAAA A AAAA")),
        ("acme.example", "CAA", ("NOERROR", "CAA", "", "")),
        ("acme.example", "TXT", ("NOERROR", "", "SOA", "")),
        ("acme.example", "A", ("NOERROR", "", "SOA", "")),
        ("acme.example", "DS", ("NOERROR", "", "SOA", "")),
        ("acme.example", "TYPE65280", ("NOERROR", "", "SOA", "")),
        ("ns.acme.example", "A", ("NOERROR", "A", "", "")),
        ("ns.acme.example", "AAAA", ("NOERROR", "AAAA", "", "")),
        ("ns.acme.example", "TXT", ("NOERROR", "", "SOA", "")),
        ("deep.in.acme.example", "A", ("NOERROR", "A", "", "")),
        # There is something beneath it: it exists (RFC 8020), and has nothing.
        ("in.acme.example", "A", ("NOERROR", "", "SOA", "")),
        ("in.acme.example", "ANY", ("NOERROR", "", "SOA", "")),
        (f"{LABEL}.acme.example", "A", ("NOERROR", "", "SOA", "")),
        (f"{LABEL}.acme.example", "CAA", ("NOERROR", "", "SOA", "")),
        (f"{zone_label('other.test')}.acme.example", "TXT", ("NXDOMAIN", "", "SOA", "")),
        (f"{LABEL}.x.acme.example", "TXT", ("NXDOMAIN", "", "SOA", "")),
        (f"x.{LABEL}.acme.example", "TXT", ("NXDOMAIN", "", "SOA", "")),
        ("*.acme.example", "TXT", ("NXDOMAIN", "", "SOA", "")),
        ("x.in.acme.example", "A", ("NXDOMAIN", "", "SOA", "")),
    ],
)
def test_names_that_exist_without_the_type_are_nodata_and_others_nxdomain(name, kind, expected):
    answer = ask(name, kind)
    assert sections(answer) == expected
    assert answer.flags & dns.flags.AA


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example", "NS"),
        (".", "NS"),
        ("other.example", "A"),
        ("xacme.example", "A"),
        ("edge.other.test", "A"),
        ("acme.example.org", "TXT"),
        ("acme.example", "AXFR"),
        ("acme.example", "IXFR"),
        ("acme.example", "OPT"),
        ("acme.example", "TKEY"),
        ("acme.example", "MAILB"),
    ],
)
def test_other_zones_and_transfers_are_refused(name, kind):
    for udp in (True, False):
        answer = ask(name, kind, udp=udp)
        assert sections(answer) == ("REFUSED", "", "", "")
        assert not answer.flags & dns.flags.AA


def test_the_program_that_answers_is_not_told():
    for name in ("version.bind", "version.server", "hostname.bind", "id.server", "acme.example"):
        assert ask(name, "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


def test_any_is_answered_with_one_kind_of_record():
    assert sections(ask(f"{LABEL}.acme.example", "ANY")) == ("NOERROR", "TXT", "", "")
    assert len(ask("acme.example", "ANY").answer) == 1
    assert sections(ask("none.acme.example", "ANY"))[0] == "NXDOMAIN"


def test_what_is_not_there_is_forgotten_soon():
    answer = ask("none.acme.example")
    soa = answer.authority[0]
    assert soa.ttl == soa[0].minimum <= 5
    assert soa.name.to_text() == "acme.example."


def test_the_soa_names_the_first_name_server_and_the_serial():
    soa = ask("acme.example", "SOA").answer[0][0]
    assert (soa.mname.to_text(), soa.rname.to_text(), soa.serial) == ("ns.acme.example.", "hostmaster.acme.example.", SERIAL)


def test_no_certificate_is_ever_for_a_name_of_the_zone_itself():
    assert values(ask("acme.example", "CAA")) == ['0 issue ";"']


def test_name_servers_within_the_zone_have_addresses_and_others_none():
    assert values(ask("acme.example", "NS")) == ["deep.in.acme.example.", "edge.other.test.", "ns.acme.example."]
    assert values(ask("ns.acme.example", "A")) == ["192.0.2.1"]
    assert values(ask("deep.in.acme.example", "AAAA")) == ["2001:db8::1"]


def test_a_name_server_has_no_records_for_a_family_without_addresses():
    zone = Zone("acme.example", ["ns.acme.example"], ["192.0.2.1"])
    assert sections(ask("ns.acme.example", "AAAA", zone=zone)) == ("NOERROR", "", "SOA", "")


def test_a_name_server_may_have_the_name_of_the_zone():
    zone = Zone("acme.example", ["acme.example"], ["192.0.2.1"])
    assert sections(ask("acme.example", "NS", zone=zone)) == ("NOERROR", "NS", "", "A")
    assert sections(ask("acme.example", "A", zone=zone)) == ("NOERROR", "A", "", "")


def test_an_unknown_version_of_edns_is_told_ours():
    answer = ask(f"{LABEL}.acme.example", use_edns=1)
    assert (answer.rcode(), answer.edns, answer.answer) == (dns.rcode.BADVERS, 0, [])


@pytest.mark.parametrize(
    ("options", "most"), [({}, 512), ({"use_edns": 0, "payload": 600}, 600), ({"use_edns": 0, "payload": 4096}, 1232)]
)
def test_more_than_fits_is_had_by_tcp(options, most):
    many = {LABEL.encode(): tuple(b"%043d" % number for number in range(40))}
    query = dns.message.make_query(f"{LABEL}.acme.example", "TXT", **options).to_wire()
    data = respond(ZONE, query, many, SERIAL, udp=True).data
    assert len(data) <= most
    assert dns.message.from_wire(data).flags & dns.flags.TC
    assert len(values(ask(f"{LABEL}.acme.example", texts=many, udp=False, **options))) == 40


def test_as_much_as_the_client_takes_is_sent_at_once():
    some = {LABEL.encode(): tuple(b"%043d" % number for number in range(16))}
    assert ask(f"{LABEL}.acme.example", texts=some).flags & dns.flags.TC
    assert len(values(ask(f"{LABEL}.acme.example", texts=some, use_edns=0, payload=4096))) == 16


def test_who_asks_too_much_is_told_to_come_by_tcp():
    answer = ask(f"{LABEL}.acme.example", limited=True)
    assert answer.flags & dns.flags.TC
    assert sections(answer) == ("NOERROR", "", "", "")
    assert respond(ZONE, b"\0" * 12, TEXTS, SERIAL, udp=True, limited=True).data == b""


def test_replies_are_counted_by_what_they_say():
    assert respond(ZONE, b"\0" * 12, TEXTS, SERIAL, udp=True).rcode == Rcode.FORMERR
    assert respond(ZONE, b"\0\0\x80" + b"\0" * 9, TEXTS, SERIAL, udp=True).rcode is None
    query = dns.message.make_query("acme.example", "SOA").to_wire()
    assert respond(ZONE, query, TEXTS, SERIAL, udp=True).rcode == Rcode.NOERROR
    assert respond(ZONE, query, TEXTS, SERIAL, udp=True, limited=True).rcode is None
