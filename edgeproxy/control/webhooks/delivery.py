"""What delivers the outbox to the endpoints, for as long as the process lives.

All that must last is rows of the store: an event is one from the transaction of what it tells, what each endpoint is still to
get is one from the moment in which its place in the outbox moved on, and a try counts when its end is stored. So a process may
die anywhere: what was under way is sent again by the next one, under the same `webhook-id`, by which receivers know it.

Each endpoint has places of its own (CONNECTIONS), so that a slow one holds up nobody else. The order of events is not kept:
what failed is tried again later than what came after it. Receivers go by `timestamp`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import random
import secrets
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from edgeproxy.config.structs import Config
from edgeproxy.config.webhooks import CONFIGURED
from edgeproxy.control.faults import Faults
from edgeproxy.control.store import Delivery, Endpoint, Event, Store, Tried
from edgeproxy.control.store.outbox import ID_BYTES
from edgeproxy.control.store.webhooks import ENDPOINTS, Secret
from edgeproxy.control.webhooks import message, outcome
from edgeproxy.control.webhooks.hearing import Hearing
from edgeproxy.control.webhooks.outcome import Sent
from edgeproxy.control.webhooks.sending import CONNECTIONS, Sender
from edgeproxy.errors import EdgeError, Fault

LOOK_SECONDS = 60.0
"""Between two looks at the store where nothing is due and nobody says that there is something new."""

CLEAN_SECONDS = 600.0
"""Between two cleanings of the outbox."""

FAILING = 3
"""Failures in a row from which an endpoint counts as failing."""

TESTS = 4
"""Test deliveries at once."""

TEST = "webhook.test"
"""The type of the event of a test delivery."""

LOOKUPS = (ENDPOINTS + CONFIGURED) * CONNECTIONS
"""Threads that may look names up: one for each place, since a look-up may last for half a minute."""

log = structlog.get_logger("webhooks")


FETCHED = 64
"""Deliveries of one endpoint that are read from the store at once, so that not each costs a look at it."""

GATHERED_SECONDS = 0.02
"""For which tries that ended are gathered into one transaction."""


@dataclasses.dataclass(slots=True)
class _Lane:
    """What is to be sent to one endpoint."""

    endpoint: Endpoint
    sender: Sender
    waiting: deque[Delivery] = dataclasses.field(default_factory=deque)
    """Read from the store, and due."""
    under_way: set[int] = dataclasses.field(default_factory=set)
    """The numbers of those, and of those whose end is not stored yet."""
    sending: int = 0
    keys: tuple[float, list[Secret]] | None = None
    """Its secrets, and when it was changed last before they were read."""
    failures: int = 0
    """In a row."""
    error: str = ""
    """Of the last failure."""


class Webhooks:
    """The delivery of events, and what the API asks of it. Hears events from its making on; `close` ends that.

    `chance` gives numbers from 0 to 1. `trust` gives the roots that receivers' certificates are checked against.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._store = store
        self._now = now
        self._chance = chance
        self._trust = functools.lru_cache(maxsize=1)(trust)
        self._allow = config.webhooks.allow
        self._configured = configured(config, now())
        self._config_secrets = {endpoint_id(each.url): each.secret for each in config.webhooks.endpoints}
        self._hearing = Hearing(store, now)
        self._lanes: dict[str, _Lane] = {}
        self._ended: list[Tried] = []
        self._done = asyncio.Event()
        self._lookups = anyio.CapacityLimiter(LOOKUPS)
        self._testing = asyncio.Semaphore(TESTS)
        self._faults = Faults()
        self._faulty: set[str] = set()
        self.results: Counter[str] = Counter()
        """Tries by how they ended: "delivered", "failed" (and tried again), "given_up"."""

    @property
    def dropped(self) -> int:
        """Events that were lost before they reached the outbox."""
        return self._hearing.dropped

    async def close(self) -> None:
        """Hears no more, and ends connections."""
        await self._hearing.close()
        for lane in self._lanes.values():
            await lane.sender.close()

    async def run(self, faults: Faults) -> None:
        """Delivers, for ever; endpoints that fail are told in `faults`. Raises StateError; may be called again then."""
        self._faults = faults
        for lane in self._lanes.values():  # of a call before this one, whose tries ended with it
            await lane.sender.close()
        self._lanes.clear()
        await self._store.adopt_endpoints(self._configured, self._now())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hearing.run)
            tasks.start_soon(self._clean)
            while True:
                await self._turn(tasks)

    async def test(self, endpoint: Endpoint) -> tuple[str, Sent]:
        """Sends an event that says nothing, at once and once; its id, and how it ended."""
        event = Event(
            number=0,
            id=f"msg_{secrets.token_urlsafe(ID_BYTES)}",
            type=TEST,
            subject="",
            workspace_id="",
            at=self._now(),
            data=msgspec.json.encode({"detail": "A test delivery, asked for by the operator."}),
        )
        async with self._testing:
            sender = self._sender(endpoint)
            try:
                return event.id, await self._send(sender, event, await self._secrets(endpoint))
            finally:
                await sender.close()

    # The loop

    async def _turn(self, tasks: TaskGroup) -> None:
        """Stores what ended, notes what is new, starts what is due; then waits until there is more of that."""
        told = self._store.database.told
        self._done.clear()
        await self._record()
        more = await self._store.note_deliveries(self._now())
        endpoints = await self._store.list_endpoints()
        await self._open_lanes(endpoints)
        self._tell(endpoints)
        wait = await self._start(tasks)
        if not more:
            await self._wait(told, wait)

    async def _record(self) -> None:
        ended = list(self._ended)
        if not ended:
            return
        await self._store.tried(ended)
        del self._ended[: len(ended)]
        for each in ended:
            self.results["delivered" if each.delivered else "given_up" if each.next_try is None else "failed"] += 1
            lane = self._lanes.get(each.endpoint_id)
            if lane is None:
                continue
            lane.under_way.discard(each.number)
            lane.failures = 0 if each.delivered else lane.failures + 1
            lane.error = each.error

    async def _open_lanes(self, endpoints: Sequence[Endpoint]) -> None:
        """Has a lane for each endpoint that is not disabled, and none for others."""
        wanted = {each.id: each for each in endpoints if each.disabled_at is None}
        for one in self._lanes.keys() - wanted.keys():
            await self._lanes.pop(one).sender.close()
        for one, endpoint in wanted.items():
            lane = self._lanes.get(one)
            if lane is None:
                self._lanes[one] = _Lane(endpoint, self._sender(endpoint))
                continue
            lane.endpoint = endpoint
            if lane.sender.url != endpoint.url:
                # What is under way to the other url fails now, and is tried again.
                before, lane.sender, lane.failures = lane.sender, self._sender(endpoint), 0
                await before.close()

    async def _start(self, tasks: TaskGroup) -> float:
        """Reads and starts what is due, as far as there are places; seconds until there is something more to start."""
        now, wait = self._now(), LOOK_SECONDS
        for lane in self._lanes.values():
            if len(lane.waiting) <= FETCHED // 2:
                for delivery in await self._store.to_deliver(lane.endpoint.id, FETCHED, lane.under_way):
                    next_try = delivery.next_try or 0.0
                    if outcome.due(next_try, now):
                        lane.under_way.add(delivery.event.number)
                        lane.waiting.append(delivery)
                    else:
                        wait = min(wait, next_try - now)
            for _ in range(min(CONNECTIONS - lane.sending, len(lane.waiting))):
                lane.sending += 1
                tasks.start_soon(self._deliver_all, lane)
        return wait

    async def _wait(self, told: asyncio.Event, seconds: float) -> None:
        """Until there is something new, a try has ended, or so many seconds have passed."""
        waiting = [asyncio.ensure_future(told.wait()), asyncio.ensure_future(self._done.wait())]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._done.is_set() and not told.is_set():
                await asyncio.wait(waiting[:1], timeout=GATHERED_SECONDS)
        finally:
            for each in waiting:
                each.cancel()

    async def _deliver_all(self, lane: _Lane) -> None:
        """One place: sends what waits for an endpoint, one after the other."""
        while lane.waiting and self._lanes.get(lane.endpoint.id) is lane:
            await self._deliver(lane, lane.waiting.popleft())
        lane.sending -= 1

    async def _deliver(self, lane: _Lane, delivery: Delivery) -> None:
        endpoint, event = lane.endpoint, delivery.event
        try:
            sent = await self._send(lane.sender, event, await self._keys(lane))
        except EdgeError as error:
            sent = Sent(None, error.detail)
        except Exception as error:  # one delivery that cannot be made must not end all others
            log.error("a delivery failed in a way that nobody foresaw", endpoint=endpoint.id, event_id=event.id, exc_info=error)
            sent = Sent(None, "Something went wrong in the edge; its log has the reason.")
        tried = outcome.tried(delivery, sent, self._now(), self._chance())
        self._ended.append(tried)
        self._done.set()
        if not sent.delivered:
            log.info(
                "an event was not delivered",
                endpoint=endpoint.id,
                event_id=event.id,
                type=event.type,
                error=sent.error,
                tries=delivery.tries + 1,
                next_try=tried.next_try,
            )

    async def _send(self, sender: Sender, event: Event, keys: Sequence[Secret]) -> Sent:
        now = self._now()
        content = message.body(event)
        signing = [each.text for each in keys if each.until is None or each.until > now]
        return await sender.send(content, message.headers(event.id, content, signing, now))

    async def _keys(self, lane: _Lane) -> Sequence[Secret]:
        """An endpoint's secrets, read anew when it was changed."""
        changed = lane.endpoint.updated_at
        if lane.keys is None or lane.keys[0] != changed:
            lane.keys = changed, await self._secrets(lane.endpoint)
        return lane.keys[1]

    async def _secrets(self, endpoint: Endpoint) -> list[Secret]:
        if endpoint.source == "config":
            return [Secret(self._config_secrets[endpoint.id])]
        return await self._store.endpoint_secrets(endpoint.id)

    def _sender(self, endpoint: Endpoint) -> Sender:
        return Sender(endpoint, self._allow, self._trust, self._lookups)

    async def _clean(self) -> None:
        while True:
            lost = await self._store.clean_outbox(self._now())
            if lost:
                log.warning("events that were never delivered are too old, or too many, and were dropped", deliveries=lost)
            await anyio.sleep(CLEAN_SECONDS)

    # What does not work

    def _tell(self, endpoints: Sequence[Endpoint]) -> None:
        """Has the faults say which endpoints fail, and no others."""
        now = self._now()
        found = {f"webhook {each.id}": error for each in endpoints if (error := self._fault(each)) is not None}
        for part in self._faulty - found.keys():
            self._faults.works(part)
            log.info("events are delivered again, or no longer wanted", part=part)
        for part, error in found.items():
            if self._faults.fails(part, error, now):
                log.warning("events cannot be delivered", part=part, error=error.detail)
        self._faulty = set(found)

    def _fault(self, endpoint: Endpoint) -> EdgeError | None:
        if endpoint.disabled_at is not None:
            if not endpoint.disabled_by_receiver:
                return None
            return EdgeError(
                f"{endpoint.name} answered 410, so that it gets no more events. Remove it, or have it take them and enable it: "
                f"`edgeproxy webhooks enable {endpoint.id}`.",
                code="webhook_gone",
                fault=Fault.OPERATOR,
            )
        lane = self._lanes.get(endpoint.id)
        if lane is None or lane.failures < FAILING:
            return None
        return EdgeError(
            f"Events cannot be delivered to {endpoint.name}: {lane.error} Each is tried again for three days. `edgeproxy "
            f"webhooks deliveries {endpoint.id}` shows them, `edgeproxy webhooks test {endpoint.id}` tries it now.",
            code="webhook_failing",
            fault=Fault.OPERATOR,
            retryable=True,
        )


def endpoint_id(url: str) -> str:
    """The id of an endpoint of the configuration: always the same for one url."""
    return f"cfg_{hashlib.sha256(url.encode()).hexdigest()[:16]}"


def configured(config: Config, now: float) -> dict[str, Endpoint]:
    """The configuration's endpoints as the store has them, by id."""
    return {
        endpoint_id(each.url): Endpoint(
            id=endpoint_id(each.url),
            source="config",
            url=each.url,
            label=each.label,
            events=each.events,
            created_at=now,
            created_by="configuration",
            updated_at=now,
        )
        for each in config.webhooks.endpoints
    }
