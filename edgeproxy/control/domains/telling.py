"""What events tell of a domain that its row does not say, as answers of the API say it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.records import DnsRecord
from edgeproxy.control.domains.service import Domains
from edgeproxy.control.store import Beside, Domain


class Certifying(Protocol):
    """Issuance, as far as it is needed here."""

    async def records(self, hostnames: Sequence[str]) -> dict[str, list[DnsRecord]]:
        """For each name, the records for the CA. Asks nobody but the store."""
        ...


def describing(config: Config, domains: Domains, issuance: Certifying) -> Callable[[Domain], Awaitable[Beside]]:
    """What describes domains (`Database.describe`). Their records come with what was seen last: the DNS is not asked."""

    async def describe(domain: Domain) -> Beside:
        acme = (await issuance.records([domain.hostname]))[domain.hostname]
        records = [each.shown() for each in (*domains.records(domain), *acme)]
        return Beside(routing=config.origin.routing, dns_records=records)

    return describe
