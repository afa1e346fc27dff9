"""Handshakes with real servers, good and bad."""

import asyncio
import contextlib
import time

import pytest

from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control.probe.grading import Grade, grade
from edgeproxy.control.probe.look import asked_name, look, own_address
from edgeproxy.control.probe.trust import trust
from tests.control.probe.chains import Authority, tls_server
from tests.ports import free_port

NAME = "a.example"


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def trusted(authority):
    return trust(Config(), authority.pem)


async def graded(port, trusted):
    return grade(await look("127.0.0.1", port, NAME, trusted), NAME, time.time()).grade


async def test_a_whole_chain_of_a_trusted_root_is_good(tmp_path, authority, trusted):
    leaf, key = authority.sign(NAME)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        served = await look("127.0.0.1", port, NAME, trusted)
        assert (served.error, served.distrust, served.length) == ("", "", 2)
        assert grade(served, NAME, time.time()).grade is Grade.GOOD


async def test_a_chain_without_its_intermediate_is_incomplete(tmp_path, authority, trusted):
    leaf, key = authority.sign(NAME)
    async with tls_server(tmp_path, [leaf], key) as port:
        assert await graded(port, trusted) is Grade.INCOMPLETE


async def test_an_unknown_root_is_untrusted(tmp_path, authority):
    leaf, key = authority.sign(NAME)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        assert await graded(port, trust(Config(), None)) is Grade.UNTRUSTED


async def test_a_wrong_name_is_seen_though_the_chain_is_good(tmp_path, authority, trusted):
    leaf, key = authority.sign("b.example")
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        assert await graded(port, trusted) is Grade.WRONG_NAME


async def test_a_bundle_of_roots_is_trusted_and_one_that_is_gone_is_left_out(tmp_path, authority):
    bundle = tmp_path / "roots.pem"
    config = Config(issuance=Issuance(ca_bundle=str(bundle)))
    leaf, key = authority.sign(NAME)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        assert await graded(port, trust(config, None)) is Grade.UNTRUSTED
        bundle.write_bytes(authority.pem)
        assert await graded(port, trust(config, None)) is Grade.GOOD


async def test_nobody_silence_and_other_protocols_are_told(trusted):
    refused = await look("127.0.0.1", free_port(), NAME, trusted)
    assert refused.error == "connection refused"

    async def greets(reader, writer):
        writer.write(b"220 mail.example\r\n")
        await waits(reader, writer)

    async def waits(reader, writer):
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                pass
        writer.close()

    for behaviour, told, seconds in ((greets, "wrong version number", 60.0), (waits, "within 0.5 s", 0.5)):
        server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
        seen = await look("127.0.0.1", server.sockets[0].getsockname()[1], NAME, trusted, seconds=seconds)
        server.close()
        await server.wait_closed()
        assert told in seen.error
    await asyncio.sleep(0.05)


def test_our_own_listener_is_asked_over_loopback():
    assert own_address(Config()) == ("127.0.0.1", 443)
    assert own_address(Config(listen=Listen(https=("[::]:8443",)))) == ("::1", 8443)
    assert own_address(Config(listen=Listen(https=("192.0.2.1:443",)))) == ("192.0.2.1", 443)


def test_a_wildcard_is_asked_for_by_one_of_its_names():
    assert asked_name("*.a.example") == "edgeproxy-probe.a.example"
    assert asked_name(NAME) == NAME
