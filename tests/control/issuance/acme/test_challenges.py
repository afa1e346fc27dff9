"""How challenges are answered."""

import pytest
from cryptography import x509

from edgeproxy.control.issuance.acme.challenges import answer, choose, preference
from edgeproxy.control.issuance.acme.wire import Authorization, Challenge
from edgeproxy.control.issuance.certificates import dns_names, load_key
from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.published.seal import Sealer

SEALER = Sealer(b"k" * 32)


def offered(*kinds, token="token_-1"):
    return Authorization(
        status="pending", challenges=tuple(Challenge(type=kind, url=f"u/{kind}", token=token) for kind in kinds)
    )


def test_the_configured_order_is_kept_without_what_cannot_be_answered():
    assert preference(("dns-01", "http-01", "tls-alpn-01", "http-01")) == ("http-01", "tls-alpn-01")


@pytest.mark.parametrize("configured", [(), ("dns-01",), ("dns-persist-01",)])
def test_no_usable_challenge_is_the_operators_to_mend(configured):
    with pytest.raises(IssuanceError, match=r"None of issuance\.challenges") as caught:
        preference(configured)
    assert caught.value.fault is Fault.OPERATOR


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
