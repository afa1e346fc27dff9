"""A million domains from one file: how long that takes, who is kept waiting meanwhile, and what the control plane costs with so
many: pages of the listing, registrations by the hundred a second, memory.

Only this program, with two workers on both cores, as it would run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import random
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bench
from bench.children import Child, free_ports
from bench.door import DOMAINS, Door
from bench.errors import BenchError, WrongAnswer
from bench.figures import percentile
from bench.load.client import read_http1
from bench.many import WILDCARD, certify, controller_of, private_bytes, workers_of
from bench.origin import Origin
from bench.parts import Measurement, Table
from bench.peers import edgeproxy
from bench.scale import WORKERS, running
from bench.stage import Stage
from bench.targets import Outcome
from bench.traffic import Tenant
from edgeproxy.control.issuance.renewal import DAY, renew_at

WRONG = 100
"""Lines of the file that must be refused."""

RATE = 500
"""Registrations a second."""

NAME = "import"

PLANNED = 1_000_000
"""Certificates whose renewals are planned, by a clock that is only counted."""

IMPORTED_RATE = 1_000_000 / 300
"""Domains a second: a million in five minutes."""

CHANGED_SECONDS = 0.1
"""Until a change by somebody else counts in every worker meanwhile; 95th percentile."""

PAGE_SECONDS = 0.05
"""Of a page of a hundred domains among all of them; 95th percentile of the slowest kind."""

REGISTRATION_SECONDS = 1.0
"""Of a registration, RATE of them coming each second; 99th percentile."""

CONTROLLER_BYTES = 300_000_000
"""Of the controller alone, with all of them."""

WORKER_GROWTH_BYTES = 3_000_000
"""By which a worker's private memory may differ from what it is with a handful of domains."""

UNEVEN = 1.1
"""The busiest hour's renewals over those of a middle one, of certificates that were all made at once."""

_CHANGED = Tenant("changed.newcomers.test", "changed")
_WORKSPACES = 50_000
_CLIENTS = 16
_START = 0.5
"""Seconds until the command says how long it took: to load it. That it has ended is seen only between two changes."""

