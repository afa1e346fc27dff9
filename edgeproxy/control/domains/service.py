"""What the APIs can do with domains: register, verify, remove and bring back, suspend. One object per controller."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
from collections.abc import Callable, Collection, Sequence

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.domains.adding import Adding
from edgeproxy.control.domains.cautions import cautions
from edgeproxy.control.domains.claims import Claims
from edgeproxy.control.domains.lifecycle import Event, next_move
from edgeproxy.control.domains.looking import Looker, Verdict
from edgeproxy.control.domains.reconciler import Reconciler, moved
from edgeproxy.control.domains.records import DnsRecord, record
from edgeproxy.control.domains.reserved import check_claimable, check_reserved, check_workspace
from edgeproxy.control.domains.verification.shown import wanted_records
from edgeproxy.control.domains.verification.wanted import wanted_of
from edgeproxy.control.issuance.policy import not_registered
from edgeproxy.control.issuance.registered import load
from edgeproxy.control.store import Domain, Removal, Store
from edgeproxy.errors import Conflict, InvalidName, NotFound
from edgeproxy.model import DomainState, wildcard_of
from edgeproxy.model import hostname as checked_hostname

METHODS = ("cname", "dns", "file")
"""How a name's owner can show that it is theirs; "dns" is a TXT record."""

FRESH_SECONDS = 5.0
"""A domain that was looked at so lately is not looked at again for who asks."""

LOOK_SECONDS = 24.0
"""How long who asks waits for the look."""

LIVE_SECONDS = 4.0
"""How long, after it, for the certificate of a domain that is verified."""

COMPARE_SECONDS = 3.0
"""How long whoever is shown records waits for what stands for those of the CA's challenges."""

PROOF_CHARACTERS = 32
"""Of a proof: 160 bits."""

TRIES = 3
"""How often a step is tried whose row somebody else changes at the same moment."""


WAY_OUT = (
    "Another workspace registered this name and never proved that it is theirs. If it is yours, set this record and register "
    "it again."
)


class AlreadyRegistered(Conflict):
    """The name is registered. `domain` is the registration, where it is the same workspace's."""

    code = "already_registered"

    def __init__(self, hostname: str, domain: Domain | None = None, proofs: Sequence[DnsRecord] = ()) -> None:
        super().__init__(f"{hostname} is registered already. {_way_out(proofs)}".rstrip(), retryable=bool(proofs))
        self.domain = domain
        self.proofs = tuple(proofs)
        """The TXT records, one for each name that another workspace registered and never proved: once they are there, the same
        registration succeeds at once. Empty: it never does."""


