"""What the world says of a name: questions to the configured resolvers, or to the system's."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.control.dns.caa import CaaRecord, CaaSet, climb
from edgeproxy.control.dns.exchange import nameserver_class
from edgeproxy.control.importing import load
from edgeproxy.errors import EdgeError, Fault

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.resolver import Answer as FullAnswer

PATIENCE = 10.0
"""Seconds that one question may take, over all servers that are asked."""

SERVER_TIME = 3.0
"""Seconds that one server has, until the next one is asked."""

ALIASES = 8
"""CNAMEs that are followed from one name. Resolvers give up at 8 to 16."""

QUESTIONS = 64
"""Questions under way at once. Each holds a socket; more wait for their turn within their own time."""

RECORDS = 64
"""Records of one answer that are looked at."""

CNAME = 5
"""The type's number (RFC 1035 section 3.2.2)."""

_MODULES = ("dns.asyncresolver", "dns.nameserver", "dns._asyncio_backend", "dns.rdtypes.ANY.CAA")

LONGEST_TTL = 604_800
"""Seconds for which anything is remembered at most: resolvers cap what they are told (RFC 8767 section 4)."""


class DnsUnavailable(EdgeError):
    """The DNS gave no answer, neither yes nor no: a server was silent, or said that something is broken."""

    code = "dns_unavailable"
    fault = Fault.CUSTOMER_DNS
    retryable = True


class Said(enum.Enum):
    """What became of a question."""

    RECORDS = "records"
    NO_DATA = "no data"
    """The name exists, without records of this type."""
    NO_NAME = "no such name"
    """NXDOMAIN."""
    BROKEN = "broken"
    """SERVFAIL, REFUSED and the like: whoever is to answer cannot."""
    SILENT = "silent"
    """Nobody answered in time."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one question brought."""

    name: str
    kind: str
    """The record type, "A"."""
    said: Said
    records: tuple[str, ...] = ()
    """The records' data as in a zone file, names lower case and without the final dot. CNAMEs on the way are in `chain`."""
    chain: tuple[str, ...] = ()
    """Where CNAMEs led, in order."""
    detail: str = ""
    """For BROKEN and SILENT: what happened, one plain sentence."""
    fault: Fault = Fault.CUSTOMER_DNS
    ttl: int = 0
    """Seconds for which whoever answered goes on saying so; where there are no records, by the zone's SOA (RFC 2308)."""
    authentic: bool = False
    """Whether the resolver vouches for it by DNSSEC (the AD flag, RFC 6840 section 5.8)."""

    @property
    def certain(self) -> bool:
        """Whether the DNS said something: records, or that there are none."""
        return self.said not in (Said.BROKEN, Said.SILENT)


class Lookup:
    """Asks DNS resolvers. Nothing is remembered: each call is a question, or more where servers do not answer."""

    def __init__(
        self, resolvers: Sequence[str] = (), *, patience: float = PATIENCE, checking: bool = True, at_once: int = 0
    ) -> None:
        """`resolvers` as in `dns.resolvers`: "ADDRESS:PORT". None: the system's, as they are configured at each call.

        `patience` is what one question may take, in seconds. Without `checking` resolvers are to answer even where DNSSEC
        tells them not to (the CD flag): where that helps, it is DNSSEC that is broken. `at_once`: questions under way, by
        default QUESTIONS."""
        self._checking = checking
        self.resolvers = tuple(resolvers)
        self._patience = patience
        self._turns = asyncio.Semaphore(at_once or QUESTIONS)

    @staticmethod
    async def prepare() -> None:
        """Loads dnspython, which takes 0.2 s: in a thread, before somebody waits for an answer."""
        await load(*_MODULES)

    async def ask(self, name: str, kind: str) -> Answer:
        """Asks for the records of a type, over UDP and, where an answer was cut, TCP. Never raises for what the DNS says."""
        answer, _ = await self._ask(name, kind)
        return answer

    async def cname(self, name: str) -> str:
        """Where a name's CNAME points, lower case and without the final dot; empty without one. Raises DnsUnavailable."""
        return next(iter(_known(await self.ask(name, "CNAME")).records), "")

    async def aliases(self, name: str, until: Collection[str] = ()) -> list[str]:
        """The names to which a name's CNAMEs lead, in order, at most ALIASES; stops at a name of `until`.

        The last of them is never asked for anything but its CNAME: an answer that it has nothing yet would be remembered
        by resolvers, and hide what is put there a moment later (RFC 2308). Raises DnsUnavailable where the DNS does not
        answer for the name itself; where it does not for one that a CNAME leads to, that one is the last.
        """
        found: list[str] = []
        while len(found) < ALIASES and name not in until:
            try:
                name = await self.cname(name)
            except DnsUnavailable:
                if not found:
                    raise
                break
            if not name or name in found:
                break
            found.append(name)
        return found

    async def txt(self, name: str) -> tuple[str, ...]:
        """The TXT records of a name, behind its CNAMEs, each with its strings joined. Raises DnsUnavailable."""
        answer, records = await self._ask(name, "TXT")
        _known(answer)
        return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)

    async def caa(self, name: str) -> CaaSet:
        """The CAA records that count for a name or wildcard: the closest set, climbing towards the root (RFC 8659 section 3).

        All levels are asked at once, so that a name of four labels does not wait four times. Raises DnsUnavailable where the
        DNS does not say which set is the closest.
        """
        levels = climb(name)
        for level, (answer, records) in zip(
            levels, await asyncio.gather(*(self._ask(level, "CAA") for level in levels)), strict=True
        ):
            _known(answer)
            if records:
                return CaaSet(
                    level, tuple(CaaRecord(record.flags, _text(record.tag), _text(record.value)) for record in records)
                )
        return CaaSet("", ())

    async def _ask(self, name: str, kind: str) -> tuple[Answer, list[Any]]:
        await self.prepare()
        import dns.exception
        import dns.resolver

        detail, fault = "", Fault.CUSTOMER_DNS
        said, who = Said.BROKEN, ", ".join(self.resolvers) or "the system's resolver"
        try:
            async with asyncio.timeout(self._patience + 1.0), self._turns:
                full = await self._resolver().resolve(name, kind, search=False, raise_on_no_answer=False)
            return _read(name, kind, full)
        except dns.resolver.NXDOMAIN as error:
            chain, ttl = _led(error)
            return Answer(name=name, kind=kind, said=Said.NO_NAME, chain=chain, ttl=ttl), []
        except dns.resolver.NoNameservers as error:
            detail = f"The DNS is broken for {name}: {_worst(error)}. Look at the domain's name servers."
            if unreached := _unreached(error):
                said, fault = Said.SILENT, Fault.OPERATOR
                detail = f"No DNS resolver can be reached (asked: {who}): {unreached}. Look at this machine's network."
        except dns.resolver.NoResolverConfiguration:
            detail = "This machine has no DNS resolver (/etc/resolv.conf). Configure one, or set dns.resolvers."
            fault = Fault.OPERATOR
        except (dns.exception.Timeout, OSError):
            said, fault = Said.SILENT, Fault.OPERATOR
            detail = f"The DNS did not answer for {name} within {self._patience:g} s (asked: {who})."
        except dns.exception.DNSException as error:
            detail = f"{name} cannot be asked for in the DNS: {str(error)[:200]}"
        return Answer(name=name, kind=kind, said=said, detail=detail, fault=fault), []

    def _resolver(self) -> Resolver:
        from dns.asyncresolver import Resolver
        from dns.flags import AD, CD, RD
        from dns.inet import is_address

        resolver, bounded = Resolver(configure=not self.resolvers), nameserver_class()
        if self.resolvers:
            resolver.nameservers = [bounded(*socket_address(server)) for server in self.resolvers]
        else:
            resolver.nameservers = [
                bounded(each, resolver.port) if isinstance(each, str) and is_address(each) else each
                for each in resolver.nameservers
            ]
        resolver.timeout, resolver.lifetime = min(SERVER_TIME, self._patience), self._patience
        resolver.set_flags(RD | AD if self._checking else RD | AD | CD)
        return resolver


