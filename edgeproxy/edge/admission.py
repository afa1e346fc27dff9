"""Which clients are answered, by their addresses: lists of the configuration and of sites. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from edgeproxy.edge.forwarding import Network, chain_of, is_trusted
from edgeproxy.edge.respond import Text
from edgeproxy.errors import Fault
from edgeproxy.policies import Policies

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NOT_ADMITTED: Final = Text(
    403,
    "address_not_admitted",
    "This site cannot be visited from your network",
    "Its owner lets only certain networks in, and the one that you come from is not one of them.",
    ("Try from another network, or without a VPN.", "If you should have access, tell the site’s owner your network’s address."),
    Fault.CLIENT,
)
"""What whoever is not admitted is told."""


class Networks:
    """Networks in which an address is looked up: once for each length of prefix that occurs, however many there are."""

    __slots__ = ("_known",)

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` are valid networks (CIDR), or addresses."""
        known: dict[tuple[int, int], set[int]] = {}
        for text in texts:
            network = _plain(ipaddress.ip_network(text, strict=False))
            bits = network.max_prefixlen - network.prefixlen
            known.setdefault((network.version, bits), set()).add(int(network.network_address) >> bits)
        self._known = tuple((version, bits, frozenset(numbers)) for (version, bits), numbers in sorted(known.items()))

    def __contains__(self, address: Address) -> bool:
        version, number = address.version, int(address)
        return any(which == version and number >> bits in numbers for which, bits, numbers in self._known)


class Admission:
    """Who is answered: nobody of `deny`, and where there is an `allow`, whoever is in it."""

    __slots__ = ("_allow", "_deny")

    def __init__(self, allow: Sequence[str], deny: Sequence[str]) -> None:
        self._allow = Networks(allow) if allow else None
        self._deny = Networks(deny)

    def admits(self, text: str) -> bool:
        """Whether a client with this address is answered. Whose address cannot be read is not."""
        try:
            address: Address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return address not in self._deny and (self._allow is None or address in self._allow)


def admission(allow: Sequence[str], deny: Sequence[str], own: Policies | None) -> Admission | None:
    """By the configuration's lists and a site's own; None where everybody is admitted.

    A site's `allow` counts instead of the configuration's: else no site could be open to somebody else. Its `deny` counts
    beside it: else one site could not keep somebody out without letting in whom the operator keeps out of all.
    """
    if own is not None:
        allow, deny = own.allow or allow, (*deny, *own.deny)
    return Admission(allow, deny) if allow or deny else None


def client_of(peer: str, sent: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """The address of the client behind a trusted proxy: of x-forwarded-for the last that is not itself such a proxy's, since
    whatever stands before it anybody may have written. `sent` are the forwarding fields of the request; the peer's own address
    where they say nothing that can be read."""
    found = peer
    for found in chain_of(sent):
        if not is_trusted(found, trusted):
            break
    return found


def _plain(network: Network) -> Network:
    """An IPv4 network written as IPv6 (RFC 4291 section 2.5.5.2) as what it is."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return ipaddress.IPv4Network((int(inner), network.prefixlen - 96))
    return network
