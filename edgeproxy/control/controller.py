"""The controller: the process of the control plane, one per machine.

It alone holds the store's credentials and writes anything. It may crash or be stopped at any moment: what is published
goes on being served, and its successor continues from the store.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable
from types import ModuleType

import anyio
import structlog
from anyio.abc import TaskGroup

import edgeproxy
from edgeproxy import disk
from edgeproxy.control import logs
from edgeproxy.control.api.context import Context
from edgeproxy.control.desk import Desk
from edgeproxy.control.dns.server import Server as DnsServer
from edgeproxy.control.faults import Faults
from edgeproxy.control.importing import load
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.parent import Parent
from edgeproxy.control.plane import Plane, open_plane
from edgeproxy.errors import EdgeError
from edgeproxy.link.start import ChildStart

log = structlog.get_logger("controller")

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Between tries for a part that fails."""

PROVEN_SECONDS = 5.0
"""A part that ran for so long without failing counts as working again."""

MAP_SECONDS = 20.0
"""How long the first map may take before a start goes on without it: 1,000,000 sites are read and written in about that.
They are served as soon as they are there."""


def main(start: ChildStart) -> int:
    """The process, from its birth to its exit status. Called in a fresh child of the supervisor.

    Raises EdgeError where a start (`start.serving` false) cannot do its work: the supervisor refuses it with that sentence.
    """
    logs.configure(start.config.log)
    # A terminal sends SIGINT to all processes of its group; what it means the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    anyio.run(Controller(start).run)
    return 0


MAP_LOOK_SECONDS = 0.1
"""How often it is looked meanwhile whether that is hopeless."""


