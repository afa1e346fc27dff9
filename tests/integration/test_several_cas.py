"""Two real CAs: the second is asked while the first has bad days, and the first again once it is well."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from cryptography import x509

from edgeproxy.config.issuance import Allow, Eab
from edgeproxy.config.issuance import Issuance as IssuanceSettings
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Tls
from edgeproxy.control.issuance.acme.chains import top_issuer
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.authorities import Authorities
from edgeproxy.control.issuance.breaker import FAILURES, FIRST_PAUSE
from edgeproxy.control.issuance.choosing import for_fallback
from edgeproxy.control.issuance.service import Issuance
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store, StoredCertificate
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from tests.integration import cafaults as fault
from tests.integration.caproxy import CaProxy
from tests.integration.servers import Pebble, require

KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
BELIEVES = {"PEBBLE_VA_ALWAYS_VALID": "1"}


class Clock:
    """Unix time that can be moved ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """Has the time pass, nearly at once."""
        self.ahead += min(seconds, 0.5)
        await asyncio.sleep(min(seconds, 0.02))


class Edge:
    """Store, publisher and issuance over two CAs."""

    def __init__(self, folder: Path, first: CaProxy, second: Pebble, *, tls: Tls = Tls(), **issuance: Any) -> None:  # noqa: B008
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        bundle = folder / "both.pem"
        bundle.write_bytes(first.ca_bundle.read_bytes() + second.ca_bundle.read_bytes())
        settings: dict[str, Any] = {
            "directory": first.directory,
            "fallback": (second.directory,),
            "ca_bundle": str(bundle),
            "agree_terms": True,
            "allow": Allow(patterns=("*.example.com",)),
        } | issuance
        self.config = Config(state=State(directory=str(self.state)), issuance=IssuanceSettings(**settings), tls=tls)
        self.clock = Clock()

    async def __aenter__(self) -> Self:
        self.stack = contextlib.AsyncExitStack()
        self.store = await Store.open(self.config, self.state, Sealer(b"s" * 32), account_sealer=Sealer(b"a" * 32))
        self.stack.push_async_callback(self.store.close)
        writer = MapWriter(self.state)
        self.stack.callback(writer.close)
        publisher = Publisher(self.store, writer, (), ("*.example.com",))
        publishing = asyncio.create_task(publisher.run())
        self.stack.push_async_callback(_end, publishing)
        config, sealer = self.config, Sealer(b"m" * 32)
        parts = self.store, publisher, sealer, self.clock
        fallback = for_fallback(config, config.issuance.fallback[0])
        issuers = [
            AcmeIssuer(config, *parts, monotonic=self.clock, sleep=self.clock.sleep),
            AcmeIssuer(fallback, *parts, fallback=True, monotonic=self.clock, sleep=self.clock.sleep),
        ]
        authorities = Authorities(issuers, self.store, self.clock, sleep=self.clock.sleep)
        self.issuance = Issuance(config, *parts, issuer=authorities)
        self.stack.push_async_callback(self.issuance.close)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stack.aclose()

    async def obtain(self, name: str) -> StoredCertificate:
        """A visitor's wish, which must be granted; what is stored."""
        outcome = await self.issuance.obtain(name, "192.0.2.1")
        assert outcome.ok, outcome.detail
        stored = await self.store.current_certificate(name)
        assert stored is not None
        return stored

    @property
    def states(self) -> list[str]:
        return [each.state for each in self.issuance.authorities()]


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def second_ca(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pebble]:
    """A CA that wants an external account."""
    require("pebble", "pebble-challtestsrv")
    settings: dict[str, object] = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"kid-1": KEY}}
    async with Pebble(tmp_path_factory.mktemp("second"), environ=BELIEVES, settings=settings) as pebble:
        yield pebble


def eab(second: Pebble) -> Eab:
    return Eab(fallback=(f"{second.directory} kid-1 {KEY}",))


