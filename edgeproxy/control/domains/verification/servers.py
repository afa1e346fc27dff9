"""Asks a zone's own servers, and the registry who they are. They remember nothing old, and asking them early harms nobody: a
resolver that is asked for a record before it is there remembers for up to hours that there was none (RFC 2308)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeproxy.control.dns.exchange import LARGEST, TooLarge, exchange
from edgeproxy.control.dns.lookup import RECORDS, Answer, Said, chain_of, lifetime_of, shown
from edgeproxy.control.domains.records import registered
from edgeproxy.control.domains.verification.memory import Remembered
from edgeproxy.control.domains.verification.pace import Paces, Silences
from edgeproxy.control.domains.verification.seen import Nameserver, Serving, Zone

if TYPE_CHECKING:
    from dns.message import Message

TRIES = 2
TRY_SECONDS = 1.5
"""Seconds that a server has for each of its tries."""

SERVERS = 4
"""Servers of a zone that are looked up."""

ASKED = 2
"""Servers of a zone that are asked."""

DEPTH = 4
"""Delegations below the registered domain that are followed."""

ZONE_SECONDS = 60.0
"""For which it is remembered who serves a zone: a name is looked at every two seconds at first, and name servers that were
put right are to count soon."""

PARENT_SECONDS = 3600.0
"""The same for top-level domains."""

ZONES = 20_000
"""Zones that are remembered."""

RATE, BURST, AT_ONCE = 200.0, 100, 64
"""Questions to one server: a second, at once after a quiet time, and under way."""

QUESTIONS = 768
"""Questions under way at once, to all servers together: each holds a descriptor, for three seconds where nobody answers."""

STRIKES, SILENT_SECONDS = 6, 10.0
"""Tries without an answer after which a server is not asked about a zone any more, and for how long."""

PACES = 20_000

Ask = Callable[[str, str], Awaitable[Answer]]
"""A question to the resolvers: name and type."""


@dataclasses.dataclass(frozen=True, slots=True)
class Referral:
    """Somebody else's business: the zone below, and its servers."""

    zone: str
    names: tuple[str, ...]
    glue: dict[str, str]


