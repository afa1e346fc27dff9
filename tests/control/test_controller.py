"""The controller's process, with the test in the supervisor's place."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from edgeproxy import keys
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control import controller as module
from edgeproxy.control import importing
from edgeproxy.control.controller import Controller, known_error
from edgeproxy.errors import EdgeError, MapError, StateError
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Alive, Drain, Greeting, LinkEnd, Obtain, Obtained, Ready, Report, Request, Result
from edgeproxy.link.peer import Link
from edgeproxy.link.start import ChildStart

DOMAINS = "/api/v1/infrastructure/domains"


class Supervisor:
    """Binds the admin socket, bears a controller in this process, answers its questions."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.directory = directory
        self.config = Config(state=State(directory=str(directory)), issuance=Issuance(directory="internal"), **more)
        self.path = directory / "admin.sock"
        self.channel, self._theirs = Channel.pair()
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self, *, serving: bool = False, metrics: socket.socket | None = None):
        """The controller at work, ready."""
        admin = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        admin.bind(str(self.path))
        start = ChildStart(
            config=self.config,
            config_path=None,
            state_directory=self.directory,
            channel=self._theirs,
            sockets={"admin": admin, **({"metrics": metrics} if metrics is not None else {})},
            started_at=time.time(),
            serving=serving,
        )
        self.controller = Controller(start, self.gone.set)
        hearing = asyncio.ensure_future(self._hear())
        running = asyncio.ensure_future(self.controller.run())
        try:
            ready = asyncio.ensure_future(self.ready.wait())
            await asyncio.wait({ready, running}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if running.done():
                running.result()
            transport = httpx2.AsyncHTTPTransport(uds=str(self.path))
            async with httpx2.AsyncClient(transport=transport, base_url="http://edge", timeout=60) as client:
                yield client
            if not running.done():
                self.channel.send(Drain())
            await asyncio.wait_for(running, 60)
        finally:
            for task in (running, hearing):
                task.cancel()
            await asyncio.gather(running, hearing, return_exceptions=True)
            admin.close()
            self.channel.close()

    async def _hear(self) -> None:
        async for received in self.channel:
            if isinstance(received.message, Ready):
                self.ready.set()
            elif isinstance(received.message, Request):
                self.asked.append(received.message.action)
                data = {"restarts": {"workers": 1}}
                self.channel.send(Result(id=received.message.id, ok=True, detail="done", data=data))


@contextlib.asynccontextmanager
async def worker(supervisor: Supervisor, index: int = 0):
    """A worker's end of a link."""
    ours, theirs = socket.socketpair()
    supervisor.channel.send(LinkEnd(worker=index), [theirs])
    answers: asyncio.Queue[Obtained] = asyncio.Queue()
    link = await Link.open(ours, answers.put_nowait, lambda reason: None)  # type: ignore[arg-type]
    link.send(Greeting(worker=index, pid=1000 + index))
    yield link, answers
    link.close()


async def obtained(link: Link, answers: asyncio.Queue[Obtained], hostname: str, number: int = 1) -> Obtained:
    link.send(Obtain(id=number, hostname=hostname, client_ip="127.0.0.1", deadline=time.time() + 60))
    return await asyncio.wait_for(answers.get(), 90)


@pytest.fixture
async def supervisor(tmp_path):
    return Supervisor(tmp_path)


async def test_a_domain_is_added_issued_and_removed(supervisor):
    async with supervisor.running() as client, worker(supervisor) as (link, answers):
        assert (await obtained(link, answers, "a.example.com")).denied
        answer = await client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"})
        assert answer.status_code == 201
        assert answer.json()["published"] is True
        assert (await obtained(link, answers, "a.example.com", 2)) == Obtained(id=2, ok=True)
        shown = (await client.get("/api/v1/infrastructure/ssl/a.example.com")).json()
        assert shown["certificate"]["directory"] == "internal"
        assert (await client.get(f"{DOMAINS}/a.example.com")).json()["certificate_id"] == shown["certificate"]["id"]
        assert (await client.delete(f"{DOMAINS}/a.example.com")).status_code == 200
        assert (await obtained(link, answers, "a.example.com", 3)).denied


async def test_status_metrics_and_health_join_what_everybody_knows(supervisor):
    async with supervisor.running() as client, worker(supervisor) as (link, _):
        link.send(Report(worker=0, pid=1000, counters={"requests_total|2xx|h1": 3.0}))
        deadline = time.monotonic() + 60
        while (await client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline
        status = (await client.get("/api/v1/admin/status")).json()
        assert status["ready"] is True
        assert status["faults"] == []
        assert [found["pid"] for found in status["workers"]] == [1000]
        metrics = (await client.get("/metrics")).text
        assert 'edgeproxy_requests_total{code_class="2xx",protocol="h1"} 3.0' in metrics
        assert "edgeproxy_worker_restarts_total 1.0" in metrics


async def test_metrics_have_a_listener_of_their_own(supervisor):
    listener = socket.create_server(("127.0.0.1", 0))
    base = "http://{}:{}".format(*listener.getsockname())
    async with supervisor.running(metrics=listener), httpx2.AsyncClient(base_url=base, timeout=60) as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/api/v1/admin/status")).status_code == 404
    listener.close()


async def test_reload_and_stop_are_passed_to_the_supervisor(supervisor):
    async with supervisor.running() as client:
        assert (await client.post("/api/v1/admin/reload")).json()["detail"] == "done"
        assert (await client.post("/api/v1/admin/stop")).status_code == 202
        assert supervisor.asked[-2:] == ["reload", "stop"]


async def test_what_was_stored_is_there_for_the_next_process(tmp_path):
    async with Supervisor(tmp_path).running() as client:
        await client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"})
        first = (await client.post("/api/v1/infrastructure/ssl/a.example.com")).json()
    async with Supervisor(tmp_path).running(serving=True) as client:
        assert (await client.get(f"{DOMAINS}/a.example.com")).json()["workspace_id"] == "w"
        again = (await client.get("/api/v1/infrastructure/ssl/a.example.com")).json()
        assert again["certificate"]["id"] == first["certificate"]["id"]


async def test_ticket_secrets_are_made_and_published(tmp_path):
    async with Supervisor(tmp_path).running(serving=False) as client:
        deadline = time.monotonic() + 60
        while (await client.get("/api/v1/admin/status")).json()["map"]["change"] < 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


def damage(directory: Path) -> bytes:
    """Makes the store unusable; what is in the file then."""
    path = keys.store_path(Config(), directory)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    data = b"this is no database" * 1000
    path.write_bytes(data)
    return data


def spoil_map(directory: Path) -> None:
    """Puts something where the map must be that no writer can replace."""
    shutil.rmtree(directory / "published")
    (directory / "published" / "current").mkdir(parents=True)


async def test_a_start_on_a_damaged_store_is_refused_with_what_to_do(tmp_path):
    async with Supervisor(tmp_path).running():
        pass
    data = damage(tmp_path)
    with pytest.raises(StateError, match="backup"):
        async with Supervisor(tmp_path).running(serving=False):
            pass
    assert keys.store_path(Config(), tmp_path).read_bytes() == data


async def test_a_replacement_that_meets_a_damaged_store_says_so_and_goes_on_answering(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.05,))
    async with Supervisor(tmp_path).running() as client:
        await client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"})
    store = keys.store_path(Config(), tmp_path)
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = store.read_bytes()
    damage(tmp_path)
    supervisor = Supervisor(tmp_path)
    async with supervisor.running(serving=True) as client, worker(supervisor) as (link, answers):
        status = (await client.get("/api/v1/admin/status")).json()
        (fault,) = status["faults"]
        assert fault["part"] == "store"
        assert "backup" in fault["detail"]
        answer = await client.get(DOMAINS)
        assert (answer.status_code, answer.json()["code"]) == (503, "state_unusable")
        refused = await obtained(link, answers, "b.example.com")
        assert not refused.ok
        assert not refused.denied
        link.send(Report(worker=0, pid=1000, counters={}))
        deadline = time.monotonic() + 60
        while (await client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline
        # the operator puts the backup in its place, and nothing needs to be restarted
        store.write_bytes(good)
        while (await client.get(f"{DOMAINS}/a.example.com")).status_code != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert (await client.get("/api/v1/admin/status")).json()["faults"] == []


async def test_a_start_whose_map_cannot_be_made_is_refused(tmp_path, monkeypatch):
    async with Supervisor(tmp_path).running():
        pass
    spoil_map(tmp_path)
    monkeypatch.setattr(module, "MAP_SECONDS", 0.5)
    supervisor = Supervisor(tmp_path)
    with pytest.raises(MapError, match="published"):
        async with supervisor.running(serving=False):
            pass
    assert not supervisor.ready.is_set()


async def test_a_replacement_whose_map_cannot_be_made_says_so_in_its_status(tmp_path, monkeypatch):
    async with Supervisor(tmp_path).running():
        pass
    spoil_map(tmp_path)
    monkeypatch.setattr(module, "MAP_SECONDS", 0.5)
    async with Supervisor(tmp_path).running(serving=True) as client:
        async with asyncio.timeout(60):  # it is ready after MAP_SECONDS, whether or not the first try has failed by then
            while "map" not in [fault["part"] for fault in (await client.get("/api/v1/admin/status")).json()["faults"]]:
                await asyncio.sleep(0.05)
        monkeypatch.setattr("edgeproxy.control.api.infrastructure.PUBLISH_SECONDS", 0.1)
        answer = await client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"})
        assert (answer.status_code, answer.json()["published"]) == (201, False)


async def test_the_order_to_drain_is_obeyed_while_the_first_map_is_being_made(tmp_path, monkeypatch):
    async def never(self, number: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("edgeproxy.control.publish.Publisher.published", never)
    monkeypatch.setattr(module, "MAP_SECONDS", 600.0)
    supervisor = Supervisor(tmp_path)
    supervisor.channel.send(Drain())
    async with supervisor.running():
        assert not supervisor.ready.is_set()


async def test_a_part_that_fails_is_told_and_started_again(supervisor, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(module, "PROVEN_SECONDS", 0.05)
    async with supervisor.running():
        controller = supervisor.controller
        errors: list[Exception] = [MapError("The disk is full."), ZeroDivisionError("hunter2")]
        seen: list[str] = []

        async def part() -> None:
            error = controller.faults.of("part")
            seen.append("" if error is None else error.detail)
            if errors:
                raise errors.pop(0)
            await asyncio.sleep(60)

        task = asyncio.ensure_future(controller.keep("part", part))
        deadline = time.monotonic() + 60
        while len(seen) < 3 or controller.faults.of("part") is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert seen == ["", "The disk is full.", "Something went wrong in part; the log has the reason."]
        assert controller.metrics._errors == {"part": 1}
        task.cancel()


async def test_open_requests_end_well_when_the_process_drains(supervisor):
    async with supervisor.running() as client:
        begun, gate = asyncio.Event(), asyncio.Event()

        async def slow(number: int) -> None:
            begun.set()
            await gate.wait()

        supervisor.controller.context.plane.publisher.published = slow
        request = asyncio.ensure_future(client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"}))
        await asyncio.wait_for(begun.wait(), 60)
        supervisor.controller.drain()
        gate.set()
        assert (await request).status_code == 201


def test_the_one_known_error_within_a_group_is_what_the_supervisor_is_told():
    error = StateError("x")
    assert known_error(error) is error
    assert known_error(BaseExceptionGroup("", [ExceptionGroup("", [error])])) is error
    assert known_error(ExceptionGroup("", [error, ValueError()])) is None
    assert known_error(ValueError()) is None
    assert isinstance(error, EdgeError)


PROGRAM = textwrap.dedent(
    """
    import socket, sys, time
    from pathlib import Path
    from edgeproxy.config.issuance import Issuance
    from edgeproxy.config.machine import State
    from edgeproxy.config.monitoring import Log
    from edgeproxy.config.structs import Config
    from edgeproxy.control.controller import main
    from edgeproxy.link.start import ChildStart
    directory, channel, admin = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    config = Config(state=State(directory=str(directory)), issuance=Issuance(directory="internal"), log=Log(format="json"))
    sys.exit(main(ChildStart(
        config=config, config_path=None, state_directory=directory, channel=socket.socket(fileno=channel),
        sockets={"admin": socket.socket(fileno=admin)}, started_at=time.time(),
    )))
    """
)


@pytest.fixture
async def process(tmp_path):
    """A controller in a process of its own, ready; and the supervisor's end of its channel."""
    channel, theirs = Channel.pair()
    admin = socket.socket(socket.AF_UNIX)
    admin.bind(str(tmp_path / "admin.sock"))
    with admin, theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(theirs.fileno()), str(admin.fileno())],
            pass_fds=(theirs.fileno(), admin.fileno()),
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    try:
        received = await asyncio.wait_for(channel.receive(), 60)
        assert received is not None
        assert isinstance(received.message, Ready)
        received = await asyncio.wait_for(channel.receive(), 60)
        assert received is not None
        assert isinstance(received.message, Alive), "from now on it gives signs of life"
        yield child, channel
    finally:
        child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()
        channel.close()


async def test_told_to_end_while_it_still_starts_it_does_so_at_once(supervisor, monkeypatch):
    go = threading.Event()
    asked = threading.Event()

    def endless(name):
        asked.set()
        go.wait()
        return sys.modules[name]

    monkeypatch.setattr(importing, "_loaded", set())
    monkeypatch.setattr("importlib.import_module", endless)
    try:
        start = ChildStart(
            config=supervisor.config,
            config_path=None,
            state_directory=supervisor.directory,
            channel=supervisor._theirs,
            sockets={},
            started_at=time.time(),
        )
        controller = Controller(start, supervisor.gone.set)
        running = asyncio.ensure_future(controller.run())
        assert await asyncio.to_thread(asked.wait, 30)
        controller.drain()
        await asyncio.wait_for(running, 60)
    finally:
        go.set()
        supervisor.channel.close()


async def test_it_ends_at_once_when_the_supervisor_is_gone(process):
    child, channel = process
    channel.close()
    assert await asyncio.to_thread(child.wait, 60) == 1
    assert b"the supervisor is gone" in child.stderr.read()


async def test_it_drains_on_sigterm_and_ignores_sigint(process):
    child, _ = process
    child.send_signal(signal.SIGINT)
    await asyncio.sleep(0.2)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(child.wait, 60) == 0
    said = child.stderr.read()
    assert b"the controller is ready" in said
    assert [line for line in said.splitlines() if b'"level":"info"' not in line] == []
