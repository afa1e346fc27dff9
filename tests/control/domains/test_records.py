"""What a name's owner is told to set."""

import msgspec
import pytest

from edgeproxy.config.dns import Dns, Rfc2136
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.domains.records import acme_records, host_field, record

OWN = Dns(zone="acme.ve.ai", listen=("127.0.0.1:53",))
DYNAMIC = Dns(rfc2136=Rfc2136(server="192.0.2.53:53", zone="ve.ai", key_name="k", key_secret="c2VjcmV0"))
ALL = ("tls-alpn-01", "dns-01", "dns-persist-01")
ACCOUNT = "https://ca.example/acct/1"


def of(hostname, dns=OWN, challenges=ALL, directory="https://ca.example/dir", **more):
    config = Config(dns=dns, issuance=Issuance(challenges=challenges, directory=directory))
    return acme_records(hostname, config, **more)


def test_the_cname_is_that_which_dns_01_looks_for():
    (shown,) = [one.shown() for one in of("*.gallery.client-domain.co.uk")]
    assert shown == {
        "purpose": "acme",
        "type": "CNAME",
        "name": "_acme-challenge.gallery.client-domain.co.uk",
        "host_field": "_acme-challenge.gallery",
        "value": "fm77ru5oirzvi7tc6rgaa5hwki.acme.ve.ai",
        "ttl": 300,
        "required": True,
        "seen": [],
        "ok": None,
        "reason": "Lets this edge answer the CA's questions about the name in the DNS; set once and for good.",
        "zone_line": "_acme-challenge.gallery.client-domain.co.uk. 300 IN CNAME fm77ru5oirzvi7tc6rgaa5hwki.acme.ve.ai.",
        "hint": "",
    }
    assert msgspec.json.encode(shown)


def test_a_hostname_can_do_without_and_shares_its_wildcard_s_record():
    (plain,), (wildcard,) = of("a.example"), of("*.a.example")
    assert not plain.required
    assert wildcard.required
    assert (plain.name, plain.value) == (wildcard.name, wildcard.value)


def test_the_persistent_record_is_shown_once_ca_and_account_are_known():
    known = {"account": ACCOUNT, "issuers": ("ca.example",)}
    cname, text = of("*.a.example", **known)
    assert (cname.required, text.required) == (True, False)
    assert text.value == f"ca.example; accounturi={ACCOUNT}; policy=wildcard"
    assert text.zone_line == f'_validation-persist.a.example. 300 IN TXT "{text.value}"'
    (only,) = of("a.example", challenges=("dns-persist-01",), **known)
    assert only.value == f"ca.example; accounturi={ACCOUNT}"
    (first, _) = of("*.a.example", challenges=("dns-persist-01", "dns-01"), **known)
    assert (first.type, first.required) == ("TXT", True)
    assert of("a.example", challenges=("dns-persist-01",), account=ACCOUNT) == []


@pytest.mark.parametrize(
    ("hostname", "settings"),
    [
        ("a.example", {"dns": Dns()}),
        ("a.example", {"challenges": ("tls-alpn-01",)}),
        ("*.a.example", {"challenges": ("tls-alpn-01",)}),
        ("a.example", {"directory": "internal"}),
        ("*.ve.ai", {"dns": DYNAMIC}),
    ],
)
def test_nothing_is_asked_of_anybody_where_it_would_be_in_vain(hostname, settings):
    assert of(hostname, **settings) == []


def test_names_outside_of_the_updated_zone_point_into_it():
    (cname,) = of("a.example", dns=DYNAMIC)
    assert cname.value.endswith(".ve.ai")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("example.com", "@"),
        ("_acme-challenge.example.com", "_acme-challenge"),
        ("a.b.example.co.uk", "a.b"),
        ("shop.github.io", "shop"),
    ],
)
def test_the_host_field_is_what_providers_ask_for(name, field):
    assert host_field(name) == field


def test_other_records_are_made_the_same_way():
    assert (
        record("routing", "CNAME", "a.example", "domain.ve.ai", required=True).zone_line
        == "a.example. 300 IN CNAME domain.ve.ai."
    )
