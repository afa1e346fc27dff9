"""The command line that our own load processes share."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import BenchError, WrongAnswer
from bench.load.base import LoadReport
from bench.traffic import Tenant


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a load process is to do."""

    port: int
    root_file: Path
    tenants: tuple[Tenant, ...]
    seconds: float
    mode: str
    path_root: str = "/"
    rate: float = 0.0
    """Requests per second, 0: as fast as it goes."""

    def command(self, module: str) -> list[str]:
        """The command that runs a module of this package with these orders."""
        return [
            *(sys.executable, "-m", module, "--port", str(self.port), "--root-file", str(self.root_file)),
            *("--tenants", ",".join(f"{tenant.hostname}={tenant.workspace}" for tenant in self.tenants)),
            *("--seconds", str(self.seconds), "--mode", self.mode, "--path-root", self.path_root, "--rate", str(self.rate)),
        ]


def read_orders(arguments: Sequence[str] | None = None) -> Orders:
    """Reads what `Orders.command` has written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root-file", type=Path, required=True)
    parser.add_argument("--tenants", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--mode", required=True)
    parser.add_argument("--path-root", default="/")
    parser.add_argument("--rate", type=float, default=0.0)
    values = parser.parse_args(arguments)
    return Orders(
        port=values.port,
        root_file=values.root_file,
        tenants=tuple(Tenant(*pair.split("=")) for pair in values.tenants.split(",")),
        seconds=values.seconds,
        mode=values.mode,
        path_root=values.path_root,
        rate=values.rate,
    )


def run_and_report(work: Callable[[Orders], LoadReport]) -> None:
    """Runs `work` and prints the report line that `parse` reads; what it raises is a failure in the report."""
    try:
        report = work(read_orders())
    except WrongAnswer as error:
        report = LoadReport(succeeded=0, failures={str(error): 1})
    except (OSError, ValueError) as error:
        report = LoadReport(succeeded=0, failures={f"{type(error).__name__}: {error}": 1})
    sys.stdout.write("report " + json.dumps(dataclasses.asdict(report)) + "\n")


def parse(output: str) -> LoadReport:
    """Reads that line."""
    for line in output.splitlines():
        if line.startswith("report "):
            values = json.loads(line.removeprefix("report "))
            return LoadReport(**{**values, "seconds": tuple(values["seconds"]), "late": tuple(values["late"])})
    raise BenchError(f"A load process gave no report. It printed:\n{output[-1000:]}")
