"""Looks up routes in a published map of its own making, in this process, as a worker does. Run as a process:
`python -m bench.load.routing`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.errors import BenchError, WrongAnswer
from bench.traffic import DOMAIN
from edgeproxy.config.structs import Config
from edgeproxy.edge.encoded import RouteEncodings
from edgeproxy.edge.route import Route, Routes
from edgeproxy.published.reader import MapReader
from edgeproxy.published.records import Site
from edgeproxy.published.writer import MapWriter, Put

HOT = 1_000
"""Hostnames that are asked for again and again."""

BLOCK = 100
"""Look-ups that are timed together: the clock takes a part of a microsecond itself."""

_WARM_BLOCKS = 2_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the process is to do."""

    folder: Path
    sites: int
    unseen: int
    """Hostnames that are asked for once."""

    def command(self) -> Sequence[str]:
        """The process."""
        values = [f"--{field}={value}" for field, value in dataclasses.asdict(self).items()]
        return [sys.executable, "-m", "bench.load.routing", *values]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Microseconds for a look-up, the mean of each block."""

    warm: Sequence[float]
    unseen: Sequence[float]


def look_up(orders: Orders) -> Timed:
    """Raises WrongAnswer where a hostname is not found, or leads elsewhere."""
    orders.folder.mkdir(parents=True, exist_ok=True)
    writer = MapWriter(orders.folder)
    writer.rebuild(_sites(orders.sites), 1)
    writer.close()
    reader = MapReader(orders.folder)
    try:
        config = Config()
        routes = Routes(config, reader.site, lambda _result: None, encodings=RouteEncodings(config).of_route)
        numbers = random.Random(1).sample(range(orders.sites), orders.unseen + HOT + BLOCK)
        timed_once(routes.find, numbers[-BLOCK:])  # what is made once
        unseen = timed_once(routes.find, numbers[: orders.unseen])
        hot = numbers[orders.unseen : orders.unseen + HOT]
        timed_once(routes.find, hot)
        chosen = random.Random(2)
        asked = [[chosen.choice(hot) for _ in range(BLOCK)] for _ in range(_WARM_BLOCKS)]
        return Timed(warm=[each for block in asked for each in timed_once(routes.find, block)], unseen=unseen)
    finally:
        reader.close()


def timed_once(find: Callable[[str], Route | None], numbers: Sequence[int]) -> list[float]:
    """Microseconds for each of these names, block by block. Raises WrongAnswer where one is not found."""
    means = []
    for start in range(0, len(numbers) - BLOCK + 1, BLOCK):
        block = numbers[start : start + BLOCK]
        hostnames = [hostname(number) for number in block]
        begun = time.perf_counter()
        for each in hostnames:
            find(each)
        means.append((time.perf_counter() - begun) / BLOCK * 1e6)
        for number, each in zip(block, hostnames, strict=True):
            route = find(each)
            if route is None or route.workspace != workspace(number):
                raise WrongAnswer(f"{each} led to {None if route is None else route.workspace}.")
    return means


def hostname(number: int) -> str:
    """Of a site."""
    return f"cust{number:07}.{DOMAIN}"


def workspace(number: int) -> str:
    """Whose it is."""
    return f"ws_{number:07}"


def _sites(count: int) -> Iterator[Put]:
    for number in range(count):
        yield "sites", hostname(number), Site(workspace=workspace(number), certificate=f"c{number:07}", stable_since=1.7e9)


def parse(output: str) -> Timed:
    """Reads what the process prints. Raises BenchError where it is something else."""
    for line in output.splitlines():
        if line.startswith("timed "):
            return Timed(**json.loads(line.removeprefix("timed ")))
    raise BenchError(f"Routes could not be looked up. The process printed:\n{output[-1000:]}")


def main() -> None:
    """Does what the command line says, and prints what `parse` reads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sites", type=int, required=True)
    parser.add_argument("--unseen", type=int, required=True)
    sys.stdout.write("timed " + json.dumps(dataclasses.asdict(look_up(Orders(**vars(parser.parse_args()))))) + "\n")


if __name__ == "__main__":
    main()
