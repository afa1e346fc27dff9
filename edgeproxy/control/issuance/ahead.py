"""Certificates for names that do not lead here yet: only the DNS can prove those, and only where it is known beforehand that it
will is an order placed."""

from __future__ import annotations

from collections.abc import Callable

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.challenges import NotApplicable, dns_configured
from edgeproxy.control.issuance.acme.dns01 import Dns01
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.issuer import Published
from edgeproxy.control.store import Store
from edgeproxy.model import DomainState


class Ahead:
    """`clock` gives Unix time."""

    def __init__(self, config: Config, store: Store, publisher: Published, clock: Callable[[], float]) -> None:
        self._internal = config.issuance.directory == INTERNAL
        self._dns = None
        if "dns-01" in config.issuance.challenges and dns_configured(config):
            self._dns = Dns01(config, store, publisher, clock)

    async def provable(self, name: str) -> bool:
        """Whether a certificate for a name can be obtained though no visitor of it arrives here: the CNAME for DNS-01 is there.
        The built-in CA asks for no proof."""
        if self._internal:
            return True
        if self._dns is None:
            return False
        try:
            await self._dns.place_for(name)
        except NotApplicable:
            return False
        return True


async def awaits_cutover(store: Store, name: str) -> bool:
    """Whether a name is registered, proven, and does not lead here yet."""
    domain = await store.get_domain(name)
    return domain is not None and domain.state is DomainState.AWAITING_CUTOVER