class Controller:
    """One run of the process. `on_gone` is called when the supervisor is gone, and never returns outside of tests."""

    def __init__(self, start: ChildStart, on_gone: Callable[[], None] | None = None) -> None:
        self._start = start
        self._draining = asyncio.Event()
        self.faults = Faults()
        limits = start.config.alerts
        self.metrics = Metrics(edgeproxy.__version__, start.config.metrics.top, latency_window=limits.latency_window)
        self.desk = Desk(
            self.metrics, waiting=start.config.limits.waiting_handshakes, now=time.time, why_closed=self._why_closed
        )
        self._parent = Parent(start.channel, on_link=self.desk.attach, on_drain=self.drain, on_gone=on_gone or _end_at_once)
        self.context = Context(
            config=start.config,
            metrics=self.metrics,
            faults=self.faults,
            supervisor=self._parent,
            started_at=start.started_at,
            born_at=time.time(),
        )

    def drain(self) -> None:
        """Lets open requests end, then the process."""
        self._draining.set()

    async def run(self) -> None:
        """From the opening of the store to the end of the drain. Raises EdgeError where a start cannot do its work."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        # FastAPI takes half a second to import. In a thread, beside the opening of the store and the first wishes of workers.
        importing = asyncio.ensure_future(load("edgeproxy.control.api.serving"))
        try:
            await self._open()
            async with anyio.create_task_group() as tasks:
                await self._serve(tasks, importing)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # A task group wraps what one of its tasks raised; the supervisor wants the sentence.
            error = known_error(group)
            if error is None:
                raise
            raise error from group
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            with anyio.CancelScope(shield=True):
                if not self._draining.is_set():
                    await asyncio.wait([importing])  # else nobody needs it, and the process ends under it
                self.desk.close()
                if self.context.plane is not None:
                    await self.context.plane.close()
                self._parent.close()
            gc.unfreeze()
        log.debug("the controller has ended")

    async def _serve(self, tasks: TaskGroup, importing: asyncio.Future[list[ModuleType]]) -> None:
        """Everything between birth and the end of the drain."""
        if self._draining.is_set():
            return
        tasks.start_soon(self._parent.run)
        plane = self.context.plane
        if plane is None:
            tasks.start_soon(self._open_later, tasks)
        else:
            self._run_plane(tasks, plane)
        draining = asyncio.ensure_future(self._draining.wait())
        await asyncio.wait((importing, draining), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        if not importing.done():
            return
        listeners = importing.result()[0].Listeners(self.context, self._start.sockets)
        await listeners.up(tasks)
        tasks.start_soon(self._get_ready, plane)
        await self._draining.wait()
        log.debug("the controller drains")
        await listeners.end()

    async def _open(self) -> bool:
        """Opens the store; False where a replacement cannot, and notes why. A start that cannot raises the error."""
        try:
            self.context.plane = await open_plane(self._start, self.metrics)
        except EdgeError as error:
            if not self._start.serving:
                raise
            if self.faults.fails("store", error, time.time()):
                log.error("the store cannot be opened; what is published goes on being served", error=error.detail)
            return False
        self.faults.works("store")
        return True

    async def _open_later(self, tasks: TaskGroup) -> None:
        tries = 0
        while not await self._open():
            await anyio.sleep(_pause(tries))
            tries += 1
        if self.context.plane is not None:
            log.info("the store is open again")
            self._run_plane(tasks, self.context.plane)

    def _run_plane(self, tasks: TaskGroup, plane: Plane) -> None:
        tasks.start_soon(self.keep, "publisher", plane.publisher.run)
        tasks.start_soon(self.keep, "tickets", plane.tickets.run)
        tasks.start_soon(self.keep, "issuance", plane.issuance.run)
        tasks.start_soon(self.keep, "lifecycle", plane.lifecycle.run)
        tasks.start_soon(self.keep, "domains", plane.reconciler.run)
        tasks.start_soon(self.keep, "removals", plane.removals.run)
        if plane.authority is not None:
            rate = self._start.config.limits.dns_answers
            server = DnsServer(plane.authority, self._start.sockets, rate=rate, metrics=self.metrics)
            tasks.start_soon(self.keep, "dns", server.run)
        tasks.start_soon(self.keep, "probe", plane.probe.run)
        tasks.start_soon(self.keep, "webhooks", functools.partial(plane.webhooks.run, self.faults))
        tasks.start_soon(self.keep, "entitlement", plane.entitlements.run)
        if plane.alerts is not None:
            tasks.start_soon(self.keep, "alerts", functools.partial(plane.alerts.run, self.faults))
        self.desk.obtainer = plane.issuance

    async def _get_ready(self, plane: Plane | None) -> None:
        """Tells the supervisor once the map has what the store has, and from then on that this process lives. A start whose map
        cannot be made is refused."""
        if plane is not None:
            try:
                await self._first_map(plane)
            except EdgeError as error:
                if not self._start.serving:
                    raise
                self.faults.fails("store", error, time.time())
                log.error("the store does not work; what is published goes on being served", error=error.detail)
        # What was imported stays: each look of the collector at all of it held up everybody for 80 ms, every few seconds
        # while domains are added by the thousand.
        gc.collect()
        gc.freeze()
        self._parent.ready()
        log.info("the controller is ready", seconds=round(time.time() - self.context.born_at, 3))
        await self._parent.live()

    async def _first_map(self, plane: Plane) -> None:
        publisher = plane.publisher
        published = asyncio.ensure_future(publisher.published(await plane.store.head_change()))
        try:
            with anyio.move_on_after(MAP_SECONDS):
                while not (await asyncio.wait((published,), timeout=MAP_LOOK_SECONDS))[0]:
                    if publisher.error is not None and publisher.error.code == disk.FULL:
                        break  # no second try makes room
                else:
                    return
        finally:
            published.cancel()
        if publisher.error is not None and (publisher.reached < 0 or plane.writer.fresh):
            raise publisher.error
        log.warning("the published map is not up to date yet", reached=publisher.reached)

    async def keep(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs a part for ever: what it raises is noted and logged, and it is started again after a pause."""
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            began = time.monotonic()
            proven = loop.call_later(PROVEN_SECONDS, self.faults.works, part)
            try:
                await run()
                error: EdgeError = EdgeError(f"{part} ended by itself.")
            except Exception as raised:
                known = known_error(raised)
                if known is None:
                    self.metrics.unexpected(part)
                    log.error(f"{part} failed in a way that nobody foresaw", exc_info=raised)
                error = known or EdgeError(f"Something went wrong in {part}; the log has the reason.")
            finally:
                proven.cancel()
            if time.monotonic() - began >= PROVEN_SECONDS:
                tries = 0
            if self.faults.fails(part, error, time.time()):
                log.error(f"{part} does not work", error=error.detail, again_in_seconds=_pause(tries))
            await anyio.sleep(_pause(tries))
            tries += 1

    def _why_closed(self) -> str:
        error = self.faults.of("store")
        return "The store is being opened." if error is None else error.detail


def known_error(error: BaseException) -> EdgeError | None:
    """The EdgeError that an exception is, or, for a group, its first one if it holds nothing else."""
    if isinstance(error, EdgeError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [known_error(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return None


def _pause(tries: int) -> float:
    return RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]


def _end_at_once() -> None:
    """The supervisor is gone: whoever comes next must find the store and the admin socket free. Nothing is lost by not
    tidying up, since the store's transactions and the map's commits are whole or absent."""
    log.error("the supervisor is gone; the controller ends at once")
    os._exit(1)
