"""The platform's own wildcard: obtained before its first visitor comes, whom it would cost the wait for the DNS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.issuer import Issuer
from edgeproxy.control.issuance.scheduler import Queued
from edgeproxy.control.issuance.upkeep import LOOK_SECONDS, RETRY_SECONDS, Desk
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError, IssuanceDenied

log = structlog.get_logger("issuance")

PRESENT_SECONDS = 3_600.0
"""Between two looks while the certificate is there: upkeep renews it, and somebody may have removed it."""


def own_wildcard(config: Config, issuer: Issuer) -> str:
    """The wildcard that is to be obtained by itself; empty where there is none.

    The built-in CA signs it while its first visitor waits, in milliseconds; an ACME CA needs DNS-01 for it.
    """
    if not config.platform.name or issuer.directory == INTERNAL or not issuer.wildcards:
        return ""
    return f"*.{config.platform.name}"


class PlatformWildcard:
    """One task of the controller."""

    def __init__(self, config: Config, desk: Desk, store: Store, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._name = own_wildcard(config, issuer)
        self._unprovable = ""
        if config.platform.name and issuer.directory != INTERNAL and not issuer.wildcards:
            self._unprovable = f"*.{config.platform.name}"
        self._desk = desk
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled; at once where there is nothing to obtain."""
        await self._warn()
        while self._name:
            try:
                pause = await self.see_to_it()
            except EdgeError as error:
                log.error("the platform's wildcard could not be looked for", hostname=self._name, detail=error.detail)
                pause = LOOK_SECONDS
            await anyio.sleep(pause)

    async def _warn(self) -> None:
        """Says at the start what the first visitor of a workspace's name would only see as a TLS alert."""
        with contextlib.suppress(EdgeError):  # the store's: others tell of it
            if self._unprovable and await self._store.current_certificate(self._unprovable, self._clock()) is None:
                log.warning(
                    "the platform's own names have no certificate",
                    hostname=self._unprovable,
                    detail='A CA issues wildcards by DNS-01 only. Set dns.zone or dns.rfc2136 and have "dns-01" in '
                    "issuance.challenges, or upload a certificate: edgeproxy certs upload. Customers' domains need none of it.",
                )

    async def see_to_it(self) -> float:
        """Obtains the certificate if there is none; seconds until the next look. Raises StateError."""
        present = await self._store.current_certificate(self._name, self._clock())
        if present is not None and self._name in present.names:
            return PRESENT_SECONDS
        if (failure := await self._desk.failure(self._name)) is None:
            try:
                await self._desk.renew(self._name)
            except Queued:
                return RETRY_SECONDS
            except IssuanceDenied as error:
                log.info("the platform's wildcard is not obtained", hostname=self._name, detail=error.detail)
                return PRESENT_SECONDS
            except EdgeError as error:
                log.warning("the platform's wildcard could not be obtained", hostname=self._name, detail=error.detail)
                failure = await self._desk.failure(self._name)
            else:
                return PRESENT_SECONDS
        return RETRY_SECONDS if failure is None else max(failure.next_try - self._clock(), 1.0)
