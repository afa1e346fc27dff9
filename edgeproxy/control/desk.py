"""Serves the workers: certificates for handshakes that wait, gate answers that grew old, counters.

One link per worker process; it ends when the worker does, or when either side was replaced, and then another one comes.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import structlog

from edgeproxy.control.metrics import Metrics
from edgeproxy.errors import EdgeError, LinkError
from edgeproxy.link.messages import Greeting, LinkMessage, Obtain, Obtained, Refresh, Report, Slow
from edgeproxy.link.peer import Link

log = structlog.get_logger("desk")

REFRESHES = 256
"""Hostnames whose gate answer may be asked for anew at once. Others wait for their next visitor."""

WAIT_MAX = 600.0
"""Seconds that a wish is waited for at most, whatever deadline it names."""

BUSY_SECONDS = 1.0
"""For how long a worker that asks too much answers by itself."""


class Outcome(Protocol):
    """What came of a wish for a certificate."""

    @property
    def ok(self) -> bool:
        """The site and its certificate are in the map."""

    @property
    def denied(self) -> bool:
        """Policy says no."""

    @property
    def detail(self) -> str:
        """Why not, in a plain sentence."""

    @property
    def remember(self) -> float:
        """Seconds for which the worker answers by itself."""

    @property
    def limited(self) -> bool:
        """It is the client's network that asks too much, not the name that may not."""


class Obtainer(Protocol):
    """Whoever obtains certificates. A caller that is cancelled ends only its own waiting, never the issuance."""

    async def obtain(self, hostname: str, client_ip: str) -> Outcome:
        """Has a certificate for the name, or says why not."""

    async def refresh_gate(self, hostname: str) -> None:
        """Asks the gate again."""

    def visited(self, hosts: Mapping[str, int]) -> None:
        """A worker answered so many requests for these hostnames."""