class Servers:
    """Asks them. `ask`: the resolvers; `allowed`: whether an address may be asked; `clock`: monotonic seconds."""

    def __init__(self, ask: Ask, allowed: Callable[[str], bool], clock: Callable[[], float], *, port: int = 53) -> None:
        self._ask = ask
        self._allowed = allowed
        self._port = port
        self._clock = clock
        self._silent = Silences(PACES, strikes=STRIKES, seconds=SILENT_SECONDS)
        self._turns = asyncio.Semaphore(QUESTIONS)
        self._paces = Paces(PACES, rate=RATE, burst=BURST, at_once=AT_ONCE)
        self._zones: Remembered[Zone | None] = Remembered(ZONES, clock)
        self._parents: Remembered[Zone] = Remembered(ZONES, clock)
        self._own: Remembered[tuple[str, ...]] = Remembered(ZONES, clock)
        self._addresses: Remembered[tuple[str, bool]] = Remembered(ZONES, clock)

    async def zone_of(self, name: str) -> Zone | None:
        """The zone of a name's registered domain, with servers to be asked; None where nobody says who they are."""
        domain = registered(name)

        async def find() -> tuple[Zone | None, float]:
            return await self._find(domain), ZONE_SECONDS

        return await self._zones.get(domain, find)

    async def close(self) -> None:
        """Ends what is under way."""
        await self._zones.close()
        await self._parents.close()
        await self._own.close()
        await self._addresses.close()

    async def answers(self, zone: Zone, questions: Sequence[tuple[str, str]]) -> tuple[Zone, list[list[Answer]]]:
        """What each server that can be asked says to each question (name, type), and the zone with how they serve it: another
        one where a part of it is delegated further. All names must be of the same zone."""
        for _ in range(DEPTH):
            able = [server for server in zone.servers if server.address][:ASKED]
            asked = await asyncio.gather(*(self._all(server, zone, questions) for server in able))
            further = next((each for found in asked for each in found if isinstance(each, Referral)), None)
            if further is None:
                answers = [[each for each in found if isinstance(each, Answer)] for found in asked]
                states = {server.name: _serving(found) for server, found in zip(able, answers, strict=True)}
                servers = tuple(
                    dataclasses.replace(server, serving=states.get(server.name, server.serving)) for server in zone.servers
                )
                return dataclasses.replace(zone, servers=servers), answers
            # no more than are asked: who answers with one delegation after the other is not to spend the resolvers' time
            servers = await self._nameservers(further.names[:ASKED], further.glue)
            zone = Zone(name=further.zone, delegated=further.names, servers=servers)
        return zone, []

    async def own(self, zone: Zone) -> tuple[str, ...]:
        """The zone's servers by its own NS records; none where they are not to be had."""

        async def find() -> tuple[tuple[str, ...], float]:
            found = await self.one(zone, zone.name, "NS")
            return found.records if found is not None else (), ZONE_SECONDS

        return await self._own.get(zone.name, find)

    async def one(self, zone: Zone, name: str, kind: str) -> Answer | None:
        """What the first server that does its work says; None where there is none, or it does not know."""
        server = next((server for server in zone.servers if server.serving is Serving.SERVES), None)
        if server is None:
            return None
        found = await self._question(server, zone, name, kind)
        return found if isinstance(found, Answer) and found.certain else None

    async def _all(self, server: Nameserver, zone: Zone, questions: Sequence[tuple[str, str]]) -> list[Answer | Referral]:
        return list(await asyncio.gather(*(self._question(server, zone, name, kind) for name, kind in questions)))

    async def _question(self, server: Nameserver, zone: Zone, name: str, kind: str) -> Answer | Referral:
        response = await self._send(server.address, zone.name, name, kind)
        if not isinstance(response, Said):
            return read(response, name, kind, zone.name, server.name)
        who = f"The name server {server.name} ({server.address}) of {zone.name}"
        detail = f"{who} did not answer." if response is Said.SILENT else f"{who} sends answers of more than {LARGEST} bytes."
        return Answer(name=name, kind=kind, said=response, detail="" if response is Said.NO_NAME else detail)

    async def _send(self, address: str, zone: str, name: str, kind: str) -> Message | Said:
        """One question, without recursion; or why nothing usable came back: SILENT, BROKEN where it is too large, NO_NAME where
        the name is too long to be one."""
        import dns.exception
        import dns.message

        # by zone: a stranger who delegates a name to somebody's servers is not to silence them for others
        server = f"{address} {zone}"
        try:
            query = dns.message.make_query(f"{name}.", kind, flags=0)
        except dns.exception.DNSException:
            return Said.NO_NAME
        for _ in range(TRIES):
            if self._silent.holds(server, self._clock()):
                return Said.SILENT
            try:
                async with self._paces.of(address).turn(), self._turns, asyncio.timeout(2 * TRY_SECONDS):
                    if self._silent.holds(server, self._clock()):  # it became so while we waited
                        return Said.SILENT
                    async with asyncio.timeout(TRY_SECONDS):
                        response = await exchange(query, address, self._port)
                self._silent.note(server, self._clock(), answered=True)
                return response
            except TooLarge:
                return Said.BROKEN
            except (dns.exception.DNSException, OSError, EOFError, TimeoutError):
                self._silent.note(server, self._clock(), answered=False)
        return Said.SILENT

    async def _find(self, domain: str) -> Zone | None:
        found = await self._delegation(domain)
        if found is Said.NO_NAME:
            # a resolver of an inner network may know domains that the registry does not
            known = (await self._ask(domain, "SOA")).said
            return Zone(name=domain, exists=False) if known is Said.NO_NAME else None
        if isinstance(found, Referral):
            servers = await self._nameservers(found.names, found.glue)
            return Zone(name=domain, delegated=found.names, servers=servers)
        told = await self._ask(domain, "NS")
        names = () if told.chain else tuple(sorted(told.records)[:SERVERS])
        return Zone(name=domain, servers=await self._nameservers(names, {})) if names else None

    async def _delegation(self, domain: str) -> Referral | Said | None:
        """Whom the zone above names; NO_NAME where it knows no such domain; None where it does not say."""
        parent = domain.partition(".")[2]
        for server in await self._parent(parent) if parent else ():
            response = await self._send(server.address, parent, domain, "NS")
            if isinstance(response, Said):
                continue
            found = read(response, domain, "NS", parent, server.name)
            if isinstance(found, Referral):
                return found
            if found.said is Said.NO_NAME:
                return Said.NO_NAME
            if found.records:
                return Referral(domain, found.records[:SERVERS], {})
        return None

    async def _parent(self, parent: str) -> list[Nameserver]:
        async def find() -> tuple[Zone, float]:
            told = await self._ask(parent, "NS")
            zone = Zone(name=parent, servers=await self._nameservers(sorted(told.records)[:SERVERS], {}))
            return zone, PARENT_SECONDS if zone.servers else ZONE_SECONDS

        zone = await self._parents.get(parent, find)
        return [server for server in zone.servers if server.address][:2]

    async def _nameservers(self, names: Sequence[str], glue: dict[str, str]) -> tuple[Nameserver, ...]:
        return tuple(await asyncio.gather(*(self._nameserver(name, glue.get(name, "")) for name in names[:SERVERS])))

    async def _nameserver(self, name: str, glue: str) -> Nameserver:
        async def find() -> tuple[tuple[str, bool], float]:
            address, certain = await self._address(name)
            return (address, certain), ZONE_SECONDS if address else 0.0

        address, certain = await self._addresses.get(name, find)  # thousands of zones are at the same few servers
        if address:
            return self._usable(name, address)
        if glue:
            return self._usable(name, glue)
        return Nameserver(name=name, serving=Serving.NOWHERE if certain else Serving.SILENT)

    async def _address(self, name: str) -> tuple[str, bool]:
        """A server's address by the resolvers, "" where there is none; and whether they know that."""
        certain = True
        for kind in ("A", "AAAA"):
            told = await self._ask(name, kind)
            certain = certain and told.certain
            if told.said is Said.SILENT:
                break
            if told.records:
                return told.records[0], True
        return "", certain

    def _usable(self, name: str, address: str) -> Nameserver:
        return Nameserver(name=name, address=address) if self._allowed(address) else Nameserver(name=name)


