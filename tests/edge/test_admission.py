"""Which clients are answered, by their addresses."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.visitors import Http, Listen
from edgeproxy.edge.admission import Admission, Networks, admission, client_of
from edgeproxy.policies import Policies
from edgeproxy.published.records import Site
from tests.edge.harness import MapProcess, Script, edge_with
from tests.edge.visiting import following, gallery, visiting


def is_plain(address) -> bool:
    """IPv4 in IPv6 clothes has cases of its own below: the standard library takes it for another address."""
    return address.version == 4 or address.ipv4_mapped is None


ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(is_plain)


@given(ADDRESS, st.lists(st.tuples(ADDRESS, st.integers(0, 128)), max_size=8), st.integers(0, 128))
def test_an_address_is_found_where_a_network_has_it(address, drawn, near) -> None:
    networks = [ipaddress.ip_network(f"{each}/{min(bits, each.max_prefixlen)}", strict=False) for each, bits in drawn]
    mine = ipaddress.ip_network(f"{address}/{min(near, address.max_prefixlen)}", strict=False)
    for known in (networks, [*networks, mine]):
        expected = any(each.version == address.version and address in each for each in known)
        assert (address in Networks(map(str, known))) == expected


@pytest.mark.parametrize(
    ("allow", "deny", "own", "admitted", "refused"),
    [
        (
            (),
            ("10.0.0.0/8",),
            None,
            ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"],
            ["10.1.2.3", "::ffff:10.1.2.3", "nobody"],
        ),
        (("10.0.0.0/8",), (), None, ["10.1.2.3", "::ffff:10.1.2.3"], ["192.0.2.1", "2001:db8::1", ""]),
        (("10.0.0.0/8",), ("10.9.0.0/16",), None, ["10.1.2.3"], ["10.9.1.1", "11.0.0.1"]),
        (("10.0.0.0/8",), (), Policies(allow=("2001:db8::/32",)), ["2001:db8::1"], ["10.1.2.3"]),
        ((), ("10.0.0.0/8",), Policies(allow=("10.0.0.0/8", "11.0.0.0/8")), ["11.0.0.1"], ["10.1.2.3"]),
        ((), ("10.0.0.0/8",), Policies(deny=("11.0.0.0/8",)), ["12.0.0.1"], ["10.1.2.3", "11.0.0.1"]),
        ((), (), Policies(deny=("::ffff:192.0.2.0/120",)), ["192.0.3.1"], ["192.0.2.1"]),
    ],
)
def test_a_sites_own_list_of_guests_counts_instead_and_its_list_of_others_beside(allow, deny, own, admitted, refused) -> None:
    found = admission(allow, deny, own)
    assert found is not None
    assert [address for address in (*admitted, *refused) if found.admits(address)] == admitted


def test_where_there_is_no_list_nobody_is_asked() -> None:
    assert admission((), (), None) is None
    assert admission((), (), Policies(hsts="1d")) is None


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ([], "10.0.0.1"),
        ([b"198.51.100.7"], "198.51.100.7"),
        ([b"192.0.2.9, 198.51.100.7"], "198.51.100.7"),
        ([b"192.0.2.9", b"198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ([b"10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ([b"192.0.2.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ([b"2001:db8::7"], "2001:db8::7"),
        ([b"192.0.2.9, 198.51.100.7:4711, 10.0.0.2:80"], "198.51.100.7"),
        ([b"192.0.2.9, [2001:db8::7]:4711"], "2001:db8::7"),
        ([b"192.0.2.9, "], "10.0.0.1"),
        ([b"\xff"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_that_is_no_trusted_proxy(chain: list[bytes], client: str) -> None:
    sent = [(b"x-forwarded-for", value) for value in chain] + [(b"forwarded", b"for=192.0.2.1")]
    assert client_of("10.0.0.1", sent, (ipaddress.ip_network("10.0.0.0/8"),)) == client


def test_an_admission_of_nobody_refuses_who_has_no_address() -> None:
    assert not Admission((), ()).admits("unix:")


async def test_who_is_not_admitted_gets_403_until_the_list_changes(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    edge = edge_with(tmp_path, maps, origin[1])
    async with edge.running(), visiting(edge, protocol) as ask:
        told = following(edge)
        assert (await ask()).status == 200
        for own, status in (
            (Policies(deny=("127.0.0.0/8",)), 403),
            (Policies(allow=("192.0.2.0/24",)), 403),
            (Policies(allow=("192.0.2.0/24", "127.0.0.1/32")), 200),
            (None, 200),
        ):
            edge.publish(gallery(policies=own))
            for _ in range(2):
                answer = await ask(fields=((b"accept", b"application/json"),))
                assert answer.status == status
        assert len(origin[0].heads) == 5
        edge.publish(gallery(policies=Policies(deny=("127.0.0.1/32",)), maintenance=True))
        refused = await ask(fields=((b"accept", b"application/json"),))
        assert json.loads(refused.body)["code"] == "address_not_admitted"
        assert "not admitted" in told[-1].error


async def test_the_configurations_lists_count_for_every_site(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], http=Http(allow=("192.0.2.0/24",)))
    edge.add_certificate("both", "open.test", "gallery.test")
    for name, own in (("gallery.test", None), ("open.test", Policies(allow=("127.0.0.1/32",)))):
        edge.publish(("sites", name, Site(workspace="w", certificate="both", policies=own)))
    async with edge.running(), visiting(edge, protocol) as ask:
        assert [(await ask(host=host)).status for host in ("gallery.test", "open.test", "gallery.test")] == [403, 200, 403]
    assert len(origin[0].heads) == 1


async def test_behind_a_trusted_proxy_the_client_is_whom_it_names(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    listen = Listen(https=(), http=(), trusted_proxies=("127.0.0.0/8",))
    edge = edge_with(tmp_path, maps, origin[1], listen=listen, http=Http(deny=("192.0.2.0/24",)))
    async with edge.running(), visiting(edge, protocol) as ask:
        for chain, status in ((b"192.0.2.1", 403), (b"192.0.2.1, 198.51.100.7", 200), (b"198.51.100.7, 192.0.2.1", 403)):
            assert (await ask(fields=((b"x-forwarded-for", chain),))).status == status


async def test_who_is_not_trusted_names_nobody(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], http=Http(deny=("127.0.0.0/8",)))
    async with edge.running(), visiting(edge, protocol) as ask:
        assert (await ask(fields=((b"x-forwarded-for", b"198.51.100.7"),))).status == 403
