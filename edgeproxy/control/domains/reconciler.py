"""Works through domains that are due: looks at their records, has their certificates obtained, sees whether they are served.

What is to be done is in the store, and each step of it is a transaction: this process may die anywhere, and the next one
goes on. A domain is looked at by one process at a time (a lease) and within it by one task, however many wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.doubting import leads_here_anyway
from edgeproxy.control.domains.lifecycle import Event, Said, heard, next_move
from edgeproxy.control.domains.looking import Desk, Live, Looker, Prober, Silence, Verdict, suffices
from edgeproxy.control.domains.noting import Notes
from edgeproxy.control.domains.schedule import EAGER_PAUSE, EAGER_SECONDS, SLOWEST_PAUSE, next_look
from edgeproxy.control.issuance.scheduler import SET_BACK_SECONDS, Queued
from edgeproxy.control.store import Domain, Lease, Note, Store
from edgeproxy.errors import EdgeError, Fault, IssuanceError
from edgeproxy.model import DomainState

log = structlog.get_logger("domains")

LOOKS = 256
"""Looks at once that nobody asked for: each may take 8 s where servers are silent. Whoever looks bounds what resolvers are
asked."""

ROUND_SECONDS, BEGUN, LEAST = 0.1, 10, 2
"""Between two looks at the store at least, and looks that each begins at most: a hundred a second, so that 10,000 domains which
are all due are worked through in 100 s. Where the loop is busy it begins fewer, down to LEAST: who waits for an answer or for a
certificate goes first."""

LATE_SECONDS = 0.03
"""By so much later than it should a pause ends where the loop is busy."""

LOOK_SECONDS = 25.0
"""What one look may take."""

ISSUES = 256
"""Certificates that are waited for at once. Those beyond are looked at again after ROOM_SECONDS."""

ROOM_SECONDS = 10.0

LEASE_SECONDS = 60.0
"""For how long a domain belongs to who took it. A domain whose work went wrong in a way that nobody foresaw rests so long."""

CONFIRM_SECONDS = 10.0
"""After which a domain is looked at again that seems to work no more: one answer, or one handshake, may be wrong."""

PROBES, PROBE_PAUSE = 3, 0.2
"""Handshakes that are tried for a new certificate, and the seconds between two."""

REST_SECONDS = 5.0
"""Between two looks at the store at most: another process may have added something."""

REMEMBERED = 2_000
"""Domains whose last verdict is kept in memory, for those who ask what was seen."""


@dataclasses.dataclass(slots=True)
class Visit:
    """One domain that is being worked on."""

    hostname: str
    looked: asyncio.Future[None]
    """Done when the records were looked at, or are not going to be."""
    urgent: bool
    """Whether somebody waits for it."""
    task: asyncio.Task[None] | None = None
    looking: bool = True

    def has_looked(self) -> None:
        """Once."""
        self.looking = False
        if not self.looked.done():
            self.looked.set_result(None)


class Reconciler:
    """One per controller; `run` is its task. `clock` gives Unix time, `machine` is the machine's own id."""

    def __init__(
        self,
        config: Config,
        store: Store,
        looker: Looker,
        desk: Desk,
        prober: Prober,
        clock: Callable[[], float],
        *,
        machine: str = "",
    ) -> None:
        self._settings = config.verification
        self._measures = bool(config.platform.cname_target or config.platform.addresses)
        self._store = store
        self._looker = looker
        self._desk = desk
        self._prober = prober
        self._clock = clock
        self._machine = f"{machine}/domains"
        self._holder = secrets.token_hex(8)
        self._visits: dict[str, Visit] = {}
        self._verdicts: OrderedDict[str, Verdict] = OrderedDict()
        self._notes = Notes(store, self._holder, clock)
        self._begun = BEGUN
        self._issuing = 0
        self._wake = asyncio.Event()
        self._looked_at = clock()

    def verdict(self, hostname: str) -> Verdict | None:
        """What the last look at a domain brought, as long as it is remembered."""
        return self._verdicts.get(hostname)

    def leads_here(self, verdict: Verdict) -> bool | None:
        """Whether visitors arrive here; None: nobody knows. Where nothing says what leading here means, all do."""
        if verdict.points is Points.UNKNOWN:
            return None if self._measures else True
        return verdict.points is Points.HERE

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def visit(self, hostname: str) -> Visit:
        """Has a domain worked on now, due or not: the visit that is under way, or a new one."""
        visit = self._visits.get(hostname)
        return self._start(hostname, None) if visit is None else visit

    async def run(self) -> None:
        """Until cancelled. Raises StateError."""
        now = self._clock()
        await self._store.end_leases(self._machine, but=self._holder, now=now)
        await self._store.recall_looks(now)
        try:
            while True:
                self._wake.clear()
                pause = await self._round() - ROUND_SECONDS
                self._begun = begun_after(self._begun, await _late(ROUND_SECONDS))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends what is under way; it is due again for the next process."""
        tasks = [visit.task for visit in self._visits.values() if visit.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._notes.close()

    async def _round(self) -> float:
        """Begins what is due, as far as there is room; seconds until the next one."""
        now = self._clock()
        if self._looked_at - now > SET_BACK_SECONDS:
            await self._store.recall_looks(now)
        self._looked_at = now
        room = LOOKS - sum(visit.looking and not visit.urgent for visit in self._visits.values())
        if room <= 0:
            return REST_SECONDS  # whoever is ready wakes us
        most = min(room, self._begun)
        found = await self._store.claim_due_domains(self._lease(now), now, most, young=now - EAGER_SECONDS)
        for domain in found:
            if domain.hostname not in self._visits:
                self._start(domain.hostname, domain)
        if len(found) == most:
            return ROUND_SECONDS
        due = await self._store.next_due_domain(now)
        return REST_SECONDS if due is None else min(max(due - self._clock(), 0.02), REST_SECONDS)

    def _lease(self, now: float) -> Lease:
        return Lease(name="", machine=self._machine, holder=self._holder, expires=now + LEASE_SECONDS)

    def _start(self, hostname: str, domain: Domain | None) -> Visit:
        loop = asyncio.get_running_loop()
        visit = self._visits[hostname] = Visit(hostname, loop.create_future(), urgent=domain is None)
        visit.task = loop.create_task(self._work(visit, domain), name=f"domain {hostname}")
        visit.task.add_done_callback(lambda _: self._ended(visit))
        return visit

    def _ended(self, visit: Visit) -> None:
        visit.has_looked()
        self._visits.pop(visit.hostname, None)
        self._wake.set()

    async def _work(self, visit: Visit, domain: Domain | None) -> None:
        """All that can be done for one domain now. What goes wrong is logged; the domain then rests until its lease is over."""
        try:
            if domain is None:
                now = self._clock()
                domain = await self._store.claim_domain(visit.hostname, self._lease(now), now)
            if domain is None:
                return  # gone, or another machine's just now
            work = _Work(self, visit)
            await work.do(domain)
            if not work.released:
                await self._notes.put(Note(domain.hostname, release=True))
        except EdgeError as error:
            log.error("a domain could not be looked at", domain=visit.hostname, detail=error.detail)
        except Exception as error:
            log.error("a look at a domain failed in a way that nobody foresaw", domain=visit.hostname, exc_info=error)

    def _remember(self, hostname: str, verdict: Verdict) -> None:
        self._verdicts[hostname] = verdict
        self._verdicts.move_to_end(hostname)
        while len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)


_GO_ON = frozenset(
    (
        *(DomainState.VERIFIED, DomainState.ISSUING, DomainState.AWAITING_CUTOVER),
        *(DomainState.ACTIVE, DomainState.ATTENTION),
    )
)
"""States in which a look is followed by something else."""


class _Work:
    """What is done for one domain in one visit."""

    def __init__(self, of: Reconciler, visit: Visit) -> None:
        self._of = of
        self._visit = visit
        self.released = False
        """Whether the domain's lease ended with what was written last."""

    async def do(self, domain: Domain) -> None:
        """From its look to its being live, as far as it gets."""
        of = self._of
        if domain.state is DomainState.PARKED:
            await self._forget(domain)
            return
        if not domain.method or domain.state in (DomainState.SUSPENDED, DomainState.REMOVED):
            # the operator's word needs no look, and nobody waits for what is suspended
            await self._note(domain, next_look=None)
            return
        verdict = await self._look(domain)
        seen = await self._heard(domain, verdict)
        self._visit.has_looked()
        of.wake()
        if seen is None:
            return
        if seen.state in (DomainState.VERIFIED, DomainState.ISSUING):
            await self._obtain(seen)
        elif seen.state is DomainState.AWAITING_CUTOVER:
            await self._obtain_ahead(seen)
        elif seen.state in (DomainState.ACTIVE, DomainState.ATTENTION) and of.leads_here(verdict):
            await self._prove_live(seen)

    # Looking

    async def _look(self, domain: Domain) -> Verdict:
        of = self._of
        verdict: Verdict
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                verdict = await of._looker.look(domain, urgent=self._visit.urgent)
        except TimeoutError:
            verdict = Silence(f"The DNS did not answer for {domain.hostname} within {LOOK_SECONDS:g} s. It is asked again.")
        of._remember(domain.hostname, verdict)
        return verdict

    async def _heard(self, before: Domain, verdict: Verdict) -> Domain | None:
        """Notes what was seen and moves the domain on; None where there is nothing left to do for it."""
        of, now, domain = self._of, self._of._clock(), before
        sure, here = verdict.state != "unsure", of.leads_here(verdict)
        unproven = sure and here and not domain.must_prove and domain.verified_at is None
        if unproven and await leads_here_anyway(domain, of._store, of._settings.preset):
            domain = msgspec.structs.replace(domain, must_prove=True)  # whatever the method is now
        said = cast("Said", suffices(domain, verdict))
        event = heard(domain.state, said, leads_here=here)
        code, detail, fault = wrong_with(domain, verdict, said, leads_here=here)
        since = now if domain.looking_since is None else domain.looking_since
        again = self._next(domain, since, now)
        if event is Event.FAILS and not before.error_code:
            event, again = None, now + CONFIRM_SECONDS
        elif event is None and again is None:
            event = Event.GIVEN_UP
        after = msgspec.structs.replace(
            domain,
            looks=domain.looks + sure,
            looked_at=now,
            looking_since=since,
            error_code=code,
            error_detail=detail,
            error_fault=fault,
            next_look=again,
        )
        if before.state is DomainState.AWAITING_CUTOVER and event is Event.PROVEN:
            await of._store.clear_failure(before.hostname)  # of a time when it led elsewhere
        if event is None:
            self.released = after.state not in _GO_ON
            return await of._notes.put(Note(before.hostname, before, after, release=self.released))
        return await self._step(before, after, event)

    def _next(self, domain: Domain, since: float, now: float) -> float | None:
        settings = self._of._settings
        return next_look(
            domain.hostname,
            domain.state,
            since,
            now,
            give_up_after=settings.give_up_after,
            steady_pause=settings.look_again,
        )

    # Obtaining

    async def _obtain(self, domain: Domain) -> None:
        of = self._of
        if domain.state is DomainState.VERIFIED:
            ordered = await self._step(domain, domain, Event.ORDERED)
            if ordered is None:
                return
            domain = ordered
        if of._issuing >= ISSUES:
            await self._note(domain, next_look=of._clock() + ROOM_SECONDS)
            return
        of._issuing += 1
        try:
            await of._desk.issue(domain.hostname, by_operator=False)
        except Queued as queued:
            await self._failed(domain, queued, of._clock() + queued.retry_after)
            return
        except IssuanceError as error:
            failure = await of._desk.failure(domain.hostname)
            await self._failed(domain, error, 0.0 if failure is None else failure.next_try)
            return
        finally:
            of._issuing -= 1
        await self._prove_live(domain)

    async def _obtain_ahead(self, domain: Domain) -> None:
        """Where the DNS alone can prove the name, its visitors find the certificate there when they come."""
        of = self._of
        if of._issuing >= ISSUES:
            return
        of._issuing += 1
        try:
            await of._desk.issue_ahead(domain.hostname)
        except IssuanceError as error:
            log.info("no certificate ahead of the cut-over", domain=domain.hostname, detail=error.detail)
        finally:
            of._issuing -= 1

    async def _failed(self, domain: Domain, error: IssuanceError, again: float) -> None:
        """Notes why there is no certificate. The records are looked at again all the same: they may be the reason."""
        now = self._of._clock()
        await self._note(
            domain,
            error_code=error.code,
            error_detail=error.detail,
            error_fault=error.fault.value,
            next_look=min(max(again, now + EAGER_PAUSE), now + SLOWEST_PAUSE),
        )

    # Live

    async def _prove_live(self, domain: Domain) -> None:
        of = self._of
        live = Live(False)
        for number in range(PROBES):
            if number:
                await asyncio.sleep(PROBE_PAUSE)
            if (live := await of._prober.visit(domain.hostname)).ok:
                break
        now = of._clock()
        if live.ok:
            cleared = msgspec.structs.replace(domain, error_code="", error_detail="", error_fault="")
            if domain.state is DomainState.ACTIVE:
                await self._step(domain, cleared, None)
            else:
                await self._step(domain, cleared, Event.LIVE)
            return
        fails = domain.state is DomainState.ACTIVE and domain.error_code == "not_served"
        after = msgspec.structs.replace(domain, error_code="not_served", error_detail=live.detail, error_fault=Fault.EDGE.value)
        if domain.state is DomainState.ACTIVE and not fails:
            after = msgspec.structs.replace(after, next_look=now + CONFIRM_SECONDS)
        await self._step(domain, after, Event.FAILS if fails else None)

    # Writing

    async def _forget(self, domain: Domain) -> None:
        """A registration that was never verified does not keep its name from others for ever."""
        of, now = self._of, self._of._clock()
        if domain.verified_at is not None or domain.parked_at is None:
            await self._note(domain, next_look=None)
        elif now < domain.parked_at + of._settings.forget_after:
            await self._note(domain, next_look=domain.parked_at + of._settings.forget_after)
        elif await of._store.withdraw_domain(domain, actor="edge", now=now, final_at=now) is not None:
            log.info("a domain that was never verified is removed", domain=domain.hostname, workspace=domain.workspace_id)
            events.publish("domain.removed", hostname=domain.hostname, workspace_id=domain.workspace_id)

    async def _note(self, domain: Domain, **values: object) -> Domain | None:
        return await self._step(domain, msgspec.structs.replace(domain, **values), None)

    async def _step(self, before: Domain, after: Domain, event: Event | None) -> Domain | None:
        """One transaction. What the domain is now; None where somebody else has changed it: their word counts."""
        of, now = self._of, self._of._clock()
        emits = action = detail = ""
        if event is not None:
            move = next_move(before.state, event)
            after = moved(after, event, now, forget_after=of._settings.forget_after)
            if after.next_look is not None and event in (Event.LIVE, Event.FAILS, Event.PROVEN, Event.PROVEN_AHEAD):
                since = now if event is not Event.LIVE else (after.looking_since or now)
                after = msgspec.structs.replace(after, looking_since=since, next_look=self._next(after, since, now))
            emits, action, detail = move.emits, "domain.state", f"{before.state.value} to {move.state.value}"
        step = await of._store.advance_domain(before, after, emits=emits, action=action, detail=detail, actor="edge", now=now)
        if step is not None and event is not None:
            log.info("domain", domain=step.hostname, state=step.state.value, was=before.state.value)
            if emits:
                events.publish(
                    emits,
                    hostname=step.hostname,
                    workspace_id=step.workspace_id,
                    code=step.error_code,
                    detail=step.error_detail,
                )
        return step


