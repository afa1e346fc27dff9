"""Which values fit together."""

import msgspec
import pytest

from edgeproxy.config import check
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config

GOOD = Config(issuance=Issuance(directory="internal"))


def together(**sections):
    changed = {name: msgspec.structs.replace(getattr(GOOD, name), **values) for name, values in sections.items()}
    return {problem.key: problem.text for problem in check.together(msgspec.structs.replace(GOOD, **changed))}


def test_the_defaults_fit_together_but_for_the_agreement_that_only_a_person_gives():
    assert [problem.key for problem in check.together(Config())] == ["issuance.agree_terms"]
    assert together() == {}


def test_addresses_that_would_collide_are_found():
    assert "is there twice" in together(listen={"https": ("0.0.0.0:443", "0.0.0.0:443"), "http": ()})["listen.https"]
    assert "takes the same port as" in together(listen={"https": ("0.0.0.0:443",), "http": ("127.0.0.1:443",)})["listen.http"]
    assert "metrics.listen" in together(metrics={"listen": "127.0.0.1:80"})
    assert together(listen={"https": ("0.0.0.0:443", "[::]:443"), "http": ("127.0.0.1:80", "127.0.0.2:80")}) == {}


def test_one_header_does_not_say_two_things():
    assert "choose another name" in together(rates={"exempt_header": "workspace_id"})["rates.exempt_header"]


def test_a_field_that_answers_get_is_there_once():
    assert "x-a is there twice" in together(http={"headers": ("x-a: 1", "x-b: 1", "x-a: 2")})["http.headers"]
    assert together(http={"headers": ("x-a: 1", "x-b: 1")}) == {}


def test_compression_that_compresses_nothing_is_a_fault():
    assert "without codings nothing" in together(compression={"enabled": True, "codings": ()})["compression.codings"]
    assert "without types nothing" in together(compression={"enabled": True, "types": ()})["compression.types"]
    assert together(compression={"codings": ()}) == {}


def test_an_edge_without_an_address_for_tls_is_refused():
    assert "needs an address for TLS" in together(listen={"https": ()})["listen.https"]


def test_http_challenges_need_an_address_for_http():
    acme = {"directory": "https://ca.example/dir", "agree_terms": True, "challenges": ("http-01",)}
    assert "needs an address in listen.http" in together(issuance=acme, listen={"http": ()})["issuance.challenges"]
    assert together(issuance=acme) == {}
    assert "list is empty" in together(issuance={**acme, "challenges": ()})["issuance.challenges"]
    assert "twice" in together(issuance={**acme, "challenges": ("http-01", "http-01")})["issuance.challenges"]


def test_external_account_binding_needs_both_halves():
    eab = GOOD.issuance.eab
    assert "issuance.eab.hmac_key" in together(issuance={"eab": msgspec.structs.replace(eab, key_id="k")})
    assert "issuance.eab.key_id" in together(issuance={"eab": msgspec.structs.replace(eab, hmac_key="k")})


def test_fallbacks_are_acme_directories_each_once():
    acme = {"directory": "https://ca.example/dir", "agree_terms": True, "challenges": ("tls-alpn-01",)}
    other = "https://other.example/dir"
    assert together(issuance={**acme, "fallback": (other,)}) == {}
    assert "there twice" in together(issuance={**acme, "fallback": ("https://ca.example/dir",)})["issuance.fallback"]
    assert "needs no fallback" in together(issuance={"fallback": (other,)})["issuance.fallback"]
    eab = msgspec.structs.replace(GOOD.issuance.eab, fallback=(f"{other} k aG1hYw",))
    assert together(issuance={**acme, "fallback": (other,), "eab": eab}) == {}
    told = together(issuance={**acme, "fallback": ("https://third.example/dir",), "eab": eab})["issuance.eab.fallback"]
    assert told == f"{other} is none of issuance.fallback; write it there too, or as it stands there"


def test_a_second_kind_of_key_goes_beside_an_ecdsa_one():
    assert together(tls={"second_key_type": "rsa2048"}) == {}
    told = together(tls={"second_key_type": "rsa2048", "key_type": "rsa3072"})
    assert "every client takes the RSA key" in told["tls.second_key_type"]


@pytest.mark.parametrize("url", ["http://10.0.0.1:3000", "http://[::1]", "unix:/run/app.sock"])
def test_routing_by_subdomain_needs_an_origin_with_a_name(url):
    assert 'routing = "subdomain"' in together(origin={"url": url, "routing": "subdomain"})["origin.url"]
    assert together(origin={"url": url}) == {}
    assert together(origin={"url": "https://app.example", "routing": "subdomain"}) == {}


def test_names_of_the_edge_itself_are_kept_apart():
    assert "platform.cname_target" in together(platform={"name": "ve.ai", "cname_target": "ve.ai"})
    assert "api.hostname" in together(platform={"name": "ve.ai"}, api={"hostname": "ve.ai"})


def test_limits_that_contradict_each_other_are_found():
    assert "limits.request_line" in together(limits={"request_line": 65536})
    assert "limits.origin_idle" in together(limits={"origin_idle": 2000})


def test_neither_of_the_edges_own_sockets_is_the_origin():
    for path in ("/run/edgeproxy/admin.sock", "/run/edgeproxy/api.sock", "/run/x/../edgeproxy/./api.sock"):
        assert "own sockets" in together(origin={"url": f"unix:{path}"})["origin.url"]
    assert together(origin={"url": "unix:/run/app.sock"}) == {}


def test_the_admin_socket_leaves_the_apis_name_to_that():
    assert "api.sock" in together(admin={"socket": "/run/x/api.sock"})["admin.socket"]


def test_pages_need_an_api_with_a_name():
    assert "set api.hostname" in together(api={"cors_origins": ("https://app.example.com",)})["api.cors_origins"]
    assert together(api={"cors_origins": ("https://app.example.com",), "hostname": "api.example.com"}) == {}