async def test_a_ca_that_is_away_is_replaced_left_alone_and_taken_back(tmp_path: Path, ca: CaProxy, second_ca: Pebble) -> None:
    async with Edge(tmp_path, ca, second_ca, eab=eab(second_ca)) as edge:
        assert (await edge.obtain("a.example.com")).issuer == ca.directory
        await ca.go_down()
        stored = await edge.obtain("b.example.com")
        assert stored.issuer == second_ca.directory
        assert x509.load_pem_x509_certificate(stored.chain).issuer != x509.load_pem_x509_certificate(await ca.roots()).subject
        assert edge.states == ["open", "closed"]
        away = edge.issuance.authorities()[0]
        assert (away.failures, "cannot be reached" in away.reason) == (FAILURES, True)
        await ca.come_back()
        assert (await edge.obtain("c.example.com")).issuer == second_ca.directory, "it is left alone for a while"
        edge.clock.ahead += FIRST_PAUSE + 1
        assert edge.states == ["half_open", "closed"]
        assert (await edge.obtain("d.example.com")).issuer == ca.directory
        assert edge.states == ["closed", "closed"]
        await edge.store.set_renewal(stored.id, 0.0)
        assert (await edge.issuance.renew("b.example.com")).issuer == ca.directory, "renewals return to the first"


async def test_a_storm_of_errors_has_the_next_one_asked_and_the_order_is_not_made_twice(
    tmp_path: Path, ca: CaProxy, second_ca: Pebble
) -> None:
    ca.always("newOrder", fault.busy())
    orders = second_ca.orders
    async with Edge(tmp_path, ca, second_ca, eab=eab(second_ca)) as edge:
        names = [f"n{number}.example.com" for number in range(10)]
        stored = await asyncio.gather(*(edge.obtain(name) for name in names))
        assert {each.issuer for each in stored} == {second_ca.directory}
        assert second_ca.orders == orders + len(names)
        assert ca.made[0] == 0
        assert ca.count("newOrder") <= FAILURES + len(names)


async def test_a_fallback_that_wants_an_external_account_says_so(tmp_path: Path, ca: CaProxy, second_ca: Pebble) -> None:
    await ca.go_down()
    async with Edge(tmp_path, ca, second_ca) as edge:
        outcome = await edge.issuance.obtain("a.example.com", "192.0.2.1")
        assert not outcome.ok
        assert "The CA wants an external account" in outcome.detail
        assert "127.0.0.1" in outcome.detail
    await ca.come_back()


async def test_both_kinds_of_keys_come_from_a_real_ca_and_are_revoked_there(
    tmp_path: Path, ca: CaProxy, second_ca: Pebble
) -> None:
    async with Edge(tmp_path, ca, second_ca, tls=Tls(second_key_type="rsa2048")) as edge:
        await edge.obtain("a.example.com")
        async with asyncio.timeout(60):
            while edge.issuance.pending:
                await asyncio.sleep(0.01)
        await edge.issuance._issuing.companions.see_to_it(edge.issuance)
        stored = await edge.store.current_certificate("a.example.com")
        assert stored is not None
        assert stored.companion is not None
        assert (stored.key_type, stored.companion.key_type) == ("p256", "rsa2048")
        assert ca.made == (2, 1)


async def test_the_preferred_chain_of_several_is_served(tmp_path: Path, second_ca: Pebble) -> None:
    environ = BELIEVES | {"PEBBLE_ALTERNATE_ROOTS": "2", "PEBBLE_CHAIN_LENGTH": "2"}
    async with Pebble(tmp_path, environ=environ) as pebble, CaProxy(tmp_path, pebble) as proxy:
        async with httpx2.AsyncClient(verify=False) as client:
            roots = [
                (await client.get(f"https://127.0.0.1:{pebble.management_port}/roots/{number}")).content for number in range(3)
            ]
        names = [top_issuer(root) for root in roots]
        assert len(set(names)) == 3
        for name in (*names, "No Such Root"):
            async with Edge(tmp_path, proxy, second_ca, preferred_chain=name) as edge:
                stored = await edge.issuance.issue("a.example.com", force=True)
                assert top_issuer(stored.chain) == (name if name in names else names[0])
                assert len(x509.load_pem_x509_certificates(stored.chain)) == 3, "the leaf and two above it"


async def test_a_profile_is_ordered_where_the_ca_offers_it(tmp_path: Path, ca: CaProxy, second_ca: Pebble) -> None:
    ca.newer.profiles = {"shortlived": "six days"}
    async with Edge(tmp_path, ca, second_ca, profile="shortlived", eab=eab(second_ca)) as edge:
        assert (await edge.obtain("a.example.com")).issuer == ca.directory
        assert [made.profile for made in ca.newer.orders.values()] == ["shortlived"]
        await ca.go_down()
        assert (await edge.obtain("b.example.com")).issuer == second_ca.directory, "a fallback is asked without"
        await ca.come_back()
