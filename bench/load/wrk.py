"""HTTP/1.1 keep-alive load by wrk, a process per hostname since it sends one server name."""

from __future__ import annotations

import dataclasses
import json
import math

from bench.errors import BenchError
from bench.load.base import LoadCommand, LoadReport, write_once
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import PATHS, Tenant, kind_of, page_of, paths, request_tail, visitor_of

CONNECTIONS = 4
"""Per process, as a browser has them: all carry one visitor's requests, then another's."""

_UPLOADS = 24  # distinct requests with a body: each is held in memory whole, in every process

# wrk.resolve is called before any thread starts; the hostname is not in DNS. Requests are built beforehand, so that the
# generator's own work per request is small. done() gives every counter that wrk has.
_SCRIPT = """
local paths = {{ {paths} }}
local tails = {{ {tails} }}
local which = {{ {which} }}
local body = string.rep("x", {body})
local requests, turn = {{}}, 0
function wrk.resolve(host, service) wrk.addrs = wrk.lookup("127.0.0.1", service) end
function init(args)
  for i, path in ipairs(paths) do
    requests[i] = "{method} " .. path .. " HTTP/1.1\\r\\n" .. tails[which[i]] .. body
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
"""

DONE = """
function done(summary, latency, rates)
  local e = summary.errors
  io.write(string.format(
    '\\nreport {"requests": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\\n',
    summary.requests, summary.bytes, e.connect, e.read, e.write, e.timeout, e.status))
end
"""
"""What makes wrk print the report that `parse` reads, whatever the rest of its script is."""


@dataclasses.dataclass(frozen=True, slots=True)
class WrkPlan:
    """GET of what lies below `root`, or POST of `upload` bytes to it."""

    root: str
    upload: int = 0

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        return [self._command(stage, peer, tenant, seconds) for tenant in stage.tenants]

    def _command(self, stage: Stage, peer: Peer, tenant: Tenant, seconds: float) -> LoadCommand:
        kind = self.root.strip("/") or "small"
        script = write_once(stage.folder("wrk") / f"{kind}-{tenant.workspace}.lua", self.script(tenant))
        whole = math.ceil(seconds)  # wrk takes whole seconds
        return LoadCommand(
            name=f"wrk-{tenant.workspace}",
            command=[
                *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", "--timeout", "10s", "-s", str(script)),
                f"https://{tenant.hostname}:{peer.port}/",
            ],
            parse=parse,
        )

    def script(self, tenant: Tenant) -> str:
        """The Lua script for one tenant."""
        extra = [("content-type", "application/octet-stream"), ("content-length", str(self.upload))] if self.upload else []
        targets = paths(tenant, self.root, _UPLOADS if self.upload else PATHS)
        senders = [(visitor_of(number), kind_of(number), page_of(number)) for number in range(len(targets))]
        tails = {sender: request_tail(tenant, *sender, extra=extra) for sender in senders}
        places = {sender: place for place, sender in enumerate(tails, start=1)}
        script = _SCRIPT.format(
            paths=", ".join(map(_lua_text, targets)),
            tails=", ".join(map(_lua_text, tails.values())),
            which=", ".join(str(places[sender]) for sender in senders),
            method="POST" if self.upload else "GET",
            body=self.upload,
        )
        return script + DONE


def _lua_text(text: str) -> str:
    """A Lua string literal. Its escapes are JSON's as long as the text is printable ASCII, CR and LF."""
    return json.dumps(text)


def parse(output: str) -> LoadReport:
    """Reads the line that done() writes."""
    for line in output.splitlines():
        if line.startswith("report "):
            counts: dict[str, int] = json.loads(line.removeprefix("report "))
            failures = {kind: counts[kind] for kind in ("connect", "read", "write", "timeout", "status") if counts[kind]}
            return LoadReport(succeeded=counts["requests"] - counts["status"], failures=failures, bytes_read=counts["bytes"])
    raise BenchError(f"wrk gave no report. It printed:\n{output[-1000:]}")
