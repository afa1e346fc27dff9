"""Very many domains that wait for their record, all due at the same moment: how soon each was looked at, what that costs, how
much servers are asked. And whether those are served meanwhile who wait: programs that ask how it stands with a domain, visitors
of names without a certificate, customers whose record is right.

Only this program, with one worker, beside a DNS that counts what it is asked and a local ACME server.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import bench
from bench.children import free_ports
from bench.cpu import TICK, read_tree
from bench.door import Door
from bench.errors import BenchError, WrongAnswer
from bench.load.base import client_environment
from bench.load.nameserver import DEAD_MARK, TARGET, command
from bench.load.process import first_visits
from bench.many import controller_of, opened
from bench.origin import Origin
from bench.pebble import start_pebble
from bench.peers import edgeproxy
from bench.stage import Stage
from bench.traffic import Tenant, tenants
from edgeproxy.control.store import schema
from edgeproxy.control.store.base import parent_of
from edgeproxy.model import DomainState

_DOMAINS = "/api/v1/infrastructure/domains"
_API = Tenant("api.edge-bench.com", "")
_DEAD_EVERY = 50
"""One of so many customers' zones is at a server that never answers."""

_ALONE = 0.25
"""Until this part of the domains was looked at nothing else is asked of the program: it gives the cost of a look."""

_PATIENCE = 400.0
_LOOKS = 400
"""Looks that there were before."""

