"""Words."""

import pytest

from edgeproxy.config.platform import Platform
from edgeproxy.control.domains.verification.case import listed, named, present, printable, start
from edgeproxy.control.domains.verification.seen import Zone
from tests.control.domains.verification.cases import OURS, OURS6, STRANGE, TARGET, ZONE, case, seen, view, zone


def test_what_a_name_needs_depends_on_where_it_stands():
    assert case(seen()).routing == f"CNAME {TARGET}"
    assert case(seen(), ZONE).routing == f"A {OURS}"
    assert case(seen(), ZONE, platform=Platform(cname_target=TARGET, addresses=(OURS6, OURS))).routing == (
        f"A {OURS}, AAAA {OURS6}"
    )
    unknown = seen(ours=frozenset())
    assert case(unknown, ZONE).routing == f"ALIAS or ANAME {TARGET}"
    flat = seen(ours=frozenset(), zone=zone("a.ns.cloudflare.com"))
    assert case(flat, ZONE).routing == f"CNAME {TARGET}"


def test_a_delegated_part_is_a_zone_of_its_own():
    part = zone(name="gallery.example.com")
    assert case(seen(zone=part)).apex
    assert case(seen(zone=None)).zone == ZONE
    assert case(seen(zone=Zone(name="gallery.example.com"))).zone == ZONE


def test_whoever_can_change_it_is_named():
    assert case(seen()).keeper == "the DNS provider of example.com"
    known = case(seen(zone=zone("ns01.domaincontrol.com")))
    assert known.keeper == "GoDaddy"
    assert known.hint("gallery.example.com") == " At GoDaddy: Name: gallery, without the domain."
    assert case(seen()).hint("gallery.example.com") == ""


def test_what_there_is_is_written_as_records():
    assert present(view(STRANGE, chain=["a.test", "b.test"])) == f"CNAME a.test, A {STRANGE}"
    assert present(view()) == "no record"
    assert listed([f"192.0.2.{number}" for number in range(9)]).endswith("A 192.0.2.4, …")


@pytest.mark.parametrize(
    ("names", "told"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c"), (list("abcdefg"), "a, b, c, d, e and others")],
)
def test_names_are_told_as_people_do(names, told):
    assert named(names) == told


def test_what_strangers_wrote_is_bounded_and_plain():
    assert printable("a\x1b[31m\n") == "a·[31m·"
    assert len(printable("x" * 5000)) == 100
    assert start("the resolver is gone.") == "The resolver is gone."
    assert start("ns1.example.com is gone.") == "ns1.example.com is gone."