_LIFE = 90 * DAY
_REST = 0.3
"""Seconds between two changes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    domains: int
    certificates: int
    pages: int
    """Pages of each kind that are listed."""
    registered_for: float
    """Seconds for which RATE domains are registered."""
    visited: int
    """Hostnames that are visited before memory is looked at."""


FULL = Plan(domains=1_000_000, certificates=100_000, pages=60, registered_for=20.0, visited=400)
QUICK = Plan(domains=20_000, certificates=2_000, pages=20, registered_for=4.0, visited=100)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What came of it."""

    domains: int
    certificates: int
    seconds: float
    """Of the import, from the command's exec to its end."""
    changes: Sequence[float]
    """Seconds from a change by somebody else, meanwhile, until every worker did as it says."""
    pages: Mapping[str, Sequence[float]]
    """Seconds of each page of the listing, by kind of page."""
    registrations: Sequence[float]
    """Seconds of a registration, from when it was due: at each percent of them, from the fastest to the slowest."""
    rate: float
    """Registrations a second that were done."""
    controller: int
    """Private bytes of the controller: the most after the import, after the registrations, and after a start."""
    workers_before: Sequence[int]
    """Private bytes of each worker with a handful of domains, after some visits."""
    workers_after: Sequence[int]
    """The same with all of them."""
    renewals: Sequence[int]
    """How many of PLANNED certificates, all made within an hour, become due for renewal in each hour from the first one on, by
    the program's own plan; 90 days each."""

    def tables(self) -> list[Table]:
        """All figures."""
        rows = [[f"{edgeproxy.NAME}, {self.domains:,} domains from a file", "median", "95th percentile", "greatest"]]
        for title, times in (
            (f"meanwhile: a change by somebody else, until every worker does so (of {len(self.changes)})", self.changes),
            *((f"with all of them: a page of the listing, {kind}", times) for kind, times in self.pages.items()),
            (f"with all of them: a registration, {RATE} a second", self.registrations),
        ):
            figures = (statistics.median(times), percentile(times, 0.95), max(times))
            rows.append([title, *(f"{value * 1000:.0f} ms" for value in figures)])
        few, all_ = (" / ".join(f"{size / 1e6:.1f}" for size in sizes) for sizes in (self.workers_before, self.workers_after))
        for title, figure in (
            ("until all were stored and served", f"{self.seconds:.0f} s, {self.domains / self.seconds:,.0f}/s"),
            (f"the controller's private memory, with {self.certificates:,} certificates", f"{self.controller / 1e6:.0f} MB"),
            ("workers' private memory with a handful of domains", f"{few} MB"),
            ("workers' private memory with all of them", f"{all_} MB"),
        ):
            rows.append([title, figure, "–", "–"])
        return [rows]

    def outcomes(self) -> list[Outcome]:
        """The targets of the control plane."""
        rate, changed = self.domains / self.seconds, percentile(self.changes, 0.95)
        slowest, kind = max((percentile(times, 0.95), kind) for kind, times in self.pages.items())
        registered, grown = percentile(self.registrations), max(self.workers_after) - max(self.workers_before)
        uneven = max(self.renewals) / statistics.median(self.renewals)
        told = [
            (
                f"{self.domains:,} domains in {self.seconds:.0f} s, {rate:,.0f} a second, at least {IMPORTED_RATE:,.0f}",
                rate >= IMPORTED_RATE,
            ),
            (
                (
                    f"meanwhile a change counts everywhere after {changed * 1000:.0f} ms (95th percentile), below "
                    f"{CHANGED_SECONDS * 1000:.0f} ms"
                ),
                changed < CHANGED_SECONDS,
            ),
            (
                (
                    f"a page of the listing ({kind}) after {slowest * 1000:.0f} ms (95th percentile), below "
                    f"{PAGE_SECONDS * 1000:.0f} ms"
                ),
                slowest < PAGE_SECONDS,
            ),
            (
                (
                    f"{self.rate:.0f} registrations a second of {RATE}, each after {registered * 1000:.0f} ms (99th "
                    f"percentile), below {REGISTRATION_SECONDS:g} s"
                ),
                self.rate >= 0.98 * RATE and registered < REGISTRATION_SECONDS,
            ),
            (
                f"{self.controller / 1e6:.0f} MB of the controller alone, at most {CONTROLLER_BYTES / 1e6:.0f} MB",
                self.controller <= CONTROLLER_BYTES,
            ),
            (
                f"{grown / 1e6:+.1f} MB of a worker alone, at most {WORKER_GROWTH_BYTES / 1e6:+.1f} MB",
                grown <= WORKER_GROWTH_BYTES,
            ),
            (
                (
                    f"{PLANNED:,} certificates of one hour are renewed over {len(self.renewals)} hours, in the busiest "
                    f"{uneven:.2f} × as many as in a middle one, at most {UNEVEN:g} ×"
                ),
                uneven <= UNEVEN,
            ),
        ]
        return [Outcome(f"{NAME}: {text}", reached) for text, reached in told]


