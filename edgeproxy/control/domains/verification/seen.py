"""What was seen of a name that is to be verified, and what is made of it: frozen structs."""

from __future__ import annotations

import dataclasses
import enum

from edgeproxy.control.dns.caa import Ruling
from edgeproxy.control.dns.lookup import Answer
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.records import DnsRecord
from edgeproxy.errors import Fault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A name as one resolver or one of its zone's own servers sees it. What was not asked is None."""

    who: str
    """ "the system's resolver", "the resolver 192.0.2.53:53", "ns1.example.com"."""
    ipv4: Answer | None = None
    ipv6: Answer | None = None
    text: Answer | None = None
    """TXT of `_edgeproxy-verify.HOST`."""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All that was asked."""
        return tuple(answer for answer in (self.ipv4, self.ipv6, self.text) if answer is not None)

    @property
    def chain(self) -> tuple[str, ...]:
        """Where the name's CNAMEs lead."""
        return (self.ipv4.chain if self.ipv4 else ()) or (self.ipv6.chain if self.ipv6 else ())

    @property
    def addresses(self) -> tuple[str, ...]:
        """A, then AAAA."""
        found = [record for answer in (self.ipv4, self.ipv6) if answer is not None for record in answer.records]
        return tuple(dict.fromkeys(found))


class Serving(enum.Enum):
    """Whether a name server does its work for a zone."""

    SERVES = "serves"
    REFUSES = "refuses"
    """It answers, but not for this zone: REFUSED, SERVFAIL, or without authority."""
    SILENT = "silent"
    NOWHERE = "nowhere"
    """Its name has no address."""
    UNASKED = "unasked"
    """Its address is not a public one, or others answered."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nameserver:
    """A server to which a zone is delegated."""

    name: str
    address: str = ""
    serving: Serving = Serving.UNASKED


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The zone in which a name stands, or would stand."""

    name: str
    exists: bool = True
    """False: the registry says that there is no such domain."""
    delegated: tuple[str, ...] = ()
    """Its servers by the zone above, at a registered domain the registry; none where that could not be asked."""
    own: tuple[str, ...] = ()
    """Its servers by its own NS records; none where those were not asked for."""
    servers: tuple[Nameserver, ...] = ()
    """Those that were looked at; none: nobody says who they are."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its servers."""
        return self.delegated or self.own or tuple(server.name for server in self.servers)


class FileSaid(enum.Enum):
    """What became of asking for the file."""

    FOUND = "found"
    MISSING = "missing"
    """404 or another plain no."""
    DIFFERS = "differs"
    """There is a file, and it does not hold the token."""
    REFUSED = "refused"
    """It leads to another host or a private address, or is too large: it is not followed."""
    FAILED = "failed"
    """Nobody answered, or with an error of its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """One try to fetch the file."""

    said: FileSaid
    detail: str = ""
    """For all but FOUND: what happened, in a plain sentence."""


class Dnssec(enum.StrEnum):
    """As far as resolvers tell."""

    SIGNED = "signed"
    """A resolver vouches for it."""
    UNSIGNED = "unsigned"
    """None does: the zone is not signed, or no resolver looks."""
    BOGUS = "bogus"
    """Resolvers refuse it, and answer once they are told not to look at signatures."""
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All of it."""

    authority: tuple[View, ...] = ()
    """By the zone's own servers, of which nobody remembers anything old."""
    resolvers: tuple[View, ...] = ()
    """By every resolver that has to agree. None where the zone's own servers say already that the record is not there: a
    resolver that is asked too early remembers for long that there was none (RFC 2308)."""
    ours: frozenset[str] = frozenset()
    """Addresses of `platform.cname_target`."""
    ours_unknown: str = ""
    """Why those are not known, in a sentence; empty: they are."""
    zone: Zone | None = None
    """None: nothing is known of who serves it."""
    doubled: View | None = None
    """The same records at HOST.ZONE. None where it was not asked, or a wildcard answers for every name."""
    files: tuple[Fetched, ...] = ()
    caa: Ruling | None = None
    """What the CAA records let the configured CA do. None: not known, or the CA does not look at them."""
    caa_records: tuple[str, ...] = ()
    """Those that count, as in a zone file."""
    dnssec: Dnssec = Dnssec.UNKNOWN


class State(enum.StrEnum):
    """What it comes to."""

    VERIFIED = "verified"
    PENDING = "pending"
    """No record yet, or not everywhere yet."""
    WRONG = "wrong"
    UNSURE = "unsure"
    """The DNS gave no answer: not yet, and never no."""


class Proof(enum.StrEnum):
    """By what a name's owner is known to be one."""

    CNAME = "cname"
    """The name leads to `platform.cname_target`."""
    WORKSPACE_CNAME = "workspace_cname"
    """It leads to the target that only this workspace has."""
    ADDRESS = "address"
    """All its addresses are ours."""
    TXT = "txt"
    FILE = "file"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What stands in the way."""

    state: State
    code: str
    detail: str
    """What happened, whose record it is, and what to change from what to what."""
    fault: Fault = Fault.CUSTOMER_DNS
    what: str = ""
    """What has to change: "the DNS records of shop.example.com"."""
    present: str = ""
    wanted: str = ""
    visible_by: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said of a name."""

    state: State
    code: str = ""
    """For programs; empty where it is verified."""
    detail: str = ""
    fault: Fault = Fault.CUSTOMER_DNS
    what: str = ""
    present: str = ""
    wanted: str = ""
    records: tuple[DnsRecord, ...] = ()
    """`dns_records`, but for those of the CA's challenges."""
    visible_by: float | None = None
    """Unix time at which the last resolver has forgotten what was there before."""
    proven: frozenset[Proof] = frozenset()
    """Every proof that all who were asked see, whichever the domain's method is."""
    points: Points = Points.UNKNOWN
    """Whether its visitors come here: of a name that is proven by TXT or a file that may take longer."""
    dnssec: Dnssec = Dnssec.UNKNOWN
    caa_records: tuple[str, ...] = ()
    provider: str = ""
    """The DNS provider, where its name servers tell."""