_QUIET_POLLS = 400
_VISIT_RATE = 2.0
_FIRST = 70
"""Number of the first tenant who is visited here: the last ones whose workspaces have ids of the usual length."""
_AGE = 86_400.0
"""Seconds since when the domains wait: they are due every five minutes by now."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    domains: int
    polls: float
    """Requests a second for how it stands with one of the domains: 2,000 domains every 30 s."""
    visits: int
    """Visits to names without a certificate meanwhile."""
    customers: int
    """Customers who register a name, with the record right before and after; in quiet times and meanwhile."""


FULL = Plan(domains=10_000, polls=67.0, visits=20, customers=4)
QUICK = Plan(domains=1_500, polls=67.0, visits=5, customers=2)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What came of it."""

    domains: int
    seconds: float
    """From the moment at which all became due until each was looked at."""
    look_cpu_ms: float
    """CPU milliseconds of the controller for a look."""
    asked_resolver: float
    """Questions to the resolver for each look."""
    asked_authority: float
    """The same to the zones' own servers; 0 where port 53 could not be had, so that the resolver decided alone."""
    busiest: int
    """Questions to the resolver in its busiest second."""
    at_once: int
    """Questions under way at most, at all servers together."""
    poll_cpu_ms: float
    """CPU milliseconds of the controller for an answer how it stands with a domain, in quiet times."""
    polls: Sequence[float]
    """Seconds of each such answer meanwhile."""
    visits: Sequence[float]
    """Seconds until a visitor of a name without a certificate was served meanwhile."""
    registered: Sequence[float]
    """Seconds from a registration with the record right to `active`, in quiet times."""
    registered_meanwhile: Sequence[float]
    appeared: Sequence[float]
    """Seconds from the moment at which the record was made to `active`, in quiet times."""
    appeared_meanwhile: Sequence[float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What runs."""

    door: Door
    control: int
    """Port at which the DNS takes commands."""
    database: Path
    controller: int
    """Its process id."""
    token: str

    def cpu(self) -> float:
        """CPU seconds of the controller so far."""
        return read_tree(self.controller)[self.controller].own * TICK

    def looked(self) -> int:
        """How many of the domains that wait were looked at."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30.0)) as store:
            return int(
                store.execute("SELECT count(*) FROM domains WHERE looks > ? AND hostname LIKE 'shop.%'", (_LOOKS,)).fetchone()[
                    0
                ]
            )

    def make_due(self) -> None:
        """All of them, at once."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=30.0, isolation_level=None)) as store:
            store.execute("UPDATE domains SET next_look = ? WHERE hostname LIKE 'shop.%'", (time.time(),))


async def measure_pending(stage: Stage, origin: Origin, plan: Plan) -> Pending:
    """Raises WrongAnswer where somebody is not answered as they must be, BenchError where it takes longer than _PATIENCE."""
    https, http_port, resolver, control = free_ports(4)
    names = await stage.start_other(
        "customers-dns",
        [sys.executable, "-m", "bench.load.nameserver", "--resolver", str(resolver), "--control", str(control)],
        client_environment(stage),
    )
    ca = await start_pebble(stage, "pending", http_port, https)
    warm, *visited = tenants(plan.visits + 1, _FIRST)
    issuance = (
        f'directory = "{ca.directory}"\nca_bundle = "{ca.api_root_file}"\nagree_terms = true\n'
        f'[issuance.budget]\ncertificates = 1000\n[api]\nhostname = "{_API.hostname}"\n'
        f'[platform]\ncname_target = "{TARGET}"\n[dns]\nresolvers = ["127.0.0.1:{resolver}"]'
    )
    folder = stage.folder("edgeproxy-pending")
    door = Door(https, ca.issued_root_file, stage.socket_path("admin.sock"))
    config = edgeproxy.write_config(folder, door.admin, (https, http_port, origin.port), issuance)
    await fill_pending(folder / "state", [_name(number) for number in range(plan.domains)])
    child = await stage.start_proxy(
        "edgeproxy-pending",
        [sys.executable, "-m", "edgeproxy", "serve", "--config", str(config)],
        {"PYTHONPATH": str(Path(bench.__file__).parents[1]), "EDGEPROXY_ORIGIN__ALLOW": '["127.0.0.0/8"]'},
    )
    await child.wait_listening(https)
    names.check_alive()
    made = await asyncio.to_thread(door.call, "POST", "/api/v1/tokens", {"scope": "platform"}, 201)
    scene = _Scene(
        door=door,
        control=control,
        database=folder / "state" / "edgeproxy.db",
        controller=controller_of(child.pid),
        token=made["token"],
    )
    for tenant in (warm, *visited):
        body = {"domain": tenant.hostname, "workspace_id": tenant.workspace}
        await asyncio.to_thread(door.call, "POST", _DOMAINS, body, 201)
    await first_visits(stage, "pending", https, ca.issued_root_file, (warm,))  # makes the account
    return await _measured(stage, scene, plan, tuple(visited))


async def _measured(stage: Stage, scene: _Scene, plan: Plan, visited: tuple[Tenant, ...]) -> Pending:
    registered = await _registered(scene, "early", plan.customers)
    appeared = await _appeared(scene, "soon", plan.customers)
    spent = scene.cpu()
    quiet = await asyncio.to_thread(_poll, scene, plan, lambda done: done >= _QUIET_POLLS)
    poll_cpu = (scene.cpu() - spent) / len(quiet)

    await asyncio.to_thread(command, scene.control, forget=True)
    begun, spent = time.monotonic(), scene.cpu()
    await asyncio.to_thread(scene.make_due)
    alone = await _until_looked(scene, begun, int(plan.domains * _ALONE))
    look_cpu = (scene.cpu() - spent) / alone
    asked = await asyncio.to_thread(command, scene.control, forget=True)
    ended = asyncio.Event()
    polling = asyncio.create_task(asyncio.to_thread(_poll, scene, plan, lambda _: ended.is_set()))
    visiting = asyncio.create_task(
        first_visits(stage, "pending", scene.door.port, scene.door.root_file, visited, rate=_VISIT_RATE)
    )
    customers = asyncio.create_task(_customers(scene, plan))
    try:
        await _until_looked(scene, begun, plan.domains)
        seconds = time.monotonic() - begun
        visits, (registered_meanwhile, appeared_meanwhile) = await visiting, await customers
    finally:
        ended.set()
        for task in (visiting, customers):
            task.cancel()
        await asyncio.gather(visiting, customers, return_exceptions=True)
        polls = await polling
    later = await asyncio.to_thread(command, scene.control)
    return Pending(
        domains=plan.domains,
        seconds=seconds,
        look_cpu_ms=look_cpu * 1000,
        asked_resolver=asked.resolver / alone,
        asked_authority=asked.authority / alone,
        busiest=max(asked.busiest, later.busiest),
        at_once=max(asked.at_once, later.at_once),
        poll_cpu_ms=poll_cpu * 1000,
        polls=polls,
        visits=visits,
        registered=registered,
        registered_meanwhile=registered_meanwhile,
        appeared=appeared,
        appeared_meanwhile=appeared_meanwhile,
    )


async def _customers(scene: _Scene, plan: Plan) -> tuple[list[float], list[float]]:
    return await _registered(scene, "busy", plan.customers), await _appeared(scene, "late", plan.customers)


async def _until_looked(scene: _Scene, begun: float, count: int) -> int:
    """Waits until so many were looked at; how many it are then."""
    while (done := await asyncio.to_thread(scene.looked)) < count:
        if time.monotonic() > begun + _PATIENCE:
            raise BenchError(f"Of {count} domains that were due only {done} were looked at within {_PATIENCE:.0f} s.")
        await asyncio.sleep(0.1)
    return done


async def _registered(scene: _Scene, kind: str, count: int) -> list[float]:
    """Seconds from each registration to `active`, with the record there before."""
    names = [f"www.{kind}{number}.com" for number in range(count)]
    await asyncio.to_thread(command, scene.control, right=names)
    return [await asyncio.to_thread(_until_active, scene, name) for name in names]


async def _appeared(scene: _Scene, kind: str, count: int) -> list[float]:
    """Seconds from the moment at which each record is made to `active`: some seconds after the registration."""
    return [await asyncio.to_thread(_until_active, scene, f"www.{kind}{number}.com", 3.3) for number in range(count)]


def _until_active(scene: _Scene, name: str, late: float = 0.0) -> float:
    began, deadline = time.monotonic(), time.monotonic() + _PATIENCE
    scene.door.call("POST", _DOMAINS, {"domain": name, "workspace_id": "ws", "verify": True}, 201)
    if late:
        _pause(late)
        command(scene.control, right=[name])
        began = time.monotonic()
    while (found := scene.door.call("GET", f"{_DOMAINS}/{name}", None, 200))["state"] != "active":
        if time.monotonic() > deadline:
            raise BenchError(f"{name} is not active: {found['state']}, {found['error']}")
        _pause(0.03)
    return time.monotonic() - began


def _poll(scene: _Scene, plan: Plan, ended: Callable[[int], bool]) -> list[float]:
    """Asks how it stands with one domain after the other, over one connection under api.hostname: seconds of each answer.
    Raises WrongAnswer."""
    times: list[float] = []
    tls = scene.door.context.wrap_socket(scene.door.dial(), server_hostname=_API.hostname)
    with contextlib.closing(http.client.HTTPConnection(_API.hostname, timeout=30.0)) as connection:
        connection.sock = tls
        begun = time.monotonic()
        while not ended(len(times)):
            turn = begun + len(times) / plan.polls
            _pause(max(0.0, turn - time.monotonic()))
            path = f"{_DOMAINS}/{_name(len(times) * 7 % plan.domains)}"
            sent = time.monotonic()
            connection.request("GET", path, headers={"authorization": f"Bearer {scene.token}"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise WrongAnswer(f"GET {path} was answered {answer.status}: {text[:300]!r}")
            times.append(time.monotonic() - sent)
    return times


async def fill_pending(state_directory: Path, hostnames: Sequence[str]) -> None:
    """Makes a state directory in which these domains wait for their record since _AGE, and none of them is due."""
    state_directory.mkdir(mode=0o700, parents=True)
    since = time.time() - _AGE
    rows = [
        {
            "hostname": name,
            "parent": parent_of(name),
            "workspace_id": f"ws{number % 50}",
            "origin": "",
            "state": DomainState.PENDING_VALIDATION.value,
            "created_at": since,
            "updated_at": since,
            "method": "cname",
            "proof": "x" * 32,
            "looks": _LOOKS,
            "looking_since": since,
        }
        for number, name in enumerate(hostnames)
    ]
    async with opened(state_directory) as (store, _), store.database.write() as write:
        await write.connection.execute(schema.domains.insert(), rows)


def _name(number: int) -> str:
    """Each is in a zone of its own."""
    return f"shop.{DEAD_MARK if number % _DEAD_EVERY == 0 else 'customer'}{number:05}.com"


def _pause(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - never in a loop of asyncio