def read(response: Any, name: str, kind: str, zone: str, server: str) -> Answer | Referral:
    """What a server's message says to a question that it was asked without recursion."""
    from dns.flags import AA
    from dns.rcode import NOERROR, NXDOMAIN, to_text
    from dns.rdatatype import from_text

    code = response.rcode()
    if code not in (NOERROR, NXDOMAIN):
        detail = f"The name server {server} of {zone} answers {to_text(code)}."
        return Answer(name=name, kind=kind, said=Said.BROKEN, detail=detail)
    chain = () if kind == "CNAME" else chain_of(response, name)
    records = _records(response, chain[-1] if chain else name, from_text(kind))
    if not response.flags & AA and not chain and not records:
        return _referral(response, name, zone) or Answer(
            name=name, kind=kind, said=Said.BROKEN, detail=f"The name server {server} does not serve the zone {zone}."
        )
    said = Said.RECORDS if records else Said.NO_NAME if code == NXDOMAIN else Said.NO_DATA
    return Answer(name=name, kind=kind, said=said, records=records, chain=chain, ttl=lifetime_of(response))


def _records(response: Any, name: str, kind: Any) -> tuple[str, ...]:
    found = (each for rrset in response.answer if rrset.rdtype == kind and _plain(rrset.name) == name.lower() for each in rrset)
    return tuple(sorted(shown(record) for record in found)[:RECORDS])  # in the same order each time, as they have none


def _referral(response: Any, name: str, zone: str) -> Referral | None:
    """Only downwards, on the way to the name: a server that points upwards, or aside, serves nothing."""
    from dns.rdatatype import NS

    for rrset in response.authority:
        owner = _plain(rrset.name)
        below = owner != zone and owner.endswith(f".{zone}") if zone else True
        if rrset.rdtype == NS and below and (name == owner or name.endswith(f".{owner}")):
            names = tuple(sorted(_plain(record.target) for record in rrset)[:SERVERS])
            glue = {
                _plain(each.name): shown(record)
                for each in response.additional
                for record in each
                if hasattr(record, "address") and ":" not in record.address
            }
            return Referral(owner, names, glue)
    return None


def _serving(answers: Sequence[Answer]) -> Serving:
    if any(answer.certain for answer in answers):
        return Serving.SERVES
    return Serving.REFUSES if any(answer.said is Said.BROKEN for answer in answers) else Serving.SILENT


def _plain(name: Any) -> str:
    return str(name).lower().removesuffix(".")
