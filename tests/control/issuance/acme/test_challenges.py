"""Which challenges can be used, and how they are answered."""

import msgspec
import pytest
from cryptography import x509

from edgeproxy.config.dns import Dns, Rfc2136
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control.issuance.acme.challenges import answer, choose, hindrance, preference, proves_wildcards
from edgeproxy.control.issuance.acme.wire import Authorization, Challenge
from edgeproxy.control.issuance.certificates import dns_names, load_key
from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.published.seal import Sealer

SEALER = Sealer(b"k" * 32)
DYNAMIC = Dns(rfc2136=Rfc2136(server="192.0.2.53:53", zone="acme.example", key_name="k", key_secret="c2VjcmV0"))
OWN = Dns(zone="acme.example", listen=("127.0.0.1:5353",))


def offered(*kinds, token="token_-1"):
    return Authorization(
        status="pending", challenges=tuple(Challenge(type=kind, url=f"u/{kind}", token=token) for kind in kinds)
    )


def test_the_configured_order_is_kept_each_once():
    assert preference(("dns-01", "http-01", "tls-alpn-01", "http-01"), "a.example") == ("dns-01", "http-01", "tls-alpn-01")


def test_what_worked_last_for_the_name_comes_first_while_it_is_configured():
    configured = ("tls-alpn-01", "http-01", "dns-01")
    assert preference(configured, "a.example", "http-01") == ("http-01", "tls-alpn-01", "dns-01")
    assert preference(configured, "a.example", "dns-persist-01") == configured
    assert preference(configured, "*.a.example", "http-01") == ("dns-01",)


def test_only_challenges_in_the_dns_can_prove_a_wildcard():
    assert preference(("tls-alpn-01", "dns-persist-01", "http-01", "dns-01"), "*.a.example") == ("dns-persist-01", "dns-01")


@pytest.mark.parametrize(("configured", "name"), [((), "a.example"), (("dns-02",), "a.example"), (("http-01",), "*.a.example")])
def test_no_usable_challenge_is_the_operators_to_mend(configured, name):
    with pytest.raises(IssuanceError, match=r"None of issuance\.challenges .* Add one of .*dns-01") as caught:
        preference(configured, name)
    assert caught.value.fault is Fault.OPERATOR


@pytest.mark.parametrize(
    ("kind", "sections", "told"),
    [
        ("http-01", {"listen": Listen(http=())}, "Nothing listens for it (listen.http)."),
        ("dns-01", {}, "neither dns.zone nor dns.rfc2136 is set"),
        ("dns-01", {"dns": DYNAMIC}, None),
        ("dns-01", {"dns": OWN}, None),
        ("tls-alpn-01", {"listen": Listen(http=())}, None),
        ("dns-persist-01", {}, None),
    ],
)
def test_what_the_configuration_lacks_for_a_challenge_is_told(kind, sections, told):
    found = hindrance(kind, msgspec.structs.replace(Config(), **sections))
    assert (found is None) is (told is None)
    if found is not None and told is not None:
        assert told in found.detail
        assert found.fault is Fault.OPERATOR


@pytest.mark.parametrize(
    ("challenges", "dns", "possible"),
    [
        (("tls-alpn-01", "http-01", "dns-01"), Dns(), False),
        (("tls-alpn-01", "http-01", "dns-01"), DYNAMIC, True),
        (("dns-01",), OWN, True),
        (("tls-alpn-01", "http-01"), OWN, False),
        (("dns-persist-01",), Dns(), True),
    ],
)
def test_wildcards_can_be_proven_only_where_something_answers_in_the_dns(challenges, dns, possible):
    assert proves_wildcards(Config(issuance=Issuance(challenges=challenges), dns=dns)) is possible


def test_the_most_preferred_of_what_the_ca_offers_is_chosen():
    both = ("tls-alpn-01", "http-01")
    chosen = choose(offered("dns-01", "http-01", "tls-alpn-01"), both)
    assert chosen is not None
    assert chosen.type == "tls-alpn-01"
    second = choose(offered("http-01"), both)
    assert second is not None
    assert second.type == "http-01"
    assert choose(offered("dns-01"), both) is None


def test_http_01_is_the_key_authorization_under_host_and_token():
    challenge = offered("http-01").challenges[0]
    key, record = answer(challenge, "a.example", "token_-1.thumb", SEALER, 1e9)
    assert key == "http:a.example/token_-1"
    assert (record.hostname, record.token, record.key_authorization) == ("a.example", "token_-1", "token_-1.thumb")


def test_tls_alpn_01_is_a_certificate_whose_key_is_sealed():
    challenge = offered("tls-alpn-01").challenges[0]
    key, record = answer(challenge, "a.example", "token_-1.thumb", SEALER, 1e9)
    assert key == "alpn:a.example"
    certificate = x509.load_pem_x509_certificate(record.chain)
    assert dns_names(certificate) == ("a.example",)
    opened = SEALER.open(record.sealed_key, b"alpn:a.example")
    assert load_key(opened).public_key() == certificate.public_key()
    assert b"PRIVATE" not in record.sealed_key


@pytest.mark.parametrize("token", ["", "../../etc", "a/b", "a b", "a\n", "é", "a" * 300])
def test_a_token_that_could_be_anything_else_is_refused(token):
    with pytest.raises(IssuanceError, match="without a usable token"):
        answer(offered("http-01", token=token).challenges[0], "a.example", "x", SEALER, 1e9)
