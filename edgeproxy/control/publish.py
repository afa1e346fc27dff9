"""The store's change log, followed into the published map.

The store is the truth, the map is derived. One task does all the following: it reads which keys changed since the number
that the map has reached, asks the store what is so now, and writes that in one commit. Where the map cannot be
followed up (there is none, it is of another store, or the log no longer goes back far enough) it is rebuilt.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio
import msgspec
import structlog
from anyio.to_thread import run_sync

from edgeproxy.control.map_compare import Comparison
from edgeproxy.control.map_content import MapContent, Settings
from edgeproxy.control.map_making import make
from edgeproxy.control.store.rows.publishing import LogEntry
from edgeproxy.control.store.store import Store
from edgeproxy.errors import EdgeError, MapError
from edgeproxy.model import covers
from edgeproxy.published.writer import DAMAGED, Key, MapWriter, Put

log = structlog.get_logger("publisher")

BATCH = 1000
"""Changes, or names, that are looked up and written at once."""

PACE = 0.005
"""Seconds between two commits of the map: many changes at once share them."""

KEEP_CHANGES = 10_000
"""Changes that stay in the log though the map has them: after a power cut the map may have lost its last commits."""

CHECK_EVERY = 1.0
"""Seconds between two looks whether the map is still there and the log has not moved unnoticed."""

CLEAN_EVERY = 5.0
"""Seconds between two looks for dead readers and old maps, and at some of the map's records."""

HOUSEKEEPING_EVERY = 3600.0
"""Seconds between two removals of what nobody needs: certificates expired and replaced, challenges left behind."""

FIRST_HOUSEKEEPING = 60.0
"""Seconds after a start until the first of them: a start has better things to do."""

LEFT_BEHIND = 86400.0
"""Seconds after which those are removed."""

RETRY = (0.1, 0.5, 2.0, 5.0)
"""Seconds between tries while the map or the store fails."""


