"""Running load processes to their end."""

from __future__ import annotations

from pathlib import Path

from bench.children import Child
from bench.errors import BenchError, WrongAnswer
from bench.load.arguments import Orders, parse
from bench.load.base import LoadCommand, LoadReport, client_environment
from bench.stage import Stage
from bench.traffic import Tenant

_VISIT_LIMIT = 60.0


def as_child(stage: Stage, command: LoadCommand, *, yielding: int = 0) -> Child:
    """The load process, not yet started, on the load's core; see Stage.load_child."""
    return stage.load_child(command.name, command.command, client_environment(stage), yielding=yielding)


async def report(command: LoadCommand, child: Child, seconds: float) -> LoadReport:
    """What the process counted, once it has ended; raises BenchError if it fails or takes longer."""
    status = await child.wait(seconds)
    output = child.log.read_text(errors="replace")
    if status:
        raise BenchError(f"{command.name} ended with status {status}. It printed:\n{output[-1000:]}")
    return command.parse(output)


async def first_visits(
    stage: Stage, name: str, port: int, root_file: Path, visited: tuple[Tenant, ...], *, rate: float = 0.0
) -> tuple[float, ...]:
    """Visits each tenant once: seconds to its whole answer. Raises WrongAnswer where one is not as it must be."""
    orders = Orders(port=port, root_file=root_file, tenants=visited, seconds=_VISIT_LIMIT, mode="first", rate=rate)
    command = LoadCommand(name=f"first-visits-{name}", command=orders.command("bench.load.newcomers"), parse=parse)
    async with as_child(stage, command) as child:
        done = await report(command, child, _VISIT_LIMIT)
    if done.failures:
        raise WrongAnswer(f"{name}, first visits: {'; '.join(done.failures)}")
    return done.seconds
