"""The supervisor's children: how each is born with what it needs, linked, told to drain, and buried."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from edgeproxy.config.structs import Config
from edgeproxy.errors import LinkError, StartError
from edgeproxy.link.arrivals import Arrivals
from edgeproxy.link.channel import Channel, Received
from edgeproxy.link.messages import ChannelMessage, Drain, Failed, LinkEnd
from edgeproxy.link.start import ChildStart, WorkerStart
from edgeproxy.link.table import Table
from edgeproxy.log import Log
from edgeproxy.supervision.backoff import Backoff
from edgeproxy.supervision.birth import Birth, Closing, run_main, wait_for_gate
from edgeproxy.supervision.identity import Identities
from edgeproxy.supervision.listeners import Listeners, Wanted

Main = Callable[[ChildStart], int | None]
WorkerMain = Callable[[WorkerStart], int | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Programs:
    """What the children run. Injected, so that the supervisor is tested with stand-ins."""

    worker: WorkerMain
    """Imported before the fork, so that workers share its memory."""
    controller: Callable[[], Main]
    """Called in the child: imports the control plane there, and only there."""
    map_key: Callable[[Config, Path], bytes]
    """Called in a short-lived child that runs as the controller's user: the key of the published map."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The configuration that children are born with, and which one it is."""

    config: Config
    generation: int
    sockets: tuple[Wanted, ...]


@dataclasses.dataclass(slots=True, eq=False)
class Child:
    """A process that lives, or whose end has not been noticed yet."""

    role: Literal["worker", "controller"]
    plan: Plan
    pid: int
    channel: Channel
    born: float
    """Monotonic."""
    born_at: float
    """Unix time."""
    index: int = 0
    column: int = -1
    gate: int | None = None
    """Write end of the pipe that a controller waits at until its predecessor has ended."""
    ready: bool = False
    draining: bool = False
    """Told to end, or ending of its own accord; its place is another's."""
    kill_at: float | None = None
    linked: float = float("-inf")
    heard: float | None = None
    """When a controller gave its last sign of life, monotonic; None: none yet. Workers give theirs in the table."""
    failure: Failed | None = None

    @property
    def name(self) -> str:
        """Of the process, for people."""
        return f"worker {self.index}" if self.role == "worker" else "controller"

    @property
    def state(self) -> str:
        """For people too."""
        return "draining" if self.draining else "serving" if self.ready else "starting"


class Place:
    """Where one worker, or the controller, always should be."""

    def __init__(self, child: Child | None = None, restarts: int = 0) -> None:
        self.child = child
        self.restarts = restarts
        self.backoff = Backoff()
        self.due: float | None = None
        """When the next child is to be born; None while one lives."""


