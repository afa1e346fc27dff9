"""Store, publisher and issuance over a CA behind the fault-injecting proxy, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Self, TypeVar

from cryptography import x509

from edgeproxy.config.issuance import Allow
from edgeproxy.config.issuance import Issuance as IssuanceSettings
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.service import Issuance, Outcome
from edgeproxy.control.issuance.upkeep import Upkeep
from edgeproxy.control.issuance.windows import Windows
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from tests.integration.caproxy import CaProxy
from tests.integration.simulated import SimulatedTime

KEYS = {"map": b"m" * 32, "store": b"s" * 32, "account": b"a" * 32}

T = TypeVar("T")


class Issuing:
    """A controller's part in miniature; an async context manager. `*.example.com` is admitted.

    Sleeps of the CA's client and all clocks are simulated. The CA needs PEBBLE_VA_ALWAYS_VALID: nobody answers challenges.
    """

    def __init__(self, folder: Path, ca: CaProxy, **issuance: Any) -> None:
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.ca = ca
        self.time = SimulatedTime()
        self.time.busy = lambda: ca.under_way > 0
        self.time.stirred = lambda: ca.stirred
        settings: dict[str, Any] = {
            "directory": ca.directory,
            "ca_bundle": str(ca.ca_bundle),
            "agree_terms": True,
            "allow": Allow(patterns=("*.example.com",)),
        } | issuance
        self.config = Config(state=State(directory=str(self.state)), issuance=IssuanceSettings(**settings))

    async def __aenter__(self) -> Self:
        self.stack = contextlib.AsyncExitStack()
        await self.stack.enter_async_context(self.time)
        self.ca.clock = self.time
        sealer = Sealer(KEYS["map"])
        self.store = await Store.open(self.config, self.state, Sealer(KEYS["store"]), account_sealer=Sealer(KEYS["account"]))
        self.stack.push_async_callback(self.store.close)
        writer = MapWriter(self.state)
        self.stack.callback(writer.close)
        publisher = Publisher(self.store, writer, (), ("*.example.com",), clock=self.time)
        self.run(publisher.run())
        self.issuer = AcmeIssuer(
            self.config, self.store, publisher, sealer, self.time, monotonic=self.time, sleep=self.time.sleep
        )
        self.issuance = Issuance(self.config, self.store, publisher, sealer, self.time, issuer=self.issuer)
        self.issuance._patience = 1.0  # of real time, while a turn is a matter of the simulated one
        self.stack.push_async_callback(self.issuance.close)
        self.upkeep = Upkeep(self.issuance, self.store, self.issuer, self.time)
        self.windows = Windows(self.store, self.issuer, self.time)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stack.aclose()

    def run(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Does something beside the test, until it is over."""
        task = asyncio.ensure_future(work)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self.stack.push_async_callback(end)
        return task

    async def obtain(self, name: str) -> Outcome:
        """A visitor's wish; returns when nothing is under way any more."""
        outcome = await self.issuance.obtain(name, "192.0.2.1")
        await self.idle()
        return outcome

    async def idle(self) -> None:
        """Until nothing is under way; names may wait for their turn."""
        async with asyncio.timeout(60):
            while self.issuance.queue().working:
                await asyncio.sleep(0.005)

    async def pass_by(self, seconds: float, every: float = 30.0) -> None:
        """Lets time pass, with looks for what is due as often as the program has them."""
        until = self.time() + seconds
        while self.time() < until:
            await self.time.sleep(min(every, until - self.time()))
            await self.upkeep.resume_unfinished()
            await self.windows.look()
            await self.upkeep.renew_due()
            self.issuance._scheduler.look()  # its own timer knows the real time alone
            await self.idle()

    async def leaf(self, name: str) -> x509.Certificate:
        """The certificate that the name has now; it must have one."""
        stored = await self.store.current_certificate(name, self.time())
        if stored is None:
            raise AssertionError(f"{name} has no certificate")
        return x509.load_pem_x509_certificates(stored.chain)[0]

    async def has(self, *names: str) -> bool:
        """Whether each of the names has a certificate."""
        return all([await self.store.current_certificate(name, self.time()) for name in names])

    async def waits(self, name: str) -> float:
        """Seconds until the name is tried again; 0 where nothing failed."""
        failure = await self.store.failure(name)
        return 0.0 if failure is None else failure.next_try - self.time()
