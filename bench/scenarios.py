"""What is measured. Data only: a scenario is a row."""

from __future__ import annotations

import dataclasses

from bench.load.base import Plan
from bench.load.h2load import H2loadPlan
from bench.load.handshakes import FULL, RESUMED, HandshakePlan
from bench.load.verifier import HTTP1, HTTP2
from bench.load.websocket import MESSAGE, WebSocketPlan
from bench.load.wrk import WrkPlan
from bench.origin import UPLOAD_ROOT


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table."""

    name: str
    """For the command line and results.json."""
    title: str
    plan: Plan
    protocol: str | None
    """What the verifier speaks beside the load; None where the load checks every answer itself."""
    path_root: str = "/"
    """What the verifier asks for."""
    messages: bool = False
    """Whether messages are counted, and not requests."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(name="h1", title="HTTP/1.1 keep-alive, 256 B", plan=WrkPlan("/"), protocol=HTTP1),
    Scenario(name="h1-64k", title="HTTP/1.1 keep-alive, 64 KB", plan=WrkPlan("/64k/"), protocol=HTTP1, path_root="/64k/"),
    Scenario(name="h1-1m", title="HTTP/1.1 keep-alive, 1 MB", plan=WrkPlan("/1m/"), protocol=HTTP1, path_root="/1m/"),
    Scenario(name="h2", title="HTTP/2, 256 B", plan=H2loadPlan("/"), protocol=HTTP2),
    Scenario(name="handshake", title="full handshake, one request, close", plan=HandshakePlan(FULL), protocol=None),
    Scenario(name="resumed", title="resumed handshake, one request, close", plan=HandshakePlan(RESUMED), protocol=None),
    Scenario(name="upload", title="HTTP/1.1 POST of 64 KB", plan=WrkPlan(UPLOAD_ROOT, 64 * 1024), protocol=HTTP1),
    Scenario(
        name="websocket", title=f"WebSocket, {MESSAGE} B and their echo", plan=WebSocketPlan(), protocol=None, messages=True
    ),
)

NEVER_SEEN = "new-name"
"""The scenario of another kind: seconds until a name that nobody has asked for before is served."""

SCALE = "scale"
"""Of another kind too: what 100,000 domains with a certificate each cost."""

RUSH = "rush"
"""The same: many visitors at the same moment, whose names have no certificate yet."""

PENDING = "pending"
"""The same: ten thousand domains that wait for their record, and who is kept waiting by them."""

DENIED = "denied"
"""The same: what handshakes for names cost that nobody registered."""

SLOW = "slow"
"""The same: ten thousand clients that are slow on purpose, and who is kept waiting by them."""

ALONE = frozenset({RUSH, DENIED, SCALE, PENDING, SLOW})
"""What is measured of this program alone, and so kept whichever peers a run has."""

LONG = frozenset({DENIED, PENDING, SLOW})
"""What takes minutes by its nature: measured only when it is named, or by `--long`."""
