"""DNS-01 against pebble, whose resolver (unbound) really resolves: customers' CNAMEs, our own zone, and one of a real Knot."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from cryptography import x509

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Allow
from edgeproxy.config.issuance import Issuance as IssuanceSettings
from edgeproxy.config.machine import State
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.dns.lookup import Lookup
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.issuance.certificates import dns_names
from edgeproxy.control.issuance.service import Issuance, Outcome
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from edgeproxy.units import encode_hook
from tests.integration import born
from tests.integration.caproxy import CaProxy
from tests.integration.dnsservers import Knot, answering
from tests.integration.issue_once import ACCOUNT_KEY, MAP_KEY, STORE_KEY, issue_once
from tests.integration.resolver import Unbound
from tests.integration.responder import Responder
from tests.integration.running import Running, wait_for
from tests.integration.servers import Pebble, require
from tests.ports import free_port

CUSTOMER, OWN, UPDATED = "customer.test", "acme.edge.test", "dyn.test"
PLATFORM = f"platform.{UPDATED}"
BY_OWN = tuple(f"own{number}.{CUSTOMER}" for number in range(5))
BY_UPDATE = tuple(f"dyn{number}.{CUSTOMER}" for number in range(8))


class World:
    """Pebble, the resolver that it asks, and Knot. The same for all tests; each has a state directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zone_port = free_port()

    async def __aenter__(self) -> Self:
        require("pebble", "pebble-challtestsrv", "knotd", "unbound", "dig")
        self.stack = contextlib.AsyncExitStack()
        self.knot = await self.stack.enter_async_context(Knot(self.folder, {UPDATED: ()}))
        records = [f"*.{CUSTOMER}. 60 A 127.0.0.1", f"{CUSTOMER}. 60 A 127.0.0.1"]
        for zone, names in ((OWN, BY_OWN), (UPDATED, BY_UPDATE)):
            records += [f"_acme-challenge.{name}. 60 CNAME {zone_label(name)}.{zone}." for name in names]
            records += [f"{name}. 60 A 127.0.0.1" for name in names]
            records += [f"*.{name}. 60 A 127.0.0.1" for name in names]
        unbound = Unbound(self.folder / "unbound", OWN, self.zone_port, CUSTOMER, records, more={UPDATED: self.knot.port})
        self.unbound = self.stack.enter_context(unbound)
        self.pebble = await self.stack.enter_async_context(Pebble(self.folder, resolver=self.unbound.port))
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stack.aclose()

    @property
    def resolver(self) -> str:
        return f"127.0.0.1:{self.unbound.port}"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module, as it has one CA."""
    return "asyncio"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("world")) as world:
        yield world


class Edge:
    """Store, publisher, DNS server and issuance over a state directory, and a responder for what comes to the address."""

    def __init__(self, folder: Path, world: World, **issuance: Any) -> None:
        self.folder, self.world = folder, world
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        resolvers = issuance.pop("resolvers", (world.resolver,))
        updates = world.knot.settings(UPDATED, **issuance.pop("key", {}))
        settings: dict[str, Any] = {
            "directory": world.pebble.directory,
            "ca_bundle": str(world.pebble.ca_bundle),
            "agree_terms": True,
            "allow": Allow(patterns=(f"*.{CUSTOMER}", CUSTOMER)),
        } | issuance
        self.config = Config(
            state=State(directory=str(self.state)),
            platform=Platform(name=PLATFORM, cname_target="edge.test"),
            issuance=IssuanceSettings(**settings),
            dns=Dns(
                resolvers=resolvers,
                zone=OWN,
                listen=(f"127.0.0.1:{world.zone_port}",),
                rfc2136=updates,
            ),
        )
        self.kinds: tuple[str, ...] = ("none",)

    async def __aenter__(self) -> Self:
        self.stack = contextlib.AsyncExitStack()
        self.store = await Store.open(self.config, self.state, Sealer(STORE_KEY), account_sealer=Sealer(ACCOUNT_KEY))
        self.stack.push_async_callback(self.store.close)
        writer = MapWriter(self.state)
        self.stack.callback(writer.close)
        authority = Authority(self.config, self.store)
        self.publisher = Publisher(self.store, writer, (f"*.{PLATFORM}",), on_challenges=authority.follow)
        self.stack.push_async_callback(_end, asyncio.create_task(self.publisher.run()))
        await self.stack.enter_async_context(answering(self.config, authority))
        await self.publisher.published(0)
        self.issuance = Issuance(self.config, self.store, self.publisher, Sealer(MAP_KEY))
        self.stack.push_async_callback(self.issuance.close)
        ports = {"tls_port": self.world.pebble.tls_port, "http_port": self.world.pebble.http_port}
        self.responder = await self.stack.enter_async_context(
            Responder(self.folder, self.state, MAP_KEY, kinds=self.kinds, **ports)
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stack.aclose()

    async def register(self, *names: str) -> None:
        for name in names:
            await self.store.add_domain(name, "ws", state=DomainState.VERIFIED, actor="test", now=1.0)

    async def obtain(self, name: str) -> Outcome:
        """A visitor's wish, until everything is tidied up behind it."""
        outcome = await self.issuance.obtain(name, "192.0.2.1")
        await self.idle()
        return outcome

    async def idle(self) -> None:
        async with asyncio.timeout(60):
            while self.issuance.pending:
                await asyncio.sleep(0.01)

    async def certificate(self, name: str) -> Any:
        stored = await self.store.current_certificate(name)
        assert stored is not None
        return stored

    async def nothing_left(self, *names: str) -> None:
        """No answer to any challenge is to be found, by whomever."""
        assert await self.store.keys_of("challenges", "", 100) == []
        assert await self.store.list_orders() == []
        async with asyncio.timeout(30):
            for server in (f"127.0.0.1:{self.world.zone_port}", self.world.knot.address):
                zone = UPDATED if server == self.world.knot.address else OWN
                for name in names:
                    while await Lookup((server,)).txt(f"{zone_label(name)}.{zone}"):
                        await asyncio.sleep(0.02)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("host", [BY_OWN[0], BY_UPDATE[0]], ids=["own zone", "rfc2136"])
