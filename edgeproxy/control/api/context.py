"""What the endpoints work with."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from edgeproxy.config.structs import Config
from edgeproxy.control.faults import Faults
from edgeproxy.control.metrics import Metrics
from edgeproxy.errors import EdgeError, StateError
from edgeproxy.link.messages import Result

if TYPE_CHECKING:
    from fastapi import Request

    from edgeproxy.control.plane import Plane


class Supervisor(Protocol):
    """The supervisor, as the API sees it."""

    async def ask(self, action: str, within: float) -> Result:
        """Has the supervisor "reload", "stop" or tell its "status"; raises LinkError when it does not answer in time."""
        ...


@dataclasses.dataclass(slots=True, kw_only=True)
class Context:
    """Everything that an endpoint may use. One per controller."""

    config: Config
    metrics: Metrics
    faults: Faults
    supervisor: Supervisor
    started_at: float
    """Unix time of the supervisor's start."""
    born_at: float
    """Unix time of this controller's start."""
    now: Callable[[], float] = time.time
    plane: Plane | None = None
    """None while the store cannot be opened; the fault "store" then says why."""

    def open_plane(self) -> Plane:
        """The parts that need the store; raises the error for which it is not open."""
        if self.plane is not None:
            return self.plane
        error: EdgeError | None = self.faults.of("store")
        raise error if error is not None else StateError("The store is being opened. Try again in a moment.", retryable=True)

    def note_map(self) -> None:
        """Has the faults say whether the published map follows the store."""
        error = None if self.plane is None else self.plane.publisher.error
        if error is None:
            self.faults.works("map")
        else:
            self.faults.fails("map", error, self.now())


def context_of(request: Request) -> Context:
    """The context of the app that a request came to."""
    context: Context = request.app.state.context
    return context


def actor_of(request: Request) -> str:
    """Who asks, for the audit log: "uid:0" on the admin socket."""
    return str(request.scope.get("state", {}).get("actor", "unknown"))