class Publisher:
    """Keeps the map equal to what the store says. One per controller; `run` is its task."""

    def __init__(
        self,
        store: Store,
        writer: MapWriter,
        edge_names: Iterable[str],
        patterns: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.time,
        on_challenges: Callable[[Sequence[str] | None], Awaitable[None]] | None = None,
    ) -> None:
        """`edge_names`: the platform's own names, wildcards among them. `patterns`: `issuance.allow.patterns`, whose
        names are in the map as soon as they have a certificate. `on_challenges` is awaited with the keys of challenges that
        may have changed (None: any may), before the map counts as having reached that."""
        self._store = store
        self._writer = writer
        self._settings = Settings(tuple(sorted(set(edge_names))), tuple(sorted(set(patterns))))
        self._clock = clock
        self._content = MapContent(store, self._settings, clock)
        self._comparison = Comparison(self._content, writer)
        self._on_challenges = on_challenges
        self._reached = -1
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waited = 0
        self._checked = self._cleaned = time.monotonic()
        self._kept = self._cleaned - HOUSEKEEPING_EVERY + FIRST_HOUSEKEEPING
        self._log_from = 0
        self._distrusted = False
        self.error: EdgeError | None = None
        """Why the map does not follow just now; None when it does."""

    @property
    def reached(self) -> int:
        """The store's change number that the map has reached; -1 before it is known."""
        return self._reached

    async def published(self, number: int) -> None:
        """Returns when every reader that looks sees the store's change with this number. Waits as long as it takes: the
        caller knows its own deadline."""
        if number <= self._reached:
            return
        future = asyncio.get_running_loop().create_future()
        self._waited += 1
        heapq.heappush(self._waiting, (number, self._waited, future))
        await future

    async def run(self) -> None:
        """Follows the store until it is cancelled. Failures of map or store are logged, and tried again; anything else
        is raised."""
        failures = 0
        opened = False
        while True:
            self._store.changed.clear()
            try:
                if not opened:
                    await self._resume()
                    opened = True
                await self._follow()
                await self._check()
            except EdgeError as error:
                if failures == 0 or self.error is None or error.detail != self.error.detail:
                    log.error("the published map does not follow the store", error=error.detail)
                self.error = error
                if isinstance(error, MapError):
                    opened = False
                    self._distrusted = error.code == DAMAGED
                await anyio.sleep(RETRY[min(failures, len(RETRY) - 1)])
                failures += 1
                continue
            if failures:
                log.info("the published map follows the store again", change=self._reached)
            failures, self.error = 0, None
            await anyio.sleep(PACE)
            with anyio.move_on_after(CHECK_EVERY):
                await self._store.changed.wait()

    # catching up

    async def _resume(self) -> None:
        """Finds out where the map stands, without reading either side; rebuilds it where that does not help."""
        await self._tell_challenges(None)
        writer = self._writer
        usable = not self._distrusted and (await run_sync(writer.intact) or await run_sync(writer.reopen))
        change = writer.change() if usable else None
        if change is None and writer.fresh and self._reached < 0:
            await self._rebuild("there is none yet", first=True)
        elif change is None:
            await self._rebuild("there is none that can be used")
        elif writer.store_id() != self._store.id or change > await self._store.head_change():
            await self._rebuild("it was made from another store")
        else:
            self._log_from = await self._store.oldest_change()
            await self._adopt(change)
            self._arrived(change)

    async def _follow(self) -> None:
        """Publishes all that the log has."""
        while True:
            entries = await self._store.changes_after(self._reached, BATCH)
            if not entries:
                if await self._store.head_change() != self._reached and not await self._store.changes_after(self._reached, 1):
                    await self._rebuild("the log does not go back to it")
                return
            if entries[0].number != self._reached + 1:
                await self._rebuild("the log does not go back to it")
                continue
            await self._publish(entries)
            if len(entries) < BATCH:
                return

    async def _publish(self, entries: Sequence[LogEntry]) -> None:
        """Writes what is so now for the keys of some log entries."""
        keys: dict[str, dict[str, None]] = {"sites": {}, "certificates": {}, "challenges": {}, "tickets": {}}
        for entry in entries:
            keys[entry.database][entry.key] = None
        if keys["sites"]:
            keys["sites"] |= dict.fromkeys(await self._store.redirecting_to(list(keys["sites"])))
        if keys["challenges"]:
            await self._tell_challenges(list(keys["challenges"]))
        puts: list[Put] = []
        deletes: list[Key] = []
        for database, names in keys.items():
            if names:
                more = await self._content.of(database, list(names))
                puts += more[0]
                deletes += more[1]
        number = entries[-1].number
        wildcards = [name for name in keys["sites"] if name.startswith("*.")]
        if wildcards:
            # A certificate comes before the sites that name it and goes after them; the number is reached at the end.
            await run_sync(self._writer.apply, puts, [], self._reached)
            await self._beneath(wildcards, self._reached)
            puts = []
        await run_sync(self._writer.apply, puts, deletes, number)
        self._arrived(number)
        if number - self._log_from >= KEEP_CHANGES + BATCH:
            await self._store.prune_changes(number, KEEP_CHANGES)
            self._log_from = number - KEEP_CHANGES

    async def _beneath(self, wildcards: Sequence[str], number: int) -> None:
        """Publishes the names beneath wildcards anew: a certificate that came or went may be theirs too. `number`: the
        one that the map has."""
        for wildcard in wildcards:
            # The platform's own names are in no table of the store.
            await self._again(
                [name for name in self._settings.edge_names if name != wildcard and covers(wildcard, name)], number
            )
            after = ""
            while names := await self._store.names_beneath(wildcard[2:], after, BATCH):
                await self._again(names, number)
                after = names[-1]

    async def _again(self, names: Sequence[str], number: int) -> None:
        """Publishes what is so now for some sites, at the number that the map has."""
        for start in range(0, len(names), BATCH):
            puts, deletes = await self._content.of("sites", names[start : start + BATCH])
            await run_sync(self._writer.apply, puts, deletes, number)

    async def _adopt(self, change: int) -> None:
        """Brings a map that was made under other settings to these: only the names that they concern."""
        noted = self._writer.settings()
        before = msgspec.msgpack.decode(noted, type=Settings) if noted else Settings()
        if before == self._settings:
            return
        names = set(before.edge_names) ^ set(self._settings.edge_names)
        patterns = set(before.patterns) ^ set(self._settings.patterns)
        await self._again(sorted(names | patterns), change)
        await self._beneath(sorted(pattern for pattern in patterns if pattern.startswith("*.")), change)
        noted = msgspec.msgpack.encode(self._settings)
        await run_sync(lambda: self._writer.apply([], [], change, settings=noted))

    # rebuilding

    async def _rebuild(self, why: str, *, first: bool = False) -> None:
        """Makes the map anew from the whole store. What changes meanwhile is behind the number noted at the beginning,
        and followed afterwards."""
        started = time.monotonic()
        head = await self._store.head_change()
        made = "made" if first else "made anew"
        if self.error is None:  # else it has been said, and the reason for another try too
            log.log(logging.INFO if first else logging.WARNING, f"the published map is being {made}", why=why)
        count = await make(self._writer, self._content, head, self._store.id)
        await self._tell_challenges(None)  # what the log no longer has, nobody was told
        self._distrusted = False
        self._log_from = await self._store.oldest_change()
        self._arrived(head)
        log.info(f"the published map is {made}", sites=count, change=head, seconds=round(time.monotonic() - started, 3))

    # the rest

    async def _tell_challenges(self, keys: Sequence[str] | None) -> None:
        if self._on_challenges is not None:
            await self._on_challenges(keys)

    def _arrived(self, number: int) -> None:
        """The map has reached a number: those who wait for it go on."""
        self._reached = number
        while self._waiting and self._waiting[0][0] <= number:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    async def _check(self) -> None:
        """What is to be done from time to time."""
        now = time.monotonic()
        if now - self._checked >= CHECK_EVERY:
            self._checked = now
            if not await run_sync(self._writer.intact):
                await self._resume()
                await self._follow()
        if now - self._cleaned >= CLEAN_EVERY:
            self._cleaned = now
            await run_sync(self._writer.reader_check)
            await run_sync(self._writer.remove_old, time.time())
            await self._comparison.step(self._reached)
        if now - self._kept >= HOUSEKEEPING_EVERY:
            self._kept = now
            before = self._clock() - LEFT_BEHIND
            while await self._store.remove_expired_certificates(before, self._clock()):
                pass
            while await self._store.remove_old_challenges(before, self._clock()):
                pass
