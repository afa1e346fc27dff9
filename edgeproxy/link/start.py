"""What the supervisor hands to a child at its birth. The child inherits it by fork; nothing here is serialised."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

from edgeproxy.config.structs import Config
from edgeproxy.log import Log


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChildStart:
    """The common part: what a controller gets."""

    config: Config
    config_path: Path | None
    state_directory: Path
    channel: socket.socket
    """SEQPACKET to the supervisor. It ends when the supervisor does: drain and end then."""
    sockets: dict[str, socket.socket]
    """Bound sockets by role: a controller has "admin" (Unix), "api" (Unix) and, where configured, "metrics" (TCP),
    "dns udp HOST:PORT" and "dns tcp HOST:PORT"."""
    started_at: float
    """Unix time of the supervisor's start."""
    serving: bool = False
    """False at the program's own start: a main that cannot do its work raises EdgeError, and the start is refused with it.
    True for a replacement: traffic goes on meanwhile, so a controller says in its status what is wrong."""
    log: Log = dataclasses.field(default_factory=lambda: Log("child"))
    """Already with the process's name, and with a sink opened before privileges were dropped."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart(ChildStart):
    """What a worker gets besides: its `sockets` are keyed "https HOST:PORT" and "http HOST:PORT"."""

    index: int
    """Stable place of this worker, from 0."""
    column: int = 0
    """Its column of the shared table; not the index, since a draining predecessor of the same index still has its own."""
    generation: int
    """How often workers were replaced by reloads; of two with one index the higher one is the successor."""
    map_key: bytes = dataclasses.field(repr=False)
    """Key of everything sealed in the published map."""
    table: memoryview
    """The shared table (link.table), mapped from a memfd."""
    arrivals: memoryview | None = None
    """The shared times of rate limits (link.arrivals), mapped by the supervisor; None: the worker counts alone."""
