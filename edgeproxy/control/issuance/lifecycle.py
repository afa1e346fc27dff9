"""What befalls certificates beside being issued and renewed: uploads and their end, revocation, another account key."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.revocation import REASONS
from edgeproxy.control.issuance.certificates import Issued
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.issuer import Published, until_published
from edgeproxy.control.issuance.policy import Admission, Registration, Verdict, admit
from edgeproxy.control.issuance.renewal import renew_at
from edgeproxy.control.issuance.upload import Roots, Upload, read_upload
from edgeproxy.control.issuance.upload.trust import SystemRoots, check_loads
from edgeproxy.control.store import CUSTOM, Store, StoredCertificate, replace_at
from edgeproxy.errors import Conflict, EdgeError, Fault, IssuanceDenied, IssuanceError, NotFound
from edgeproxy.model import RevocationReason
from edgeproxy.model import hostname as checked_hostname
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("certificates")

WARN_DAYS = (30, 7, 1, 0)
"""Days before an uploaded certificate's end at which that is told, once each; 0: that it has ended."""

LOOK_SECONDS = 60.0
"""Between two looks for warnings that are due and revocations that were left unfinished."""

SCRUB_PACE = 5.0
"""Seconds between two wipings of destroyed keys out of the store's files: many at once share one."""

ENDING_TRIES, ENDING_PAUSE = 50, 0.1
"""How often, and after how many seconds, an issuance that is just ending is waited for."""

PAGE = 100
"""Certificates of one look; further ones come with the next."""


class Wishing(Protocol):
    """What is needed of the issuance service."""

    async def issue(self, hostname: str, *, by_operator: bool = True, force: bool = False) -> StoredCertificate:
        """Obtains a certificate, a new one with `force`. Raises InvalidName, IssuanceDenied, IssuanceError."""
        ...


class Revoking(Protocol):
    """What is needed of a `Revoker`."""

    async def revoke(self, directory: str, chain: bytes, key: bytes, reason: RevocationReason) -> None:
        """Has the CA revoke a certificate. Raises IssuanceError."""
        ...


class Rolling(Protocol):
    """What is needed of an issuer."""

    directory: str

    async def roll_over(self) -> None:
        """Gives the account at the CA another key. Raises IssuanceError."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of an upload."""

    certificate: StoredCertificate
    notes: tuple[str, ...]
    """What was repaired, as short phrases."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What became of a revocation."""

    certificate: StoredCertificate
    """As it was."""
    replacement: StoredCertificate | None
    """What is served in its place."""
    detail: str
    """Plain sentences for the operator."""


