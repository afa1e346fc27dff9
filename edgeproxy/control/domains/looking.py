"""What the life of domains needs of those who look: at a name's records, at its certificate, at how it is served."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Protocol

from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.records import DnsRecord
from edgeproxy.control.store import Domain, Failure, StoredCertificate
from edgeproxy.errors import Fault


class Verdict(Protocol):
    """What is said of a name after a look at its records."""

    @property
    def state(self) -> str:
        """ "verified", "pending", "wrong" or "unsure"."""

    @property
    def code(self) -> str:
        """Why it is not verified, for programs."""

    @property
    def detail(self) -> str:
        """The same for people."""

    @property
    def fault(self) -> Fault:
        """Whose it is."""

    @property
    def records(self) -> Sequence[DnsRecord]:
        """`dns_records`, with what was seen."""

    @property
    def proven(self) -> Collection[str]:
        """Every proof that was seen, whichever was asked for: "cname", "workspace_cname", "address", "txt", "file"."""

    @property
    def points(self) -> Points:
        """Whether a visitor who looks the name up arrives here."""


class Looker(Protocol):
    """Whoever looks at records."""

    async def look(self, domain: Domain, *, urgent: bool = False) -> Verdict:
        """What is said of a name, by the method that the row has; `urgent` where somebody waits for it. Never raises for what
        the DNS says."""
        ...

    async def compare(self, records: Sequence[DnsRecord]) -> list[DnsRecord]:
        """Records of the CA's challenges with what was seen in their place, a moment ago. Never raises for what the DNS
        says."""
        ...


class Desk(Protocol):
    """Whoever obtains certificates."""

    async def issue(self, hostname: str, *, by_operator: bool = True) -> StoredCertificate:
        """See issuance.service."""
        ...

    async def issue_ahead(self, hostname: str) -> StoredCertificate | None:
        """See issuance.service."""
        ...

    async def failure(self, name: str) -> Failure | None:
        """See issuance.service."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """How a visitor is served."""

    ok: bool
    detail: str = ""
    """What is wrong, one plain sentence."""


class Prober(Protocol):
    """Whoever visits a name as a visitor would."""

    async def visit(self, hostname: str) -> Live:
        """One handshake. Raises StateError."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """The verdict where a look came to nothing in time."""

    detail: str
    state: str = "unsure"
    code: str = "dns_unavailable"
    fault: Fault = Fault.CUSTOMER_DNS
    records: tuple[DnsRecord, ...] = ()
    proven: frozenset[str] = frozenset()
    points: Points = Points.UNKNOWN


def suffices(domain: Domain, verdict: Verdict) -> str:
    """What a verdict comes to for a domain, also for one whose record must be such that nobody else can have set it. Pure.

    With the method "dns" that is the TXT record alone: a CNAME may be left from who had the name before. Otherwise the
    workspace's own target is as good.
    """
    if not domain.must_prove or verdict.state == "unsure":
        return verdict.state
    good = {"txt"} if domain.method == "dns" else {"txt", "workspace_cname"}
    if good & set(verdict.proven):
        return "verified"
    return "pending" if verdict.state == "verified" else verdict.state