async def _late(seconds: float) -> float:
    """Sleeps; by how many seconds it was more."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    await asyncio.sleep(seconds)
    return loop.time() - end


def begun_after(begun: int, late: float) -> int:
    """How many looks the next round begins at most, where the last one might have begun `begun` and the loop was `late`. Half
    as many, or one more. Pure."""
    return max(LEAST, begun // 2) if late > LATE_SECONDS else min(BEGUN, begun + 1)


def wrong_with(domain: Domain, verdict: Verdict, said: str, *, leads_here: bool | None) -> tuple[str, str, str]:
    """What is wrong with a domain after a look: code, sentence and fault, empty where nothing is. Pure.

    What an issuance or a handshake left is theirs to take back, and an unsure look takes back nothing of a domain that was
    proven.
    """
    customer = Fault.CUSTOMER_DNS.value
    if domain.state in (DomainState.PENDING_VALIDATION, DomainState.AWAITING_CUTOVER) and said == "verified":
        if leads_here:
            return "", "", ""
        rest = "does not lead to this edge yet. Set the routing record that is listed."
        return "awaiting_cutover", f"{domain.hostname} is verified, but {rest}", customer
    if domain.state is DomainState.PENDING_VALIDATION:
        if verdict.state == "verified":
            rest = "did so without its registration, so that this does not show whose it is. Set the TXT record that is listed."
            return "proof_needed", f"{domain.hostname} leads here, but {rest}", customer
        return verdict.code, verdict.detail, verdict.fault.value
    if leads_here is False and said != "unsure":
        if verdict.code:
            return verdict.code, verdict.detail, verdict.fault.value
        rest = "does not lead to this edge any more. Set the routing record that is listed."
        return "not_pointing_here", f"{domain.hostname} {rest}", customer
    return domain.error_code, domain.error_detail, domain.error_fault


_BEGINNINGS = frozenset(
    (
        *(Event.WANTED, Event.REINSTATED, Event.REINSTATED_ACTIVE, Event.REINSTATED_UNPROVEN),
        *(Event.RESTORED, Event.RESTORED_ACTIVE, Event.RESTORED_UNPROVEN),
    )
)
"""Events with which the schedule of looks begins anew, at once."""


def moved(domain: Domain, event: Event, now: float, *, forget_after: float = 0.0) -> Domain:
    """A domain after an event, with the times that go with its new state. Raises Conflict where that cannot be. Pure."""
    state = next_move(domain.state, event).state
    values: dict[str, object] = {"state": state}
    if state in (DomainState.VERIFIED, DomainState.AWAITING_CUTOVER) and domain.verified_at is None:
        values["verified_at"] = now
    if state is DomainState.ACTIVE and domain.active_at is None:
        values["active_at"] = now
    values["parked_at"] = now if state is DomainState.PARKED else None
    values["suspended_at"] = now if state is DomainState.SUSPENDED else None
    if state is DomainState.PARKED:
        values["next_look"] = None if domain.verified_at is not None else now + forget_after
    elif state is DomainState.SUSPENDED:
        values["next_look"] = None
    elif event in _BEGINNINGS:
        values |= {"next_look": now if domain.method else None, "looking_since": now}
    return msgspec.structs.replace(domain, **values)
