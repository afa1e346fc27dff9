"""When the CA wants certificates renewed (ARI, RFC 9773): asked for each of them a few times a day.

So a CA that has to revoke many can say so beforehand, and they are renewed before anybody meets a revoked one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import structlog

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.issuer import Issuer
from edgeproxy.control.issuance.renewal import INFO_SECONDS, ask_again_after, renew_within
from edgeproxy.control.store import Store, StoredCertificate
from edgeproxy.errors import EdgeError, IssuanceError

log = structlog.get_logger("issuance")

LOOK_SECONDS = 30.0
"""Between two looks for certificates that are to be asked about."""

PAGE = 1_000
"""Certificates asked about in one look: 1,000,000 of them in eight hours."""

AT_ONCE = 4
"""Questions at once: half of what goes to a CA at once at most, so that orders find their way between them."""

WITHOUT_SECONDS = 3_600.0
"""Until the directory of a CA that does not have this is looked at again."""

TROUBLE_SECONDS = 600.0
"""Until a CA that is away or busy is asked again when to renew. Orders have the first claim on it."""


class Windows:
    """One loop."""

    def __init__(self, store: Store, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock
        self._not_before = 0.0
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except EdgeError as error:
                log.error("the CA could not be asked when to renew", detail=error.detail)
            await anyio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Asks about all that is due; does nothing where the CA does not have this. Raises StateError."""
        now = self._clock()
        if now < self._not_before:
            return
        due = await self._store.certificates_to_ask_about(self._issuer.directory, now, PAGE)
        if not due:
            return
        try:
            if not await self._issuer.suggests():
                self._not_before = now + WITHOUT_SECONDS
                return
        except IssuanceError as error:
            self._leave_alone(error)
            return
        answers: dict[str, tuple[float, float | None]] = {}
        async with anyio.create_task_group() as tasks:
            for stored in due:
                tasks.start_soon(self._ask, stored, answers)
        await self._store.asked_about(answers)

    async def _ask(self, stored: StoredCertificate, answers: dict[str, tuple[float, float | None]]) -> None:
        async with self._turns:
            if self._clock() < self._not_before:
                return
            try:
                suggestion = await self._issuer.suggestion(stored.chain)
            except IssuanceError as error:
                answers[stored.id] = (self._clock() + self._after(stored, error), None)
                return
        now = self._clock()
        if suggestion is None:
            answers[stored.id] = (now + ask_again_after(0.0, stored.id), None)
            return
        at = renew_within(suggestion, stored.not_before, stored.not_after, stored.id)
        if abs(at - stored.renew_at) > 1 and stored.renew_at > 0:
            log.info(
                "the CA says when to renew a certificate",
                hostname=stored.names[0],
                serial=stored.serial,
                start=round(suggestion.start),
                end=round(suggestion.end),
                explanation=suggestion.explanation,
            )
        answers[stored.id] = (now + ask_again_after(suggestion.retry_after, stored.id), at)

    def _after(self, stored: StoredCertificate, error: IssuanceError) -> float:
        """Seconds until it is asked about again. What was planned stays: an older answer, or a part of its life."""
        log.debug("the CA did not say when to renew a certificate", hostname=stored.names[0], detail=error.detail)
        said = error.retry_after if isinstance(error, CaRefused) else 0.0
        if isinstance(error, CaRefused) and (error.about_the_ca or error.status == 429):
            self._leave_alone(error)
        return ask_again_after(said, stored.id)

    def _leave_alone(self, error: IssuanceError) -> None:
        """The CA is away or busy."""
        said = error.retry_after if isinstance(error, CaRefused) else 0.0
        if self._clock() >= self._not_before:
            log.warning("the CA cannot be asked when to renew just now", detail=error.detail)
        self._not_before = self._clock() + min(max(said, TROUBLE_SECONDS), INFO_SECONDS)
