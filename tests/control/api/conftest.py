"""Servers on Unix sockets of their own, and clients for them."""

import asyncio
import dataclasses
import socket
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.config.webhooks import Webhooks as Hooks
from edgeproxy.control.api.app import admin_app
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.server import AdminProtocol, Server
from edgeproxy.control.domains.mail_proving import MailProving
from edgeproxy.control.domains.paying import Entitlements
from edgeproxy.control.domains.reconciler import Reconciler
from edgeproxy.control.domains.records import acme_records
from edgeproxy.control.domains.service import Domains
from edgeproxy.control.domains.telling import describing
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.faults import Faults
from edgeproxy.control.issuance.authorities import AuthorityState
from edgeproxy.control.issuance.budget import Left
from edgeproxy.control.issuance.lifecycle import Lifecycle
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.issuance.scheduler import QueueState
from edgeproxy.control.issuance.upload import Roots
from edgeproxy.control.mail import Mailer
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.probe.daily import Probe
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Domain, Failure, Store, StoredCertificate
from edgeproxy.control.webhooks.delivery import Webhooks
from edgeproxy.errors import EdgeError
from edgeproxy.link.messages import Result
from edgeproxy.published.records import Site
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from tests.authorities import Authority
from tests.control.domains.living import Guest, Zone
from tests.control.store.making import put
from tests.ports import free_port

ROOT = Authority("Root")
"""Trusted by the machine, as these tests have it."""


@asynccontextmanager
async def serving(app, sock: socket.socket, protocol=AdminProtocol):
    """Runs a server on a bound socket."""
    sock.setblocking(False)
    server = Server(app, protocol)
    task = asyncio.ensure_future(server.serve(sockets=[sock]))
    await asyncio.wait_for(server.up.wait(), 60)
    try:
        yield server
    finally:
        server.end()
        await asyncio.wait_for(task, 60)


@pytest.fixture
def bound(tmp_path):
    """A bound Unix socket and its path, as the supervisor would make them."""
    path = tmp_path / "admin.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(0o660)
    yield sock, path
    sock.close()


@asynccontextmanager
async def client_of(path):
    """An HTTP client for a Unix socket."""
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge", timeout=60) as client:
        yield client


class FakeSupervisor:
    """Answers what the test says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Result | EdgeError = Result(id=1, ok=True, detail="done", data={"restarts": {"workers": 2}})

    async def ask(self, action: str, within: float) -> Result:
        self.asked.append(action)
        if isinstance(self.answer, EdgeError):
            raise self.answer
        return self.answer


class FakeIssuance:
    """Stores a self-signed certificate, telling two steps of it; or raises what the test says."""

    pending = 3

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self.error: Exception | None = None
        self.failures: dict[str, Failure] = {}
        self.forced: list[bool] = []
        self.go = asyncio.Event()
        self.go.set()
        self.told = asyncio.Event()
        self.turns: dict[str, Turn] = {}
        self.standing: list[AuthorityState] = []

    def authorities(self) -> list[AuthorityState]:
        return self.standing

    def queue(self) -> QueueState:
        """300 orders in 3 hours, 120 of them spent; one name is worked on and two wait for a turn in a minute."""
        left = Left(300, 10_800.0, 180, {"new": 100, "renewal": 20, "retry": 0}, 1)
        return QueueState(1, {"new": 2, "renewal": 0, "retry": 0}, left, time.time() + 60)

    async def turn_of(self, name: str, domain: Domain | None = None) -> Turn | None:
        return self.turns.get(name)

    async def records(self, names):
        """What the real one says with DNS-01 through a zone of its own."""
        dns = Dns(zone="acme.ve.ai", listen=("127.0.0.1:53",))
        config = Config(dns=dns, issuance=Issuance(agree_terms=True))
        return {name: acme_records(name, config) for name in names}

    async def issue(self, name: str, *, by_operator: bool = True, force: bool = False, progress=None) -> StoredCertificate:
        self.forced.append(force)
        for step in ("order placed", "challenge answered"):
            if progress is not None:
                progress(step)
        self.told.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        stored = certificate(name, id=f"id-{name.replace('*', '_')}{len(self.forced) - 1 or ''}")
        await self._publisher.published(await self._store.add_certificate(stored, time.time()))
        return stored

    async def issue_ahead(self, name: str) -> StoredCertificate | None:
        return None

    def mistake(self, name: str) -> Failure | None:
        """An operator's mistake, which the real one keeps in memory."""
        return self.failures.get(name)

    async def failure(self, name: str) -> Failure | None:
        return self.mistake(name)


