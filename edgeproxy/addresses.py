"""IP addresses as both planes judge them. Pure."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is everybody's, and not one of a private or special network."""
    if isinstance(address, ipaddress.IPv6Address):
        # an IPv4 address in IPv6 clothes is as private as it is without them
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not inner.is_global:
            return False
        if address.is_site_local or (address.is_reserved and address not in _NAT64):
            return False  # ::127.0.0.1 and fec0::/10, which `is_global` lets pass
    return address.is_global and not address.is_multicast
