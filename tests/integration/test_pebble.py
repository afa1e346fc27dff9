"""Issuance against a real ACME CA: Debian's pebble, which validates against ports of this machine."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder
from cryptography.x509.verification import Store as TrustStore

from edgeproxy.config.issuance import Allow, Eab
from edgeproxy.config.issuance import Issuance as IssuanceSettings
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.service import Issuance
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from edgeproxy.units import encode_hook
from tests.integration import born
from tests.integration.issue_once import ACCOUNT_KEY, MAP_KEY, STORE_KEY, issue_once
from tests.integration.responder import Responder
from tests.integration.servers import Pebble, require

NAME = "a.example.com"


class Edge:
    """Store, publisher and issuance over a state directory, and a responder that answers from the map."""

    def __init__(self, folder: Path, pebble: Pebble, **issuance: Any) -> None:
        self.folder, self.pebble = folder, pebble
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        settings: dict[str, Any] = {
            "directory": pebble.directory,
            "ca_bundle": str(pebble.ca_bundle),
            "agree_terms": True,
            "allow": Allow(patterns=("*.example.com",)),
        } | issuance
        self.config = Config(state=State(directory=str(self.state)), issuance=IssuanceSettings(**settings))
        self.kinds: tuple[str, ...] = ("tls-alpn-01", "http-01")

    async def __aenter__(self):
        self.stack = contextlib.AsyncExitStack()
        self.store = await Store.open(self.config, self.state, Sealer(STORE_KEY), account_sealer=Sealer(ACCOUNT_KEY))
        self.stack.push_async_callback(self.store.close)
        writer = MapWriter(self.state)
        self.stack.callback(writer.close)
        self.publisher = Publisher(self.store, writer, (), ("*.example.com",))
        publishing = asyncio.create_task(self.publisher.run())
        self.stack.push_async_callback(_end, publishing)
        await self.publisher.published(0)
        self.issuance = Issuance(self.config, self.store, self.publisher, Sealer(MAP_KEY))
        self.stack.push_async_callback(self.issuance.close)
        ports = {"tls_port": self.pebble.tls_port, "http_port": self.pebble.http_port}
        self.responder = await self.stack.enter_async_context(
            Responder(self.folder, self.state, MAP_KEY, kinds=self.kinds, **ports)
        )
        return self

    async def __aexit__(self, *_error):
        await self.stack.aclose()

    async def obtain(self, name=NAME):
        return await self.issuance.obtain(name, "192.0.2.1")

    async def idle(self):
        async with asyncio.timeout(60):
            while self.issuance.pending:
                await asyncio.sleep(0.01)

    async def challenges(self):
        return await self.store.keys_of("challenges", "", 100)


async def _end(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def pebble(tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path) as server:
        yield server


async def test_a_certificate_of_pebble_is_stored_and_trusted_by_its_root(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        assert (await edge.obtain()).ok
        stored = await edge.store.current_certificate(NAME)
        leaf, *rest = x509.load_pem_x509_certificates(stored.chain)
        root = x509.load_pem_x509_certificate(await pebble.root())
        verifier = PolicyBuilder().store(TrustStore([root])).build_server_verifier(x509.DNSName(NAME))
        assert verifier.verify(leaf, rest)[-1] == root
        assert stored.names == (NAME,)
        assert stored.issuer == pebble.directory
        await edge.idle()
        assert await edge.challenges() == []
        assert await edge.store.list_orders() == []
        assert set(edge.responder.asked("tls-alpn-01")) == {NAME}
        assert edge.responder.asked("http-01") == []


async def test_http_01_serves_the_token(tmp_path, pebble):
    async with Edge(tmp_path, pebble, challenges=("http-01",)) as edge:
        assert (await edge.obtain()).ok
        assert set(edge.responder.asked("http-01")) == {NAME}
        await edge.idle()
        assert await edge.challenges() == []


async def test_tls_alpn_01_that_fails_falls_over_to_http_01(tmp_path, pebble):
    edge = Edge(tmp_path, pebble)
    edge.kinds = ("http-01",)
    async with edge:
        assert (await edge.obtain()).ok
        assert NAME in edge.responder.asked("tls-alpn-01")
        assert NAME in edge.responder.asked("http-01")
        assert pebble.orders == 2
        await edge.idle()
        assert await edge.challenges() == []


async def test_a_name_that_points_elsewhere_is_explained_and_leaves_nothing(tmp_path, pebble):
    edge = Edge(tmp_path, pebble)
    edge.kinds = ("none",)
    async with edge:
        outcome = await edge.obtain()
        assert (outcome.ok, outcome.denied) == (False, False)
        assert f"when it checked {NAME} by http-01" in outcome.detail
        await edge.idle()
        assert await edge.challenges() == []
        failure = await edge.store.failure(NAME)
        assert failure is not None
        assert failure.count == 1
        orders = pebble.orders
        assert not (await edge.obtain()).ok
        assert pebble.orders == orders


async def test_a_name_without_an_address_is_explained(tmp_path, pebble):
    await pebble.dns.manage("set-default-ipv4", ip="")
    async with Edge(tmp_path, pebble) as edge:
        outcome = await edge.obtain()
        assert not outcome.ok
        assert f"{NAME}" in outcome.detail
        assert "The CA says:" in outcome.detail


async def test_many_names_and_handshakes_at_once_make_one_order_each_and_one_account(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        names = [f"n{number}.example.com" for number in range(20)]
        outcomes = await asyncio.gather(*(edge.obtain(name) for name in names for _ in range(10)))
        assert all(outcome.ok for outcome in outcomes)
        assert (pebble.orders, pebble.accounts) == (20, 1)


async def test_a_restart_makes_no_order_and_no_account(tmp_path, pebble):
    for _ in range(2):
        async with Edge(tmp_path, pebble) as edge:
            assert (await edge.obtain()).ok
            await edge.idle()
    assert (pebble.orders, pebble.accounts) == (1, 1)


async def test_a_renewal_has_a_new_key_and_reuses_the_authorization_if_the_ca_does(tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path, environ={"PEBBLE_AUTHZREUSE": "100"}) as pebble, Edge(tmp_path, pebble) as edge:
        first = await edge.issuance.issue(NAME)
        await edge.idle()
        looked = len(edge.responder.asked("tls-alpn-01"))
        await edge.store.set_renewal(first.id, 0.0)
        running = asyncio.create_task(edge.issuance.run())
        async with asyncio.timeout(60):
            while (second := await edge.store.current_certificate(NAME)).id == first.id:
                await asyncio.sleep(0.02)
        await _end(running)
        keys = [x509.load_pem_x509_certificate(stored.chain).public_key() for stored in (first, second)]
        assert keys[0] != keys[1]
        assert len(edge.responder.asked("tls-alpn-01")) == looked


async def test_refused_nonces_are_only_a_detour(tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path, environ={"PEBBLE_WFE_NONCEREJECT": "40"}) as pebble, Edge(tmp_path, pebble) as edge:
        outcomes = await asyncio.gather(*(edge.obtain(f"n{number}.example.com") for number in range(10)))
        assert [outcome.detail for outcome in outcomes] == [""] * 10
        assert (pebble.orders, pebble.accounts) == (10, 1)


async def test_an_external_account_is_bound(tmp_path):
    require("pebble", "pebble-challtestsrv")
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    settings = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"kid-1": key}}
    async with Pebble(tmp_path, settings=settings) as pebble:
        async with Edge(tmp_path, pebble) as edge:
            outcome = await edge.obtain()
            assert "issuance.eab.key_id" in outcome.detail
        async with Edge(tmp_path, pebble, eab=Eab(key_id="kid-1", hmac_key=key)) as edge:
            assert (await edge.obtain()).ok


async def test_a_ca_that_forgot_everything_is_met_with_the_same_key(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        assert (await edge.obtain()).ok
        account = await edge.store.account(pebble.directory)
        await pebble.kill()
        await pebble.launch()
        assert (await edge.obtain("b.example.com")).ok
        assert (await edge.store.account(pebble.directory)).key == account.key


async def test_a_ca_that_is_away_is_said_to_be_and_asked_again(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        await pebble.kill()
        outcome = await edge.obtain()
        assert outcome.detail.startswith("The certificate authority at 127.0.0.1 cannot be reached: connection refused.")
        await pebble.launch()
        stored = await edge.issuance.issue(NAME)
        assert stored.names == (NAME,)


async def test_a_directory_that_is_not_trusted_leads_to_ca_bundle(tmp_path, pebble):
    async with Edge(tmp_path, pebble, ca_bundle="") as edge:
        assert "issuance.ca_bundle" in (await edge.obtain()).detail


async def test_a_wildcard_is_refused_clearly(tmp_path, pebble):
    async with Edge(tmp_path, pebble) as edge:
        now = time.time()
        await edge.store.add_domain("*.w.example.com", "ws", state=DomainState.VERIFIED, actor="test", now=now)
        assert "DNS-01" in (await edge.obtain("x.w.example.com")).detail
        assert pebble.orders == 0


DEATHS = [
    ("account", 1, "after"),
    ("new", 1, "before"),
    ("new", 1, "after"),
    ("authz", 1, "after"),
    ("challenge", 1, "before"),
    ("challenge", 1, "after"),
    ("authz", 2, "after"),
    ("finalize", 1, "before"),
    ("finalize", 1, "after"),
    ("order", 1, "after"),
    ("cert", 1, "before"),
    ("cert", 1, "after"),
]


@pytest.mark.slow
async def test_a_controller_killed_at_any_step_leaves_an_order_that_the_next_one_finishes(tmp_path, pebble):
    """Real processes, real kill -9. One account in all, one order for each name."""
    async with Edge(tmp_path, pebble, email="") as edge:
        config = tmp_path / "config.json"
        config.write_bytes(msgspec.json.encode(edge.config, enc_hook=encode_hook))
    ports = {"tls_port": pebble.tls_port, "http_port": pebble.http_port}
    async with Responder(tmp_path, edge.state, MAP_KEY, **ports):
        for place, death in enumerate(DEATHS):
            name = f"n{place}.example.com"
            killed = await _once(edge.state, config, name, *map(str, death))
            assert killed == (-9, ""), (death, killed)
            assert await _once(edge.state, config, name) == (0, ""), (death, pebble.log[-3000:])
            assert pebble.orders == place + 1, death
    assert pebble.accounts == 1
    async with Edge(tmp_path, pebble) as edge:
        assert await edge.challenges() == []
        assert await edge.store.list_orders() == []


async def _once(state, config, name, *deadly):
    status, output = await born.running(issue_once, str(state), str(config), name, *deadly)
    return status, "\n".join(line for line in output.splitlines() if " [" not in line)


async def test_a_never_seen_name_has_its_certificate_quickly(tmp_path, pebble):
    """The figure to reach is 0.25 s on a machine that does nothing else; here only that no fixed wait has crept in."""
    async with Edge(tmp_path, pebble) as edge:
        await edge.obtain("first.example.com")
        times = []
        for number in range(7):
            began = time.perf_counter()
            assert (await edge.obtain(f"n{number}.example.com")).ok
            times.append(time.perf_counter() - began)
        assert min(times) < 2.0
