"""Certificates with an RSA key beside those with an ECDSA key, where `tls.second_key_type` wants them.

A companion is obtained by an order of its own, once the certificate that most visitors are served under is there. It stays when
that one is renewed until there is another, so that no client is without for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.certificates import KeyType
from edgeproxy.control.issuance.issuer import Issuer, Progress, Published, until_published
from edgeproxy.control.issuance.renewal import renew_at
from edgeproxy.control.issuance.scheduler import Queued
from edgeproxy.control.store import Companion, Store, StoredCertificate
from edgeproxy.control.store.companions import ALONE
from edgeproxy.errors import EdgeError, Fault, IssuanceDenied, IssuanceError
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("issuance")

LOOK_SECONDS = 30.0
"""Between two looks for certificates that lack a companion; where one was obtained, the next look is at once."""

MORE_SECONDS = 1.0
"""Where there were more than one look takes, or something was still under way."""

PAGE = 8
"""Companions obtained at once."""

TROUBLE_SECONDS = 60.0
"""Until the next try when the CA itself is away or out of order."""

REFUSED_SECONDS = 6 * 3600.0
"""Until the next try when it fails for another reason: those who need it are few, and the limits are for everybody."""


class Desk(Protocol):
    """What this needs of the service."""

    async def renew(self, name: str) -> StoredCertificate:
        """See upkeep.Desk. Of a certificate that is not due it obtains what it lacks."""
        ...


class Companions:
    """One per controller; `run` is its task. `sealer` has the map's key."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        issuer: Issuer,
        clock: Callable[[], float],
    ) -> None:
        self._kind: KeyType | None = config.tls.second_key_type or None
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._issuer = issuer
        self._clock = clock
        self.look = anyio.Event()
        """To be set when a certificate was obtained."""

    async def lacking(self, name: str) -> StoredCertificate | None:
        """A name's certificate where a companion is what is to be obtained for it now. Raises StateError."""
        if self._kind is None:
            return None
        now = self._clock()
        present = await self._store.current_certificate(name, now)
        return present if present is not None and lacks_companion(present, name, now) else None

    def kept(self, before: StoredCertificate | None, name: str) -> Companion | None:
        """What stays beside a new certificate until there is another: what stood beside the one before."""
        if self._kind is None or before is None or before.names != (name,) or before.revocation is not None:
            return None
        companion = before.companion
        return companion if companion is not None and companion.not_after > self._clock() else None

    async def obtain(self, name: str, present: StoredCertificate, progress: Progress) -> StoredCertificate:
        """Obtains a companion and returns once workers have it. Raises what `Issuer.issue` does, and StateError."""
        if self._kind is None:
            raise IssuanceError("No second kind of key is configured.", fault=Fault.EDGE, retryable=False)
        issued = await self._issuer.issue(name, progress, self._kind)
        companion = Companion(
            id=issued.id,
            chain=issued.chain,
            sealed_key=self._sealer.seal(issued.key, b"key:" + issued.id.encode("ascii")),
            not_before=issued.not_before,
            not_after=issued.not_after,
            serial=issued.serial,
            issuer=issued.directory or self._issuer.directory,
            key_type=issued.key_type,
        )
        again = renew_at(issued.not_before, issued.not_after, issued.id)
        fields = {"companion_serial": companion.serial, "key_type": companion.key_type}
        event = telling.happening("accompanied", name, present, fields, ca=companion.issuer)
        change = await self._store.set_companion(present.id, companion, again, self._clock(), event=event)
        await until_published(self._publisher, change)
        events.tell(event)
        return await self._store.get_certificate(present.id) or present

    async def failed(self, present: StoredCertificate, error: IssuanceError) -> None:
        """None could be obtained: it is tried again later. Raises StateError."""
        pause = TROUBLE_SECONDS if isinstance(error, CaRefused) and error.about_the_ca else REFUSED_SECONDS
        log.warning(
            "no certificate with an RSA key could be obtained beside the one with an ECDSA key",
            hostname=present.names[0],
            detail=error.detail,
            next_try_in=round(pause),
        )
        await self._store.put_off_companion(present.id, self._clock() + pause)

    async def run(self, desk: Desk) -> None:
        """Until cancelled; at once where no second kind of key is configured."""
        while self._kind is not None:
            self.look = anyio.Event()
            pause = LOOK_SECONDS
            try:
                if await self.see_to_it(desk):
                    pause = MORE_SECONDS
            except EdgeError as error:
                log.error("certificates without a companion could not be looked for", detail=error.detail)
            with anyio.move_on_after(pause):
                await self.look.wait()

    async def see_to_it(self, desk: Desk) -> bool:
        """Obtains what is lacking, several at once; whether there may be more. Raises StateError."""
        found = await self._store.certificates_to_accompany(self._clock(), PAGE)
        async with anyio.create_task_group() as tasks:
            for stored in found:
                tasks.start_soon(self._see_to_one, desk, stored)
        return bool(found)

    async def _see_to_one(self, desk: Desk, stored: StoredCertificate) -> None:
        pause = 0.0
        try:
            await desk.renew(stored.names[0])
        except Queued:
            pause = REFUSED_SECONDS  # its turn comes by itself
        except IssuanceDenied:
            pause = REFUSED_SECONDS
        except EdgeError as error:
            if not isinstance(error, IssuanceError):
                log.warning("the obtaining of a companion was interrupted", hostname=stored.names[0], detail=error.detail)
            pause = TROUBLE_SECONDS
        try:
            current = await self._store.get_certificate(stored.id)
            if pause and current is not None and current.companion_at <= self._clock():  # else `failed` has put it off
                await self._store.put_off_companion(stored.id, self._clock() + pause)
        except EdgeError as error:
            log.error("a companion could not be put off", hostname=stored.names[0], detail=error.detail)


def lacks_companion(present: StoredCertificate, name: str, now: float) -> bool:
    """Whether it is time for a companion of a certificate in use, and not for another certificate. Pure."""
    return (
        present.names == (name,)
        and present.key_type in ALONE
        and not present.custom
        and present.revocation is None
        and present.renew_at > now
        and present.companion_at <= now
    )