class Lifecycle:
    """One per controller; `run` is its task. `sealer` has the map's key."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        issuance: Wishing,
        issuer: Rolling,
        revoker: Revoking,
        clock: Callable[[], float],
        *,
        roots: Callable[[], Roots] | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._issuance = issuance
        self._issuer = issuer
        self._revoker = revoker
        self._clock = clock
        self._roots = roots or SystemRoots().get
        self._at_the_ca = asyncio.Lock()

    # What the operator asks for

    async def upload(self, hostname: str, chain: str, key: str, *, auto_renew: bool, actor: str) -> Uploaded:
        """Serves a name under a certificate that somebody brings, from now on. Returns once workers have it.

        With `auto_renew` the edge's own takes its place at its end. Raises InvalidName, IssuanceDenied for a name that is
        not served here, InvalidCertificate, Conflict.
        """
        name = checked_hostname(hostname, wildcard=True)
        admission = await self._admission(name)
        if admission.verdict is Verdict.DENIED:
            raise IssuanceDenied(admission.reason)
        if admission.certificate != name:
            raise Conflict(
                f"{name} is served as one of {admission.certificate}, under that name's certificate. Upload one for "
                f"{admission.certificate}, or register {name} by itself first."
            )
        upload = await asyncio.to_thread(self._read, name, chain, key)
        stored = self._stored(upload.issued, auto_renew)
        event = telling.happening("uploaded", name, stored, {"auto_renew": auto_renew, "actor": actor}, ca=CUSTOM)
        change = await self._store.add_certificate(stored, self._clock(), actor=actor, event=event)
        await self._store.clear_failure(name)
        await until_published(self._publisher, change)
        events.tell(event)
        return Uploaded(certificate=stored, notes=upload.notes)

    async def remove_upload(self, hostname: str, *, force: bool, actor: str) -> StoredCertificate | None:
        """Goes back from an uploaded certificate to the edge's own, which is obtained first where there is none: no visitor
        is to meet neither. Returns it; None where the name may have none, or with `force` has none yet.

        Raises NotFound where nothing was uploaded, IssuanceError where the edge's own cannot be obtained, unless `force`.
        """
        name = checked_hostname(hostname, wildcard=True)
        uploaded = await self._store.uploaded_certificate(name)
        if uploaded is None or name not in uploaded.names:
            raise NotFound(f"No certificate was uploaded for {name}. `edgeproxy certs show {name}` shows what it has.")
        if not force and not await self._has_own(name):
            try:
                await self._issuance.issue(name, by_operator=True, force=True)
            except IssuanceDenied as error:
                log.info("an uploaded certificate goes, and nothing takes its place", hostname=name, detail=error.detail)
            except IssuanceError as error:
                raise IssuanceError(
                    f"The uploaded certificate of {name} was left in place, because the edge could not obtain one of its own: "
                    f"{error.detail} `edgeproxy certs remove {name} --force` removes it all the same.",
                    code=error.code,
                    fault=error.fault,
                    retryable=error.retryable,
                ) from None
        event = telling.happening("removed", name, uploaded, {"actor": actor}, ca=CUSTOM)
        change = await self._store.remove_certificate(uploaded.id, self._clock(), actor=actor, why="removed", event=event)
        await until_published(self._publisher, change)
        events.tell(event)
        return await self._store.current_certificate(name, self._clock())

    async def refuse_to_renew_an_upload(self, hostname: str) -> None:
        """Raises Conflict where a name's certificate is one that somebody uploaded and that still counts."""
        name = checked_hostname(hostname, wildcard=True)
        stored = await self._store.current_certificate(name, self._clock())
        if stored is not None and stored.holds(self._clock()):
            served = stored.names[0]
            raise Conflict(
                f"The certificate of {served} was uploaded, and only its CA can renew it. Upload the renewed one, or go back "
                f"to the edge's own: `edgeproxy certs remove {served}`."
            )

    async def revoke(self, hostname: str, reason: RevocationReason, *, certificate_id: str = "", actor: str) -> Revoked:
        """Has a name's certificate revoked, the one in use or another of its own by id, and replaced by one with a new key
        where the name may have one; else it is destroyed.

        Raises NotFound, Conflict where it is not the edge's to revoke, IssuanceError where the CA does not take it: then
        nothing changed, or, where the CA was away, it is tried again by itself.
        """
        stored = await self._to_revoke(checked_hostname(hostname, wildcard=True), certificate_id)
        await self._store.begin_revocation(stored.id, reason, actor=actor, now=self._clock())
        try:
            await self._revoke(stored, reason, actor)
        except IssuanceError as error:
            if not _later(error):
                raise
            raise IssuanceError(
                f"The certificate could not be revoked yet; that is tried again by itself. {error.detail}",
                code=error.code,
                fault=error.fault,
                retryable=True,
            ) from None
        return await self._replaced(stored, reason)

    async def roll_over(self, *, actor: str) -> None:
        """Gives the account at the CA another key. Raises IssuanceError."""
        async with self._at_the_ca:
            await self._issuer.roll_over()
        directory = self._issuer.directory
        await self._store.note("account.rolled_over", directory, "", actor=actor, now=self._clock())
        events.publish("account.rolled_over", directory=directory, actor=actor)

    # What happens by itself

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._scrub)
            while True:
                try:
                    await self.look()
                except EdgeError as error:
                    log.error("the lives of certificates could not be looked after", detail=error.detail)
                await anyio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Does what is due: warnings, revocations that were left unfinished. Raises StateError."""
        await self._warn()
        for stored in await self._store.revocations():
            reason: RevocationReason = next((each for each in REASONS if each == stored.revocation), "unspecified")
            try:
                await self._revoke(stored, reason, "edge")
                await self._replaced(stored, reason)
            except EdgeError as error:
                log.warning("a revocation failed", hostname=stored.names[0], serial=stored.serial, detail=error.detail)
                if isinstance(error, IssuanceError) and _later(error):
                    break  # the CA is away: the others would fare the same

    async def _warn(self) -> None:
        now = self._clock()
        for stored in await self._store.uploads_to_warn(WARN_DAYS, now, PAGE):
            days = days_warned_of(stored.not_after, now)
            fields: dict[str, object] = {"auto_renew": stored.auto_renew}
            if days:
                fields |= {"seconds_left": round(stored.not_after - now), "days": days, "error": ""}
            event = telling.happening("expiring" if days else "expired", stored.names[0], stored, fields, ca=CUSTOM)
            await self._store.set_warned(stored.id, days, now, event=event)
            events.tell(event)

    async def _scrub(self) -> None:
        """Wipes destroyed keys out of the store's files."""
        database = self._store.database
        while True:
            await database.destroyed.wait()
            try:
                await database.scrub()
            except EdgeError as error:
                log.error("destroyed keys could not be wiped out of the store's files yet", detail=error.detail)
            await anyio.sleep(SCRUB_PACE)

    # Parts of these

    async def _admission(self, name: str) -> Admission:
        domain = await self._store.registration_of(name)
        return admit(name, self._config, None if domain is None else Registration(domain.hostname, domain.state))

    def _read(self, name: str, chain: str, key: str) -> Upload:
        upload = read_upload(name, chain, key, self._roots(), self._clock())
        check_loads(upload.issued)
        return upload

    def _stored(self, issued: Issued, auto_renew: bool) -> StoredCertificate:
        return StoredCertificate(
            id=issued.id,
            names=issued.names,
            chain=issued.chain,
            sealed_key=self._sealer.seal(issued.key, b"key:" + issued.id.encode("ascii")),
            not_before=issued.not_before,
            not_after=issued.not_after,
            renew_at=replace_at(issued.not_before, issued.not_after) if auto_renew else math.inf,
            issuer=CUSTOM,
            serial=issued.serial,
            auto_renew=auto_renew,
        )

    async def _has_own(self, name: str) -> bool:
        """Whether the edge has a valid certificate of its own for exactly this name."""
        now = self._clock()
        found = await self._store.certificates_of(name)
        return any(not stored.custom and stored.revocation is None and stored.not_after > now for stored in found)

    async def _to_revoke(self, name: str, certificate_id: str) -> StoredCertificate:
        if certificate_id:
            stored = await self._store.get_certificate(certificate_id)
            if stored is None or name not in stored.names:
                raise NotFound(f"{name} has no certificate {certificate_id[:64]}. `edgeproxy certs list` shows their ids.")
        else:
            stored = await self._store.current_certificate(name)
            if stored is None:
                raise NotFound(f"{name} has no certificate that could be revoked.")
            if name not in stored.names:
                raise Conflict(
                    f"{name} is served under the certificate of {stored.names[0]}. To revoke that: `edgeproxy certs revoke "
                    f"'{stored.names[0]}'`."
                )
        if stored.custom:
            raise Conflict(
                f"The certificate of {name} was uploaded: only its CA can revoke it. Ask that CA; `edgeproxy certs remove "
                f"{name}` takes it out of service here."
            )
        if stored.revoked_at is not None:
            raise Conflict(f"The certificate of {name} with the serial number {stored.serial} is revoked already.")
        return stored

    async def _revoke(self, stored: StoredCertificate, reason: RevocationReason, actor: str) -> None:
        """Asks the CA and notes its answer; what it refuses for good is taken back."""
        for each in (stored, stored.companion):
            if each is None or each.issuer == INTERNAL:
                continue
            key = self._sealer.open(each.sealed_key, b"key:" + each.id.encode("ascii"))
            try:
                async with self._at_the_ca:
                    await self._revoker.revoke(each.issuer, each.chain, key, reason)
            except IssuanceError as error:
                if not _later(error):
                    planned = renew_at(stored.not_before, stored.not_after, stored.id)
                    await self._store.abandon_revocation(stored.id, planned)
                raise
        event = telling.happening("revoked", stored.names[0], stored, {"reason": reason, "actor": actor}, ca=stored.issuer)
        await self._store.revoked(stored.id, reason, actor=actor, now=self._clock(), event=event)
        events.tell(event)

    async def _replaced(self, stored: StoredCertificate, reason: RevocationReason) -> Revoked:
        """Puts a new certificate in the place of a revoked one, and destroys that."""
        name, replacement = stored.names[0], None
        said = [f"The certificate of {name} with the serial number {stored.serial} is revoked ({reason})."]
        if stored.issuer == INTERNAL:
            said.append("The built-in CA keeps no list of revoked certificates: whoever has its key can use it to its end.")
        current = await self._store.current_certificate(name, self._clock())
        if current is not None and current.id != stored.id and name in current.names:
            replacement = current  # it was not the one in use
        else:
            try:
                replacement = await self._another(name, stored.id)
                said.append("A new one with a new key has taken its place.")
            except IssuanceDenied as error:
                said.append(f"None takes its place: {error.detail}")
            except IssuanceError as error:
                said.append(f"It is served until another can be obtained, which is tried again by itself. {error.detail}")
                return Revoked(certificate=stored, replacement=None, detail=" ".join(said))
        change = await self._store.remove_certificate(stored.id, self._clock())
        await until_published(self._publisher, change)
        return Revoked(certificate=stored, replacement=replacement, detail=" ".join(said))

    async def _another(self, name: str, than: str) -> StoredCertificate:
        """A new certificate. An issuance that has just ended may still be tidying up, and give what it obtained."""
        for _ in range(ENDING_TRIES):
            made = await self._issuance.issue(name, by_operator=True, force=True)
            if made.id != than:
                return made
            await anyio.sleep(ENDING_PAUSE)
        raise IssuanceError(f"The issuance for {name} that was under way does not end.", fault=Fault.EDGE)


def _later(error: IssuanceError) -> bool:
    """Whether the same request may be taken later: it is the CA that is in trouble."""
    return isinstance(error, CaRefused) and (error.about_the_ca or error.problem == "rateLimited")


def days_warned_of(not_after: float, now: float) -> int:
    """The fewest of WARN_DAYS that are left at most; for a time at which a warning is due. Pure."""
    return min(days for days in WARN_DAYS if not_after <= now + days * 86_400.0)
