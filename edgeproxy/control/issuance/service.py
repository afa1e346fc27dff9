"""Certificates on demand and ahead of time: who may, one issuance per name, what failed and when to try again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import anyio

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.records import DnsRecord, acme_records
from edgeproxy.control.issuance.admission import DENIAL_SECONDS, Admissions, Found, GateMeter, GateResult, Outcome, refused
from edgeproxy.control.issuance.ahead import Ahead
from edgeproxy.control.issuance.authorities import Authorities, AuthorityState
from edgeproxy.control.issuance.budget import Kind
from edgeproxy.control.issuance.choosing import issuer_for, ledger_for
from edgeproxy.control.issuance.gate import Gate
from edgeproxy.control.issuance.issuer import Issuer, Progress, Published, until_published
from edgeproxy.control.issuance.issuing import FAILURE_SECONDS, Issuing, Meter, Trouble
from edgeproxy.control.issuance.parking import Parking
from edgeproxy.control.issuance.platform import PlatformWildcard
from edgeproxy.control.issuance.policy import Verdict
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.issuance.scheduler import SET_BACK_SECONDS, Flight, Queued, QueueState, Scheduler
from edgeproxy.control.issuance.strangers import Strangers
from edgeproxy.control.issuance.upkeep import Upkeep
from edgeproxy.control.issuance.visits import Visits
from edgeproxy.control.issuance.windows import Windows
from edgeproxy.control.store import Domain, Failure, Store, StoredCertificate
from edgeproxy.errors import IssuanceDenied, IssuanceError
from edgeproxy.model import hostname as checked_hostname
from edgeproxy.model import wire_hostname
from edgeproxy.published.seal import Sealer

__all__ = ["BUSY_SECONDS", "DENIAL_SECONDS", "FAILURE_SECONDS", "AllMeters", "Issuance", "Outcome", "issuer_for"]

BUSY_SECONDS = 2.0
"""For how long a worker remembers that there were too many names at once."""

RENEWALS = "*renewals"
"""Where renewals stand in line, all of them: the most urgent comes first, whoever's it is. A star is in no workspace's id."""

ANSWER_SECONDS = 0.25
"""By so much a handshake that waits for its turn is answered before its time is over, so that it hears why."""


class AllMeters(Meter, GateMeter, Protocol):
    """Where issuance is counted."""

    def new_name_limited(self) -> None:
        """A client network wanted more new names than it may have."""


class _Present(Exception):
    """A certificate that a visitor waits for was stored since it was looked for."""


class _Limited(IssuanceError):
    """A client network wants too many new names."""


class _Uncounted:
    """A meter for programs that count nothing."""

    def acme_order(self, ca: str, result: str) -> None:
        """See Meter."""

    def issued(self, seconds: float) -> None:
        """See Meter."""

    def gate(self, result: GateResult) -> None:
        """See GateMeter."""

    def new_name_limited(self) -> None:
        """See AllMeters."""


class Issuance:
    """The service. One per controller."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        clock: Callable[[], float] = time.time,
        *,
        issuer: Issuer | None = None,
        gate: Gate | None = None,
        meter: AllMeters | None = None,
        machine: str = "",
    ) -> None:
        """`sealer` has the map's key; `clock` gives Unix time; `machine` is the machine's own id, where several share a
        store. To be made inside the running loop; end with `close`."""
        self._config = config
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._issuer = issuer or issuer_for(config, store, publisher, sealer, clock)
        if gate is None and config.issuance.allow.gate:
            gate = Gate(config, asyncio.get_running_loop().time)
        meter = meter or _Uncounted()
        self._strangers = Strangers(config, asyncio.get_running_loop().time, meter.new_name_limited)
        self._admissions = Admissions(config, store, gate, meter, clock)
        ledger = ledger_for(config, store, self._issuer, machine, clock)
        self._issuing = Issuing(
            config, store, publisher, sealer, self._issuer, self._admissions, ledger, meter=meter, clock=clock
        )
        self._scheduler = Scheduler(config, store, ledger, self._issuing.run, clock)
        self._visits = Visits(store, clock)
        self._ahead = Ahead(config, store, publisher, clock)
        self._issuer.begin = self._scheduler.begin
        self._patience = max(0.0, config.issuance.handshake_wait - ANSWER_SECONDS)

    @property
    def pending(self) -> int:
        """Names for which an issuance is under way or waits for its turn."""
        return self._scheduler.pending

    def queue(self) -> QueueState:
        """Who waits, and what is left of the budget."""
        return self._scheduler.state()

    def authorities(self) -> list[AuthorityState]:
        """How each CA stands, most preferred first; empty where there is one alone."""
        return self._issuer.states() if isinstance(self._issuer, Authorities) else []

    def ca_trouble(self) -> Trouble | None:
        """Why the only CA cannot be used; None where it can, or there are several, of which `authorities` tells."""
        return None if isinstance(self._issuer, Authorities) else self._issuing.trouble

    def turn(self, name: str) -> Turn | None:
        """Where a certificate's name stands in the queue; None where it does not wait."""
        return self._scheduler.turn(name)

    async def turn_of(self, hostname: str, domain: Domain | None = None) -> Turn | None:
        """The same for a hostname, which a wildcard that waits may be to serve; `domain` is its registration, where it is
        known."""
        found = self._admissions.known(hostname, domain) if domain is not None else await self._admissions.of(hostname)
        return self.turn(hostname) or self.turn(found.admission.certificate)

    async def close(self) -> None:
        """Ends what is under way, to be resumed by the next process, and all connections."""
        await self._scheduler.close()
        await self._admissions.close()
        await self._issuer.close()

    async def obtain(self, hostname: str, client_ip: str) -> Outcome:
        """A handshake waits: see to it that the name has its site and certificate in the map, or say why not.

        Cancelling ends only the waiting. Raises EdgeError where the store or the map fails.
        """
        name = wire_hostname(hostname)
        if name is None:
            return Outcome(False, True, f"{hostname[:100]!r} is not a hostname.", DENIAL_SECONDS)
        found = await self._admissions.of(name)
        admission = found.admission
        if admission.verdict is Verdict.DENIED:
            return Outcome(False, True, admission.reason, DENIAL_SECONDS)
        by_gate = admission.verdict is Verdict.ASK_GATE
        if by_gate and (no := self._admissions.known_refusal(name)) is not None:
            return no
        # The gate before the certificate: most names without a route are strangers', and that is one look less for each.
        routed = by_gate and await self._store.get_gate_route(name) is not None
        if by_gate and not routed and (refusal := await self._admissions.ask_gate(name, client_ip, routed=False)):
            return refusal
        present = await self._admissions.present(name, admission)
        if routed and not present and (refusal := await self._admissions.ask_gate(name, client_ip)):
            return refusal
        if present:
            # it was there already: the worker's map lags behind, or the wildcard that serves the name exists
            await until_published(self._publisher, await self._store.head_change())
            return Outcome(True)
        if not self._config.issuance.on_demand:
            return Outcome(False, False, "issuance.on_demand is off.", FAILURE_SECONDS)
        known = await self._issuing.failed(admission.certificate)
        if (failure := self._too_early(known, found.created_at)) is not None:
            return Outcome(False, False, failure.detail, self._until(failure))
        return await self._outcome(found, known, client_ip)

    def visited(self, hosts: Mapping[str, int]) -> None:
        """A worker answered so many requests for these hostnames: of many renewals the most visited name's comes first."""
        self._visits.add(hosts)

    async def refresh_gate(self, hostname: str) -> None:
        """Asks the gate again for a route that is past its time. Only a "no" removes it."""
        await self._admissions.refresh(hostname)

    async def issue(
        self,
        hostname: str,
        *,
        by_operator: bool = True,
        force: bool = False,
        ahead: bool = False,
        progress: Progress | None = None,
    ) -> StoredCertificate:
        """Obtains a certificate for a hostname or wildcard, or gives the valid one that there is (unless `force`).

        The operator's wish is tried at once whatever failed before. `ahead` as in policy. Raises InvalidName, IssuanceDenied,
        IssuanceError, and Queued where the CA's limits have it wait for long.
        """
        name = checked_hostname(hostname, wildcard=True)
        found = await self._admissions.of(name, ahead=ahead)
        if found.admission.verdict is Verdict.DENIED:
            raise IssuanceDenied(found.admission.reason)
        if found.admission.verdict is Verdict.ASK_GATE and (no := await self._admissions.ask_gate(name, "")) is not None:
            raise refused(no)
        if not force and (present := await self._admissions.present(name, found.admission)):
            return present
        certificate = found.admission.certificate
        if by_operator:
            self._issuing.forgive(certificate)
        known = await self._issuing.failed(certificate)
        if not by_operator and (failure := self._too_early(known, found.created_at)) is not None:
            raise IssuanceError(failure.detail)
        flight = await self._wish(found, certificate, known, visited=by_operator, forced=force)
        while force and flight.done.done():  # obtained before it was wished for: only what follows that is under way
            await flight.landed()
            flight = await self._wish(found, certificate, known, visited=by_operator, forced=True)
        if progress is not None:
            flight.listeners.append(progress)
        stored = await self._scheduler.result(flight, self._patience, visitor=by_operator)
        if force and flight.beside:  # what was under way was not a new one, but the one beside it
            await flight.landed()
            flight = await self._wish(found, certificate, known, visited=by_operator, forced=True)
            stored = await self._scheduler.result(flight, self._patience, visitor=by_operator)
        return stored

    async def issue_ahead(self, hostname: str) -> StoredCertificate | None:
        """A certificate for a registered name that does not lead here yet, by DNS-01; None, and nothing is tried, where the DNS
        does not prove it. Raises as `issue`."""
        name = checked_hostname(hostname, wildcard=True)
        present = await self._store.current_certificate(name, self._clock())
        if present is not None:
            return present
        if not await self._ahead.provable(name):
            return None
        return await self.issue(name, by_operator=False, ahead=True)

    async def records(self, hostnames: Sequence[str]) -> dict[str, list[DnsRecord]]:
        """For each name, the records by which its owner lets the CA see in the DNS that it is ours. Raises StateError."""
        persists = "dns-persist-01" in self._config.issuance.challenges
        account, issuers = await self._issuer.account() if persists else ("", ())
        return {name: acme_records(name, self._config, account=account, issuers=issuers) for name in hostnames}

    # Ahead of time

    async def run(self) -> None:
        """Continues what an earlier process left unfinished, then renews what is due, until cancelled."""
        await self._scheduler.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._scheduler.run)
            tasks.start_soon(PlatformWildcard(self._config, self, self._store, self._issuer, self._clock).run)
            tasks.start_soon(self._visits.run)
            for issuer in self._issuer.issuers if isinstance(self._issuer, Authorities) else [self._issuer]:
                tasks.start_soon(Windows(self._store, issuer, self._clock).run)
            parking = Parking(self._config, self._store, self._clock)
            tasks.start_soon(Upkeep(self, self._store, self._issuer, self._clock, parking).run)
            tasks.start_soon(self._issuing.companions.run, self)

    async def renew(self, name: str, urgency: float = 0.0) -> StoredCertificate:
        """See upkeep.Desk. A gate that does not answer now leaves it at what it said before."""
        return await self._obtain_again(name, renewal=True, urgency=urgency)

    async def resume(self, name: str) -> None:
        """See upkeep.Desk."""
        if await self.failure(name) is not None:
            return
        present = await self._store.current_certificate(name, self._clock())
        if self._in_hand(name, present) and await self._issuing.companions.lacking(name) is None:
            await self._issuer.settled(name)  # stored already; the process ended before it could forget the order
            return
        row = await self._store.order_for(name)
        try:
            # one that the CA never heard of has to be paid for like any other
            begun = row is not None and bool(row.url)
            await self._obtain_again(name, renewal=present is not None, begun=begun)
        except IssuanceDenied:
            await self._issuer.settled(name)

    def mistake(self, name: str) -> Failure | None:
        """What failed for a name by a wrong setting, which the store does not know, while it is too early to try again."""
        return self._too_early(self._issuing.mistake(name), 0.0)

    async def failure(self, name: str) -> Failure | None:
        """See upkeep.Desk."""
        return self._too_early(await self._issuing.failed(name), 0.0)

    async def _obtain_again(self, name: str, *, renewal: bool, begun: bool = False, urgency: float = 0.0) -> StoredCertificate:
        found = await self._admissions.again(name)
        certificate = found.admission.certificate
        if certificate != name:
            # a wildcard serves the name by now: that one is renewed when its own time comes
            wildcard = await self._store.current_certificate(certificate, self._clock())
            if wildcard is not None and wildcard.renew_at > self._clock():
                return wildcard
        known = await self._issuing.failed(certificate)
        flight = await self._wish(found, certificate, known, renewal=renewal, begun=begun, urgency=urgency)
        return await self._scheduler.result(flight, self._patience)

    # Deciding

    def _too_early(self, failure: Failure | None, created_at: float) -> Failure | None:
        """What failed for a name, while it is too early to try again. What failed before its domain was registered (again)
        does not count, nor what failed while the clock was ahead: its next try may be years away."""
        now = self._clock()
        if failure is None or failure.next_try <= now or failure.updated_at < created_at:
            return None
        if failure.updated_at > now + SET_BACK_SECONDS:
            return None
        return failure

    def _in_hand(self, name: str, stored: StoredCertificate | None) -> bool:
        """Whether this is a certificate of the name's own that is not due yet."""
        return stored is not None and name in stored.names and stored.renew_at > self._clock()

    def _until(self, failure: Failure) -> float:
        return min(max(failure.next_try - self._clock(), 1.0), FAILURE_SECONDS)

    # Doing

    async def _wish(
        self,
        found: Found,
        certificate: str,
        known: Failure | None,
        *,
        renewal: bool = False,
        begun: bool = False,
        visited: bool = False,
        forced: bool = False,
        client_ip: str = "",
        urgency: float = 0.0,
    ) -> Flight:
        """The flight for a certificate; raises IssuanceError where there are too many, or too many of one client's network, and
        for a visitor _Present where none is needed any more."""
        await self._scheduler.open()
        kind: Kind = "retry" if known is not None and known.updated_at >= found.created_at else "renewal" if renewal else "new"
        had = await self._store.current_certificate(certificate)
        fresh = self._in_hand(certificate, had)
        if had is not None and (certificate not in had.names or had.issuer != self._issuer.directory):
            had = None  # it says nothing of what this CA counts
        # nothing is awaited from here: of a hundred who come at once one is counted
        if not self._scheduler.has(certificate):
            if fresh and client_ip:
                raise _Present
            limited = self._strangers.refusal(certificate, found.admission.source, client_ip)
            if limited is not None:
                raise _Limited(limited)
        flight = self._scheduler.wish(
            certificate,
            kind,
            RENEWALS if renewal else found.workspace or self._admissions.workspace_of(certificate),
            renewal=had is not None,
            replaces=had is not None and had.names == (certificate,) and self._issuer.replaces,
            urgency=urgency,
            visited=visited,
            begun=begun,
            forced=forced,
        )
        if flight is None:
            raise self._scheduler.too_many()
        return flight

    async def _outcome(self, found: Found, known: Failure | None, client_ip: str) -> Outcome:
        name = found.admission.certificate
        try:
            flight = await self._wish(found, name, known, visited=True, client_ip=client_ip)
            await self._scheduler.result(flight, self._patience, visitor=True)
        except _Present:
            await until_published(self._publisher, await self._store.head_change())
        except _Limited as limited:
            return Outcome(False, False, limited.detail, limited=True)
        except Queued as queued:
            return Outcome(False, False, queued.detail, min(queued.retry_after, FAILURE_SECONDS))
        except IssuanceDenied as error:
            return Outcome(False, True, error.detail, DENIAL_SECONDS)
        except IssuanceError as error:
            failure = await self.failure(name)
            return Outcome(False, False, error.detail, BUSY_SECONDS if failure is None else self._until(failure))
        return Outcome(True)