async def measure_bulk(stage: Stage, origin: Origin, _peers: Sequence[str], quick: bool) -> Bulk:
    """Raises WrongAnswer where something is not answered, or not imported, as it must be."""
    plan = QUICK if quick else FULL
    folder = stage.folder("bulk")
    https, http_port = free_ports(2)
    door = Door(https, folder / "state" / "internal-ca.pem", stage.socket_path("admin.sock"))
    config = edgeproxy.write_config(folder, door.admin, (https, http_port, origin.port), edgeproxy.INTERNAL, workers=WORKERS)
    (folder / "state").mkdir(mode=0o700)
    file = folder / "domains.csv"
    write_file(file, plan.domains)
    few = [Tenant(f"few{number:04}.newcomers.test", "few") for number in range(plan.visited)]
    async with running(stage, config, "bulk") as child:
        for tenant in (_CHANGED, *few):
            body = {"domain": tenant.hostname, "workspace_id": tenant.workspace}
            await asyncio.to_thread(door.call, "POST", DOMAINS, body, 201)
        await asyncio.to_thread(door.visit_all, (_CHANGED, *few))
        workers = workers_of(child.pid)
        before = [private_bytes(pid) for pid in workers]
        seconds, changes = await _imported(stage, door, file, workers, plan)
        controller = [private_bytes(controller_of(child.pid))]
        pages = await asyncio.to_thread(_pages, door, plan)
        registrations, rate = await asyncio.to_thread(_registered, door, plan.registered_for)
        controller.append(private_bytes(controller_of(child.pid)))
        await asyncio.to_thread(door.call, "POST", f"/api/v1/infrastructure/ssl/{WILDCARD}", None, 200)
    await certify(folder / "state", [tenant_of(number) for number in range(plan.certificates)])
    async with running(stage, config, "bulk") as child:
        await asyncio.to_thread(door.visit_all, few)
        await asyncio.to_thread(door.wait_published, 600.0)
        workers = workers_of(child.pid)
        after = [private_bytes(pid) for pid in workers]
        controller.append(private_bytes(controller_of(child.pid)))
    return Bulk(
        domains=plan.domains,
        certificates=plan.certificates,
        seconds=seconds,
        changes=changes,
        pages=pages,
        registrations=[percentile(registrations, share / 100) for share in range(101)],
        rate=rate,
        controller=max(controller),
        workers_before=before,
        workers_after=after,
        renewals=await asyncio.to_thread(renewals, PLANNED),
    )


def tenant_of(number: int) -> Tenant:
    """The domain with this number: each is another customer's."""
    return Tenant(f"shop.customer{number:07}.com", f"ws_{number % _WORKSPACES:05}")