class FakeAuthority:
    """Revokes, and changes account keys; or raises what the test says."""

    directory = "internal"

    def __init__(self) -> None:
        self.error: EdgeError | None = None
        self.asked: list[str] = []

    async def revoke(self, directory: str, chain: bytes, key: bytes, reason: str) -> None:
        self._ask(reason)

    async def roll_over(self) -> None:
        self._ask("rollover")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error


def certificate(*names: str, days: float = 90, id: str = "") -> StoredCertificate:  # noqa: A002
    """A self-signed certificate as the store has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    now = datetime.now(UTC).replace(microsecond=0)
    begin, end = now - timedelta(days=1), now + timedelta(days=days)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 0xABC123, begin, end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return StoredCertificate(
        id=id or f"id-{names[0].replace('*', '_')}",
        names=names,
        chain=made.public_bytes(serialization.Encoding.PEM),
        sealed_key=b"sealed",
        not_before=begin.timestamp(),
        not_after=end.timestamp(),
        renew_at=end.timestamp() - 30 * 86400,
        issuer="internal",
    )


@dataclasses.dataclass
class World:
    """An admin app over a real store and map, and what stands beside it."""

    client: httpx2.AsyncClient
    context: Context
    supervisor: FakeSupervisor
    store: Store
    publisher: Publisher
    issuance: FakeIssuance
    writer: MapWriter
    directory: Path
    authority: FakeAuthority
    zone: Zone

    def site(self, hostname: str) -> Site | None:
        """What the map says of a hostname. Through the writer: a process opens an LMDB environment once."""
        env, kinds = self.writer._env, self.writer._kinds
        assert env is not None
        with env.begin(kinds["sites"]) as transaction:
            found = transaction.get(hostname.encode())
        return None if found is None else msgspec.msgpack.decode(found, type=Site)


@pytest.fixture
async def world(tmp_path):
    config = Config(
        listen=Listen(https=(f"127.0.0.1:{free_port()}",)),
        platform=Platform(name="ve.ai", cname_target="domain.edge.example"),
        state=State(directory=str(tmp_path)),
        webhooks=Hooks(allow=("127.0.0.0/8",)),
    )
    sealer = Sealer(b"s" * 32)
    put(tmp_path)
    store = await Store.open(config, tmp_path, sealer, account_sealer=sealer)
    writer = MapWriter(tmp_path)
    publisher = Publisher(store, writer, ["domain.edge.example", "*.ve.ai"])
    task = asyncio.ensure_future(publisher.run())
    await publisher.published(0)
    issuance = FakeIssuance(store, publisher)
    supervisor = FakeSupervisor()
    authority = FakeAuthority()
    roots = Roots([ROOT.certificate])
    parts = config, store, publisher, sealer, issuance, authority, authority, time.time
    lifecycle = Lifecycle(*parts, roots=lambda: roots)
    probe = Probe(config, store, time.time)
    webhooks = Webhooks(config, store)
    zone = Zone()
    reconciler = Reconciler(config, store, zone, issuance, Guest(), time.time)
    looker = Looker(config, time.time)
    plane = SimpleNamespace(
        store=store,
        publisher=publisher,
        issuance=issuance,
        lifecycle=lifecycle,
        writer=writer,
        probe=probe,
        webhooks=webhooks,
        entitlements=Entitlements(config, store, time.time, wake=reconciler.wake),
        mailer=Mailer(config),
        domains=Domains(config, store, zone, reconciler, time.time, proof_key=b"k" * 32),
        mail_proving=MailProving(config, store, Mailer(config), time.time, key=b"k" * 32, wake=reconciler.wake),
        looker=looker,
    )
    store.database.describe = describing(config, plane.domains, issuance)
    context = Context(
        config=config,
        metrics=Metrics("1", 10),
        faults=Faults(),
        supervisor=supervisor,
        started_at=time.time() - 100,
        born_at=time.time(),
        plane=plane,  # type: ignore[arg-type]
    )
    transport = httpx2.ASGITransport(admin_app(context))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge", timeout=60) as client:
        yield World(client, context, supervisor, store, publisher, issuance, writer, tmp_path, authority, zone)
    await reconciler.close()
    await looker.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await webhooks.close()
    await plane.entitlements.close()
    writer.close()
    await store.close()


def problem_of(answer, status: int, code: str) -> dict[str, Any]:
    """Checks that an answer is a problem document of this kind, and gives it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code, document
    assert {"type", "title", "status", "detail", "fault", "retryable", "request_id"} <= set(document)
    return document