def _way_out(proofs: Sequence[DnsRecord]) -> str:
    if not proofs:
        return ""
    wanted = " and ".join(f'{each.name} to "{each.value}"' for each in proofs)
    return f"Whoever registered it never proved it. If it is yours, set the TXT record {wanted}, and register it again."


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration."""

    domain: Domain
    warnings: tuple[str, ...] = ()
    """Plain sentences (`cautions`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """How it stands with a domain."""

    domain: Domain
    verdict: Verdict | None
    """What the last look brought; None: it is not remembered, or there was none yet."""


class Domains:
    """`clock` gives Unix time; `proof_key` is a secret from which proofs are made."""

    def __init__(
        self,
        config: Config,
        store: Store,
        looker: Looker,
        reconciler: Reconciler,
        clock: Callable[[], float],
        *,
        proof_key: bytes,
    ) -> None:
        self._config = config
        self._store = store
        self._looker = looker
        self._reconciler = reconciler
        self._clock = clock
        self._proof_key = proof_key
        self._claims = Claims(looker)
        self.adding = Adding(store)
        """Registrations on the operator's word."""

    # Registering

    async def register(
        self,
        hostname: str,
        workspace_id: str,
        *,
        actor: str,
        method: str = "cname",
        origin: str = "",
        redirect_to: str = "",
        metadata: str = "",
        policies: str = "",
        partner: str = "",
        verify: bool = True,
        at_most: int | None = None,
        at_leisure: bool = False,
    ) -> Registered:
        """Registers a hostname or wildcard as a person wrote it; with it `partner` (its www, or its apex), which redirects to
        it. `origin`, `redirect_to`, `metadata` and `policies` (JSON objects) and `partner` are checked and normalised by the
        caller; `at_most` is how many domains the workspace may have. `at_leisure`: it is looked at when its turn comes, and
        not at once.

        Without `verify` it is the operator's word: served at once. Raises InvalidName for what cannot be registered,
        AlreadyRegistered, and Conflict (too_many_domains, contended).
        """
        name = checked_hostname(hostname, wildcard=True)
        check_reserved(name, self._config)
        workspace = check_workspace(workspace_id, self._config)
        now = self._clock()
        domain = Domain(
            hostname=name,
            workspace_id=workspace,
            origin=origin,
            redirect_to=redirect_to,
            metadata=metadata,
            policies=policies,
            include_www=bool(partner),
            state=DomainState.VERIFIED,
            created_at=now,
            updated_at=now,
            verified_at=now,
        )
        if not verify:
            existing = await self._store.get_domain(name)
            if existing is not None:
                raise AlreadyRegistered(name, existing if existing.workspace_id == workspace else None)
            return Registered(
                await self._store.register_domain(domain, actor=actor, now=now), tuple(cautions(name, self._config))
            )
        if method not in METHODS:
            raise _no_method(method)
        await asyncio.to_thread(load)  # of public suffixes, which takes 80 ms once
        check_claimable(name, self._config)
        domain = await self._to_prove(domain, method)
        beside = None
        if partner:
            check_claimable(partner, self._config)
            beside = msgspec.structs.replace(domain, hostname=partner, redirect_to=name)
            beside = await self._to_prove(beside, method)
        wanted = [domain] if beside is None else [domain, beside]
        given_up = await self._given_up(wanted)
        domain = _shown(domain, given_up, now)
        beside = None if beside is None else _shown(beside, given_up, now)
        try:
            await self._store.register_domain(
                domain, actor=actor, now=now, at_most=at_most, proven=given_up.keys(), partner=beside
            )
        except Conflict as error:
            if error.code in ("too_many_domains", "contended"):
                raise
            raise await self._refusal(wanted) from None
        for each, loser in given_up.items():
            events.publish("domain.removed", hostname=each, workspace_id=loser)
            events.publish("domain.verified", hostname=each, workspace_id=workspace)
        for each in (name, partner):
            if each and not at_leisure:
                self._reconciler.visit(each)
        if at_leisure:
            self._reconciler.wake()
        return Registered(domain, tuple(cautions(name, self._config)))

    async def _to_prove(self, domain: Domain, method: str) -> Domain:
        """As it is registered, to be proven by a method, or by the only one that will do."""
        must_prove = await self._must_prove(domain.hostname, domain.workspace_id)
        return msgspec.structs.replace(
            domain,
            state=DomainState.PENDING_VALIDATION,
            verified_at=None,
            method="dns" if must_prove else method,
            proof=await self._proof(domain.hostname, domain.workspace_id),
            must_prove=must_prove,
            next_look=domain.created_at,
            looking_since=domain.created_at,
        )

    async def _must_prove(self, name: str, workspace: str) -> bool:
        """Whether a CNAME that leads here says nothing of who registers the name: it may be left from somebody else."""
        if name.startswith("*."):
            return True
        if any(holder.was_active or holder.workspace_id != workspace for holder in await self._store.holders_of(name)):
            return True
        above = await self._store.get_domain(wildcard_of(name))
        return above is not None and above.workspace_id != workspace

    async def _proof(self, name: str, workspace: str) -> str:
        """What the workspace's customer has to show: the same for each try, another one after the workspace has held the name,
        so that a record which is left from then proves nothing."""
        mine = [holder.ended_at for holder in await self._store.holders_of(name) if holder.workspace_id == workspace]
        text = "\0".join((name, workspace, *(f"{ended_at:.3f}" for ended_at in mine)))
        digest = hmac.digest(self._proof_key, text.encode(), hashlib.sha256)
        return base64.b32encode(digest).decode("ascii").lower()[:PROOF_CHARACTERS]

    async def _given_up(self, wanted: Sequence[Domain]) -> dict[str, str]:
        """Names of which a registration gives way to the one that is wanted, with the workspaces that lose them: others that
        never proved them. Raises AlreadyRegistered where one does not, or not yet."""
        held = await self._unproven(wanted)
        claimed = [each for each in wanted if each.hostname in held]
        shown = await asyncio.gather(*(self._claims.shown(each) for each in claimed))
        lacking = [each for each, is_shown in zip(claimed, shown, strict=True) if not is_shown]
        if lacking:
            raise self._claimable(lacking)
        return held

    async def _refusal(self, wanted: Sequence[Domain]) -> AlreadyRegistered:
        """To whom another was faster."""
        try:
            held = await self._unproven(wanted)
        except AlreadyRegistered as error:
            return error
        return self._claimable([each for each in wanted if each.hostname in held] or wanted)

    async def _unproven(self, wanted: Sequence[Domain]) -> dict[str, str]:
        """Those of the names that another workspace, which it also tells, has registered and never proved. Raises
        AlreadyRegistered for any other registration of theirs."""
        found: dict[str, str] = {}
        for each in wanted:
            there = await self._store.get_domain(each.hostname)
            if there is None:
                continue
            if there.workspace_id == each.workspace_id:
                raise AlreadyRegistered(each.hostname, there)
            if there.verified_at is not None:
                raise AlreadyRegistered(each.hostname)
            found[each.hostname] = there.workspace_id
        return found

    def _claimable(self, wanted: Sequence[Domain]) -> AlreadyRegistered:
        return AlreadyRegistered(wanted[0].hostname, proofs=[self._text_record(each, WAY_OUT) for each in wanted])

    def _text_record(self, domain: Domain, reason: str = "") -> DnsRecord:
        """What proves a name for its workspace."""
        text_name = wanted_of(domain, self._config).text_name
        return record("ownership", "TXT", text_name, domain.proof, required=True, reason=reason)

    # Verifying

    async def verify(self, hostname: str, *, actor: str = "edge") -> Checked:
        """How it stands with a domain after a fresh look, which is shared by all who ask, and made anew at most every
        FRESH_SECONDS. Wakes a parked one. Within 30 s, whatever the DNS does. Raises NotFound."""
        domain = await self.get(hostname)
        name = domain.hostname
        if domain.state is DomainState.PARKED:
            domain = await self._step(name, Event.WANTED, actor)
        if not domain.method or domain.state is DomainState.SUSPENDED:
            return Checked(domain, None)
        now = self._clock()
        lately = domain.looked_at is not None and domain.looked_at <= now < domain.looked_at + FRESH_SECONDS
        if not lately or self._reconciler.verdict(name) is None:
            visit = self._reconciler.visit(name)
            await asyncio.wait((visit.looked,), timeout=LOOK_SECONDS)
            if visit.task is not None and visit.looked.done():
                await asyncio.wait((visit.task,), timeout=LIVE_SECONDS)
        return Checked(await self.get(name), self._reconciler.verdict(name))

    def verdict(self, domain: Domain) -> Verdict | None:
        """What the last look at a domain brought, as long as it is remembered. What was seen of another registration is
        not this one's: it shows the other workspace's proof."""
        found = None if domain.looked_at is None else self._reconciler.verdict(domain.hostname)
        if found is None or any(each.value != domain.proof for each in found.records if _is_proof(each)):
            return None
        return found

    def records(self, domain: Domain) -> Sequence[DnsRecord]:
        """What a domain's owner has to set, but for the CA's, with what the last look saw of it, if that is remembered."""
        if not domain.method:
            return ()
        verdict = self.verdict(domain)
        return (() if verdict is None else verdict.records) or wanted_records(wanted_of(domain, self._config))

    async def compared(self, records: Sequence[DnsRecord]) -> list[DnsRecord]:
        """Records of the CA's challenges with what is in their place, as it was seen at most some seconds ago; without it where
        the DNS takes longer than COMPARE_SECONDS: who asks again is told then."""
        if not records:
            return []
        try:
            async with asyncio.timeout(COMPARE_SECONDS):
                return await self._looker.compare(records)
        except TimeoutError:
            return list(records)

    async def get(self, hostname: str) -> Domain:
        """The registration of exactly this name, as a person wrote it. Raises InvalidName or NotFound."""
        name = checked_hostname(hostname[:512], wildcard=True)
        domain = await self._store.get_domain(name)
        if domain is None:
            raise NotFound(f"{not_registered(name)}", code="not_registered")
        return domain

    async def change_method(self, hostname: str, method: str, *, actor: str) -> Domain:
        """Has a domain that is not verified yet proven in another way. Raises NotFound, InvalidName, and Conflict
        (proof_needed) where only the TXT record will do."""
        if method not in METHODS:
            raise _no_method(method)
        for _ in range(TRIES):
            domain = await self.get(hostname)
            if domain.method == method or not domain.method or domain.verified_at is not None:
                return domain
            if domain.must_prove and method != "dns":
                raise Conflict(
                    f"{domain.hostname} was somebody else's, or is a wildcard: only its TXT record proves whose it is now.",
                    code="proof_needed",
                )
            after = msgspec.structs.replace(domain, method=method, next_look=self._clock(), looking_since=self._clock())
            step = await self._store.advance_domain(
                domain, after, action="domain.changed", detail=f"method {method}", actor=actor, now=self._clock()
            )
            if step is not None:
                return step
        raise _contended(hostname)

    # Going and coming back

    async def remove(
        self, hostname: str, workspace_id: str = "", *, actor: str, at: float | None = None
    ) -> tuple[Domain, float]:
        """Ends a registration; (what it was, Unix time until which it can be brought back). Workers refuse the name as soon as
        the change is published. `at`: the time that is noted, by default now. Raises NotFound, also where the name is not, or
        not any more, the workspace's ("": whoever's it is)."""
        now = self._clock() if at is None else at
        for _ in range(TRIES):
            domain = await self.get(hostname)
            if workspace_id not in ("", domain.workspace_id):
                raise NotFound(not_registered(domain.hostname), code="not_registered")
            next_move(domain.state, Event.REMOVED)
            final_at = now + self._config.verification.undo
            if await self._store.withdraw_domain(domain, actor=actor, now=now, final_at=final_at) is not None:
                events.publish("domain.removed", hostname=domain.hostname, workspace_id=domain.workspace_id)
                return domain, final_at
        raise _contended(hostname)

    async def removal_of(self, hostname: str, workspace_id: str = "") -> Removal:
        """The last removal of a name that can be undone, or that of a workspace. Raises NotFound."""
        name, now = checked_hostname(hostname[:512], wildcard=True), self._clock()
        removals = [each for each in await self._store.removals_of(name) if workspace_id in ("", each.domain.workspace_id)]
        removal = next((each for each in removals if each.final_at > now), None)
        if removal is None:
            raise NotFound(f"There is no removal of {name} that could be undone.", code="not_removed")
        return removal

    async def undo(self, hostname: str, workspace_id: str = "", *, actor: str, at_most: int | None = None) -> Domain:
        """Brings a removed domain back, the last one of the name, or that of a workspace. It is looked at afresh, and served
        meanwhile if it was proven before. `at_most` is how many domains the workspace may have. Raises NotFound and
        Conflict."""
        removal, now = await self.removal_of(hostname, workspace_id), self._clock()
        back = await self._store.restore_domain(removal, _restored(removal, now), actor=actor, now=now, at_most=at_most)
        self._reconciler.wake()
        return back

    async def suspend(self, hostname: str, *, actor: str) -> Domain:
        """Takes a domain out of service, until `reinstate`. Raises NotFound, and Conflict where it is suspended already."""
        return await self._step(hostname, Event.SUSPENDED, actor)

    async def reinstate(self, hostname: str, *, actor: str) -> Domain:
        """Ends its suspension; it is looked at afresh. Raises NotFound, and Conflict where it is not suspended."""
        domain = await self.get(hostname)
        event = Event.REINSTATED_UNPROVEN if domain.verified_at is None else Event.REINSTATED
        if domain.active_at is not None:
            event = Event.REINSTATED_ACTIVE
        return await self._step(hostname, event, actor)

    async def _step(self, hostname: str, event: Event, actor: str) -> Domain:
        for _ in range(TRIES):
            before, now = await self.get(hostname), self._clock()
            after = moved(before, event, now, forget_after=self._config.verification.forget_after)
            emits = next_move(before.state, event).emits
            detail = f"{before.state.value} to {after.state.value}"
            step = await self._store.advance_domain(
                before, after, emits=emits, action="domain.state", detail=detail, actor=actor, now=now
            )
            if step is not None:
                if emits:
                    events.publish(emits, hostname=step.hostname, workspace_id=step.workspace_id)
                self._reconciler.wake()
                return step
        raise _contended(hostname)


def _shown(domain: Domain, given_up: Collection[str], now: float) -> Domain:
    """As it is registered: a name whose TXT record was seen is proven, so that of two who show theirs one has it for good."""
    if domain.hostname not in given_up:
        return domain
    return msgspec.structs.replace(moved(domain, Event.PROVEN_AHEAD, now), method="dns")


def _restored(removal: Removal, now: float) -> Domain:
    was = removal.domain
    event = Event.RESTORED_UNPROVEN if was.verified_at is None else Event.RESTORED
    if was.active_at is not None:
        event = Event.RESTORED_ACTIVE
    if was.state is DomainState.SUSPENDED:
        event = Event.RESTORED_SUSPENDED
    gone = msgspec.structs.replace(was, state=DomainState.REMOVED, version=was.version + 1, updated_at=now)
    return moved(gone, event, now)


def _no_method(method: str) -> InvalidName:
    """The answer to what is none of METHODS. By mail a domain is registered only where the APIs have found that it can be."""
    if method == "email":
        detail = (
            "Proofs by e-mail are not set up here: that is for the platform's operator to do ([mail] of the configuration). "
            f"Until then, write one of {', '.join(METHODS)}."
        )
        return InvalidName(detail, code="mail_not_set")
    return InvalidName(
        f"{method[:40]!r} is no method of verification; write one of {', '.join(METHODS)}.", code="invalid_method"
    )


def _is_proof(record: DnsRecord) -> bool:
    return (record.purpose, record.type) == ("ownership", "TXT")


def _contended(hostname: str) -> Conflict:
    return Conflict(f"{hostname} is being changed by others at this moment. Try again.", code="contended", retryable=True)
