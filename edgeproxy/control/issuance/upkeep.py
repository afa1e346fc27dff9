"""What happens without a visitor: unfinished orders are continued, certificates are renewed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import anyio
import structlog

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.issuer import Issuer
from edgeproxy.control.issuance.parking import Parking
from edgeproxy.control.issuance.renewal import DAY, urgency
from edgeproxy.control.issuance.scheduler import Queued
from edgeproxy.control.store import Failure, Store, StoredCertificate
from edgeproxy.errors import EdgeError, IssuanceDenied, IssuanceError

log = structlog.get_logger("issuance")

LOOK_SECONDS = 30.0
"""Between two looks for what is due."""

PAGE = 100
"""Certificates renewed in one look; further ones come with the next."""

RESUMED_AT_ONCE = 8
"""Unfinished orders that are continued at once: as many fail in one look at a CA that is away, not thousands."""

MORE_SECONDS = 5.0
"""The same where there was more to renew than one look takes. With 100,000 due the look costs 0.4 s of a thread."""

QUEUED_SECONDS = 3_600.0
"""Until a renewal that waits for its turn is looked at again at most. The turn comes without that, unless it was lost."""

RETRY_SECONDS = 600.0
"""Until a renewal is looked at again that failed for a reason that is not remembered of its name."""


class Desk(Protocol):
    """What upkeep needs of the service."""

    async def renew(self, name: str, urgency: float = 0.0) -> StoredCertificate:
        """Issues anew if policy still allows it. Of all renewals that wait for their turn the one of the lowest `urgency` comes
        first. Raises Queued where its turn comes later by itself, IssuanceDenied, IssuanceError or another EdgeError."""
        ...

    async def resume(self, name: str) -> None:
        """Continues the unfinished order for a name if policy still allows it, else forgets it. Raises EdgeError."""
        ...

    async def failure(self, name: str) -> Failure | None:
        """What failed for a name while it is too early to try again."""
        ...


class Upkeep:
    """One loop. What fails for one name is logged and leaves the others alone."""

    def __init__(
        self, desk: Desk, store: Store, issuer: Issuer, clock: Callable[[], float], parking: Parking | None = None
    ) -> None:
        """`parking` says of which names the renewal rests; None: of none."""
        self._desk = desk
        self._parking = parking
        self._store = store
        self._issuer = issuer
        self._clock = clock
        self._resumed = ""
        self._ca_away = False

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._prepare)
            tasks.start_soon(self._keep_resuming)
            while True:
                pause = LOOK_SECONDS
                try:
                    if await self.renew_due() == PAGE:
                        pause = MORE_SECONDS
                except EdgeError as error:
                    log.error("due renewals could not be looked for", detail=error.detail)
                await anyio.sleep(pause)

    async def renew_due(self) -> int:
        """Renews what is due now, several at once; returns when each has succeeded, failed, or waits for its turn. How many
        there were, PAGE at most."""
        now = self._clock()
        due = await self._store.certificates_to_renew(now, PAGE)
        visits = await self._store.visits([name for stored in due for name in stored.names])
        async with anyio.create_task_group() as tasks:
            for stored in due:
                heat = max((visits[name][0] for name in stored.names if name in visits), default=0.0)
                tasks.start_soon(self._renew, stored, urgency(stored.not_before, stored.not_after, heat, now))
        return len(due)

    async def _renew(self, stored: StoredCertificate, urgency: float) -> None:
        name = stored.names[0]
        try:
            try:
                failure = await self._desk.failure(name)
                if self._parking is not None and (failure is None or stored.astray_since is not None):
                    if not await self._parking.lets(stored):
                        return
                    failure = await self._desk.failure(name)  # of a name that is back none counts
                if failure is not None:
                    again = failure.next_try
                else:
                    if name not in (await self._desk.renew(name, urgency)).names:
                        await self._store.set_renewal(stored.id, math.inf)  # a wildcard's certificate has taken its place
                    return
            except Queued as queued:
                again = self._clock() + min(max(queued.retry_after, LOOK_SECONDS), QUEUED_SECONDS)
            except IssuanceDenied as error:
                # nobody wants the name any more: looked at daily, since it may come back while the certificate lasts
                log.info("a certificate is no longer renewed", hostname=name, detail=error.detail)
                again = self._clock() + DAY
            except EdgeError as error:
                log.warning("a renewal failed", hostname=name, detail=error.detail, expires=round(stored.not_after))
                failure = await self._desk.failure(name)
                again = failure.next_try if failure is not None else self._clock() + RETRY_SECONDS
            # moved behind the others, or a hundred names that cannot be renewed would hide all that can
            await self._store.put_off(stored.id, again)
        except EdgeError as error:
            log.error("a renewal was interrupted", hostname=name, detail=error.detail)

    async def _prepare(self) -> None:
        """Makes ready what the first visitor would otherwise wait for."""
        try:
            await self._issuer.prepare()
        except EdgeError as error:
            log.warning("the certificate authority cannot be used yet", detail=error.detail)

    async def _keep_resuming(self) -> None:
        while True:
            await self.resume_unfinished()
            await anyio.sleep(LOOK_SECONDS)

    async def resume_unfinished(self) -> None:
        """Continues what an earlier process left, and what waits for the CA to be well again; returns when each has succeeded,
        failed, or waits for its turn. Once the CA has no answer for one, the others are left for the next look."""
        try:
            names = await self._issuer.unsettled()
        except EdgeError as error:
            log.error("unfinished orders could not be continued", detail=error.detail)
            return
        # from behind the one that was tried last: nobody's order is left out for ever because of those before it
        names = [name for name in names if name > self._resumed] + [name for name in names if name <= self._resumed]
        self._ca_away = False
        at_once = anyio.Semaphore(RESUMED_AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(self._resume_one, name, at_once)

    async def _resume_one(self, name: str, at_once: anyio.Semaphore) -> None:
        async with at_once:
            if self._ca_away:
                return
            self._resumed = name
            try:
                await self._desk.resume(name)
            except EdgeError as error:
                if not isinstance(error, IssuanceError):  # the service has told of those
                    log.warning("an unfinished order was interrupted", hostname=name, detail=error.detail)
                if isinstance(error, CaRefused) and error.about_the_ca:
                    self._ca_away = True
