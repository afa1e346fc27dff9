"""Whether a name's DNS leads to this edge."""

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.lookup import Answer, Said
from edgeproxy.control.dns.pointing import Pointer, Points, judge
from tests.control.dns.answering import scripted

HOST, TARGET = "shop.example", "edge.example.net"
OURS, OURS6, STRANGE = "192.0.2.1", "2001:db8::1", "198.51.100.9"


def said(*records, kind="A", chain=(), what=None):
    if what is None:
        what = Said.RECORDS if records else Said.NO_DATA
    return Answer(name=HOST, kind=kind, said=what, records=records, chain=tuple(chain), detail="SERVFAIL." * (not records))


NOTHING, GONE = said(), said(what=Said.NO_NAME)
BROKEN, SILENT = said(what=Said.BROKEN), said(what=Said.SILENT)


@pytest.mark.parametrize(
    ("own", "target", "addresses", "points"),
    [
        ((said(OURS), NOTHING), (NOTHING, NOTHING), (OURS,), Points.HERE),
        ((said(STRANGE, OURS), NOTHING), (NOTHING, NOTHING), (OURS,), Points.HERE),
        ((said(STRANGE), said(OURS6)), (NOTHING, NOTHING), (OURS, OURS6), Points.HERE),
        ((said(OURS), BROKEN), (SILENT, SILENT), (OURS,), Points.HERE),
        ((said(OURS), NOTHING), (said(OURS), NOTHING), (), Points.HERE),
        ((said(STRANGE, chain=[TARGET]), NOTHING), (NOTHING, NOTHING), (OURS,), Points.HERE),
        ((said(chain=["x", f"token.{TARGET}"]), NOTHING), (BROKEN, BROKEN), (), Points.HERE),
        ((said(STRANGE), NOTHING), (NOTHING, NOTHING), (OURS,), Points.ELSEWHERE),
        ((said(STRANGE, chain=["edge.example.net.evil.example"]), NOTHING), (said(OURS), NOTHING), (), Points.ELSEWHERE),
        ((said(STRANGE, chain=[f"not-{TARGET}"]), NOTHING), (said(OURS), NOTHING), (), Points.ELSEWHERE),
        ((NOTHING, NOTHING), (said(OURS), NOTHING), (), Points.ELSEWHERE),
        ((GONE, GONE), (NOTHING, NOTHING), (), Points.ELSEWHERE),
        ((said(STRANGE), BROKEN), (said(OURS), NOTHING), (), Points.UNKNOWN),
        ((SILENT, SILENT), (said(OURS), NOTHING), (), Points.UNKNOWN),
        ((GONE, BROKEN), (said(OURS), NOTHING), (), Points.UNKNOWN),
        ((said(STRANGE), NOTHING), (said(OURS), SILENT), (), Points.UNKNOWN),
        ((said(STRANGE), NOTHING), (NOTHING, NOTHING), (), Points.UNKNOWN),
    ],
)
def test_only_an_answer_says_that_a_name_points_elsewhere(own, target, addresses, points):
    found = judge(HOST, own, target, cname_target=TARGET, addresses=addresses)
    assert found.points is points
    assert bool(found.detail) == (points is not Points.HERE)


def test_the_target_itself_points_here():
    assert judge(TARGET, (said(STRANGE), NOTHING), (), cname_target=TARGET, addresses=()).points is Points.HERE


def test_a_sentence_says_what_the_dns_has():
    found = judge(HOST, (said(*(f"198.51.100.{n}" for n in range(9))), NOTHING), (), cname_target="", addresses=(OURS,))
    assert found.detail.startswith("The DNS has 198.51.100.0, 198.51.100.1,")
    assert "198.51.100.8" not in found.detail
    assert "no such name" in judge(HOST, (GONE, GONE), (), cname_target="", addresses=(OURS,)).detail


async def test_a_real_resolver_is_asked():
    async with scripted() as dns:
        config = Config(platform=Platform(cname_target=TARGET), dns=Dns(resolvers=(dns.address,)))
        dns.zone |= {(TARGET, "A"): [OURS], (HOST, "CNAME"): [TARGET], ("away.example", "A"): [STRANGE]}
        dns.zone |= {("flat.example", "A"): [OURS]}
        dns.broken.add("broken.example")
        pointer = Pointer(config)
        found = {name: (await pointer.look(name)).points for name in (HOST, "flat.example", "away.example", "gone.example")}
        assert list(found.values()) == [Points.HERE, Points.HERE, Points.ELSEWHERE, Points.ELSEWHERE]
        assert (await pointer.look("broken.example")).points is Points.UNKNOWN


async def test_nothing_is_asked_where_the_configuration_does_not_say_what_is_ours():
    async with scripted() as dns:
        pointer = Pointer(Config(dns=Dns(resolvers=(dns.address,))))
        assert not pointer.knows
        assert (await pointer.look(HOST)).points is Points.UNKNOWN
        assert dns.asked == []
