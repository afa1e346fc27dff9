"""DNS providers, by what gives them away."""

import pytest

from edgeproxy.control.domains.verification.providers import PROVIDERS, provider_of

ZONES = {
    "Cloudflare": (
        "ada.ns.cloudflare.com bob.ns.cloudflare.com",
        "blue.foundationdns.com blue.foundationdns.net blue.foundationdns.org",
    ),
    "GoDaddy": ("NS59.DomainControl.com. ns60.domaincontrol.com.",),
    "Namecheap": (
        "dns1.registrar-servers.com dns2.registrar-servers.com",
        "dns1.namecheaphosting.com dns2.namecheaphosting.com",
    ),
    "IONOS": ("ns1121.ui-dns.com ns1044.ui-dns.org ns1086.ui-dns.biz ns1036.ui-dns.de",),
    "Amazon Route 53": ("ns-1.awsdns-01.org ns-2.awsdns-02.co.uk ns-3.awsdns-03.com ns-4.awsdns-04.net",),
    "Azure DNS": ("ns1-01.azure-dns.com ns2-01.azure-dns.net ns3-01.azure-dns.org ns4-01.azure-dns.info",),
    "Google Cloud DNS, or Squarespace if the domain is managed there": (
        "ns-cloud-a1.googledomains.com ns-cloud-a2.googledomains.com",
    ),
    "Squarespace": (
        "nsa1.squarespacedns.com nsa2.squarespacedns.com",
        "connect1.squarespacedns.com connect2.squarespacedns.com",
    ),
    "Hostinger": ("ns1.dns-parking.com ns2.dns-parking.com", "lunar.dns-parking.com solar.dns-parking.com"),
    "OVHcloud": ("dns12.ovh.net ns12.ovh.net", "dns10.ovh.ca ns10.ovh.ca", "dns200.anycast.me ns200.anycast.me"),
    "Gandi": ("ns-12-a.gandi.net ns-34-b.gandi.net ns-56-c.gandi.net",),
    "Hetzner": (
        "hydrogen.ns.hetzner.com oxygen.ns.hetzner.com helium.ns.hetzner.de",
        "ns1.first-ns.de robotns2.second-ns.de robotns3.second-ns.com",
        "ns1.your-server.de ns.second-ns.com ns3.second-ns.de",
    ),
    "DigitalOcean": ("ns1.digitalocean.com ns2.digitalocean.com ns3.digitalocean.com",),
    "DNSimple": ("ns1.dnsimple.com ns2.dnsimple-edge.net ns3.dnsimple.com ns4.dnsimple-edge.org",),
    "Name.com": ("ns1fkl.name.com ns2fjz.name.com",),
    "Porkbun": ("curitiba.ns.porkbun.com fortaleza.ns.porkbun.com maceio.ns.porkbun.com salvador.ns.porkbun.com",),
    "Bluehost": ("ns1.bluehost.com ns2.bluehost.com",),
    "Network Solutions": ("ns71.worldnic.com ns72.worldnic.com",),
    "Wix": ("ns8.wixdns.net ns9.wixdns.net",),
    "Vercel": ("ns1.vercel-dns.com ns2.vercel-dns.com",),
    "Netlify (or NS1)": ("dns1.p04.nsone.net dns2.p04.nsone.net",),
    "DNS Made Easy": ("ns10.dnsmadeeasy.com ns11.dnsmadeeasy.com",),
    "DreamHost": ("ns1.dreamhost.com ns2.dreamhost.com ns3.dreamhost.com",),
    "Hover": ("ns1.hover.com ns2.hover.com",),
    "STRATO": ("docks05.rzone.de shades18.rzone.de",),
    "Akamai (Linode)": ("ns1.linode.com ns2.linode.com",),
    "TransIP": ("ns0.transip.net ns1.transip.nl ns2.transip.eu",),
    "ClouDNS": ("ns41.cloudns.net ns42.cloudns.net",),
    "Spaceship": ("launch1.spaceship.net launch2.spaceship.net",),
    "Dynadot": ("ns1.dyna-ns.net ns2.dyna-ns.net",),
    "NameSilo": ("ns1.dnsowl.com ns2.dnsowl.com ns3.dnsowl.com",),
    "HostGator": ("ns1.hostgator.com ns2.hostgator.com", "ns6031.websitewelcome.com ns6032.websitewelcome.com"),
    "SiteGround": ("ns1.siteground.net ns2.siteground.net",),
    "WordPress.com": ("ns1.wordpress.com ns2.wordpress.com",),
    "Enom": ("dns1.name-services.com dns2.name-services.com",),
    "Infomaniak": ("ns11.infomaniak.ch ns12.infomaniak.ch",),
    "INWX": ("ns.inwx.de ns2.inwx.de ns3.inwx.eu",),
    "netcup": ("root-dns.netcup.net second-dns.netcup.net third-dns.netcup.net",),
    "ALL-INKL": ("ns5.kasserver.com ns6.kasserver.com",),
    "united-domains": ("ns.udag.de ns.udag.net ns.udag.org",),
    "Loopia": ("ns1.loopia.se ns2.loopia.se",),
    "one.com": ("ns01.one.com ns02.one.com",),
    "Simply.com": ("ns1.simply.com ns2.simply.com ns3.simply.com",),
    "Aruba": ("dns.technorail.com dns2.technorail.com dns3.arubadns.net dns4.arubadns.cz",),
    "Fasthosts": ("ns1.livedns.co.uk ns2.livedns.co.uk",),
    "Vultr": ("ns1.vultr.com ns2.vultr.com",),
    "Bunny": ("kiki.bunny.net coco.bunny.net",),
    "Alibaba Cloud": ("dns9.hichina.com dns10.hichina.com", "ns1.alidns.com ns2.alidns.com"),
    "DNSPod": ("f1g1ns1.dnspod.net f1g1ns2.dnspod.net",),
    "Hurricane Electric": ("ns1.he.net ns2.he.net ns3.he.net",),
}
"""The servers that zones at each of them have."""


