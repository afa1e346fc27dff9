"""Names and origins that may not be registered."""

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.machine import Admin
from edgeproxy.config.platform import Api, Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.verification import Verification
from edgeproxy.control.domains.reserved import (
    check_claimable,
    check_operator_origin,
    check_reserved,
    check_token_origin,
    check_workspace,
)
from edgeproxy.errors import InvalidName

CONFIG = Config(
    platform=Platform(name="ve.ai", cname_target="domain.edge.example"),
    api=Api(hostname="api.control.example"),
    admin=Admin(socket="/run/edgeproxy/admin.sock"),
    dns=Dns(zone="acme.answers.example"),
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ve.ai", "platform's own"),
        ("gallery.ve.ai", "platform's own"),
        ("a.b.ve.ai", "platform's own"),
        ("*.ve.ai", "platform's own"),
        ("*.ai", "single label"),
        ("domain.edge.example", "platform.cname_target"),
        ("x.domain.edge.example", "platform.cname_target"),
        ("*.edge.example", "platform.cname_target"),
        ("api.control.example", "api.hostname"),
        ("*.api.control.example", "api.hostname"),
        ("*.control.example", "api.hostname"),
        ("acme.answers.example", "dns.zone"),
        ("*.acme.answers.example", "dns.zone"),
        ("x.y.acme.answers.example", "dns.zone"),
        ("localhost", "single label"),
        ("*.localhost", "single label"),
    ],
)
def test_a_reserved_name_is_refused_with_the_reason(name, reason):
    with pytest.raises(InvalidName, match="cannot be registered") as caught:
        check_reserved(name, CONFIG)
    assert reason in caught.value.detail
    assert caught.value.code == "reserved_name"


@pytest.mark.parametrize(
    "name", ["gallery.example.com", "love.ai", "shop.localhost", "*.example.com", "edge.example", "*.answers.example"]
)
def test_every_other_name_passes(name):
    check_reserved(name, CONFIG)


def test_nothing_but_single_labels_is_reserved_where_no_names_are_configured():
    check_reserved("ve.ai", Config())
    with pytest.raises(InvalidName):
        check_reserved("localhost", Config())


def test_a_workspace_must_be_a_dns_label_where_routing_is_by_subdomain():
    by_subdomain = Config(origin=Origin(url="https://app.example.com", routing="subdomain"))
    assert check_workspace("acme_store.1", Config()) == "acme_store.1"
    assert check_workspace("acme-store", by_subdomain) == "acme-store"
    for bad in ("acme_store", "acme.store", "acme-"):
        with pytest.raises(InvalidName, match="DNS label"):
            check_workspace(bad, by_subdomain)
    with pytest.raises(InvalidName, match="not a workspace id"):
        check_workspace("-x", Config())


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("", ""),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://origin.example.com/", "https://origin.example.com"),
        ("unix:/run/app/app.sock", "unix:/run/app/app.sock"),
    ],
)
def test_the_operators_word_passes_for_an_origin(url, normal):
    assert check_operator_origin(url, CONFIG) == normal


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example.com",
        "http://",
        "http://user:secret@x.example.com",
        "http://x.example.com/path",
        "http://x.example.com?q=1",
        "unix:relative",
        "unix:/run/edgeproxy/admin.sock",
        "unix:/run/edgeproxy//x/../admin.sock",
        "javascript:alert(1)",
        "http://x.example.com:0",
        "http://x.example.com:99999",
        "http://x\r\nevil: 1",
    ],
)
def test_what_is_no_origin_is_refused(url):
    with pytest.raises(InvalidName) as caught:
        check_operator_origin(url, CONFIG)
    assert caught.value.code == "invalid_origin"


@pytest.mark.parametrize("origin", ["unix:/run/edgeproxy/api.sock", "unix:/run/edgeproxy/x/../admin.sock"])
def test_none_of_the_edges_own_sockets_is_an_origin(origin):
    with pytest.raises(InvalidName, match="own sockets"):
        check_operator_origin(origin, CONFIG)


ALLOWING = Config(origin=Origin(allow=("10.1.0.0/16", "fd00::/8", "app.example.com")))


@pytest.mark.parametrize(
    "origin",
    ["", "http://1.1.1.1", "https://[2606:4700::1111]", "http://10.1.2.3:8080", "https://[fd00::7]", "https://app.example.com"],
)
def test_a_token_may_name_public_addresses_and_what_the_operator_lists(origin):
    assert check_token_origin(origin, ALLOWING) == origin


@pytest.mark.parametrize(
    "origin",
    [
        "unix:/run/app.sock",
        "http://127.0.0.1",
        "http://10.2.0.1",
        "http://169.254.169.254",
        "http://[::1]",
        "http://[::ffff:10.1.2.3]",
        "http://[::ffff:127.0.0.1]",
        "http://[::127.0.0.1]",
        "http://[64:ff9b::10.1.2.3]",
        "http://[fec0::1]",
        "http://localhost",
        "http://app",
        "https://other.example.com",
        "https://www.app.example.com",
    ],
)
def test_a_token_may_not_name_what_could_be_an_address_within(origin):
    with pytest.raises(InvalidName) as caught:
        check_token_origin(origin, ALLOWING)
    assert caught.value.code == "origin_not_allowed"
    assert "origin.allow" in caught.value.detail


@pytest.mark.parametrize(
    "name", ["co.uk", "*.co.uk", "github.io", "localhost", "shop.localhost", "*.local", "db.prod.internal", "x.onion", "a.test"]
)
def test_what_nobody_can_own_cannot_be_claimed(name):
    with pytest.raises(InvalidName) as caught:
        check_claimable(name, Config())
    assert caught.value.code == "reserved_name"


@pytest.mark.parametrize(
    "name", ["example.com", "*.example.co.uk", "customer.github.io", "xn--bcher-kva.de", "locals.example.com"]
)
def test_what_somebody_can_own_can(name):
    check_claimable(name, Config())


def test_an_edge_for_a_private_network_takes_private_names():
    private = Config(issuance=Issuance(directory="internal"))
    check_claimable("wiki.corp", private)
    with pytest.raises(InvalidName):
        check_claimable("co.uk", private)


def test_names_under_localhost_are_for_a_try_with_its_own_switch_alone():
    private = Config(issuance=Issuance(directory="internal"))
    with pytest.raises(InvalidName, match="everybody to their own machine") as caught:
        check_claimable("shop.customer.localhost", private)
    assert caught.value.code == "reserved_name"
    trial = Config(issuance=Issuance(directory="internal"), verification=Verification(localhost=True))
    check_claimable("shop.customer.localhost", trial)
    check_claimable("*.customer.localhost", trial)
    with pytest.raises(InvalidName, match="single label"):
        check_reserved("localhost", trial)
