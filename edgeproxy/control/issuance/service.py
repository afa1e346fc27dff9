"""Certificates on demand and ahead of time: who may, one issuance per name, what failed and when to try again."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.records import DnsRecord, acme_records
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.certificates import Issued
from edgeproxy.control.issuance.gate import Gate, GateAnswer, GateVerdict
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.internal import InternalIssuer
from edgeproxy.control.issuance.issuer import Issuer, Progress, Published, until_published
from edgeproxy.control.issuance.platform import PlatformWildcard
from edgeproxy.control.issuance.policy import Admission, Registration, Verdict, admit, not_registered
from edgeproxy.control.issuance.renewal import renew_at, retry_delay
from edgeproxy.control.issuance.strangers import Strangers
from edgeproxy.control.issuance.upkeep import Upkeep
from edgeproxy.control.store import Failure, GateRoute, Store, StoredCertificate
from edgeproxy.errors import Conflict, EdgeError, Fault, IssuanceDenied, IssuanceError
from edgeproxy.model import covers, wildcard_of, wire_hostname
from edgeproxy.model import hostname as checked_hostname
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("issuance")

DENIAL_SECONDS = 60.0
"""For how long a worker remembers that a name is not admitted. A change of the name in the map ends it at once."""

FAILURE_SECONDS = 60.0
"""For how long at most a worker remembers that there was no certificate."""

BUSY_SECONDS = 2.0
"""The same where there were too many at once."""

CA_TROUBLE_SECONDS = 20.0
"""Until the next try for a name when the CA itself is away or out of order. Not growing: it says nothing of the name."""

LANES = {"visitor": 32, "renewal": 4}
"""Issuances at once: for people who wait, and for renewals, so that neither starves the other."""

Lane = Literal["visitor", "renewal"]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a wish for a certificate."""

    ok: bool
    """The site and its certificate are in the published map."""
    denied: bool = False
    """Policy says no; otherwise it failed."""
    detail: str = ""
    remember: float = 0.0
    """Seconds for which the worker answers by itself."""
    limited: bool = False
    """It is the client's network that asks for too many new names, not the name that may not."""


class Meter(Protocol):
    """Where issuance is counted."""

    def acme_order(self, ca: str, result: str) -> None:
        """An issuance at a CA ended: "ok" or "failed"."""

    def issued(self, seconds: float) -> None:
        """A certificate was obtained, in so many seconds."""

    def gate(self, result: Literal["allowed", "denied", "unavailable"]) -> None:
        """The gate answered."""

    def new_name_limited(self) -> None:
        """A client network wanted more new names than it may have."""


class _Uncounted:
    """A meter for programs that count nothing."""

    def acme_order(self, ca: str, result: str) -> None:
        """See Meter."""

    def issued(self, seconds: float) -> None:
        """See Meter."""

    def gate(self, result: Literal["allowed", "denied", "unavailable"]) -> None:
        """See Meter."""

    def new_name_limited(self) -> None:
        """See Meter."""


