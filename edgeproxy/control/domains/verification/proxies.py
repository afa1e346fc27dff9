"""Providers that stand before a name with addresses of their own, so that nobody sees the record behind them. Pure.

Compared on 2026-11-21 with the lists that they publish, as public copies have them, the latest of 2026-10-14:
Cloudflare: https://www.cloudflare.com/ips/ ; Fastly: https://api.fastly.com/public-ip-list ; Amazon CloudFront: service
CLOUDFRONT of https://ip-ranges.amazonaws.com/ip-ranges.json, without its smallest networks, where no visitors arrive, and
those of its partner in China; Imperva: https://my.imperva.com/api/integration/v1/ips ; Sucuri:
https://docs.sucuri.net/website-firewall/sucuri-firewall-troubleshooting-guide/ , which leaves out 192.124.249.0/24, an old one
of its own (AS30148).

Not here: Akamai, Azure Front Door, Google, Bunny, Gcore and others that publish no list, or one that changes weekly, or share
their networks with servers of customers. A name that leads there shows its CNAME in most cases, and is told as it is.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """One of them."""

    name: str
    networks: tuple[str, ...]
    cure: str
    """How it is switched off for one name, `{host}`."""


PROXIES = (
    Proxy(
        "Cloudflare",
        (
            *("173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18"),
            *("190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13"),
            *("104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22", "2400:cb00::/32", "2606:4700::/32", "2803:f800::/32"),
            *("2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32"),
        ),
        'set the Proxy status of {host} from "Proxied" (orange cloud) to "DNS only" (grey cloud)',
    ),
    Proxy(
        "Amazon CloudFront",
        (
            *("3.160.0.0/13", "3.168.0.0/14", "3.172.0.0/17", "3.173.0.0/16", "3.174.0.0/15", "13.32.0.0/15", "13.35.0.0/16"),
            *("13.224.0.0/14", "13.249.0.0/16", "15.158.0.0/16", "18.64.0.0/14", "18.68.0.0/16", "18.154.0.0/15"),
            *("18.160.0.0/15", "18.164.0.0/15", "18.172.0.0/15", "18.238.0.0/15", "18.244.0.0/15", "23.91.0.0/19"),
            *("23.234.192.0/18", "24.110.32.0/19", "24.110.128.0/17", "51.74.192.0/18", "52.46.0.0/18", "52.82.128.0/19"),
            *("52.84.0.0/15", "52.124.128.0/17", "52.222.128.0/17", "54.182.0.0/16", "54.192.0.0/16", "54.230.0.0/17"),
            *("54.230.128.0/18", "54.230.200.0/21", "54.230.208.0/20", "54.230.224.0/19", "54.239.128.0/18"),
            *("54.239.192.0/19", "54.240.128.0/18", "64.252.64.0/18", "64.252.128.0/18", "65.8.0.0/16", "65.9.0.0/17"),
            *("65.9.128.0/18", "70.132.0.0/18", "71.152.0.0/17", "99.84.0.0/16", "99.86.0.0/16", "108.138.0.0/15"),
            *("108.156.0.0/14", "130.176.0.0/17", "130.176.128.0/18", "130.176.192.0/19", "130.176.224.0/20"),
            *("143.204.0.0/16", "144.220.0.0/16", "204.246.164.0/22", "204.246.168.0/21", "204.246.176.0/20"),
            *("205.251.204.0/22", "205.251.208.0/20", "216.137.32.0/19", "2600:9000:1000::/36", "2600:9000:2000::/35"),
            *("2600:9000:4000::/36", "2600:9000:5200::/40", "2600:9000:6000::/36", "2600:9000:f000::/38"),
        ),
        "take {host} out of the distribution's alternate domain names, and its alias record out of the DNS",
    ),
    Proxy(
        "Fastly",
        (
            *("23.235.32.0/20", "43.249.72.0/22", "103.244.50.0/24", "103.245.222.0/23", "103.245.224.0/24"),
            *("104.156.80.0/20", "140.248.64.0/18", "140.248.128.0/17", "146.75.0.0/17", "151.101.0.0/16", "157.52.64.0/18"),
            *("167.82.0.0/17", "167.82.128.0/20", "167.82.160.0/20", "167.82.224.0/20", "172.111.64.0/18", "185.31.16.0/22"),
            *("199.27.72.0/21", "199.232.0.0/16", "2a04:4e40::/32", "2a04:4e42::/32"),
        ),
        "remove {host} from the domains of the service",
    ),
    Proxy(
        "Sucuri",
        ("192.88.134.0/23", "185.93.228.0/22", "66.248.200.0/22", "208.109.0.0/22", "192.124.249.0/24", "2a02:fe80::/29"),
        "take {host} out of the firewall",
    ),
    Proxy(
        "Imperva",
        (
            *("199.83.128.0/21", "198.143.32.0/19", "149.126.72.0/21", "103.28.248.0/22", "45.64.64.0/22", "185.11.124.0/22"),
            *("192.230.64.0/18", "107.154.0.0/16", "45.60.0.0/16", "45.223.0.0/16", "131.125.128.0/17", "2a02:e980::/29"),
        ),
        "take {host} off the protected websites",
    ),
)

_NETWORKS = [(ipaddress.ip_network(network), proxy) for proxy in PROXIES for network in proxy.networks]


def proxy_of(addresses: Sequence[str]) -> Proxy | None:
    """The proxy to which all of these addresses belong."""
    found = {_of_address(address) for address in addresses}
    return found.pop() if len(found) == 1 else None


def _of_address(text: str) -> Proxy | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return next((proxy for network, proxy in _NETWORKS if network.version == address.version and address in network), None)