@pytest.mark.parametrize(("name", "servers"), [(name, each) for name, zones in ZONES.items() for each in zones])
def test_name_servers_tell_the_provider(name, servers):
    found = provider_of(servers.split())
    assert found is not None
    assert found.name == name


def test_each_provider_and_each_of_its_endings_is_tried():
    assert [provider.name for provider in PROVIDERS] == list(ZONES)
    tried = [f".{server.lower().removesuffix('.')}" for zones in ZONES.values() for each in zones for server in each.split()]
    assert [each for provider in PROVIDERS for each in provider.servers if not any(each in server for server in tried)] == []


@pytest.mark.parametrize(
    "servers",
    [
        (),
        ("ns1.example.com",),
        ("ada.ns.cloudflare.com", "ns01.domaincontrol.com"),
        ("ada.ns.cloudflare.com", "ns1.example.com"),
        ("notdomaincontrol.com",),
        ("ns1.domaincontrol.com.example.net",),
        ("ns1.azure-dns.example.net",),
    ],
)
def test_what_is_mixed_or_unknown_is_nobody(servers):
    assert provider_of(servers) is None


@pytest.mark.parametrize(
    ("server", "host_field", "hint"),
    [
        (
            "a.ns.cloudflare.com",
            "gallery",
            'At Cloudflare: Name: gallery, without the domain. Proxy status: "DNS only" (grey cloud).',
        ),
        ("a.ns.cloudflare.com", "@", 'At Cloudflare: Name: @. Proxy status: "DNS only" (grey cloud).'),
        ("ns-1.awsdns-01.org", "@", "At Amazon Route 53: Record name: leave it empty."),
        ("ns8.wixdns.net", "@", "At Wix: Host Name: leave it empty."),
        (
            "ns12.ovh.net",
            "gallery",
            (
                "At OVHcloud: Sub-domain: gallery, without the domain. "
                "End a CNAME's target with a dot, or the domain is added to it."
            ),
        ),
        ("ns1.loopia.se", "gallery", "At Loopia: as the record's name: gallery, without the domain."),
    ],
)
def test_the_hint_says_what_is_typed_where(server, host_field, hint):
    found = provider_of([server])
    assert found is not None
    assert found.hint(host_field) == hint


@pytest.mark.parametrize(
    ("server", "alias"),
    [
        ("a.ns.cloudflare.com", "CNAME"),
        ("ns1.dns-parking.com", "CNAME"),
        ("ns1fkl.name.com", "ANAME"),
        ("ns1.dnsimple.com", "ALIAS"),
        ("ns59.domaincontrol.com", ""),
    ],
)
def test_what_stands_for_a_cname_at_the_top_of_a_zone_is_known(server, alias):
    found = provider_of([server])
    assert found is not None
    assert found.alias == alias
