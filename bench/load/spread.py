"""Visitors spread over very many hostnames, or all of one, by turns. Run as a process: `python -m bench.load.spread`.

Handshakes are a client's of our own that proves each session new and verifies the certificate; names are drawn by Zipf's law,
as visits of a platform's sites are spread. Requests are wrk's, over kept connections under a wildcard certificate: each goes to
any of the hostnames, all alike, which is the worst that a cache of routes can meet.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.errors import WrongAnswer
from bench.load import wrk
from bench.load.arguments import parse
from bench.load.base import LoadCommand, LoadReport
from bench.load.client import client_context, connect, read_http1
from bench.origin import PATH_FIELD, WORKSPACE_FIELD
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import DOMAIN, KINDS, Tenant, browser_fields, tenants

PROCESSES, CONNECTIONS = 4, 16
"""Of wrk so many connections each."""

EXPONENT = 1.0
"""Of Zipf's law: the n-th name is visited 1/n times as often as the first."""

SHARED = f"shared.{DOMAIN}"
"""The server name of connections that carry requests for all hostnames."""

_SCRIPT = """
local tails = {{ {tails} }}
local turn = 0
function wrk.resolve(host, service) wrk.addrs = wrk.lookup("127.0.0.1", service) end
function init(args) math.randomseed({seed}) end
function request()
  turn = turn + 1
  return string.format("GET /p%d HTTP/1.1\\r\\nhost: cust%02d.{domain}\\r\\n", turn % 1344, math.random(0, {last}))
    .. tails[turn % #tails + 1]
end
"""


@dataclasses.dataclass(frozen=True, slots=True)
class RequestsPlan:
    """Requests for so many hostnames."""

    names: int

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        return [self._command(stage, peer, number, seconds) for number in range(PROCESSES)]

    def _command(self, stage: Stage, peer: Peer, number: int, seconds: float) -> LoadCommand:
        script = stage.folder("wrk") / f"spread-{self.names}-{number}.lua"
        script.write_text(self.script(number))
        return LoadCommand(
            name=f"spread-{number}",
            command=[
                *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds)}s", "--timeout", "10s", "-s", str(script)),
                f"https://{SHARED}:{peer.port}/",
            ],
            parse=wrk.parse,
        )

    def script(self, seed: int) -> str:
        """The Lua script of one process."""
        visitors = itertools.product(range(4), KINDS)
        fields = [[("connection", "keep-alive"), *browser_fields(Tenant(SHARED, ""), who, kind)] for who, kind in visitors]
        tails = ["".join(f"{name}: {value}\r\n" for name, value in each) + "\r\n" for each in fields]
        script = _SCRIPT.format(
            tails=", ".join(map(json.dumps, tails)), seed=seed, domain=DOMAIN.replace("%", "%%"), last=self.names - 1
        )
        return script + wrk.DONE


@dataclasses.dataclass(frozen=True, slots=True)
class HandshakesPlan:
    """Handshakes with so many hostnames."""

    names: int

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        orders = [
            Spread(port=peer.port, root_file=peer.root_file, names=self.names, seconds=seconds, seed=seed)
            for seed in range(PROCESSES)
        ]
        return [LoadCommand(name=f"spread-{each.seed}", command=each.command(), parse=parse) for each in orders]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What one process with handshakes is to do."""

    port: int
    root_file: Path
    names: int
    seconds: float
    seed: int

    def command(self) -> Sequence[str]:
        """The process."""
        values = [f"--{field.replace('_', '-')}={value}" for field, value in dataclasses.asdict(self).items()]
        return [sys.executable, "-m", "bench.load.spread", *values]


def drawn(names: int, count: int, seed: int) -> list[int]:
    """Numbers below `names`, by Zipf's law: 0 is the most frequent."""
    weights = itertools.accumulate(1 / rank**EXPONENT for rank in range(1, names + 1))
    return random.Random(f"{seed}/{time.time_ns()}").choices(range(names), cum_weights=list(weights), k=count)


def run(spread: Spread) -> LoadReport:
    """Visits until the time is over. Raises WrongAnswer where anything is not as it must be."""
    context = client_context(spread.root_file, "http/1.1")
    end, visits = time.monotonic() + spread.seconds, 0
    for number in itertools.cycle(drawn(spread.names, 20_000, spread.seed)):
        if time.monotonic() >= end:
            break
        (tenant,) = tenants(1, number)
        fields = [("host", tenant.hostname), ("connection", "close"), *browser_fields(tenant, 0)]
        head = f"GET /p{visits} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        with connect(spread.port, tenant, context) as connection:
            if connection.session_reused:
                raise WrongAnswer(f"{tenant.hostname} resumed a session that nobody offered.")
            connection.sendall(head.encode())
            answer = read_http1(connection)
            told = answer.status, answer.fields.get(WORKSPACE_FIELD), answer.fields.get(PATH_FIELD)
            if told != (200, tenant.workspace, f"/p{visits}"):
                raise WrongAnswer(f"{tenant.hostname}/p{visits} was answered {told}.")
        visits += 1
    return LoadReport(succeeded=visits, failures={})


def main() -> None:
    """Does what the command line says, and prints the report that `arguments.parse` reads."""
    parser = argparse.ArgumentParser()
    for field in ("port", "names", "seed"):
        parser.add_argument(f"--{field}", type=int, required=True)
    parser.add_argument("--root-file", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    try:
        report = run(Spread(**vars(parser.parse_args())))
    except (WrongAnswer, OSError) as error:
        report = LoadReport(succeeded=0, failures={f"{type(error).__name__}: {error}": 1})
    sys.stdout.write("report " + json.dumps(dataclasses.asdict(report)) + "\n")


if __name__ == "__main__":
    main()
