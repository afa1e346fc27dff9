"""Whether challenges can be answered at all."""

import pytest

from edgeproxy.config.dns import Dns, Rfc2136
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.proving import faults
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen

DYNAMIC = Rfc2136(server="192.0.2.53:53", zone="acme.example", key_name="k", key_secret="c2VjcmV0")
OWN = Dns(zone="acme.example", listen=("127.0.0.1:53",))


def told(challenges=("tls-alpn-01",), dns=Dns(), http=("0.0.0.0:80",), directory="https://ca.example/dir"):  # noqa: B008
    issuance = Issuance(challenges=challenges, directory=directory)
    return {key: text for key, text, _ in faults(Config(issuance=issuance, dns=dns, listen=Listen(http=http)))}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"challenges": ("tls-alpn-01", "http-01", "dns-01")},
        {"challenges": ("http-01", "dns-01")},
        {"challenges": ("dns-01",), "dns": OWN},
        {"challenges": ("dns-01",), "dns": Dns(rfc2136=DYNAMIC)},
        {"challenges": ("dns-persist-01",), "http": ()},
        {"challenges": ("http-01",), "http": (), "directory": "internal"},
        {"challenges": (), "directory": "internal"},
    ],
)
def test_one_that_can_be_answered_is_enough(settings):
    assert told(**settings) == {}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"challenges": ()}, "the list is empty"),
        ({"challenges": ("http-01",), "http": ()}, "http-01 needs an address in listen.http"),
        ({"challenges": ("dns-01",)}, "dns-01 needs dns.zone or dns.rfc2136, and neither is set"),
        ({"challenges": ("dns-01", "http-01"), "http": ()}, "dns-01 needs dns.zone or dns.rfc2136"),
    ],
)
def test_challenges_that_nobody_could_answer_are_a_fault(settings, text):
    assert text in told(**settings)["issuance.challenges"]


def test_a_dynamic_update_needs_all_of_its_settings():
    lacking = Dns(rfc2136=Rfc2136(server="192.0.2.53:53", key_name="k"))
    assert sorted(told(dns=lacking)) == ["dns.rfc2136.key_secret", "dns.rfc2136.zone"]
    assert told(dns=Dns(rfc2136=DYNAMIC)) == {}


def test_one_zone_is_not_answered_in_two_places():
    both = Dns(zone="acme.example", listen=("127.0.0.1:53",), rfc2136=DYNAMIC)
    assert "one zone has one primary" in told(dns=both)["dns.rfc2136.zone"]