async def test_a_wildcard_and_its_hostname_at_once(tmp_path: Path, world: World, host: str) -> None:
    async with Edge(tmp_path, world, challenges=("dns-01",)) as edge:
        await edge.register(f"*.{host}", host)
        made = world.pebble.orders
        outcomes = await asyncio.gather(*(edge.obtain(name) for name in (f"shop.{host}", host, f"blog.{host}")))
        assert [outcome.detail for outcome in outcomes] == ["", "", ""]
        assert (await edge.certificate(f"shop.{host}")).names == (f"*.{host}",)
        stored = await edge.certificate(host)
        assert (stored.names, stored.challenge) == ((host,), "dns-01")
        assert world.pebble.orders == made + 2
        await edge.nothing_left(host)


async def test_challenges_fall_over_to_the_next_and_a_renewal_begins_with_what_worked(tmp_path: Path, world: World) -> None:
    host = BY_OWN[1]
    async with Edge(tmp_path, world) as edge:
        made = world.pebble.orders
        assert (await edge.obtain(host)).ok
        assert world.pebble.orders == made + 3
        assert set(edge.responder.asked("tls-alpn-01")) == {host}
        assert set(edge.responder.asked("http-01")) == {host}
        first = await edge.certificate(host)
        await edge.issuance.issue(host, force=True)
        await edge.idle()
        assert (await edge.certificate(host)).id != first.id
        assert world.pebble.orders == made + 4
        await edge.nothing_left(host)


async def test_a_missing_cname_is_told_beside_every_other_reason(tmp_path: Path, world: World) -> None:
    host = f"none.{CUSTOMER}"
    async with Edge(tmp_path, world) as edge:
        outcome = await edge.obtain(host)
        assert not outcome.ok
        for part in (
            f"No challenge proves {host} to the CA.",
            f"tls-alpn-01: The CA reached another server when it checked {host} by tls-alpn-01",
            "http-01: ",
            f"dns-01: _acme-challenge.{host} is not a CNAME. Its owner must set it to CNAME {zone_label(host)}.{OWN}",
        ):
            assert part in outcome.detail
        await edge.nothing_left(host)


