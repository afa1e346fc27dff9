"""HTTP/2 load by h2load, a process per hostname since it sends one server name."""

from __future__ import annotations

import dataclasses
import math
import re

from bench.errors import BenchError
from bench.load.base import LoadCommand, LoadReport, write_once
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import Tenant, browser_fields, paths

STREAMS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class H2loadPlan:
    """GET of what lies below `root`: a connection per tenant with STREAMS streams at once."""

    root: str

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        return [self._command(stage, peer, tenant, number, seconds) for number, tenant in enumerate(stage.tenants)]

    def _command(self, stage: Stage, peer: Peer, tenant: Tenant, visitor: int, seconds: float) -> LoadCommand:
        kind = self.root.strip("/") or "small"
        addresses = "".join(f"https://{tenant.hostname}{path}\n" for path in paths(tenant, self.root))
        listing = write_once(stage.folder("h2load") / f"{kind}-{tenant.workspace}.txt", addresses)
        fields = [option for name, value in browser_fields(tenant, visitor) for option in ("-H", f"{name}: {value}")]
        return LoadCommand(
            name=f"h2load-{tenant.workspace}",
            command=[
                *("h2load", "-D", str(math.ceil(seconds)), "-t1", "-c1", "-m", str(STREAMS)),
                *("--connect-to", f"127.0.0.1:{peer.port}", "--npn-list", "h2", *fields, "-i", str(listing)),
            ],
            parse=parse,
        )


_REQUESTS = re.compile(
    r"^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
    re.MULTILINE,
)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", re.MULTILINE)
_TRAFFIC = re.compile(r"^traffic: .*\((\d+)\) total", re.MULTILINE)


def parse_http1(output: str) -> LoadReport:
    """Reads h2load's summary of a run over HTTP/1.1."""
    return parse(output, "http/1.1")


def parse(output: str, protocol: str = "h2") -> LoadReport:
    """Reads h2load's summary."""
    requests, statuses, traffic = _REQUESTS.search(output), _STATUSES.search(output), _TRAFFIC.search(output)
    if requests is None or statuses is None or traffic is None or f"Application protocol: {protocol}" not in output:
        raise BenchError(f"h2load gave no report over {protocol.replace('h2', 'HTTP/2')}. It printed:\n{output[-1000:]}")
    counts = {
        "failed": int(requests[5]),
        "errored": int(requests[6]),
        "timeout": int(requests[7]),
        "3xx": int(statuses[2]),
        "4xx": int(statuses[3]),
        "5xx": int(statuses[4]),
    }
    return LoadReport(
        succeeded=int(statuses[1]),
        failures={kind: count for kind, count in counts.items() if count},
        bytes_read=int(traffic[1]),
    )
