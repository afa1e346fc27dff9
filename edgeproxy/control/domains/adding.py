"""Registrations on the operator's word, those that come at the same time in one transaction.

A commit waits for the disk, and only one can be under way: whoever comes meanwhile shares the next one with all others who do.
Who comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple, TypeAlias

from edgeproxy.control.store import ADDED, Domain, Entry, Outcome, Store
from edgeproxy.control.store.domains import registered_already
from edgeproxy.errors import EdgeError

_Waiting: TypeAlias = asyncio.Future[tuple[Outcome, int, str | None]]

AT_ONCE = 100
"""Registrations of one transaction at most: others who write wait for it, some 10 ms."""


class Added(NamedTuple):
    """What is registered."""

    domain: Domain
    number: int
    """Of the change after which the map has it."""
    certificate_id: str | None
    """Of the certificate that it is served under at once, its wildcard's or one that was left; None: there is none yet."""


class Adding:
    """One per controller."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[tuple[Entry, _Waiting]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def add(self, entry: Entry) -> Added:
        """Registers an entry. It is done even where whoever asked is cancelled meanwhile. Raises Conflict where the name, or
        its partner's, is registered already, InvalidName for a `redirect_to` that is not possible, and StateError."""
        future: _Waiting = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="registrations")
        outcome, number, certificate_id = await future
        if isinstance(outcome, EdgeError):
            raise outcome
        domain = entry.domains[0]
        if outcome != ADDED:
            raise registered_already(domain.hostname)
        return Added(domain, number, certificate_id)

    async def _write(self) -> None:
        """Until nobody waits."""
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                await self._write_these(taken)
        finally:
            self._writing = None

    async def _write_these(self, taken: list[tuple[Entry, _Waiting]]) -> None:
        futures = [future for _, future in taken]
        try:
            additions = await self._store.add_domains([entry for entry, _ in taken])
        except Exception as error:  # noqa: BLE001 - theirs to tell, who wait for it
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        except BaseException:  # the loop ends
            for future in (*futures, *(future for _, future in self._waiting)):
                future.cancel()
            raise
        for (entry, future), outcome in zip(taken, additions.outcomes, strict=True):
            if not future.done():
                future.set_result((outcome, additions.number, additions.certificates.get(entry.domains[0].hostname)))
