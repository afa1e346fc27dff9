"""Domains with a store of their own, and with looks, certificates and visitors in memory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from edgeproxy.config.issuance import Issuance
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.verification import Verification
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.looking import Live
from edgeproxy.control.domains.reconciler import Reconciler
from edgeproxy.control.domains.records import DnsRecord
from edgeproxy.control.domains.service import Domains
from edgeproxy.control.store import Domain, Failure, Store, StoredCertificate
from edgeproxy.control.store.schema import outbox
from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, certificate, opened

PATIENCE = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """A verdict."""

    state: str = "verified"
    code: str = ""
    detail: str = ""
    fault: Fault = Fault.CUSTOMER_DNS
    records: tuple[DnsRecord, ...] = ()
    proven: frozenset[str] = frozenset(("cname",))
    points: Points = Points.HERE


HERE = Said()
OWN = Said(proven=frozenset(("workspace_cname",)))
TEXT = Said(proven=frozenset(("txt",)), points=Points.ELSEWHERE)
TEXT_HERE = Said(proven=frozenset(("txt", "cname")))
NOTHING = Said("pending", "no_record", "There is no record.", proven=frozenset(), points=Points.ELSEWHERE)
ELSEWHERE = Said("wrong", "wrong_target", "It leads elsewhere.", proven=frozenset(), points=Points.ELSEWHERE)
SILENT = Said("unsure", "dns_unavailable", "Nobody answered.", proven=frozenset(), points=Points.UNKNOWN)


class Zone:
    """Says of each name what the test wants."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {}
        self.asked: list[Domain] = []
        self.urgent: list[str] = []
        self.at_once = self.most = 0
        self.hold: asyncio.Event | None = None
        self.there: dict[str, str] = {}
        """What stands for records of the CA's challenges, by name."""
        self.compared: list[str] = []

    async def compare(self, records: Sequence[DnsRecord]) -> list[DnsRecord]:
        self.compared += [each.name for each in records]
        if self.hold is not None:
            await self.hold.wait()
        return [
            msgspec.structs.replace(each, seen=(there,), ok=there == each.value)
            if (there := self.there.get(each.name))
            else each
            for each in records
        ]

    def looks(self, hostname: str) -> int:
        return sum(domain.hostname == hostname for domain in self.asked)

    async def look(self, domain: Domain, *, urgent: bool = False) -> Said:
        self.asked.append(domain)
        self.urgent += [domain.hostname] if urgent else []
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.at_once -= 1
        said = self.says.get(domain.hostname, NOTHING)
        if isinstance(said, Exception):
            raise said
        found: Said = said(domain) if callable(said) else said
        return found


class Signer:
    """Gives certificates."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails: IssuanceError | None = None
        self.failed: Failure | None = None
        self.provable = False
        self.issued: list[str] = []

    async def issue(self, hostname: str, *, by_operator: bool = True) -> StoredCertificate:
        assert not by_operator
        if self.fails is not None:
            raise self.fails
        self.issued.append(hostname)
        made = certificate(f"c{len(self.issued)}", hostname)
        await self._store.add_certificate(made, NOW)
        return made

    async def issue_ahead(self, hostname: str) -> StoredCertificate | None:
        if not self.provable:
            return None
        present = await self._store.current_certificate(hostname)
        return present or await self.issue(hostname, by_operator=False)

    async def failure(self, name: str) -> Failure | None:
        return self.failed


class Guest:
    """Visits names."""

    def __init__(self) -> None:
        self.live: dict[str, Live] = {}
        self.visited: list[str] = []

    async def visit(self, hostname: str) -> Live:
        self.visited.append(hostname)
        return self.live.get(hostname, Live(True))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass
class World:
    config: Config
    store: Store
    clock: Clock = dataclasses.field(default_factory=Clock)
    zone: Zone = dataclasses.field(default_factory=Zone)
    guest: Guest = dataclasses.field(default_factory=Guest)

    def __post_init__(self) -> None:
        self.signer = Signer(self.store)
        self.reconciler = self.another()
        self.domains = Domains(self.config, self.store, self.zone, self.reconciler, self.clock, proof_key=b"k" * 32)

    def another(self) -> Reconciler:
        """The next process."""
        return Reconciler(self.config, self.store, self.zone, self.signer, self.guest, self.clock, machine="m")

    async def register(self, hostname: str, workspace: str = "one", **values: Any) -> Domain:
        """Registers and has the first look done."""
        domain = (await self.domains.register(hostname, workspace, actor="test", **values)).domain
        await self.settled()
        return await self.get(domain.hostname)

    async def get(self, hostname: str) -> Domain:
        found = await self.store.get_domain(hostname)
        assert found is not None
        return found

    async def look(self, hostname: str) -> Domain:
        """Has it looked at now."""
        visit = self.reconciler.visit(hostname)
        assert visit.task is not None
        await visit.task
        return await self.get(hostname)

    async def settled(self) -> None:
        """Until nothing is under way."""
        async with asyncio.timeout(PATIENCE):
            while self.reconciler._visits:
                await asyncio.sleep(0.001)

    async def until(self, what: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not what():
                await asyncio.sleep(0.005)

    async def reaches(self, hostname: str, state: DomainState) -> Domain:
        async with asyncio.timeout(PATIENCE):
            while (found := await self.get(hostname)).state is not state:
                await asyncio.sleep(0.005)
        return found

    async def told(self) -> list[str]:
        """The events of the outbox."""
        async with self.store.database.read() as connection:
            rows = (await connection.execute(select(outbox).order_by(outbox.c.number))).all()
        return [row.type for row in rows]

    @contextlib.asynccontextmanager
    async def running(self, reconciler: Reconciler | None = None) -> AsyncIterator[Reconciler]:
        reconciler = reconciler or self.reconciler
        task = asyncio.create_task(reconciler.run())
        try:
            yield reconciler
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def living(folder: Path, **verification: Any) -> AsyncIterator[World]:
    config = Config(
        platform=Platform(name="ve.ai", cname_target="edge.ve.ai"),
        issuance=Issuance(directory="https://ca.example/directory", agree_terms=True),
        verification=Verification(**verification),
    )
    async with opened(folder, config) as store:
        world = World(config, store)
        try:
            yield world
        finally:
            await world.reconciler.close()