async def test_a_key_that_the_server_does_not_know_is_told_and_another_challenge_used(tmp_path: Path, world: World) -> None:
    host = BY_UPDATE[1]
    wrong = {"key_secret": base64.b64encode(b"x" * 32).decode()}
    edge = Edge(tmp_path, world, challenges=("dns-01", "http-01"), key=wrong)
    edge.kinds = ("http-01",)
    async with edge:
        made = world.pebble.orders
        assert (await edge.obtain(host)).ok
        assert world.pebble.orders == made + 1, "the CA had not looked yet, so the order goes on"
        await edge.register(f"*.{host}")
        outcome = await edge.obtain(f"x.{host}")
        assert "has another secret for the key edge-key (hmac-sha256) (BADSIG)" in outcome.detail
        assert wrong["key_secret"] not in outcome.detail


async def test_the_platforms_wildcard_is_there_before_its_first_visitor(tmp_path: Path, world: World) -> None:
    async with Edge(tmp_path, world) as edge:
        made = world.pebble.orders
        running = asyncio.create_task(edge.issuance.run())
        async with asyncio.timeout(60):
            while await edge.store.current_certificate(f"any.{PLATFORM}") is None:
                await asyncio.sleep(0.02)
        await edge.idle()
        assert (await edge.obtain(f"workspace.{PLATFORM}")).ok
        stored = await edge.certificate(f"workspace.{PLATFORM}")
        assert stored.names == (f"*.{PLATFORM}",)
        assert world.pebble.orders == made + 1
        await edge.store.set_renewal(stored.id, 0.0)
        await _end(running)
        running = asyncio.create_task(edge.issuance.run())
        async with asyncio.timeout(60):
            while (await edge.certificate(f"any.{PLATFORM}")).id == stored.id:
                await asyncio.sleep(0.02)
        await edge.idle()
        await _end(running)
        assert world.pebble.orders == made + 2
        assert await Lookup((world.knot.address,)).txt(f"_acme-challenge.{PLATFORM}") == ()


async def test_a_record_that_stands_for_good_is_enough_where_the_ca_offers_that(tmp_path: Path, world: World) -> None:
    host = f"persist.{CUSTOMER}"
    async with Pebble(tmp_path) as pebble, CaProxy(tmp_path, pebble) as ca:
        ca.newer.persist = ("ca.test",)
        settings = {"directory": ca.directory, "ca_bundle": str(ca.ca_bundle), "challenges": ("dns-persist-01",)}
        resolver = f"127.0.0.1:{pebble.dns.dns_port}"
        async with Edge(tmp_path, world, resolvers=(resolver,), **settings) as edge:
            outcome = await edge.obtain(host)
            where = f"_validation-persist.{host}"
            assert f"{where} is not set. Its owner must set {where} to TXT" in outcome.detail
            assert ca.count("newOrder") == 0
            account = await edge.store.account(ca.directory)
            assert account is not None
            record = f"ca.test; accounturi={account.url}"
            await pebble.dns.manage("set-txt", host=f"{where}.", value=record)
            ca.newer.persistent[host] = [record]
            for _ in range(2):
                await edge.issuance.issue(host, force=True)
                await edge.idle()
            assert (await edge.certificate(host)).challenge == "dns-persist-01"
            assert (await edge.issuance.records([host]))[host][0].value == record
            await edge.nothing_left(host)


