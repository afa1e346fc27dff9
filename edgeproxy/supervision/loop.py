"""The supervisor's loop: one poll over a few descriptors, and what it decides when something happens."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgeproxy
from edgeproxy.config.structs import Config
from edgeproxy.errors import EdgeError, StartError
from edgeproxy.link.messages import Alive, Failed, Ready, Request, Result
from edgeproxy.log import Log, Sink
from edgeproxy.supervision import birth, identity, reloading, report, signs
from edgeproxy.supervision.children import Child, Family, Place, Plan
from edgeproxy.supervision.listeners import Listeners, wanted
from edgeproxy.supervision.signals import Signals
from edgeproxy.supervision.systemd import Notifier

DRAIN_GRACE = 6.0
"""Seconds beyond `timeouts.drain` after which a worker that still runs is killed. At `timeouts.drain` it ends by itself, which
takes up to 2 s where nobody reads its access log; the rest is for a machine that is busy."""

CONTROLLER_DRAIN = 10.0
"""Seconds that a controller has to end: its orders are rows in the store, so nothing of it is worth waiting for."""

HURRIED = 2.0
"""The same once a second SIGTERM or SIGINT came."""

READY_WITHIN = 30.0
"""Seconds in which workers of a new configuration must serve, or the old one goes on."""

TRIES = 3
"""Young deaths in one place after which a start is given up."""

TICK = 1.0

STOPPING = StartError("The program is stopping.", code="stopping", retryable=False)
"""Why there is no reload any more."""


def worker_count(config: Config) -> int:
    """As configured, else one per core that this process may use."""
    return config.workers.count or len(os.sched_getaffinity(0))


def log_for(config: Config, sink: Sink) -> Log:
    """The log as `[log]` wants it."""
    return Log("supervisor", sink, level=config.log.level, style="json" if config.log.format == "json" else "auto")


class Supervisor:
    """The loop and what it decides. Everything that it waits for has a deadline."""

    def __init__(
        self,
        *,
        plan: Plan,
        family: Family,
        listeners: Listeners,
        identities: identity.Identities,
        notifier: Notifier,
        signals: Signals,
        log: Log,
        load: Callable[[], Config],
        ready: Callable[[], None] | None,
    ) -> None:
        self.plan = plan
        self.family = family
        self.log = log
        self._listeners = listeners
        self._identities = identities
        self._notifier = notifier
        self._signals = signals
        self._load = load
        self._ready = ready
        self._workers = {index: Place() for index in range(worker_count(plan.config))}
        self._controller = Place()
        self._generation = plan.generation
        self._reload: reloading.Reload | None = None
        self._reload_again = False
        self._last_reload: dict[str, Any] = {}
        self._serving = False
        self._stopping = False
        self._stops = 0
        self._failure: EdgeError | None = None
        self._next_tick = 0.0
        self._next_alive = 0.0
        self._trust_beats = 0.0

    # the loop

    def serve(self) -> int:
        """Bears everybody and stays until all have ended; the exit status. Raises what made the start fail."""
        self._next_tick = now = time.monotonic()
        for place in (self._controller, *self._workers.values()):
            place.due = now
        try:
            self._bear(now)
        except (OSError, EdgeError):
            for child in list(self.family.children.values()):
                self.family.kill(child)
                os.waitpid(child.pid, 0)
            raise
        while self.family.children or not self._stopping:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - see below
                # The one process whose end ends all others: an error nobody thought of is told, and serving goes on. The
                # pause keeps one that returns each turn from filling the log and a core.
                trace = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(trace.filename).name}:{trace.lineno}"
                self.log.error(
                    "the supervisor met an error that nobody expected", error=f"{type(error).__name__}: {error}", at=where
                )
                select.poll().poll(1000)
        if self._failure is not None:
            raise self._failure
        self.log.info("stopped")
        return 0

    def _turn(self) -> None:
        """Waits for what comes next, and does what follows from it."""
        by_descriptor = {child.channel.fileno(): child for child in self.family.children.values() if not child.channel.ended}
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        for descriptor, child in by_descriptor.items():
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if child.channel.waiting else 0))
        happened = poll.poll(max(0.0, self._next_deadline() - time.monotonic()) * 1000 + 1)
        numbers = self._signals.take()
        for descriptor, events in happened:
            heard = by_descriptor.get(descriptor)
            if heard is None:
                continue
            if events & select.POLLOUT:
                with contextlib.suppress(EdgeError):
                    heard.channel.flush()
            for received in self.family.hear(heard):
                for sock in received.sockets:
                    sock.close()
                self._said(heard, received.message)
        for child, status in self.family.reap():
            self._ended(child, status)
        for number in numbers:
            self._signalled(number)
        self._on_time(time.monotonic())

    def _next_deadline(self) -> float:
        """When something is due although nothing happens."""
        times = [child.kill_at for child in self.family.children.values()]
        times += [place.due for place in (self._controller, *self._workers.values())]
        times.append(self._next_tick)
        if self._reload is not None:
            times.append(self._reload.deadline)
        if self._notifier.watchdog is not None:
            times.append(self._next_alive)
        return min(moment for moment in times if moment is not None)

    def _on_time(self, now: float) -> None:
        for child in list(self.family.children.values()):
            if child.kill_at is not None and child.kill_at <= now:
                self.log.warning("it did not end in time and is killed", child=child.name, child_pid=child.pid)
                self.family.kill(child)
        if self._reload is not None and self._reload.deadline <= now:
            self._roll_back(StartError(f"the new workers were not ready within {READY_WITHIN:g} s"))
        if not self._stopping:
            self._bear(now)
        if self._notifier.watchdog is not None and self._next_alive <= now:
            self._notifier.alive()
            self._next_alive = now + self._notifier.watchdog
        if self._next_tick <= now:
            if now - self._next_tick > 3 * TICK:  # this process itself did not run: others may have had no time either
                self._trust_beats = now + signs.HUNG
            self._next_tick = now + TICK
            if not self._stopping:
                self._look_after(now)

    # children

    def _bear(self, now: float) -> None:
        """Fills the places that are due. The controller first: its imports take longest."""
        if self._controller.due is not None and self._controller.due <= now:
            self._fill(self._controller, now, lambda: self.family.bear_controller(self.plan))
        for index, place in self._workers.items():
            if place.due is not None and place.due <= now:
                self._fill(place, now, lambda index=index: self.family.bear_worker(self.plan, index))  # type: ignore[misc]

    def _fill(self, place: Place, now: float, bear: Callable[[], Child]) -> None:
        try:
            place.child = bear()
            place.due = None
        except (OSError, EdgeError) as error:
            if not self._serving:
                raise
            self.log.error("no child could be made; it is tried again in 1 s", error=str(error))
            place.due = now + 1.0

    def _ended(self, child: Child, status: int) -> None:
        """A child is gone."""
        how = birth.ending(status)
        if child.role == "controller" and (next_one := self._waiting_controller()) is not None:
            self.family.open_gate(next_one)
        if self._reload is not None and child in self._reload.workers.values():
            del self._reload.workers[child.index]
            told = child.failure
            self._roll_back(
                birth.edge_error(told.code, told.detail)
                if told
                else StartError(f"a new worker ended before it was ready ({how})")
            )
            return
        place = self._place_of(child)
        if child.draining or place is None:
            # At a stop only who ended otherwise is worth a line; after a reload each is: it says when the old ones are gone.
            tell = self.log.debug if self._stopping and status == 0 else self.log.info
            tell("ended", child=child.name, child_pid=child.pid, how=how)
            if self._stopping:
                self._stop_controller_last()
            elif self._reload_again and self._reload is None:
                self._after_reload()
            return
        self._died(child, place, how, status)

    def _died(self, child: Child, place: Place, how: str, status: int) -> None:
        now = time.monotonic()
        place.child = None
        if self._stopping:
            self._stop_controller_last()
            return
        place.restarts += 1
        delay = place.backoff.died(now - child.born)
        if not self._serving and (child.failure is not None or place.backoff.young_deaths >= TRIES):
            self._give_up(child, how)
            return
        place.due = now + delay
        detail = {"detail": child.failure.detail} if child.failure else {}
        # Whoever sends SIGTERM to all processes of a group has them drain and end, some before this one has read its own.
        tell, what = (self.log.info, "ended by itself") if status == 0 else (self.log.error, "died")
        tell(f"{what} and is replaced", child=child.name, child_pid=child.pid, how=how, after=round(delay, 3), **detail)

    def _give_up(self, child: Child, how: str) -> None:
        """Before anything was served, a fault that stays is better told than repeated."""
        if child.failure is not None:
            self._failure = birth.edge_error(child.failure.code, child.failure.detail)
        else:
            self._failure = StartError(
                f"The {child.name} does not start: {how}, {TRIES} times. Its own log lines above say why."
            )
        self._stop(HURRIED)

    def _place_of(self, child: Child) -> Place | None:
        place = self._controller if child.role == "controller" else self._workers.get(child.index)
        return place if place is not None and place.child is child else None

    def _waiting_controller(self) -> Child | None:
        """The one at the gate, if nothing stands in its way any more."""
        controllers = self.family.controllers()
        return controllers[0] if len(controllers) == 1 and controllers[0].gate is not None else None

    def _look_after(self, now: float) -> None:
        """Children that hang, and workers that end because somebody told them to."""
        for child in self.family.workers():
            if child.draining:
                continue
            place = self._place_of(child)
            if place is not None and self.family.table.draining(child.column):
                self.log.warning("drains although the supervisor did not ask for it; another takes its place", child=child.name)
                child.draining = True
                child.kill_at = now + child.plan.config.timeouts.drain + DRAIN_GRACE
                place.child, place.due = None, now
                continue
        for child in list(self.family.children.values()):
            silent = signs.silence(child, self.family.table, now)
            if silent > signs.longest(child) and not child.draining and now > self._trust_beats:
                self.log.error(
                    "gives no sign of life and is killed", child=child.name, child_pid=child.pid, silent=round(silent, 3)
                )
                self.family.kill(child)

    # messages

    def _said(self, child: Child, message: object) -> None:
        if isinstance(message, Ready):
            if not child.ready:
                child.ready = True
                self._is_ready(child)
        elif isinstance(message, Alive):
            child.heard = time.monotonic()
        elif isinstance(message, Failed):
            child.failure = message
        elif isinstance(message, Request):
            self._asked(child, message)

    def _is_ready(self, child: Child) -> None:
        self.log.debug("ready", child=child.name, child_pid=child.pid, took=round(time.monotonic() - child.born, 3))
        if self._reload is not None and all(each.ready for each in self._reload.workers.values()):
            self._commit()
        elif (
            not self._serving
            and not self._stopping
            and all(place.child is not None and place.child.ready for place in (self._controller, *self._workers.values()))
        ):
            self._begin_serving()

    def _begin_serving(self) -> None:
        self._serving = self.family.serving = True
        self.log.info(
            f"edgeproxy {edgeproxy.__version__} serves",
            listening=", ".join(self._listeners.roles),
            workers=len(self._workers),
            took=round(time.time() - self.family.started_at, 3),
        )
        self._notifier.ready(self._status_line())
        if self._ready is not None:
            self._ready()
        if self._reload_again:
            self._reload_again = False
            self._begin_reload(None, 0)

    def _asked(self, child: Child, request: Request) -> None:
        if request.action == "link":
            # Its link broke though both live, or the controller's death has not been noticed yet: then it is gone by now.
            if child.role == "worker" and time.monotonic() - child.linked > 1.0:
                self.family.link(child)
        elif child.role != "controller":
            self.family.tell(child, Result(id=request.id, ok=False, detail="Only the controller may ask for that."))
        elif request.action == "status":
            self.family.tell(child, Result(id=request.id, ok=True, data=self._status()))
        elif request.action == "stop":
            self.family.tell(child, Result(id=request.id, ok=True, detail="Finishing open requests, then ending."))
            self.log.info("told to stop on the admin socket")
            self._stop()
        elif request.action == "reload":
            self._begin_reload(child, request.id)
        else:
            self.family.tell(child, Result(id=request.id, ok=False, detail=f"{request.action!r} is not known here."))

    def _status(self) -> dict[str, Any]:
        return report.status(
            family=self.family,
            listening=self._listeners.roles,
            generation=self.plan.generation,
            state=self._state(),
            controller=self._controller,
            workers=self._workers.values(),
            last_reload=self._last_reload,
        )

    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        if self._reload is not None:
            return "reloading"
        return "serving" if self._serving else "starting"

    # signals, stopping

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            what = "open requests may end first" if self._stops == 0 else "everything ends at once"
            self.log.info(f"{signal.Signals(number).name} came: {what}")
            self._stop(None if self._stops == 0 else HURRIED)
        elif number == signal.SIGHUP:
            self._begin_reload(None, 0)

    def _stop(self, within: float | None = None) -> None:
        """Ends everything, in order: visitors first, then the controller. Called again it hurries."""
        self._stops += 1
        self._stopping = True
        if self._stops == 1:
            self._notifier.stopping()
            if self._reload is not None:
                self._answer(self._reload, STOPPING.detail, STOPPING)
                self._reload = None
            for place in (self._controller, *self._workers.values()):
                place.due = None
        self._listeners.close_public()
        for child in self.family.workers():
            self.family.drain(child, child.plan.config.timeouts.drain + DRAIN_GRACE if within is None else within)
            if self._stops > 1 and within is not None:
                self.family.kill(child)
        self._stop_controller_last(within)

    def _stop_controller_last(self, within: float | None = None) -> None:
        """Handshakes that wait need it until the last worker has ended."""
        if within is None and self.family.workers():
            return
        for child in self.family.controllers():
            if not child.draining or within is not None:
                self.family.drain(child, CONTROLLER_DRAIN if within is None else within)

    # reloading

    def _begin_reload(self, asked_by: Child | None, request: int) -> None:
        """Reads the configuration, binds what is new, bears workers for it. The old ones go on until all of those serve."""
        if (busy := self._busy()) is not None:
            if asked_by is None:
                self._reload_again = not self._stopping
                self.log.info("a reload was asked for", answer=busy.detail, follows=self._reload_again)
            else:
                data = {"code": busy.code, "retryable": busy.retryable}
                self.family.tell(asked_by, Result(id=request, ok=False, detail=busy.detail, data=data))
            return
        self._notifier.reloading()
        now = time.monotonic()
        plan = Plan(self.plan.config, self._generation + 1, ())
        reload = reloading.Reload(plan, [], [], now + READY_WITHIN, asked_by, request)
        try:
            config = self._load()
            reload.changed = reloading.changed_keys(self.plan.config, config)
            if refused := reloading.refusal(reload.changed):
                raise StartError(refused, code="restart_needed", retryable=False)
            reload.plan = Plan(config, plan.generation, tuple(wanted(config, self._identities)))
            reload.added = self._listeners.prepare(list(reload.plan.sockets), retry=0.0)
            self._reload = reload
            self._generation = plan.generation
            for index in range(worker_count(config)):
                reload.workers[index] = self.family.bear_worker(reload.plan, index)
        except EdgeError as error:
            self._reload = reload
            self._roll_back(error)
        except OSError as error:
            self._reload = reload
            self._roll_back(StartError(f"the machine has no room for more processes: {error.strerror}"))

    def _busy(self) -> StartError | None:
        """Why there can be no reload now."""
        if self._stopping:
            return STOPPING
        if self._reload is not None:
            return StartError("A reload is under way already; try again.", code="busy")
        if not self._serving:
            return StartError("The program is still starting; try again.", code="busy")
        crowded = reloading.crowded(child.plan.generation for child in self.family.workers() if child.draining)
        return StartError(crowded, code="busy") if crowded else None

    def _commit(self) -> None:
        """All new workers serve: the old ones drain, the controller is replaced."""
        reload, self._reload = self._reload, None
        if reload is None:
            return
        old = self.family.workers()
        restarts = sum(place.restarts for place in self._workers.values())
        self._workers = {index: Place(child) for index, child in reload.workers.items()}
        self._workers[0].restarts = restarts
        for child in old:
            if child not in reload.workers.values() and not child.draining:
                self.family.drain(child, child.plan.config.timeouts.drain + DRAIN_GRACE)
        self.plan = reload.plan
        removed = self._listeners.commit(list(reload.plan.sockets))
        self.log = self.family.log = log_for(self.plan.config, self.log.sink)
        detail = reloading.summary(self.plan.generation, len(self._workers), reload.changed, reload.added, removed)
        self._answer(reload, detail)
        controller, self._controller.child = self._controller.child, None
        if controller is not None:
            self.family.drain(controller, CONTROLLER_DRAIN)
        self._controller.due = time.monotonic()
        self._after_reload()

    def _roll_back(self, reason: EdgeError) -> None:
        """The new configuration does not work: its workers end, its sockets close, the old one never noticed."""
        reload, self._reload = self._reload, None
        if reload is None:
            return
        for child in reload.workers.values():
            # One that is ready serves visitors already; another has nobody, and ends as soon as it looks.
            self.family.drain(child, reload.plan.config.timeouts.drain + DRAIN_GRACE if child.ready else HURRIED)
        self._listeners.drop(reload.added)
        detail = f"The new configuration was refused, the old one goes on.\n{reason.detail}"
        self._answer(reload, detail, reason)
        self._after_reload()

    def _answer(self, reload: reloading.Reload, detail: str, error: EdgeError | None = None) -> None:
        """Says what came of it, with the error that made it fail."""
        ok = error is None
        (self.log.info if ok else self.log.error)(detail)
        self._last_reload = {"at": time.time(), "ok": ok, "detail": detail[:8_000]}
        asked_by = reload.asked_by
        if asked_by is not None and asked_by.pid in self.family.children:
            data: dict[str, Any] = {"generation": self.plan.generation, "workers": len(self._workers)}
            if error is not None:
                data |= {"code": error.code, "retryable": error.retryable}
            self.family.tell(asked_by, Result(id=reload.request, ok=ok, detail=detail[:32_000], data=data))

    def _after_reload(self) -> None:
        self._notifier.ready(self._status_line())
        if self._reload_again:
            self._reload_again = False
            self._begin_reload(None, 0)

    def _status_line(self) -> str:
        return f"Serving with {len(self._workers)} workers, configuration {self.plan.generation}"
