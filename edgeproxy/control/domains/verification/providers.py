"""DNS providers that are known by their name servers: what their forms call a record's name. Pure.

Compared on 2026-11-21 with what is published. The name servers: the providers' own pages (Cloudflare's on nameservers and
Foundation DNS; OVHcloud's on DNS zones: ovh.net, ovh.ca, anycast.me; DNSimple's; Hostinger's), and what public zones and
other programs' catalogues show of the others. The fields: Microsoft's guides "Create DNS records at …" (Amazon, Bluehost, DNS
Made Easy, DreamHost, Hover, IONOS, Name.com, Network Solutions, OVHcloud, Wix), the providers' own guides for the rest; that
Gandi takes a value without a final dot as a name within the zone, its wiki. The records that stand for a CNAME at the top of
a zone: DNSControl's table of providers, and Cloudflare's and Hostinger's pages. Where the form's words were not found,
`field` is empty, and none are claimed.

Not here, because their name servers do not tell them from others: Shopify (it uses several providers' servers), resellers
under names of their own, and servers that people run themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """One of them."""

    name: str
    servers: tuple[str, ...]
    """How the names of its servers end; or, with a final hyphen, what they hold."""
    field: str = ""
    """What the field for a record's name is called; empty: not known."""
    apex: str = "@"
    """What is typed there for the domain itself; empty: it is left empty."""
    alias: str = ""
    """The kind of record that does at the top of a zone what a CNAME may not; empty: it has none, or it is not known."""
    note: str = ""
    """What else to look at."""

    def hint(self, host_field: str) -> str:
        """What to type: "At Cloudflare: Name: gallery, without the domain."."""
        return f"At {self.name}: {self.typed(host_field)}"

    def typed(self, host_field: str) -> str:
        """The same without who that is."""
        field = self.field or "as the record's name"
        if host_field != "@":
            typed = f"{field}: {host_field}, without the domain"
        elif self.apex:
            typed = f"{field}: {self.apex}"
        else:
            typed = f"{field}: leave it empty"
        return f"{typed}.{f' {self.note}' if self.note else ''}"


DOT = "End a CNAME's target with a dot, or the domain is added to it."
"""Of forms that take what has no dot at its end as a name within the zone."""

PROVIDERS = (
    Provider(
        "Cloudflare",
        (".ns.cloudflare.com", ".foundationdns.com", ".foundationdns.net", ".foundationdns.org"),
        "Name",
        alias="CNAME",
        note='Proxy status: "DNS only" (grey cloud).',
    ),
    Provider("GoDaddy", (".domaincontrol.com",), "Name"),
    Provider("Namecheap", (".registrar-servers.com", ".namecheaphosting.com"), "Host", alias="ALIAS"),
    Provider("IONOS", (".ui-dns.com", ".ui-dns.de", ".ui-dns.org", ".ui-dns.biz"), "Host name"),
    Provider("Amazon Route 53", (".awsdns-",), "Record name", apex=""),
    Provider("Azure DNS", (".azure-dns.com", ".azure-dns.net", ".azure-dns.org", ".azure-dns.info"), "Name"),
    # Google's domains went to Squarespace, and many of them kept Google's servers
    Provider("Google Cloud DNS, or Squarespace if the domain is managed there", (".googledomains.com",), apex=""),
    Provider("Squarespace", (".squarespacedns.com",), "Host"),
    Provider("Hostinger", (".dns-parking.com",), "Name", alias="CNAME"),
    Provider("OVHcloud", (".ovh.net", ".ovh.ca", ".anycast.me"), "Sub-domain", apex="", note=DOT),
    Provider("Gandi", (".gandi.net",), "Name", alias="ALIAS", note=DOT),
    Provider(
        "Hetzner",
        (".ns.hetzner.com", ".ns.hetzner.de", ".first-ns.de", ".second-ns.de", ".second-ns.com", ".your-server.de"),
        "Name",
        note=DOT,
    ),
    Provider("DigitalOcean", (".digitalocean.com",), "Hostname"),
    Provider("DNSimple", (".dnsimple.com", ".dnsimple-edge.net", ".dnsimple-edge.org"), "Name", apex="", alias="ALIAS"),
    Provider("Name.com", (".name.com",), "Host", apex="", alias="ANAME"),
    Provider("Porkbun", (".porkbun.com",), "Host", apex="", alias="ALIAS"),
    Provider("Bluehost", (".bluehost.com",), "Host Record"),
    Provider("Network Solutions", (".worldnic.com",), "Host", note=f'For a CNAME the field may be called "Alias". {DOT}'),
    Provider("Wix", (".wixdns.net",), "Host Name", apex=""),
    Provider("Vercel", (".vercel-dns.com",), "Name", apex="", alias="ALIAS"),
    Provider("Netlify (or NS1)", (".nsone.net",), "Name", alias="ALIAS"),  # Netlify's DNS is NS1's
    Provider("DNS Made Easy", (".dnsmadeeasy.com",), "Name", apex="", alias="ANAME", note=DOT),
    Provider("DreamHost", (".dreamhost.com",), "Host", apex=""),
    Provider("Hover", (".hover.com",), "Hostname"),
    Provider("STRATO", (".rzone.de",), "Subdomain", note="Make the subdomain first; its DNS settings have the CNAME. " + DOT),
    Provider("Akamai (Linode)", (".linode.com",), "Hostname"),
    Provider("TransIP", (".transip.net", ".transip.nl", ".transip.eu"), "Name", alias="ALIAS"),
    Provider("ClouDNS", (".cloudns.net",), "Host", apex="", alias="ALIAS"),
    Provider("Spaceship", (".spaceship.net",), "Host"),
    Provider("Dynadot", (".dyna-ns.net",)),
    Provider("NameSilo", (".dnsowl.com",)),
    Provider("HostGator", (".hostgator.com", ".websitewelcome.com")),
    Provider("SiteGround", (".siteground.net",)),
    Provider("WordPress.com", (".wordpress.com",)),
    Provider("Enom", (".name-services.com",)),
    Provider("Infomaniak", (".infomaniak.ch",)),
    Provider("INWX", (".inwx.de", ".inwx.eu"), alias="ALIAS"),
    Provider("netcup", (".netcup.net",)),
    Provider("ALL-INKL", (".kasserver.com",)),
    Provider("united-domains", (".udag.de", ".udag.net", ".udag.org")),
    Provider("Loopia", (".loopia.se",)),
    Provider("one.com", (".one.com",)),
    Provider("Simply.com", (".simply.com",)),
    Provider("Aruba", (".technorail.com", ".arubadns.net", ".arubadns.cz")),
    Provider("Fasthosts", (".livedns.co.uk",)),
    Provider("Vultr", (".vultr.com",)),
    Provider("Bunny", (".bunny.net",), alias="CNAME"),
    Provider("Alibaba Cloud", (".hichina.com", ".alidns.com")),
    Provider("DNSPod", (".dnspod.net",)),
    Provider("Hurricane Electric", (".he.net",), alias="ALIAS"),
)


def provider_of(servers: Iterable[str]) -> Provider | None:
    """The provider by the names of a zone's servers; None where they are of several, or of none that is known."""
    found = {_of_server(server.lower().removesuffix(".")) for server in servers}
    return found.pop() if len(found) == 1 else None


def _of_server(name: str) -> Provider | None:
    for provider in PROVIDERS:
        for each in provider.servers:
            if each in f".{name}" if each.endswith("-") else f".{name}".endswith(each):
                return provider
    return None