async def test_a_name_that_leads_elsewhere_has_its_certificate_by_the_dns_alone_or_no_attempt(
    tmp_path: Path, world: World
) -> None:
    ready, unready = BY_OWN[4], f"unready.{CUSTOMER}"
    async with Edge(tmp_path, world) as edge:
        for name in (ready, unready):
            await edge.store.add_domain(name, "w", state=DomainState.AWAITING_CUTOVER, actor="t", now=time.time())
            assert (await edge.obtain(name)).denied, "no visitor has one issued"
        made = world.pebble.orders
        assert await edge.issuance.issue_ahead(unready) is None
        assert (world.pebble.orders, await edge.store.failure(unready)) == (made, None)
        stored = await edge.issuance.issue_ahead(ready)
        assert stored is not None
        assert (stored.names, stored.challenge, world.pebble.orders) == ((ready,), "dns-01", made + 1)
        assert await edge.issuance.issue_ahead(ready) == await edge.certificate(ready)
        await edge.idle()
        assert edge.responder.asked("tls-alpn-01") == edge.responder.asked("http-01") == []
        await edge.nothing_left(ready)


async def test_the_whole_program_serves_its_platform_and_a_customers_wildcard(tmp_path: Path, world: World) -> None:
    platform, customer = BY_OWN[2], BY_OWN[3]
    tables: dict[str, dict[str, Any]] = {
        "platform": {"name": platform, "cname_target": "edge.test"},
        "issuance": {"directory": world.pebble.directory, "ca_bundle": str(world.pebble.ca_bundle), "agree_terms": True},
        "dns": {"resolvers": [world.resolver], "zone": OWN, "listen": [f"127.0.0.1:{world.zone_port}"]},
    }
    edge = Running(tmp_path / "edge", tables, workers=1)

    def names() -> list[str]:
        status, answer = edge.api("GET", "/api/v1/infrastructure/ssl")
        return [name for each in answer["certificates"] for name in each["names"]] if status == 200 else []

    def work() -> None:
        with edge:
            wait_for(lambda: f"*.{platform}" in names(), "the platform's wildcard")
            edge.add_domain(f"*.{customer}")
            for host in (f"workspace.{platform}", f"shop.{customer}"):
                assert _presented(edge, host) == [f"*.{host.partition('.')[2]}"]
            shown = edge.cli("domains", "show", f"*.{customer}", check=True).stdout
            assert f"_acme-challenge.{customer}. 300 IN CNAME {zone_label(customer)}.{OWN}." in shown
            refused = edge.cli("certs", "issue", f"none.{platform}.test")
            assert refused.returncode == 1

    await asyncio.to_thread(work)


def _presented(edge: Running, host: str) -> list[str]:
    """The names of the certificate that a visitor of a name is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((edge.host, edge.https_port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=host) as sock,
    ):
        der = sock.getpeercert(binary_form=True)
    assert der is not None
    return list(dns_names(x509.load_der_x509_certificate(der)))


DEATHS = [
    ("authz", 1, "after"),
    ("challenge", 1, "before"),
    ("challenge", 1, "after"),
    ("authz", 2, "after"),
    ("cert", 1, "after"),
]


@pytest.mark.slow
async def test_a_controller_killed_amid_dns_01_resumes_the_order_and_leaves_no_record(tmp_path: Path, world: World) -> None:
    """Real processes, real kill -9, records at a server that goes on answering."""
    async with Edge(tmp_path, world, challenges=("dns-01",)) as edge:
        config = tmp_path / "config.json"
        config.write_bytes(msgspec.json.encode(edge.config, enc_hook=encode_hook))
    made = world.pebble.orders
    for place, death in enumerate(DEATHS):
        name = BY_UPDATE[2 + place]
        killed = await _once(edge.state, config, name, *map(str, death))
        assert killed == (-9, ""), (death, killed)
        if place:
            assert await Lookup((world.knot.address,)).txt(f"{zone_label(name)}.{UPDATED}"), death
        assert await _once(edge.state, config, name) == (0, ""), (death, world.pebble.log[-3000:])
        assert world.pebble.orders == made + place + 1, death
    async with Edge(tmp_path, world) as edge:
        await edge.nothing_left(*BY_UPDATE)


async def _once(state: Path, config: Path, name: str, *deadly: str) -> tuple[int | None, str]:
    status, output = await born.running(issue_once, str(state), str(config), name, *deadly)
    return status, "\n".join(line for line in output.splitlines() if " [" not in line)