class Family:
    """All children, by pid."""

    def __init__(
        self,
        *,
        programs: Programs,
        log: Log,
        identities: Identities,
        listeners: Listeners,
        state_directory: Path,
        config_path: Path | None,
        started_at: float,
        map_key: bytes,
        columns: int,
        also_close: list[Closing],
    ) -> None:
        """`also_close`: whatever else the supervisor has open as an object."""
        self.children: dict[int, Child] = {}
        self.log = log
        self.serving = False
        """Whether the program served before: a controller born now is a replacement."""
        self.started_at = started_at
        self.table, self._view, self._memfd = Table.create(columns)
        self._arrivals, self._arrivals_view = Arrivals.create()
        self._programs = programs
        self._identities = identities
        self._listeners = listeners
        self._state_directory = state_directory
        self._config_path = config_path
        self._map_key = map_key
        self._also_close = also_close

    def workers(self) -> list[Child]:
        """All of them, draining ones too."""
        return [child for child in self.children.values() if child.role == "worker"]

    def controllers(self) -> list[Child]:
        """At most one that works; others drain, or wait for that."""
        return [child for child in self.children.values() if child.role == "controller"]

    def bear_worker(self, plan: Plan, index: int) -> Child:
        """A new worker. Raises StartError when there is no column for it, OSError when the machine has no room."""
        column = self.table.free()
        if column is None:
            raise StartError("All places for workers are taken by those that still drain. Try again when they have ended.")
        sockets = self._listeners.worker_sockets(plan.sockets)
        name = f"worker {index}"
        ours, theirs = Channel.pair()
        self.table.claim(column)

        def main() -> int | None:
            return self._programs.worker(
                WorkerStart(
                    config=plan.config,
                    config_path=self._config_path,
                    state_directory=self._state_directory,
                    channel=theirs,
                    sockets=sockets,
                    started_at=self.started_at,
                    serving=self.serving,
                    log=self.log.named(name),
                    index=index,
                    column=column,
                    generation=plan.generation,
                    map_key=self._map_key,
                    table=self._view,
                    arrivals=self._arrivals_view,
                )
            )

        birth = self._birth(name, ours, theirs, sockets, worker=True)
        try:
            pid = self._fork(birth, ours, theirs, sockets, main)
        except BaseException:
            self.table.clear(column)
            raise
        child = Child("worker", plan, pid, ours, time.monotonic(), time.time(), index, column)
        self.children[pid] = child
        self.link(child)
        return child

    def bear_controller(self, plan: Plan) -> Child:
        """A new controller; it waits at a gate while an old one drains, since only one may write. OSError as above."""
        sockets = self._listeners.controller_sockets(plan.sockets)
        ours, theirs = Channel.pair()
        gate = os.pipe() if self.controllers() else None

        def main() -> int | None:
            program = self._programs.controller()  # the imports take longest: done while the old one drains
            if gate is not None and not wait_for_gate(gate[0]):
                return 0
            return program(
                ChildStart(
                    config=plan.config,
                    config_path=self._config_path,
                    state_directory=self._state_directory,
                    channel=theirs,
                    sockets=sockets,
                    started_at=self.started_at,
                    serving=self.serving,
                    log=self.log.named("controller"),
                )
            )

        birth = self._birth("controller", ours, theirs, sockets, worker=False)
        if gate is not None:
            birth.keep.add(gate[0])
        try:
            pid = self._fork(birth, ours, theirs, sockets, main)
        except BaseException:
            if gate is not None:
                os.close(gate[1])
            raise
        finally:
            if gate is not None:
                os.close(gate[0])
        child = Child("controller", plan, pid, ours, time.monotonic(), time.time(), gate=gate[1] if gate else None)
        self.children[pid] = child
        if gate is None:
            self._link_all()
        return child

    def link(self, worker: Child) -> None:
        """A fresh socket pair between this worker and the controller that works; none now where there is no such one."""
        controller = next((each for each in self.controllers() if not each.draining and each.gate is None), None)
        if controller is None:
            return
        try:
            one, other = socket.socketpair()
        except OSError as error:
            self.log.error("no link could be made", worker=worker.index, error=str(error))
            return
        worker.linked = time.monotonic()
        self.tell(worker, LinkEnd(worker=worker.index), one)
        self.tell(controller, LinkEnd(worker=worker.index), other)

    def tell(self, child: Child, message: ChannelMessage, sock: socket.socket | None = None) -> None:
        """Sends a message; a child that is gone is buried soon, one that does not read any more is killed."""
        try:
            child.channel.send(message, () if sock is None else (sock,))
        except LinkError as error:
            if error.code == "link_overflow":
                self.log.error("it does not read its messages and is replaced", child=child.name, child_pid=child.pid)
                self.kill(child)

    def hear(self, child: Child) -> list[Received]:
        """What the child says now."""
        received: list[Received] = []
        while True:
            try:
                received += child.channel.read()
            except LinkError as error:
                self.log.error("a child sent something that is no message", child=child.name, error=error.detail)
                continue
            return received

    def drain(self, child: Child, seconds: float) -> None:
        """Tells it to end; it is killed when it has not after so many seconds. A controller at the gate has done nothing yet,
        and ends at once: over reloads in quick succession each would else import the control plane for nobody."""
        child.draining = True
        if child.gate is not None:
            self.kill(child)
            self._drop_gate(child)
            return
        deadline = time.monotonic() + seconds
        child.kill_at = deadline if child.kill_at is None else min(child.kill_at, deadline)
        self.tell(child, Drain())
        if child.role == "controller" and not child.ready:
            # It hears its channel only when its store is open, and serves nobody yet: a signal spares it the rest of its start.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)

    def kill(self, child: Child) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        child.kill_at = None

    def reap(self) -> list[tuple[Child, int]]:
        """Those that have ended since, with their wait status. They are buried: no descriptor of theirs is left."""
        ended = []
        if os.getpid() == 1:
            _bury_orphans(self.children)
        for pid, child in list(self.children.items()):
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # somebody else waited for it
                found, status = pid, 0
            if found:
                del self.children[pid]
                ended.append((child, status))
        for child, _ in ended:
            for received in self.hear(child):
                if isinstance(received.message, Failed):
                    child.failure = received.message
            child.channel.close()
            self._drop_gate(child)
            if child.column >= 0:
                self.table.clear(child.column)
        return ended

    def open_gate(self, controller: Child) -> None:
        """Lets a controller that waits begin. Only when no other one is left."""
        if controller.gate is None:
            return
        with contextlib.suppress(OSError):
            os.write(controller.gate, b"g")
        self._drop_gate(controller)
        self._link_all()

    def close(self) -> None:
        """When all are gone: frees the tables."""
        self.table.release()
        self._view.release()
        os.close(self._memfd)
        self._arrivals.release()
        self._arrivals_view.release()

    def _link_all(self) -> None:
        for worker in self.workers():
            self.link(worker)

    def _birth(
        self, name: str, ours: Channel, theirs: socket.socket, sockets: dict[str, socket.socket], *, worker: bool
    ) -> Birth:
        own = list(sockets.values())
        identities = self._identities
        return Birth(
            name,
            self.log,
            identities.worker if worker else identities.controller,
            keep=[theirs.fileno(), *(sock.fileno() for sock in own)],
            close=[
                ours,
                *(child.channel for child in self.children.values()),
                *(sock for sock in self._listeners.all() if sock not in own),
                *self._also_close,
            ],
            # A worker drains when its channel ends; a controller must not write for a moment longer.
            die_with_parent=not worker,
        )

    def _fork(
        self,
        birth: Birth,
        ours: Channel,
        theirs: socket.socket,
        sockets: dict[str, socket.socket],
        main: Callable[[], int | None],
    ) -> int:
        def body() -> int:
            theirs.set_inheritable(False)
            for sock in sockets.values():
                sock.set_inheritable(False)
            # The main may close its channel before it raises: last words have an end of their own.
            with contextlib.closing(Channel(theirs.dup())) as last_words:
                return run_main(main, last_words, self.log.named(birth.name))

        try:
            return birth.fork(body)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def _drop_gate(self, controller: Child) -> None:
        if controller.gate is not None:
            os.close(controller.gate)
            controller.gate = None


def _bury_orphans(own: Collection[int]) -> None:
    """Process 1, as in a container, inherits whoever lost its parent, and must wait for them too. Only for those: the
    children's own ends are asked for one by one, since others of this process's children may be somebody else's business.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:
            return
        os.waitpid(found.si_pid, 0)