class _Flight:
    """One issuance under way, and who listens to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done: asyncio.Future[StoredCertificate | IssuanceError] = asyncio.get_running_loop().create_future()
        self.listeners: list[Progress] = []

    def tell(self, phrase: str) -> None:
        for listener in self.listeners:
            listener(phrase)

    def end(self, result: StoredCertificate | IssuanceError) -> None:
        if not self.done.done():
            self.done.set_result(result)


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
        meter: Meter | None = None,
    ) -> None:
        """`sealer` has the map's key; `clock` gives Unix time. To be made inside the running loop; end with `close`."""
        self._config = config
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._clock = clock
        self._issuer = issuer or issuer_for(config, store, publisher, sealer, clock)
        self._gate = gate
        if gate is None and config.issuance.allow.gate:
            self._gate = Gate(config, asyncio.get_running_loop().time)
        self._meter: Meter = meter or _Uncounted()
        self._strangers = Strangers(config, asyncio.get_running_loop().time, self._meter.new_name_limited)
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes = {lane: asyncio.Semaphore(count) for lane, count in LANES.items()}
        self._operator_failures: dict[str, Failure] = {}

    @property
    def pending(self) -> int:
        """Names for which an issuance is under way or waits for its turn."""
        return len(self._flights)

    async def close(self) -> None:
        """Ends what is under way, to be resumed by the next process, and all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._gate is not None:
            await self._gate.close()
        await self._issuer.close()

    async def obtain(self, hostname: str, client_ip: str) -> Outcome:
        """A handshake waits: see to it that the name has its site and certificate in the map, or say why not.

        Cancelling ends only the waiting. Raises EdgeError where the store or the map fails.
        """
        name = wire_hostname(hostname)
        if name is None:
            return Outcome(False, True, f"{hostname[:100]!r} is not a hostname.", DENIAL_SECONDS)
        admission, created_at = await self._admission(name)
        if admission.verdict is Verdict.DENIED:
            return Outcome(False, True, admission.reason, DENIAL_SECONDS)
        if admission.verdict is Verdict.ASK_GATE and self._gate is not None:
            known = self._gate.known(name)
            if known is not None and known.verdict is GateVerdict.DENY:
                return Outcome(False, True, known.detail, known.lifetime)
        present = await self._present(name, admission)
        if admission.verdict is Verdict.ASK_GATE and not (present and await self._store.get_gate_route(name)):
            refusal = await self._ask_gate(name, client_ip)
            if refusal is not None:
                return refusal
        if present:
            # it was there already: the worker's map lags behind, or the wildcard that serves the name exists
            await until_published(self._publisher, await self._store.head_change())
            return Outcome(True)
        if not self._config.issuance.on_demand:
            return Outcome(False, False, "issuance.on_demand is off.", FAILURE_SECONDS)
        failure = await self._failure(admission.certificate, created_at)
        if failure is not None:
            return Outcome(False, False, failure.detail, self._until(failure))
        if admission.certificate not in self._flights:
            limited = self._strangers.refusal(name, admission.source, client_ip)
            if limited is not None:
                return Outcome(False, False, limited, limited=True)
        return await self._outcome(admission.certificate)

    async def refresh_gate(self, hostname: str) -> None:
        """Asks the gate again for a route that is past its time. Only a "no" removes it."""
        name = wire_hostname(hostname)
        if name is None or self._gate is None:
            return
        if await self._store.get_gate_route(name) is not None:
            await self._ask_gate(name, "", afresh=True)

    async def issue(
        self,
        hostname: str,
        *,
        by_operator: bool = True,
        force: bool = False,
        progress: Progress | None = None,
    ) -> StoredCertificate:
        """Obtains a certificate for a hostname or wildcard, or gives the valid one that there is (unless `force`).

        The operator's wish is tried at once whatever failed before. Raises InvalidName, IssuanceDenied, IssuanceError.
        """
        name = checked_hostname(hostname, wildcard=True)
        admission, created_at = await self._admission(name)
        if admission.verdict is Verdict.DENIED:
            raise IssuanceDenied(admission.reason)
        if admission.verdict is Verdict.ASK_GATE and (refusal := await self._ask_gate(name, "")) is not None:
            raise _refused(refusal)
        if not force and (present := await self._present(name, admission)):
            return present
        if by_operator:
            self._operator_failures.pop(admission.certificate, None)
        elif (failure := await self._failure(admission.certificate, created_at)) is not None:
            raise IssuanceError(failure.detail)
        flight = self._flight(admission.certificate, "visitor")
        if flight is not None and progress is not None:
            flight.listeners.append(progress)
        return await self._wait(flight)

    async def records(self, hostnames: Sequence[str]) -> dict[str, list[DnsRecord]]:
        """For each name, the records by which its owner lets the CA see in the DNS that it is ours. Raises StateError."""
        account, issuers = await self._issuer.account()
        return {name: acme_records(name, self._config, account=account, issuers=issuers) for name in hostnames}

    # Ahead of time

    async def run(self) -> None:
        """Continues what an earlier process left unfinished, then renews what is due, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(PlatformWildcard(self._config, self, self._store, self._issuer, self._clock).run)
            tasks.start_soon(Upkeep(self, self._store, self._issuer, self._clock).run)

    async def renew(self, name: str) -> StoredCertificate:
        """See upkeep.Desk. A gate that does not answer now leaves it at what it said before."""
        admission, _ = await self._admission(name)
        if admission.verdict is Verdict.ASK_GATE:
            refusal = await self._ask_gate(name, "")
            if refusal is not None and (refusal.denied or await self._store.get_gate_route(name) is None):
                raise _refused(refusal)
        elif admission.verdict is Verdict.DENIED:
            raise IssuanceDenied(admission.reason)
        if admission.certificate != name:
            # a wildcard serves the name by now: that one is renewed when its own time comes
            wildcard = await self._store.current_certificate(admission.certificate, self._clock())
            if wildcard is not None and wildcard.renew_at > self._clock():
                return wildcard
        return await self._wait(self._flight(admission.certificate, "renewal"))

    async def resume(self, name: str) -> None:
        """See upkeep.Desk."""
        if await self.failure(name) is not None:
            return
        present = await self._store.current_certificate(name, self._clock())
        if present is not None and name in present.names and present.renew_at > self._clock():
            await self._issuer.settled(name)  # stored already; the process ended before it could forget the order
            return
        try:
            await self.renew(name)
        except IssuanceDenied:
            await self._issuer.settled(name)

    async def failure(self, name: str) -> Failure | None:
        """See upkeep.Desk."""
        return await self._failure(name, 0.0)

    # Deciding

    async def _admission(self, name: str) -> tuple[Admission, float]:
        """What policy says, and since when the name's domain exists (0: none)."""
        domain = await self._store.registration_of(name)
        if domain is None:
            return admit(name, self._config, None), 0.0
        return admit(name, self._config, Registration(domain.hostname, domain.state)), domain.created_at

    async def _present(self, name: str, admission: Admission) -> StoredCertificate | None:
        """The valid certificate under which the map has the name already: its own, or a wildcard's (publish.site_for). One
        that a removed domain has left covers the name too, perhaps, and serves nobody."""
        present = await self._store.current_certificate(admission.certificate, self._clock())
        if present is None or admission.certificate in present.names or admission.source in ("registered", "gate"):
            return present
        wildcard = wildcard_of(name)
        return present if any(covers(pattern, wildcard) for pattern in self._config.issuance.allow.patterns) else None

    async def _ask_gate(self, name: str, client_ip: str, *, afresh: bool = False) -> Outcome | None:
        """Asks, and notes the route; an Outcome where it does not say yes."""
        if self._gate is None:
            return Outcome(False, True, not_registered(name), DENIAL_SECONDS)
        answer = await self._gate.ask(name, client_ip, afresh=afresh)
        self._meter.gate(_GATE_RESULTS[answer.verdict])
        if answer.verdict is GateVerdict.ALLOW:
            await self._note_route(name, answer)
            return None
        if answer.verdict is GateVerdict.DENY:
            if await self._store.get_gate_route(name) is not None:
                await self._store.delete_gate_route(name, self._clock())
            return Outcome(False, True, answer.detail, answer.lifetime)
        log.warning("the gate gave no usable answer", hostname=name, detail=answer.detail)
        return Outcome(False, False, answer.detail, answer.lifetime)

    async def _note_route(self, name: str, answer: GateAnswer) -> None:
        now = self._clock()
        known = await self._store.get_gate_route(name)
        same = known is not None and (known.workspace_id, known.origin) == (answer.workspace, answer.origin)
        if same and known is not None and known.fresh_until >= now + answer.lifetime - 1.0:
            return  # the same answer, out of the gate's memory: not worth a commit
        route = GateRoute(hostname=name, workspace_id=answer.workspace, origin=answer.origin, fresh_until=now + answer.lifetime)
        await self._store.put_gate_route(route, now)

    async def _failure(self, name: str, created_at: float) -> Failure | None:
        """What failed for the name, while it is too early to try again. What failed before its domain was registered
        (again) does not count."""
        failure = self._operator_failures.get(name) or await self._store.failure(name)
        if failure is None or failure.next_try <= self._clock() or failure.updated_at < created_at:
            return None
        return failure

    def _until(self, failure: Failure) -> float:
        return min(max(failure.next_try - self._clock(), 1.0), FAILURE_SECONDS)

    # Doing

    async def _outcome(self, name: str) -> Outcome:
        flight = self._flight(name, "visitor")
        if flight is None:
            return Outcome(False, False, self._too_many().detail, BUSY_SECONDS)
        result = await asyncio.shield(flight.done)
        if isinstance(result, IssuanceError):
            failure = await self._failure(name, 0.0)
            return Outcome(False, False, result.detail, BUSY_SECONDS if failure is None else self._until(failure))
        return Outcome(True)

    async def _wait(self, flight: _Flight | None) -> StoredCertificate:
        if flight is None:
            raise self._too_many()
        result = await asyncio.shield(flight.done)
        if isinstance(result, IssuanceError):
            raise result
        return result

    def _flight(self, name: str, lane: Lane) -> _Flight | None:
        """The issuance for a name: the one under way, or a new one; None where there are too many."""
        flight = self._flights.get(name)
        if flight is not None:
            return flight
        if len(self._flights) >= self._config.limits.pending_issuances:
            return None
        flight = self._flights[name] = _Flight(name)
        task = asyncio.get_running_loop().create_task(self._fly(flight, lane), name=f"issue {name}")
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._landed(flight, ended))
        return flight

    def _landed(self, flight: _Flight, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._flights.pop(flight.name, None)
        if task.cancelled():
            flight.end(IssuanceError("The edge is being stopped; the order is continued by its next start."))
        elif (error := task.exception()) is not None:
            log.error("an issuance failed in a way that nobody foresaw", hostname=flight.name, exc_info=error)
            flight.end(
                IssuanceError("Something went wrong in the edge; its log tells what.", code="internal_error", fault=Fault.EDGE)
            )

    async def _fly(self, flight: _Flight, lane: Lane) -> None:
        name, monotonic = flight.name, asyncio.get_running_loop().time
        began = monotonic()
        try:
            async with self._lanes[lane]:
                issued = await self._issuer.issue(name, flight.tell)
                before = await self._store.current_certificate(name)
                stored = await self._keep(issued)
        except IssuanceError as error:
            self._meter.acme_order(self._ca, "failed")
            await self._tidy(self._remember(name, error), name)
            flight.end(error)
            return
        except EdgeError as error:  # the store or the map: nothing is known of the name, so nothing is remembered of it
            log.error("an issuance was interrupted", hostname=name, detail=error.detail)
            flight.end(IssuanceError(error.detail, code=error.code, fault=error.fault, retryable=error.retryable))
            return
        seconds = monotonic() - began
        self._meter.acme_order(self._ca, "ok")
        self._meter.issued(seconds)
        telling.obtained(name, stored, before, ca=self._ca, seconds=seconds)
        self._operator_failures.pop(name, None)
        flight.end(stored)
        await self._tidy(self._store.clear_failure(name), name)
        await self._tidy(self._issuer.settled(name), name)

    async def _tidy(self, work: Awaitable[None], name: str) -> None:
        """Does what the result does not depend on; where the store fails at it, that is only logged."""
        try:
            await work
        except EdgeError as error:
            log.error("the store could not be tidied after an issuance", hostname=name, detail=error.detail)

    async def _keep(self, issued: Issued) -> StoredCertificate:
        """Stores the certificate and waits until the map has it."""
        now = self._clock()
        stored = StoredCertificate(
            id=issued.id,
            names=issued.names,
            chain=issued.chain,
            sealed_key=self._sealer.seal(issued.key, b"key:" + issued.id.encode("ascii")),
            not_before=issued.not_before,
            not_after=issued.not_after,
            renew_at=renew_at(issued.not_before, issued.not_after, issued.id),
            issuer=self._issuer.directory,
            serial=issued.serial,
            challenge=issued.challenge,
        )
        try:
            change = await self._store.add_certificate(stored, now)
        except Conflict:
            # stored by a process that ended before it could forget the order; the CA gave the same certificate again
            change = await self._store.head_change()
        await until_published(self._publisher, change)
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
        telling.failed(name, error, present, ca=self._ca, next_try_in=wait)
        if error.fault is Fault.OPERATOR:
            # a setting is wrong: the next start, with another configuration, must not remember it
            if len(self._operator_failures) >= self._config.limits.pending_issuances:
                self._operator_failures.clear()
            self._operator_failures[name] = failure
        else:
            await self._store.save_failure(failure, now)

    @property
    def _ca(self) -> str:
        """The CA's host, or "internal"."""
        directory = self._issuer.directory
        return directory.split("/")[2].rpartition("@")[2] if "://" in directory else directory

    def _too_many(self) -> IssuanceError:
        return IssuanceError(
            f"{self._config.limits.pending_issuances} names wait for a certificate already (limits.pending_issuances).",
            code="too_many_pending",
            fault=Fault.EDGE,
        )


def _refused(refusal: Outcome) -> IssuanceError:
    """What the gate said, as an error."""
    if refusal.denied:
        return IssuanceDenied(refusal.detail)
    return IssuanceError(refusal.detail, code="gate_unavailable", fault=Fault.OPERATOR)


def issuer_for(config: Config, store: Store, publisher: Published, sealer: Sealer, clock: Callable[[], float]) -> Issuer:
    """The issuer that the configuration names."""
    if config.issuance.directory == INTERNAL:
        return InternalIssuer(config, store, Path(config.state.directory), clock)
    return AcmeIssuer(config, store, publisher, sealer, clock)


_GATE_RESULTS: dict[GateVerdict, Literal["allowed", "denied", "unavailable"]] = {
    GateVerdict.ALLOW: "allowed",
    GateVerdict.DENY: "denied",
    GateVerdict.NOT_NOW: "unavailable",
}