def _known(answer: Answer) -> Answer:
    """The answer itself; raises DnsUnavailable where the DNS said neither yes nor no."""
    if not answer.certain:
        raise DnsUnavailable(answer.detail, fault=answer.fault)
    return answer


def _read(name: str, kind: str, full: FullAnswer) -> tuple[Answer, list[Any]]:
    from dns.flags import AD

    records = [] if full.rrset is None else list(full.rrset)[:RECORDS]
    said = Said.RECORDS if records else Said.NO_DATA
    answer = Answer(
        name=name,
        kind=kind,
        said=said,
        records=tuple(shown(record) for record in records),
        chain=() if kind == "CNAME" else chain_of(full.response, name),
        ttl=lifetime_of(full.response),
        authentic=bool(full.response.flags & AD),
    )
    return answer, records


def shown(record: Any) -> str:
    """A record's data as in an `Answer`. Of a TXT: its strings, joined."""
    if hasattr(record, "strings"):
        return b"".join(record.strings).decode("utf-8", "replace")
    text = str(record.to_text())
    return text.lower().removesuffix(".") if hasattr(record, "target") else text


def chain_of(response: Any, name: str) -> tuple[str, ...]:
    """Where the CNAMEs of an answer lead from a name, in order, at most ALIASES. Where they lead in a circle, its last is a
    name that was there before."""
    aliases = {
        _plain(rrset.name): _plain(record.target)
        for rrset in response.answer
        for record in rrset
        if hasattr(record, "target") and record.rdtype == CNAME
    }
    found: list[str] = []
    at = name.lower()
    while (at := aliases.get(at, "")) and len(found) < ALIASES:
        found.append(at)
        if at in found[:-1] or at == name.lower():
            break
    return tuple(found)


def lifetime_of(response: Any) -> int:
    """Seconds for which an answer counts: the shortest TTL on its way, or what the SOA says of that there is nothing."""
    import dns.exception

    try:
        found = response.resolve_chaining().minimum_ttl
    except dns.exception.DNSException:
        return 0
    return min(int(found), LONGEST_TTL)


def _plain(name: Any) -> str:
    return str(name).lower().removesuffix(".")


def _led(error: Exception) -> tuple[tuple[str, ...], int]:
    """The same for a name, or the end of its CNAMEs, that does not exist."""
    responses = getattr(error, "kwargs", {}).get("responses") or {}
    for asked, response in responses.items():
        return chain_of(response, _plain(asked)), lifetime_of(response)
    return (), 0


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace")


def _unreached(error: Exception) -> str:
    """Why not one question could even be sent; empty where somebody answered something."""
    said = [each[3] for each in getattr(error, "kwargs", {}).get("errors", ()) if len(each) > 3]
    if not said or not all(isinstance(each, OSError) for each in said):
        return ""
    return ", ".join(dict.fromkeys((os.strerror(each.errno) if each.errno else str(each)).lower() for each in said))


def _worst(error: Exception) -> str:
    """What the servers said, each once: "SERVFAIL", "REFUSED", or why there was nothing."""
    said = getattr(error, "kwargs", {}).get("errors", ())
    words = dict.fromkeys(str(each[3])[:80] for each in said if len(each) > 3)
    return ", ".join(words) or "no server answers"
