"""The zone that the edge answers itself, and whether it fits the rest of the configuration."""

import msgspec
import pytest

from edgeproxy.config import check, values
from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.monitoring import Metrics
from edgeproxy.config.nameservers import ZONE_CHARACTERS, beneath, delegation, nameservers
from edgeproxy.config.platform import Api, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen, Tls

GOOD = Config(
    issuance=Issuance(directory="internal"),
    platform=Platform(name="ve.example", cname_target="domain.ve.example"),
    dns=Dns(zone="acme.ve.example", listen=("0.0.0.0:53", "[::]:53")),
)


def changed(**sections):
    return msgspec.structs.replace(GOOD, **sections)


def together(config):
    return {problem.key: problem.text for problem in check.together(config)}


def test_a_zone_of_its_own_fits():
    assert together(GOOD) == {}
    assert together(Config(issuance=Issuance(directory="internal"))) == {}


def test_the_name_server_is_what_customers_point_at_unless_others_are_named():
    assert nameservers(GOOD) == ("domain.ve.example",)
    assert nameservers(changed(platform=Platform())) == ("ns.acme.ve.example",)
    named = msgspec.structs.replace(GOOD.dns, nameservers=("ns1.other.test", "ns2.other.test"))
    assert nameservers(changed(dns=named)) == ("ns1.other.test", "ns2.other.test")
    assert nameservers(changed(dns=Dns())) == ()


def test_the_zone_above_needs_the_addresses_of_servers_within_the_zone_only():
    assert delegation(GOOD) == ["acme.ve.example. NS domain.ve.example."]
    inside = changed(platform=Platform(addresses=("192.0.2.1", "2001:db8::1")))
    assert delegation(inside) == [
        "acme.ve.example. NS ns.acme.ve.example.",
        "ns.acme.ve.example. A 192.0.2.1",
        "ns.acme.ve.example. AAAA 2001:db8::1",
    ]


@pytest.mark.parametrize(
    ("sections", "key", "told"),
    [
        ({"dns": Dns(listen=("0.0.0.0:53",))}, "dns.listen", "there is no zone to answer for; write dns.zone"),
        ({"dns": Dns(nameservers=("ns.test",))}, "dns.nameservers", "there is no zone to answer for; write dns.zone"),
        ({"dns": Dns(zone="acme.ve.example")}, "dns.zone", 'write dns.listen = ["0.0.0.0:53"]'),
        (
            {"platform": Platform(name="x.acme.ve.example", cname_target="a.test")},
            "dns.zone",
            "(platform.name) is in this zone",
        ),
        ({"platform": Platform(cname_target="acme.ve.example")}, "dns.zone", "(platform.cname_target) is in this zone"),
        ({"api": Api(hostname="api.acme.ve.example")}, "dns.zone", "(api.hostname) is in this zone"),
        ({"tls": Tls(default_hostname="acme.ve.example")}, "dns.zone", "(tls.default_hostname) is in this zone"),
        ({"platform": Platform()}, "dns.zone", "nobody could find the zone's name server; write its name into"),
        (
            {"dns": msgspec.structs.replace(GOOD.dns, nameservers=("a.test", "ns.acme.ve.example"))},
            "dns.nameservers",
            "its address is not known; write this edge's into platform.addresses",
        ),
        ({"listen": Listen(https=("0.0.0.0:53",))}, "dns.listen", "is there in listen.https too"),
        ({"metrics": Metrics(listen="127.0.0.1:53")}, "metrics.listen", "takes the same port as '0.0.0.0:53'"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(sections, key, told):
    problems = together(changed(**sections))
    assert list(problems) == [key]
    assert told in problems[key]


def test_a_zone_leaves_room_for_a_label():
    longest = "a." * ((ZONE_CHARACTERS - 1) // 2) + "b" * (1 + (ZONE_CHARACTERS - 1) % 2)
    assert len(longest) == ZONE_CHARACTERS
    assert values.RULES["dns.zone"](longest.upper()) == longest
    with pytest.raises(ValueError, match="too long; names in the zone are longer by a label"):
        values.RULES["dns.zone"]("b" + longest)


def test_names_are_beneath_a_zone_by_whole_labels():
    assert beneath("acme.test", "acme.test")
    assert beneath("a.acme.test", "acme.test")
    assert not beneath("xacme.test", "acme.test")
    assert not beneath("test", "acme.test")
