"""What was seen."""

from edgeproxy.control.domains.verification.seen import Nameserver, Zone
from tests.control.domains.verification.cases import OURS, OURS6, TARGET, view


def test_a_view_has_its_addresses_once_and_where_its_cnames_lead():
    found = view(OURS, OURS, ipv6=[OURS6], chain=[TARGET], texts=["x"])
    assert found.addresses == (OURS, OURS6)
    assert found.chain == (TARGET,)
    assert [each.kind for each in found.answers] == ["A", "AAAA", "TXT"]
    assert len(view().answers) == 2


def test_a_zones_servers_are_those_that_the_registry_names():
    servers = (Nameserver(name="ns3.test"),)
    assert Zone(name="test", servers=servers).names == ("ns3.test",)
    assert Zone(name="test", own=("ns2.test",), servers=servers).names == ("ns2.test",)
    assert Zone(name="test", delegated=("ns1.test",), own=("ns2.test",), servers=servers).names == ("ns1.test",)