class Desk:
    """All links to workers. `obtainer` may be set later; until then wishes are answered with `why_closed()`."""

    def __init__(self, metrics: Metrics, *, waiting: int, now: Callable[[], float], why_closed: Callable[[], str]) -> None:
        self.obtainer: Obtainer | None = None
        self._metrics = metrics
        self._waiting = waiting
        self._now = now
        self._why_closed = why_closed
        self._links: set[_Counter] = set()
        self._refreshing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def links(self) -> int:
        """How many workers are linked."""
        return len(self._links)

    @property
    def waiting(self) -> int:
        """How many wishes are being worked on."""
        return sum(len(counter.wishes) for counter in self._links)

    async def attach(self, worker: int, sock: socket.socket) -> None:
        """Takes over a link's end. Never raises: a link that is broken already is dropped."""
        counter = _Counter(worker)
        try:
            counter.link = await Link.open(
                sock, lambda message: self._said(counter, message), lambda reason: self._lost(counter, reason)
            )
        except (OSError, ValueError) as error:
            sock.close()
            log.warning("a link to a worker could not be opened", worker=worker, error=str(error))
            return
        if counter.link.alive:
            self._links.add(counter)

    def close(self) -> None:
        """Ends all links and what waits on them."""
        for counter in list(self._links):
            if counter.link is not None:
                counter.link.close()
            counter.cancel()
        self._links.clear()
        for task in list(self._tasks):
            task.cancel()

    def _said(self, counter: _Counter, message: LinkMessage) -> None:
        if isinstance(message, Report):
            counter.process = (message.worker, message.pid)
            self._metrics.report(message, self._now())
            if self.obtainer is not None and message.hosts:
                self.obtainer.visited(message.hosts)
        elif isinstance(message, Slow):
            self._metrics.latency.add(message.names, message.late, time.monotonic())
        elif isinstance(message, Obtain):
            self._wish(counter, message)
        elif isinstance(message, Refresh):
            self._refresh(message.hostname)
        elif isinstance(message, Greeting):
            counter.process = (message.worker, message.pid)
            self._metrics.totals.linked(message.worker, message.pid, self._now())
            log.debug("a worker is linked", worker=message.worker, worker_pid=message.pid)

    def _lost(self, counter: _Counter, reason: LinkError | None) -> None:
        self._links.discard(counter)
        counter.cancel()
        if counter.process is not None:
            self._metrics.totals.ended(*counter.process)
        if reason is not None:
            log.warning("the link to a worker broke", worker=counter.worker, error=reason.detail)

    def _wish(self, counter: _Counter, wish: Obtain) -> None:
        if wish.id in counter.wishes:
            return
        if self.obtainer is None:
            counter.answer(Obtained(id=wish.id, ok=False, detail=self._why_closed(), remember=BUSY_SECONDS))
            return
        if len(counter.wishes) >= self._waiting:
            detail = f"{self._waiting} wishes of this worker wait already."
            counter.answer(Obtained(id=wish.id, ok=False, detail=detail, remember=BUSY_SECONDS))
            return
        task = self._start(self._obtain(counter, wish, self.obtainer))
        counter.wishes[wish.id] = task
        task.add_done_callback(lambda _: counter.wishes.pop(wish.id, None))

    async def _obtain(self, counter: _Counter, wish: Obtain, obtainer: Obtainer) -> None:
        left = min(max(wish.deadline - self._now(), 0.0), WAIT_MAX)
        try:
            async with asyncio.timeout(left):
                outcome = await obtainer.obtain(wish.hostname, wish.client_ip)
        except TimeoutError:
            # Nobody waits any more; the issuance itself goes on and a later handshake finds its fruit.
            counter.answer(Obtained(id=wish.id, ok=False, detail="The certificate took longer than a handshake may wait."))
            return
        except EdgeError as error:
            counter.answer(Obtained(id=wish.id, ok=False, detail=error.detail, remember=BUSY_SECONDS))
            return
        except Exception as error:  # noqa: BLE001 the worker must have its answer; logged once and counted
            self._unexpected("obtaining a certificate failed in a way that nobody foresaw", wish.hostname, error)
            answer = Obtained(id=wish.id, ok=False, detail="Something went wrong in the edge.", remember=BUSY_SECONDS)
            counter.answer(answer)
            return
        counter.answer(
            Obtained(
                id=wish.id,
                ok=outcome.ok,
                detail=outcome.detail,
                denied=outcome.denied,
                remember=outcome.remember,
                limited=outcome.limited,
            )
        )

    def _refresh(self, hostname: str) -> None:
        if self.obtainer is None or hostname in self._refreshing or len(self._refreshing) >= REFRESHES:
            return
        self._refreshing.add(hostname)
        self._start(self._ask_again(hostname, self.obtainer)).add_done_callback(lambda _: self._refreshing.discard(hostname))

    async def _ask_again(self, hostname: str, obtainer: Obtainer) -> None:
        try:
            await obtainer.refresh_gate(hostname)
        except EdgeError as error:
            log.warning("the gate's answer could not be refreshed", hostname=hostname, error=error.detail)
        except Exception as error:  # noqa: BLE001 one name's trouble must not end the desk; logged once and counted
            self._unexpected("asking the gate again failed in a way that nobody foresaw", hostname, error)

    def _unexpected(self, message: str, hostname: str, error: Exception) -> None:
        self._metrics.unexpected("desk")
        log.error(message, hostname=hostname, exc_info=error)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Counter:
    """One worker's place at the desk."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.process: tuple[int, int] | None = None
        self.link: Link | None = None
        self.wishes: dict[int, asyncio.Task[None]] = {}

    def answer(self, message: Obtained) -> None:
        """Sends, if the worker is still there; if not it asks again on its next link."""
        if self.link is not None:
            self.link.send(message)

    def cancel(self) -> None:
        """Ends the waiting for this worker. What others wait for goes on."""
        for task in list(self.wishes.values()):
            task.cancel()
