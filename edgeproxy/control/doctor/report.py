"""What is found out about a hostname, and what is said of it."""

from __future__ import annotations

import dataclasses
import enum

from edgeproxy.control.dns.caa import Ruling
from edgeproxy.control.dns.lookup import Answer
from edgeproxy.control.domains.verification.seen import Verdict
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.probe.grading import Graded
from edgeproxy.errors import Fault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A name as one resolver sees it."""

    who: str
    """"the system's resolver", "the configured resolvers (192.0.2.53:53)", "192.0.2.53:53"."""
    ipv4: Answer
    ipv6: Answer
    target: tuple[Answer, ...] = ()
    """A and AAAA of `platform.cname_target`, seen by the same."""
    decides: bool = True
    """Whether a wrong answer is something to change, and not just told: the system's view does not count beside the configured
    one, since machines often see names of their own network otherwise."""

    @property
    def chain(self) -> tuple[str, ...]:
        """Where the name's CNAMEs lead."""
        return self.ipv4.chain or self.ipv6.chain

    @property
    def addresses(self) -> tuple[str, ...]:
        """A, then AAAA."""
        return tuple(dict.fromkeys((*self.ipv4.records, *self.ipv6.records)))

    @property
    def target_addresses(self) -> frozenset[str]:
        """Where the platform's target points."""
        return frozenset(address for answer in self.target for address in answer.records)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that visitors or the CA need, tried from this machine."""

    address: str
    port: int
    error: str = ""
    """Empty: it can be reached."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caa:
    """What the DNS lets the CA do."""

    directory: str
    identity: str = ""
    """The CA's name in CAA records; empty: it does not say one, or could not be asked."""
    ruling: Ruling | None = None
    """None: nothing is known."""
    trouble: str = ""
    """Why not, in a sentence; empty where there is nothing to know (the built-in CA)."""
    usable: bool = True
    """Whether the CA could be asked at all: else it issues nothing either."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """The CNAME by which DNS-01 comes to the edge's own zone. A wildcard has no other challenge."""

    name: str
    """`_acme-challenge.HOST`."""
    wanted: str
    answer: Answer
    """To the question for its CNAME."""
    own: bool = False
    """Whether it is the platform's wildcard, whose records are the operator's to set."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnTarget:
    """The target that only one workspace has, by which it can show whose a name is. One wildcard record makes all of them."""

    name: str
    """`<token>.{cname_target}`."""
    answers: tuple[Answer, ...]
    """To the questions for its addresses."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What we ourselves know of the name."""

    admitted: bool
    reason: str
    """By what, or why not; one sentence."""
    cure: str = ""
    """What the operator would do about it."""
    unproven: bool = False
    """Whether its owner has yet to prove it, after which it is admitted by itself."""
    workspace_id: str = ""
    """Whose it is; empty: nobody's."""
    has_certificate: bool = False
    revoked: bool = False
    """Whether the certificate is to be revoked or has been; it is served until another takes its place."""
    turn: Turn | None = None
    """Where its order waits; None: it does not."""
    unissuable: str = ""
    """Why no certificate can be obtained as the edge is configured, and what the operator would do; empty: one can."""
    error: str = ""
    """What went wrong last, in plain words."""
    error_at: float = 0.0
    next_try: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it."""

    hostname: str
    cname_target: str
    addresses: frozenset[str]
    """`platform.addresses`."""
    apex: bool
    """Whether the name is the top of its zone, where a CNAME cannot stand (RFC 1034 section 3.6.2)."""
    views: tuple[View, ...]
    """The one that counts most comes first. None for a name under localhost, about which no DNS is asked."""
    caa: Caa
    ports: tuple[Port, ...]
    served: Graded | None
    """At the first address that could be reached; None: at none."""
    standing: Standing
    now: float
    delegation: Delegation | None = None
    """None: the name does not need one."""
    own_target: OwnTarget | None = None
    """None: it is not needed."""
    verdict: Verdict | None = None
    """What whoever verifies names says of it, with the mistakes that are known by name. None: nobody looked."""


class Level(enum.StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong by it."""
    UNKNOWN = "unknown"
    """It could not be found out."""
    WRONG = "wrong"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    """"registration", "dns", "caa", "port", "certificate", "issuance"."""
    level: Level
    text: str
    """Plain sentences."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that has to become otherwise."""

    who: Fault
    """Whose it is to change: the customer in their DNS, or the operator."""
    what: str
    """"the DNS records of shop.example.com"."""
    present: str
    wanted: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What is said."""

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """Nothing is to be changed, and nothing is wrong."""
        return not self.changes and not any(finding.level is Level.WRONG for finding in self.findings)
