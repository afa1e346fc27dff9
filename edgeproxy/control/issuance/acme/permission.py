"""CAA, asked before an order is made: a customer's record that forbids is told in a sentence, and costs no order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from edgeproxy.control.dns.caa import rule
from edgeproxy.control.dns.lookup import DnsUnavailable, Lookup
from edgeproxy.errors import Fault, IssuanceError

log = structlog.get_logger("issuance")

CAA_SECONDS = 2.0
"""What looking may take while a visitor waits. Beyond it the CA decides: it looks for itself in any case."""


class CaaForbids(IssuanceError):
    """The DNS of the name forbids the CA to issue. The sentence says which record, and what it would have to say."""

    code = "caa_forbids"
    fault = Fault.CUSTOMER_DNS
    retryable = True


class Permission:
    """Asks the DNS whether a CA may issue."""

    def __init__(self, resolvers: Sequence[str]) -> None:
        self._lookup = Lookup(resolvers, patience=CAA_SECONDS)

    async def prepare(self) -> None:
        """Loads what the first question would otherwise wait for."""
        await self._lookup.prepare()

    async def methods(self, name: str, methods: tuple[str, ...], identities: Sequence[str], account: str) -> tuple[str, ...]:
        """Those of the challenges by which the CA may issue, in their order; raises CaaForbids where there are none.

        All of them where the CA does not say by which names CAA records know it, and where the DNS gives no answer.
        """
        if not identities:
            return methods
        try:
            async with asyncio.timeout(CAA_SECONDS):
                found = await self._lookup.caa(name)
        except TimeoutError:
            log.info("CAA records could not be looked up; the CA decides", hostname=name, detail="no answer in time")
            return methods
        except DnsUnavailable as error:
            log.info("CAA records could not be looked up; the CA decides", hostname=name, detail=error.detail)
            return methods
        ruling = rule(found, name, identities, methods, account)
        if not ruling.allowed:
            raise CaaForbids(ruling.sentence)
        return ruling.methods
