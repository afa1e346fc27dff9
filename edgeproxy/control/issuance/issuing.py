"""One issuance from its turn to its end: what is tried, stored, counted, and remembered where it fails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.admission import Admissions
from edgeproxy.control.issuance.certificates import Issued
from edgeproxy.control.issuance.companion import Companions
from edgeproxy.control.issuance.issuer import Issuer, NotNow, Published, host_of, until_published
from edgeproxy.control.issuance.ledger import Ledger
from edgeproxy.control.issuance.ledgers import Ledgers
from edgeproxy.control.issuance.renewal import first_asked_at, renew_at, retry_delay
from edgeproxy.control.issuance.scheduler import Flight
from edgeproxy.control.store import Failure, Store, StoredCertificate
from edgeproxy.errors import Conflict, EdgeError, Fault, IssuanceDenied, IssuanceError
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("issuance")

FAILURE_SECONDS = 60.0
"""For how long at most a worker remembers that there was no certificate."""

TROUBLE_SECONDS = 900.0
"""For which a CA's trouble counts of which nobody has heard since. A name that failed because of it is tried again sooner."""

CA_TROUBLE_SECONDS = 20.0
"""Until the next try for a name when the CA itself is away or out of order. Not growing: it says nothing of the name."""


class Meter(Protocol):
    """Where issuance is counted."""

    def acme_order(self, ca: str, result: str) -> None:
        """An issuance at a CA ended: "ok" or "failed"."""

    def issued(self, seconds: float) -> None:
        """A certificate was obtained, in so many seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """A CA that is away, or out of order."""

    host: str
    detail: str
    since: float
    """Unix time of the first failure since something went well."""
    last: float


class Issuing:
    """What is done when a name's turn has come."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        issuer: Issuer,
        admissions: Admissions,
        ledger: Ledger | Ledgers,
        meter: Meter,
        clock: Callable[[], float],
    ) -> None:
        """`sealer` has the map's key; `clock` gives Unix time."""
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._issuer = issuer
        self._admissions = admissions
        self._ledger = ledger
        self._meter = meter
        self._clock = clock
        self.companions = Companions(config, store, publisher, sealer, issuer, clock)
        self._bound = config.limits.pending_issuances
        self._operator_failures: dict[str, Failure] = {}
        self.trouble: Trouble | None = None
        """Of the last CA that was asked; None where it took the order."""

    async def run(self, flight: Flight) -> StoredCertificate:
        """See scheduler.Work."""
        name, monotonic = flight.name, asyncio.get_running_loop().time
        alone = None if flight.entry.forced else await self.companions.lacking(name)
        flight.beside = alone is not None
        if alone is None and flight.waited and (present := await self._look_again(flight)) is not None:
            return present
        await self._ledger.claim(name)
        began = monotonic()
        try:
            if alone is not None:
                stored, before = await self.companions.obtain(name, alone, flight.tell), None
            else:
                issued = await self._issuer.issue(name, flight.tell)
                before = await self._store.current_certificate(name)
                stored = await self._keep(name, issued, before, monotonic() - began)
        except NotNow:
            raise
        except IssuanceError as error:
            if isinstance(error, CaRefused) and error.problem == "rateLimited":
                raise await self._ledger.put_off(error, flight.entry.ask) from None
            self._meter.acme_order(self._ca(error), "failed")
            self._note_trouble(error)
            await self._tidy(self._remember(name, error) if alone is None else self.companions.failed(alone, error), name)
            raise
        seconds = monotonic() - began
        ca = host_of((stored.companion or stored).issuer if alone is not None else stored.issuer)
        self._meter.acme_order(ca, "ok")
        self.trouble = None
        self._meter.issued(seconds)
        if alone is None:
            self.companions.look.set()
        self._operator_failures.pop(name, None)
        flight.end(stored)  # what follows nobody has to wait for
        await self._tidy(self._issuer.settled(name), name)
        return stored

    # What failed before

    async def failed(self, name: str) -> Failure | None:
        """What is remembered of a name's last failure."""
        return self.mistake(name) or await self._store.failure(name)

    def mistake(self, name: str) -> Failure | None:
        """The same, where it failed by a wrong setting: that is not in the store."""
        return self._operator_failures.get(name)

    def forgive(self, name: str) -> None:
        """The operator wants it tried now."""
        self._operator_failures.pop(name, None)

    # Within

    async def _look_again(self, flight: Flight) -> StoredCertificate | None:
        """Long ago somebody wished for it: whether it is still wanted (IssuanceDenied: not), or there by now."""
        name, now = flight.name, self._clock()
        found = await self._admissions.again(name)
        present = await self._admissions.present(name, found.admission)
        if present is not None and not flight.entry.forced and (present.renew_at > now or name not in present.names):
            await until_published(self._publisher, await self._store.head_change())
            return present
        if found.admission.certificate != name:
            raise IssuanceDenied(f"{name} is served under {found.admission.certificate} by now.")
        return None

    async def _tidy(self, work: Awaitable[None], name: str) -> None:
        """Does what the result does not depend on; where the store fails at it, that is only logged."""
        try:
            await work
        except EdgeError as error:
            log.error("the store could not be tidied after an issuance", hostname=name, detail=error.detail)

    async def _keep(self, name: str, issued: Issued, before: StoredCertificate | None, seconds: float) -> StoredCertificate:
        """Stores the certificate with its event and waits until the map has it. `before` is the one that the name had,
        `seconds` what it took."""
        now = self._clock()
        stored = StoredCertificate(
            id=issued.id,
            names=issued.names,
            chain=issued.chain,
            sealed_key=self._sealer.seal(issued.key, b"key:" + issued.id.encode("ascii")),
            not_before=issued.not_before,
            not_after=issued.not_after,
            renew_at=renew_at(issued.not_before, issued.not_after, issued.id),
            issuer=issued.directory or self._issuer.directory,
            serial=issued.serial,
            challenge=issued.challenge,
            info_at=first_asked_at(now, None if before is None else before.added_at),
            key_type=issued.key_type,
            companion=self.companions.kept(before, issued.names[0]),
            companion_at=now,
        )
        event = telling.obtained(name, stored, before, ca=host_of(stored.issuer), seconds=seconds)
        try:
            change = await self._store.add_certificate(stored, now, event=event)
        except Conflict:
            # stored, and told, by a process that ended before it could forget the order; the CA gave the same certificate again
            change = await self._store.head_change()
        await until_published(self._publisher, change)
        events.tell(event)
        return stored

    async def _remember(self, name: str, error: IssuanceError) -> None:
        """Notes a failure, so that it is not repeated at each visit."""
        now = self._clock()
        about_the_ca = isinstance(error, CaRefused) and error.about_the_ca
        asked = error.retry_after if isinstance(error, CaRefused) else 0.0
        known = await self._store.failure(name)
        count = (known.count if known is not None else 0) + (0 if about_the_ca else 1)
        delay = CA_TROUBLE_SECONDS if about_the_ca else retry_delay(count, name)
        if error.fault is Fault.OPERATOR:
            delay = FAILURE_SECONDS
        wait = max(delay, asked)
        failure = Failure(
            name=name, count=max(count, 1), next_try=now + wait, detail=error.detail, fault=error.fault.value, updated_at=now
        )
        present = await self._store.current_certificate(name)
        by_operator = error.fault is Fault.OPERATOR
        event: events.Event | None = None
        if not about_the_ca or known is None or known.detail != error.detail:  # else it was told, and is tried every 20 s
            event = telling.failed(name, error, present, ca=self._ca(error), next_try_in=wait, kept=not by_operator)
        if by_operator:
            # a setting is wrong: the next start, with another configuration, must not remember it
            if len(self._operator_failures) >= self._bound:
                self._operator_failures.clear()
            self._operator_failures[name] = failure
        else:
            await self._store.save_failure(failure, now, event=event)
        if event is not None:
            events.tell(event)

    def _note_trouble(self, error: IssuanceError) -> None:
        if isinstance(error, CaRefused) and error.about_the_ca:
            now = self._clock()
            known = self.trouble
            since = known.since if known is not None and now - known.last < TROUBLE_SECONDS else now
            self.trouble = Trouble(self._ca(error), error.detail, since, now)
        elif isinstance(error, CaRefused):
            self.trouble = None  # it works, and refused this name

    def _ca(self, error: IssuanceError) -> str:
        """The host of the CA that an error is of, or "internal"."""
        return host_of((error.directory if isinstance(error, CaRefused) else "") or self._issuer.directory)
