"""What strangers cost who ask for names that nobody registered: CPU time for each handshake, and memory after very many.

Only this program is measured, with one worker on the proxies' core and its settings as they come. Each name is another one.
Where a gate decides, and one stranger sends all of them, it is the limit for their network (limits.unknown_names) that keeps
it cheap.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence

from bench.children import Child, free_ports
from bench.cpu import read_tree, total_seconds
from bench.errors import BenchError, WrongAnswer
from bench.load.process import as_child, report
from bench.load.strangers import Flood
from bench.many import private_bytes
from bench.origin import Origin
from bench.peers import edgeproxy
from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    names: int
    """All together."""
    warm: int
    """Of them, before memory is looked at first: what is bounded (limits.negative_names) is full by then."""
    parts: int
    """In so many parts the rest comes; each gives a figure."""
    gated: int
    """Names that one stranger asks for where a gate decides, in parts too."""
    seconds: float
    """For each part at most, and for the warming; fewer names come where they do not suffice, which is told."""


FULL = Plan(names=1_000_000, warm=50_000, parts=10, gated=60_000, seconds=40.0)
QUICK = Plan(names=60_000, warm=30_000, parts=3, gated=12_000, seconds=10.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """What came of it."""

    names: int
    """Different names that were refused."""
    cpu_us: Sequence[float]
    """CPU microseconds of the whole process tree per refused handshake, for each part."""
    gated_us: Sequence[float]
    """The same where a gate says no to all of them and they come from one address."""
    before: int
    """Bytes that worker and controller have for themselves when they have just started."""
    warm: int
    """The same after the first names."""
    after: int
    """The same after all."""


async def measure_denied(stage: Stage, origin: Origin, plan: Plan) -> Denied:
    """Raises WrongAnswer where a handshake is not refused as it must be."""
    https, http = free_ports(2)
    child = await edgeproxy.serve(stage, "edgeproxy-denied", (https, http, origin.port), edgeproxy.INTERNAL, stage.tenants)
    before = _memory(child.pid)
    done = await _flood(stage, Flood(port=https, first=0, count=plan.warm, seconds=plan.seconds))
    warm = _memory(child.pid)
    rest = Flood(port=https, first=done, count=plan.names - plan.warm, seconds=plan.seconds)
    count, costs = await _parts(stage, child, rest, plan.parts)
    after = _memory(child.pid)
    gated = await _gated(stage, origin, plan)
    return Denied(names=done + count, cpu_us=costs, gated_us=gated, before=before, warm=warm, after=after)


async def _gated(stage: Stage, origin: Origin, plan: Plan) -> list[float]:
    https, http = free_ports(2)
    async with _gate() as gate:
        issuance = f'{edgeproxy.INTERNAL}\n[issuance.allow]\ngate = "{gate}"'
        child = await edgeproxy.serve(stage, "edgeproxy-gated", (https, http, origin.port), issuance, stage.tenants)
        flood = Flood(port=https, first=0, count=plan.gated, seconds=plan.seconds, one_address=1)
        return (await _parts(stage, child, flood, plan.parts))[1]


@contextlib.asynccontextmanager
async def _gate() -> AsyncIterator[str]:
    """The URL of a gate that admits nobody."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/may"


async def _parts(stage: Stage, child: Child, flood: Flood, parts: int) -> tuple[int, list[float]]:
    """How many names were refused, and for each part the CPU microseconds of one."""
    done, costs = 0, []
    for _ in range(parts):
        spent = total_seconds(read_tree(child.pid))
        part = dataclasses.replace(flood, first=flood.first + done, count=flood.count // parts)
        count = await _flood(stage, part)
        costs.append((total_seconds(read_tree(child.pid)) - spent) / count * 1e6)
        done += count
    child.check_alive()
    return done, costs


def _memory(root: int) -> int:
    """Private bytes of the whole tree, the published map not counted."""
    return sum(private_bytes(pid) for pid in read_tree(root))


async def _flood(stage: Stage, flood: Flood) -> int:
    """How many names were refused."""
    command = flood.command()
    async with as_child(stage, command) as child:
        done = await report(command, child, flood.seconds + 20.0)
    if done.failures:
        raise WrongAnswer(f"Names that nobody registered: {'; '.join(done.failures)}")
    if not done.succeeded:
        raise BenchError("Not one name that nobody registered was tried.")
    return done.succeeded
