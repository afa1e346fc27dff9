"""The port behind which certificate authorities can be swapped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from edgeproxy.control.issuance.certificates import Issued, KeyType
from edgeproxy.control.issuance.renewal import Suggestion
from edgeproxy.control.store import Order
from edgeproxy.errors import Fault, IssuanceError, MapError

Begin = Callable[[Order, bool], Awaitable[None]]
"""Saves an order that the CA is about to be asked for, with all that goes with it; and whether it will say which certificate
it replaces. To be called before each new order, and only then. Raises NotNow where it must wait, and StateError."""

Progress = Callable[[str], None]
"""Told one short plain phrase for each step, for people who wait. Must not block or raise."""

PUBLISH_TIME = 20.0
"""Seconds that the map may take to reach a change: a thousand times what it needs."""


def host_of(directory: str) -> str:
    """The one name of a CA in events, the log, metrics and `status`: its directory's host, with the port where that is not 443,
    so that two on one machine are told apart. "internal", or what else is no URL, as it is."""
    host = directory.split("/")[2].rpartition("@")[2] if "://" in directory else directory
    return host.removesuffix(":443").lower()


class NotNow(IssuanceError):
    """A name has to wait before it is ordered, for a reason that says nothing of the name. `until` is Unix time."""

    code = "not_now"
    fault = Fault.EDGE

    def __init__(self, reason: str, until: float) -> None:
        super().__init__(f"This has to wait: {reason}.")
        self.reason = reason
        self.until = until


class Published(Protocol):
    """What issuance needs of the publisher."""

    async def published(self, number: int) -> None:
        """Returns when every worker sees the store's change with this number."""
        ...


async def until_published(publisher: Published, change: int) -> None:
    """Waits until the map has reached a change; raises MapError where that takes too long."""
    try:
        async with asyncio.timeout(PUBLISH_TIME):
            await publisher.published(change)
    except TimeoutError:
        raise MapError(
            "The published map does not follow the store, so that no new certificate can be served. The log tells why."
        ) from None


class Issuer(Protocol):
    """A certificate authority.

    One call per name at a time: the service sees to it. An issuer keeps what must survive a crash in the store by
    itself, and cleans up what it published whatever happens.
    """

    directory: str
    """"internal", or the URL of the ACME directory: what stored certificates and accounts are filed under."""

    wildcards: bool
    """Whether it can issue for "*.example.com"."""

    begin: Begin | None
    """Set by the service before the first call. None: orders are only saved."""

    @property
    def replaces(self) -> bool:
        """Whether orders say which certificate they replace (RFC 9773), as far as that is known."""
        ...

    async def suggests(self) -> bool:
        """Whether the CA says when to renew its certificates. Asks it for its directory where that is to be read. Raises
        IssuanceError."""
        ...

    async def suggestion(self, chain: bytes) -> Suggestion | None:
        """When the CA wants a certificate of its own renewed, a PEM chain; None where it never says. Raises IssuanceError."""
        ...

    async def prepare(self) -> None:
        """Makes ready what the first visitor would otherwise wait for. Raises IssuanceError or StateError."""
        ...

    async def issue(self, name: str, progress: Progress, key_type: KeyType | None = None) -> Issued:
        """Obtains a certificate with a new key for a hostname or wildcard. `key_type` None: as `tls.key_type` says.

        Continues what an earlier call for the name left unfinished, also in an earlier process. Raises IssuanceError,
        whose `retryable` says whether the same call may succeed later, or StateError or MapError.
        """
        ...

    async def settled(self, name: str) -> None:
        """To be called once the certificate is stored: what was kept for continuing is no longer needed."""
        ...

    async def unsettled(self) -> list[str]:
        """Names whose issuance an earlier process left unfinished."""
        ...

    async def roll_over(self) -> None:
        """Gives the account at the CA another key. Raises IssuanceError, also where there is no account."""
        ...

    async def account(self) -> tuple[str, tuple[str, ...]]:
        """The URI of our account, and the CA's issuer domain names, as far as they are known: for records that a name's
        owner sets. Asks no CA. Raises StateError."""
        ...

    async def close(self) -> None:
        """Ends connections. Running calls must have ended before."""
        ...
