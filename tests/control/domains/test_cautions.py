"""What is told beside a registration."""

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.domains.cautions import cautions

ZONE = Dns(zone="acme.ve.ai", listen=("127.0.0.1:53",))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("shop.example.com", Config()),
        ("*.example.com", Config(issuance=Issuance(directory="internal"))),
        ("*.example.com", Config(dns=ZONE)),
        ("*.example.com", Config(issuance=Issuance(challenges=("http-01", "dns-persist-01")))),
        ("my_shop.example.com", Config(issuance=Issuance(directory="internal"))),
    ],
)
def test_there_is_nothing_to_say_of_a_name_that_can_have_a_certificate(name: str, config: Config) -> None:
    assert cautions(name, config) == []


@pytest.mark.parametrize("config", [Config(), Config(dns=ZONE, issuance=Issuance(challenges=("http-01",)))])
def test_a_wildcard_that_no_ca_can_be_asked_for_is_told(config: Config) -> None:
    [said] = cautions("*.example.com", config)
    assert said.startswith("No certificate can be obtained for *.example.com: ")
    assert "dns.zone" in said


def test_a_name_with_an_underscore_is_told_to_get_no_certificate() -> None:
    [said] = cautions("my_shop.example.com", Config())
    assert said.startswith("No certificate can be obtained for my_shop.example.com: ")


def test_a_name_that_may_be_taken_for_another_is_told_beside_it() -> None:
    assert ["mixes letters" in said for said in cautions("*.xn--pypal-4ve.com", Config())] == [True, False]
