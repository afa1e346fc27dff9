"""DNS providers and proxies that are known by their name servers and addresses: what their forms call a record's name. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """One of them."""

    name: str
    servers: tuple[str, ...]
    """How the names of its servers end; or, with a final dot or hyphen, what they hold."""
    field: str
    """What the field for a record's name is called."""
    apex: str = "@"
    """What is typed there for the domain itself; empty: it is left empty."""
    alias: str = ""
    """The kind of record that does at the top of a zone what a CNAME may not; empty: it has none."""
    note: str = ""
    """What else to look at."""

    def hint(self, host_field: str) -> str:
        """What to type: "At Cloudflare: Name: gallery, without the domain"."""
        if host_field != "@":
            typed = f"{self.field}: {host_field}, without the domain"
        elif self.apex:
            typed = f"{self.field}: {self.apex}"
        else:
            typed = f"{self.field}: leave it empty"
        return f"At {self.name}: {typed}.{f' {self.note}' if self.note else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """A provider that answers with addresses of its own, so that nobody sees the record behind them."""

    name: str
    networks: tuple[str, ...]
    cure: str
    """How it is switched off for one record."""


PROVIDERS = (
    Provider("Cloudflare", (".ns.cloudflare.com",), "Name", alias="CNAME", note='Proxy status: "DNS only" (grey cloud).'),
    Provider("GoDaddy", (".domaincontrol.com",), "Name"),
    Provider("Namecheap", (".registrar-servers.com", ".namecheaphosting.com"), "Host", alias="ALIAS"),
    Provider("IONOS", (".ui-dns.com", ".ui-dns.de", ".ui-dns.org", ".ui-dns.biz"), "Host name"),
    Provider("Amazon Route 53", (".awsdns-",), "Record name", apex=""),
    Provider("Azure DNS", (".azure-dns.",), "Name"),
    Provider("Google Cloud DNS", (".googledomains.com",), "DNS name", apex=""),
    Provider("Squarespace", (".squarespacedns.com",), "Host"),
    Provider("Hostinger", (".dns-parking.com",), "Name", alias="ALIAS"),
    Provider("OVHcloud", (".ovh.net", ".ovh.ca"), "Sub-domain", apex=""),
    Provider("Gandi", (".gandi.net",), "Name", alias="ALIAS"),
    Provider("Hetzner", (".ns.hetzner.com", ".ns.hetzner.de", ".first-ns.de"), "Name"),
    Provider("DigitalOcean", (".digitalocean.com",), "Hostname"),
    Provider("DNSimple", (".dnsimple.com", ".dnsimple-edge.net", ".dnsimple-edge.com"), "Name", apex="", alias="ALIAS"),
    Provider("Name.com", (".name.com",), "Host", apex="", alias="ANAME"),
    Provider("Porkbun", (".porkbun.com",), "Host", apex="", alias="ALIAS"),
    Provider("Bluehost", (".bluehost.com",), "Host Record"),
    Provider("Network Solutions", (".worldnic.com",), "Host"),
    Provider("Wix", (".wixdns.net",), "Host Name"),
    Provider("Vercel", (".vercel-dns.com",), "Name", apex="", alias="ALIAS"),
)

PROXIES = (
    Proxy(
        "Cloudflare",  # https://www.cloudflare.com/ips/
        (
            *("173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18"),
            *("190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13"),
            *("104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22", "2400:cb00::/32", "2606:4700::/32", "2803:f800::/32"),
            *("2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32"),
        ),
        'set its Proxy status from "Proxied" (orange cloud) to "DNS only" (grey cloud)',
    ),
    Proxy(
        "Sucuri",
        ("192.88.134.0/23", "185.93.228.0/22", "66.248.200.0/22", "208.109.0.0/22", "2a02:fe80::/29"),
        "take it out of Sucuri's firewall",
    ),
    Proxy(
        "Imperva",
        (
            *("199.83.128.0/21", "198.143.32.0/19", "149.126.72.0/21", "103.28.248.0/22", "45.64.64.0/22", "185.11.124.0/22"),
            *("192.230.64.0/18", "107.154.0.0/16", "45.60.0.0/16", "45.223.0.0/16", "2a02:e980::/29"),
        ),
        "take it out of Imperva",
    ),
)

_NETWORKS = [(ipaddress.ip_network(network), proxy) for proxy in PROXIES for network in proxy.networks]


def provider_of(servers: Iterable[str]) -> Provider | None:
    """The provider by the names of a zone's servers; None where they are of several, or of none that is known."""
    found = {_of_server(server.lower().removesuffix(".")) for server in servers}
    return found.pop() if len(found) == 1 else None


def proxy_of(addresses: Sequence[str]) -> Proxy | None:
    """The proxy to which all of these addresses belong."""
    found = {_of_address(address) for address in addresses}
    return found.pop() if len(found) == 1 else None


def _of_server(name: str) -> Provider | None:
    for provider in PROVIDERS:
        for each in provider.servers:
            if each in f".{name}" if each[-1] in ".-" else f".{name}".endswith(each):
                return provider
    return None


def _of_address(text: str) -> Proxy | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return next((proxy for network, proxy in _NETWORKS if network.version == address.version and address in network), None)