def write_file(path: Path, count: int) -> None:
    """A CSV file with so many domains in no order, WILDCARD, and WRONG lines that are none."""
    order = list(range(count))
    random.Random(count).shuffle(order)
    with path.open("w") as file:
        file.write("hostname,workspace\n")
        file.write(f"{WILDCARD},nobody\n")
        for place, number in enumerate(order):
            tenant = tenant_of(number)
            file.write(f"{tenant.hostname},{tenant.workspace}\n")
            if place % (count // WRONG) == 0:
                file.write(f"wrong {place},{tenant.workspace}\n")


async def _imported(stage: Stage, door: Door, file: Path, workers: Sequence[int], plan: Plan) -> tuple[float, Sequence[float]]:
    """Seconds of the import, and of changes meanwhile."""
    command = [sys.executable, "-m", "edgeproxy", "domains", "import", str(file), "--socket", str(door.admin), "--json"]
    log = stage.work / "import.log"
    cores = ",".join(sorted({stage.cores.proxy, stage.cores.load}))
    environment = {"PYTHONPATH": str(Path(bench.__file__).parents[1])}
    changes: list[float] = []
    began = time.monotonic()
    async with Child("import", command, cores=cores, log=log, niceness=stage.niceness, environment=environment) as child:
        while child.is_running:
            changes.append(await asyncio.to_thread(_change, door, workers, bool(len(changes) % 2)))
            await asyncio.sleep(_REST)
        seconds = time.monotonic() - began
    text = log.read_text()
    told = json.loads(text[text.index("{\n") :]) if "{\n" in text else {}
    expected = {"added": plan.domains + 1, "there": 0, "refused": WRONG}
    if {name: told.get(name) for name in expected} != expected:
        raise WrongAnswer(f"The import ended otherwise than expected: {text[-2000:]}")
    refused = file.with_name("domains.refused.csv").read_text().splitlines()
    if len(refused) != WRONG + 1 or "invalid_name" not in refused[-1]:
        raise WrongAnswer(f"{len(refused) - 1} refused lines were written, the last one {refused[-1]!r}.")
    await asyncio.to_thread(door.visit_all, [tenant_of(number) for number in range(0, plan.domains, plan.domains // 20)])
    return min(float(told["seconds"]) + _START, seconds), changes


def _change(door: Door, workers: Sequence[int], served: bool) -> float:
    """Has a domain closed, or opened again: seconds until each of the workers does so to who asks."""
    with door.one_each(workers) as plain:
        visitors = [door.context.wrap_socket(each, server_hostname=_CHANGED.hostname) for each in plain.values()]
        began = time.monotonic()
        door.call("PATCH", f"{DOMAINS}/{_CHANGED.hostname}", {"maintenance": not served}, 200)
        for visitor in visitors:
            while True:
                visitor.sendall(f"GET / HTTP/1.1\r\nHost: {_CHANGED.hostname}\r\n\r\n".encode())
                if (read_http1(visitor).status == 503) is not served:
                    break
                if time.monotonic() - began > 30.0:
                    raise WrongAnswer("A change does not reach a worker within 30 s.")
        took = time.monotonic() - began
        for visitor in visitors:
            visitor.close()
    return took


def _pages(door: Door, plan: Plan) -> dict[str, list[float]]:
    """Seconds of each page, by kind."""
    deep = tenant_of(plan.domains * 9 // 10).hostname.encode().hex()
    kinds: dict[str, Callable[[int], str]] = {
        "first page": lambda _: "",
        "deep page": lambda _: f"cursor={deep}",
        "of a workspace": lambda number: f"workspace_id={tenant_of(number * 97).workspace}",
        "of a state, deep": lambda _: f"state=verified&cursor={deep}",
        "of a workspace and a state": lambda number: f"workspace_id={tenant_of(number * 97).workspace}&state=active",
        "by beginning": lambda number: f"prefix=shop.customer00{number:02}",
        "of a state that few have": lambda _: "state=suspended",
    }
    found: dict[str, list[float]] = {}
    for kind, query in kinds.items():
        times = found[kind] = []
        for number in range(plan.pages):
            began = time.monotonic()
            door.call("GET", f"{DOMAINS}?{query(number)}", None, 200)
            times.append(time.monotonic() - began)
    return found


def _registered(door: Door, seconds: float) -> tuple[list[float], float]:
    """Registers RATE domains a second: seconds of each from when it was due, and how many a second were done."""
    began = time.monotonic() + 0.2
    count = int(RATE * seconds)

    def client(first: int) -> list[float]:
        times = []
        with_connection = _Registering(door)
        for number in range(first, count, _CLIENTS):
            due = began + number / RATE
            _pause(max(0.0, due - time.monotonic()))
            with_connection.register(f"shop{number}.newcomers.test")
            times.append(time.monotonic() - due)
        with_connection.close()
        return times

    with ThreadPoolExecutor(_CLIENTS) as threads:
        times = [each for part in threads.map(client, range(_CLIENTS)) for each in part]
    return times, count / (time.monotonic() - began)


class _Registering:
    """A program that registers domains, over one connection."""

    def __init__(self, door: Door) -> None:
        self._connection = http.client.HTTPConnection("localhost", timeout=60.0)
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.settimeout(60.0)
        self._connection.sock.connect(str(door.admin))

    def register(self, hostname: str) -> None:
        """One domain. Raises BenchError where every worker does not serve it when that is answered."""
        body = json.dumps({"domain": hostname, "workspace_id": "newcomers"})
        self._connection.request("POST", DOMAINS, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 201 or not json.loads(text)["published"]:
            raise BenchError(f"{hostname} was not registered: {answer.status} {text[:300]!r}")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def renewals(count: int) -> list[int]:
    """By a clock that is only counted: so many certificates that were made within an hour, by the hour in which each becomes
    due. Pure."""
    due = Counter(
        int(renew_at(made := 3_600.0 * number / count, made + _LIFE, f"{number:x}") // 3_600) for number in range(count)
    )
    return [due[hour] for hour in range(min(due), max(due) + 1)]


def _pause(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - never in a loop of asyncio


def _read(data: Any) -> Bulk:
    return Bulk(**data)


MEASUREMENT = Measurement(
    measure=measure_bulk,
    read=_read,
    note=(
        "- Domains from a file come as CSV in no order, each another customer's, by `edgeproxy domains import`; two workers,\n"
        "  on both cores, which the command has to share. Meanwhile somebody closes a domain for maintenance and opens it\n"
        "  again; it counts when each worker has answered so over a connection that was there before. Registrations come from\n"
        "  16 clients of the admin socket, their time from when each was due. Then the program is started anew, with\n"
        "  certificates for some."
    ),
)
