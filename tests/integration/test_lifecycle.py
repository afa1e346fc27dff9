"""Uploads by the commands and at the handshake; revocation and another account key at a real ACME CA."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time

import httpx2
import msgspec
import pytest
from cryptography import x509

from edgeproxy.control.issuance.acme.revocation import Revoker
from edgeproxy.control.issuance.lifecycle import Lifecycle
from edgeproxy.control.store import Account
from edgeproxy.published.seal import Sealer
from edgeproxy.units import encode_hook
from tests.authorities import Authority, key_text, new_key, pem
from tests.integration import born
from tests.integration.issue_once import MAP_KEY
from tests.integration.responder import Responder
from tests.integration.roll_over_once import roll_over_once
from tests.integration.running import Running
from tests.integration.servers import Pebble, require
from tests.integration.test_pebble import NAME, Edge, _once

SHOP = "shop.example.com"


def cli(edge, *arguments):
    command = [sys.executable, "-m", "edgeproxy", *arguments, "--socket", str(edge.socket)]
    done = subprocess.run(command, env=edge.environ, cwd=edge.folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def leaf_of(edge):
    """The certificate that a visitor of SHOP sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((edge.host, edge.https_port), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname=SHOP) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def test_an_uploaded_certificate_is_served_by_all_workers_until_it_is_removed(tmp_path):
    root = Authority("Root of the shop")
    lower, key = Authority("Lower of the shop", root), new_key()
    leaf = lower.sign(SHOP, "www.example.com", key=key)
    (tmp_path / "chain.pem").write_text(pem(root.certificate, lower.certificate, leaf))
    (tmp_path / "key.pem").write_text(key_text(key))
    with Running(tmp_path / "edge") as edge:
        edge.add_domain(SHOP, "shop")
        own = leaf_of(edge)
        files = ("--chain", str(tmp_path / "chain.pem"), "--key", str(tmp_path / "key.pem"))
        status, _, said = cli(edge, "certs", "upload", SHOP, *files)
        assert status == 0, said
        assert "the order was repaired" in said
        assert {leaf_of(edge).serial_number for _ in range(10)} == {leaf.serial_number}
        _, shown, _ = cli(edge, "certs", "show", SHOP, "--json")
        assert json.loads(shown)["certificate"]["custom"] is True
        (tmp_path / "key.pem").write_text(key_text(new_key()))
        status, _, said = cli(edge, "certs", "upload", SHOP, *files)
        assert (status, said[:54]) == (1, "edgeproxy: The private key does not belong to the cert")
        status, _, said = cli(edge, "certs", "renew", SHOP)
        assert (status, "only its CA can renew it" in said) == (1, True)
        status, _, said = cli(edge, "certs", "remove", SHOP)
        assert status == 0, said
        assert {leaf_of(edge).serial_number for _ in range(10)} == {own.serial_number}
        status, _, said = cli(edge, "certs", "revoke", SHOP, "--reason", "superseded")
        assert status == 0, said
        assert leaf_of(edge).serial_number != own.serial_number
        _, shown, _ = cli(edge, "certs", "show", SHOP)
        assert "revoked: superseded (uid:" in shown
        body = key_text(key).splitlines()[1]
        assert body not in edge.log.read_text()
        for path in edge.state.rglob("*"):
            assert not path.is_file() or body.encode() not in path.read_bytes()


@pytest.fixture
async def pebble(tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path) as server:
        yield server


async def status_of(pebble, stored):
    """What the CA says of a certificate: its status and, where it is revoked, the reason's number."""
    serial = f"{x509.load_pem_x509_certificate(stored.chain).serial_number:x}"
    context = ssl.create_default_context(cafile=pebble.ca_bundle)
    async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=60) as client:
        url = f"https://127.0.0.1:{pebble.management_port}/cert-status-by-serial/{serial}"
        found = (await client.get(url)).raise_for_status().json()
    return found["Status"], found.get("Reason")


def lifecycle_of(edge):
    loop = asyncio.get_running_loop()
    revoker = Revoker(edge.config, edge.store, time.time, loop.time)
    parts = edge.config, edge.store, edge.publisher, Sealer(MAP_KEY), edge.issuance, edge.issuance._issuer, revoker, time.time
    return Lifecycle(*parts)


async def test_pebble_revokes_for_the_account_and_for_the_certificates_key(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        one = lifecycle_of(edge)
        first = await edge.issuance.issue(NAME)
        assert await status_of(pebble, first) == ("Valid", None)
        revoked = await one.revoke(NAME, "superseded", actor="test")
        assert await status_of(pebble, first) == ("Revoked", 4)
        second = revoked.replacement
        assert await status_of(pebble, second) == ("Valid", None)
        await edge.idle()
        await edge.store.save_account(Account(directory=pebble.directory, key=b"", url=""), time.time())
        revoker = Revoker(edge.config, edge.store, time.time, asyncio.get_running_loop().time)
        key = Sealer(MAP_KEY).open(second.sealed_key, b"key:" + second.id.encode())
        for _ in range(2):
            await revoker.revoke(pebble.directory, second.chain, key, "keyCompromise")
        assert await status_of(pebble, second) == ("Revoked", 1)


async def test_the_account_has_another_key_and_goes_on(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        assert (await edge.obtain()).ok
        await edge.idle()
        before = await edge.store.account(pebble.directory)
        orders = asyncio.gather(*(edge.obtain(f"n{number}.example.com") for number in range(5)))
        await lifecycle_of(edge).roll_over(actor="test")
        assert all(outcome.ok for outcome in await orders)
        after = await edge.store.account(pebble.directory)
        assert after.key != before.key
        assert (after.url, after.next_key) == (before.url, None)
        assert pebble.accounts == 1
        revoked = await lifecycle_of(edge).revoke(NAME, "superseded", actor="test")
        assert await status_of(pebble, revoked.certificate) == ("Revoked", 4)


DEATHS = [
    ("save", 1, "before"),
    ("save", 1, "after"),
    ("request", 1, "before"),
    ("request", 1, "after"),
    ("save", 2, "before"),
    ("save", 2, "after"),
]


@pytest.mark.slow
async def test_a_change_of_the_key_that_is_killed_at_any_step_loses_no_account(tmp_path, pebble):
    async with Edge(tmp_path, pebble, email="") as edge:
        config = tmp_path / "config.json"
        config.write_bytes(msgspec.json.encode(edge.config, enc_hook=encode_hook))
        assert (await edge.obtain()).ok
        await edge.idle()
        keys = [(await edge.store.account(pebble.directory)).key]
    ports = {"tls_port": pebble.tls_port, "http_port": pebble.http_port}
    async with Responder(tmp_path, edge.state, MAP_KEY, **ports):
        for place, death in enumerate(DEATHS):
            assert await _roll_over(edge.state, config, *map(str, death)) == -9, death
            assert await _once(edge.state, config, f"n{place}.example.com") == (0, ""), (death, pebble.log[-3000:])
            async with Edge(tmp_path, pebble) as after:
                row = await after.store.account(pebble.directory)
            assert row.next_key is None
            assert (row.key == keys[-1]) is (place == 0), death
            keys.append(row.key)
        assert await _roll_over(edge.state, config) == 0
    assert pebble.accounts == 1


async def _roll_over(state, config, *death):
    return (await born.running(roll_over_once, str(state), str(config), *death))[0]
