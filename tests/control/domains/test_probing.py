"""A visitor's handshake, with real servers."""

from __future__ import annotations

import time

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.config.structs import Config
from edgeproxy.config.verification import Verification
from edgeproxy.config.visitors import Listen
from edgeproxy.control.domains.probing import Visitor, visitors_address
from edgeproxy.control.issuance.certificates import certificate_id
from edgeproxy.control.store import Store
from tests.control.probe.chains import Authority, tls_server
from tests.control.store.making import certificate
from tests.ports import free_port

NAME = "gallery.client-domain.com"


@pytest.fixture(scope="module")
def authority():
    return Authority()


def settings(port: int, host: str = "127.0.0.1") -> Config:
    return Config(verification=Verification(visitors_address=f"{host}:{port}"))


def test_visitors_arrive_where_the_configuration_says_else_at_our_own_listener():
    assert visitors_address(settings(8443, "lb.example.com")) == ("lb.example.com", 8443)
    assert visitors_address(settings(443, "[2001:db8::1]")) == ("2001:db8::1", 443)
    assert visitors_address(Config(listen=Listen(https=("0.0.0.0:8443",)))) == ("127.0.0.1", 8443)


async def kept(store: Store, leaf, *names: str) -> None:
    stored = msgspec.structs.replace(
        certificate(certificate_id(leaf), *names),
        chain=leaf.public_bytes(Encoding.PEM),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )
    await store.add_certificate(stored, time.time())


async def test_the_certificate_of_the_store_is_right_whoever_trusts_it(tmp_path, authority, store):
    leaf, key = authority.sign(NAME)
    await kept(store, leaf, NAME)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        assert (await Visitor(settings(port), store, time.time).visit(NAME)).ok
        wrong = await Visitor(settings(port), store, time.time).visit("other.client-domain.com")
        assert not wrong.ok
        assert "is for gallery.client-domain.com" in wrong.detail


async def test_another_that_nobody_trusts_is_not(tmp_path, authority, store):
    leaf, key = authority.sign(NAME)
    await kept(store, authority.sign(NAME)[0], NAME)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        found = await Visitor(settings(port), store, time.time).visit(NAME)
        assert not found.ok
        assert "not trusted" in found.detail


async def test_one_of_a_cdn_that_visitors_trust_is(tmp_path, authority, store):
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(authority.pem)
    leaf, key = authority.sign(NAME)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        config = settings(port)
        config = msgspec.structs.replace(config, issuance=msgspec.structs.replace(config.issuance, ca_bundle=str(bundle)))
        assert (await Visitor(config, store, time.time).visit(NAME)).ok


async def test_a_wildcard_is_visited_by_one_of_its_names(tmp_path, authority, store):
    leaf, key = authority.sign("*.client-domain.com")
    await kept(store, leaf, "*.client-domain.com")
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        assert (await Visitor(settings(port), store, time.time).visit("*.client-domain.com")).ok


async def test_where_nobody_answers_that_is_told(store):
    found = await Visitor(settings(free_port()), store, time.time).visit(NAME)
    assert not found.ok
    assert "connection refused" in found.detail
