"""Looks at names that are to be verified: whom to ask what, and in which order. What it means is decided in `verdict`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control.dns.caa import Ruling, rule
from edgeproxy.control.dns.lookup import ALIASES, Answer, DnsUnavailable, Lookup, Said
from edgeproxy.control.domains.records import DnsRecord
from edgeproxy.control.domains.schedule import EAGER_SECONDS
from edgeproxy.control.domains.verification.memory import Remembered
from edgeproxy.control.domains.verification.pace import Pace, Rank, rank
from edgeproxy.control.domains.verification.providers import provider_of
from edgeproxy.control.domains.verification.reading import Leads, Text, route, text
from edgeproxy.control.domains.verification.seen import Dnssec, Fetched, Seen, State, Verdict, View, Zone
from edgeproxy.control.domains.verification.servers import ZONE_SECONDS, ZONES, Servers
from edgeproxy.control.domains.verification.shown import compared, wanted_records
from edgeproxy.control.domains.verification.verdict import judge
from edgeproxy.control.domains.verification.wanted import Wanted, wanted_of
from edgeproxy.control.domains.verification.webfile import WebFiles
from edgeproxy.control.issuance.origins import address_allowed
from edgeproxy.control.probe.look import LABEL
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.errors import EdgeError

LOOK_SECONDS = 25.0
"""What one look may take, waiting for its turn included."""

PATIENCE = 5.0
"""Seconds that a resolver has for one question."""

LOOKS, URGENT = 400, 64
"""Looks under way at once: those of the schedule, and those that somebody waits for. A look at a name whose servers are silent
takes some 8 s, so that 10,000 of them take less than five minutes."""

RATE, BURST, AT_ONCE = 300.0, 200, 768
"""Questions to one resolver: a second, at once after a quiet time, and under way. Public ones take 1,500 a second and more."""

TARGET_SECONDS = 10.0
"""For which the addresses of `platform.cname_target` are remembered."""

TROUBLE_SECONDS = 2.0
"""The same where they could not be had, and for a zone that resolvers refuse."""

COMPARED_SECONDS, DIFFERING_SECONDS = 60.0, 5.0
"""For which it is remembered what stands for a record of the CA's challenges: where it is right, and where it is not."""

COMPARISONS = 2_000
"""Such records that are remembered."""


class Ca(Protocol):
    """What CAA records are compared with."""

    async def identities(self) -> tuple[Sequence[str], str]:
        """The CA's names in CAA records, and the URL of the account that orders; none and "" where nothing is known.

        Raises EdgeError where the CA cannot be asked."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Resolver:
    """One that has to agree."""

    who: str
    lookup: Lookup
    pace: Pace


class Looker:
    """Looks at one name after another, or many at once."""

    def __init__(
        self,
        config: Config,
        now: Callable[[], float],
        ca: Ca | None = None,
        *,
        dns_port: int = 53,
        web_ports: tuple[int, int] = (80, 443),
    ) -> None:
        """`now`: Unix time. `ca`: None where CAA records say nothing to the CA (the built-in one). The ports are those of
        others' name servers, and of http and https."""
        self._config = config
        self._now = now
        self._ca = ca
        configured = config.dns.resolvers
        each = [(f"the resolver {server}", Lookup((server,), patience=PATIENCE, at_once=AT_ONCE)) for server in configured]
        each = each or [("the system's resolver", Lookup(patience=PATIENCE, at_once=AT_ONCE))]
        self._resolvers = [Resolver(who, lookup, Pace(rate=RATE, burst=BURST, at_once=AT_ONCE)) for who, lookup in each]
        self._any = Resolver("any", Lookup(configured, patience=PATIENCE, at_once=AT_ONCE), self._resolvers[0].pace)
        self._unchecked = Lookup(configured, patience=PATIENCE, checking=False)
        self._ours = frozenset(config.platform.addresses)

        def clock() -> float:
            return asyncio.get_running_loop().time()

        self._servers = Servers(self._ask, self._allowed, clock, port=dns_port)
        self._files = WebFiles(self._allowed, ports=web_ports)
        self._looks, self._urgent = asyncio.Semaphore(LOOKS), asyncio.Semaphore(URGENT)
        self._target: Remembered[tuple[frozenset[str], str]] = Remembered(1, clock)
        self._signed: Remembered[Dnssec] = Remembered(ZONES, clock)
        self._comparisons: Remembered[DnsRecord] = Remembered(COMPARISONS, clock)
        self._endings: Remembered[tuple[str, ...]] = Remembered(ZONES, clock)
        self._comparing = asyncio.Semaphore(URGENT)

    async def look(self, domain: Domain, *, urgent: bool = False) -> Verdict:
        """What is said of a domain now, within LOOK_SECONDS whatever the DNS does. `urgent`: somebody waits for it, so that it
        does not stand in line behind the schedule's. Never raises for what others say or do."""
        wanted = wanted_of(domain, self._config)
        rank.set(Rank.WAITED_FOR if urgent else Rank.YOUNG if _young(domain, self._now()) else Rank.DUE)
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._urgent if urgent else self._looks:
                return judge(wanted, await self._see(wanted), self._now())
        except TimeoutError:
            return Verdict(
                state=State.UNSURE,
                code="look_too_slow",
                detail=f"Whether {domain.hostname} is set up rightly could not be found out within {LOOK_SECONDS:g} s: "
                "its name servers, or the resolvers, are slow. It is looked at again by itself.",
                records=wanted_records(wanted),
            )

    async def compare(self, records: Sequence[DnsRecord]) -> list[DnsRecord]:
        """Records of the CA's challenges with what is there instead by the zone's own servers, as it was at most
        DIFFERING_SECONDS ago (where it is right, COMPARED_SECONDS), within LOOK_SECONDS; as they are where those say nothing.
        Who gives up waiting stops nobody else. Never raises for what others say or do."""
        return list(await asyncio.gather(*(self._compared(record) for record in records)))

    async def close(self) -> None:
        """Ends what is under way."""
        await self._servers.close()
        await self._target.close()
        await self._signed.close()
        await self._comparisons.close()
        await self._endings.close()
        await self._files.close()

    async def _compared(self, wanted: DnsRecord) -> DnsRecord:
        async def find() -> tuple[DnsRecord, float]:
            found = await self._compare(wanted)
            return found, COMPARED_SECONDS if found.ok else DIFFERING_SECONDS

        found = await self._comparisons.get(f"{wanted.name} {wanted.type} {wanted.value}", find)
        return msgspec.structs.replace(wanted, seen=found.seen, ok=found.ok, reason=found.reason, hint=found.hint)

    async def _compare(self, wanted: DnsRecord) -> DnsRecord:
        await Lookup.prepare()
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._comparing:
                zone = await self._servers.zone_of(wanted.name)
                if zone is None or not zone.exists:
                    return wanted
                zone, found = await self._servers.answers(zone, [(wanted.name, wanted.type)])
        except TimeoutError:
            return wanted
        sure = [answer for (answer,) in found if answer.certain]
        return compared(wanted, sure[0] if sure else None, provider_of(zone.names))

    # What is seen

    async def _see(self, wanted: Wanted) -> Seen:
        await Lookup.prepare()
        (ours, unknown), (zone, dnssec) = await asyncio.gather(self._target_addresses(wanted), self._zone(wanted))
        seen = Seen(ours=ours, ours_unknown=unknown, zone=zone, dnssec=dnssec)
        if zone is not None:
            seen = await self._by_authority(wanted, seen)
        if zone is None or zone.exists:
            seen = await self._by_resolvers(wanted, seen)
        if wanted.method == "file":
            seen = dataclasses.replace(seen, files=await self._fetched(wanted, seen))
        if seen.resolvers and not any(answer.certain for view in seen.resolvers for answer in view.answers):
            seen = dataclasses.replace(seen, dnssec=await self._bogus(wanted, seen))
        return await self._explained(wanted, seen)

    async def _by_authority(self, wanted: Wanted, seen: Seen) -> Seen:
        """What the zone's own servers say, followed by a resolver where a CNAME leads out of it."""
        if seen.zone is None or not seen.zone.exists:
            return seen
        questions = [(wanted.asked, "A"), (wanted.asked, "AAAA")]
        if wanted.proof:
            questions.append((wanted.text_name, "TXT"))
        zone, found = await self._servers.answers(seen.zone, questions)
        able = [server.name for server in zone.servers if server.address]
        views = []
        for who, answers in zip(able, found, strict=False):
            full = await asyncio.gather(*(self._beyond(answer, wanted) for answer in answers))
            ipv4, ipv6, *texts = full
            views.append(View(who=who, ipv4=ipv4, ipv6=ipv6, text=texts[0] if texts else None))
        return dataclasses.replace(seen, zone=zone, authority=tuple(views))

    async def _beyond(self, answer: Answer, wanted: Wanted) -> Answer:
        """An answer with what is behind a CNAME that leads out of the server's zone."""
        chain = answer.chain
        last = chain[-1] if chain else ""
        ours = bool(wanted.target) and (last == wanted.target or last.endswith(f".{wanted.target}"))
        if not last or answer.records or ours or last == answer.name or last in chain[:-1]:
            return answer
        more = await self._ask(last, answer.kind)
        if more.said is Said.BROKEN:  # as most resolvers say of CNAMEs that lead nowhere
            more = dataclasses.replace(more, chain=await self._endless(last))
        return dataclasses.replace(more, name=answer.name, chain=(*chain, *more.chain), ttl=min(answer.ttl, more.ttl))

    async def _endless(self, name: str) -> tuple[str, ...]:
        """Where the CNAMEs of a name lead that have no end: in a circle, or on for too long. Else nothing."""

        async def find() -> tuple[tuple[str, ...], float]:
            found = [name]
            while len(found) <= ALIASES:
                told = await self._ask(found[-1], "CNAME")
                if not told.records:
                    return (), TROUBLE_SECONDS
                found.append(told.records[0])
                if found[-1] in found[:-1]:
                    break
            return tuple(found[1:]), TROUBLE_SECONDS

        return await self._endings.get(name, find)  # once for both kinds of address, by each server

    async def _by_resolvers(self, wanted: Wanted, seen: Seen) -> Seen:
        """What the resolvers say, as far as they may be asked without harm: not of what is not there yet."""
        routes = [found.leads for view in seen.authority if (found := route(view, wanted, seen)) is not None]
        texts = [each for view in seen.authority if (each := text(view, wanted)) is not None]
        sure = [leads for leads in routes if leads is not Leads.UNSURE]
        of_file = wanted.method == "file" and any(leads is not Leads.NOWHERE for leads in sure)
        by_route = not sure or of_file or all(leads is Leads.HERE for leads in sure)
        said = [each for each in texts if each is not Text.UNSURE]
        by_text = bool(wanted.proof) and (not said or all(each is Text.PROVEN for each in said))
        if not by_route and not by_text:
            return seen
        views = await asyncio.gather(*(self._view(each, wanted, by_route, by_text) for each in self._resolvers))
        seen = dataclasses.replace(seen, resolvers=tuple(views))
        if any(answer.authentic for view in views for answer in view.answers):
            seen = dataclasses.replace(seen, dnssec=Dnssec.SIGNED)
        if by_route and any(view.addresses or view.chain for view in views):
            ruling, shown = await self._caa(wanted)
            seen = dataclasses.replace(seen, caa=ruling, caa_records=shown)
        return seen

    async def _view(self, resolver: Resolver, wanted: Wanted, by_route: bool, by_text: bool) -> View:
        kinds = [(wanted.asked, "A"), (wanted.asked, "AAAA")] if by_route else []
        kinds += [(wanted.text_name, "TXT")] if by_text else []
        found = list(await asyncio.gather(*(self._ask(name, kind, resolver) for name, kind in kinds)))
        last = found.pop() if by_text else None
        ipv4, ipv6 = found or (None, None)
        return View(who=resolver.who, ipv4=ipv4, ipv6=ipv6, text=last)

    async def _fetched(self, wanted: Wanted, seen: Seen) -> tuple[Fetched, ...]:
        """From the addresses that each who was asked sees."""
        asked = [view.addresses for view in (seen.resolvers or seen.authority) if view.addresses]
        tries = dict.fromkeys(asked)
        return tuple(
            await asyncio.gather(*(self._files.fetch(wanted.file_url, wanted.proof, addresses) for addresses in tries))
        )

    async def _explained(self, wanted: Wanted, seen: Seen) -> Seen:
        """What tells one mistake from another, asked of the zone's own servers only where something is wrong."""
        if seen.zone is None or not seen.authority or judge(wanted, seen, self._now()).state is State.VERIFIED:
            return seen
        own = await self._servers.own(seen.zone)
        doubled = await self._doubled(wanted, seen.zone)
        return dataclasses.replace(seen, zone=dataclasses.replace(seen.zone, own=own), doubled=doubled)

    async def _doubled(self, wanted: Wanted, zone: Zone) -> View | None:
        """What is at HOST.ZONE; None where it is nothing, or what a wildcard says of any name."""
        if wanted.method == "dns":
            text = await self._servers.one(zone, f"{wanted.text_name}.{zone.name}", "TXT")
            return None if text is None else View(who=zone.name, text=text)
        found = await self._servers.one(zone, f"{wanted.asked}.{zone.name}", "A")
        if found is None or not (found.records or found.chain):
            return None
        wild = await self._servers.one(zone, f"{LABEL}.{LABEL}.{zone.name}", "A")
        return None if wild is None or wild.records or wild.chain else View(who=zone.name, ipv4=found)

    # Whom to ask

    async def _ask(self, name: str, kind: str, resolver: Resolver | None = None) -> Answer:
        resolver = resolver or self._any
        async with resolver.pace.turn():
            return await resolver.lookup.ask(name, kind)

    def _allowed(self, address: str) -> bool:
        """Whether an address that others named may be connected to: a public one, or ours."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return str(ip) in self._ours or address_allowed(ip, self._config)

    async def _zone(self, wanted: Wanted) -> tuple[Zone | None, Dnssec]:
        zone = await self._servers.zone_of(wanted.hostname)
        if zone is None or not zone.exists:
            return zone, Dnssec.UNKNOWN

        async def find() -> tuple[Dnssec, float]:
            soa = await self._ask(zone.name, "SOA")
            if soa.certain:
                return Dnssec.SIGNED if soa.authentic else Dnssec.UNSIGNED, ZONE_SECONDS
            return await self._refused(soa), TROUBLE_SECONDS

        return zone, await self._signed.get(zone.name, find)

    async def _bogus(self, wanted: Wanted, seen: Seen) -> Dnssec:
        failed = next((each for view in seen.resolvers for each in view.answers if each.said is Said.BROKEN), None)
        return seen.dnssec if failed is None or seen.dnssec is Dnssec.BOGUS else await self._refused(failed)

    async def _refused(self, failed: Answer) -> Dnssec:
        """Whether it is DNSSEC for which a question failed: then it does not without."""
        if failed.said is not Said.BROKEN:
            return Dnssec.UNKNOWN
        async with self._any.pace.turn():
            again = await self._unchecked.ask(failed.name, failed.kind)
        return Dnssec.BOGUS if again.certain else Dnssec.UNKNOWN

    async def _target_addresses(self, wanted: Wanted) -> tuple[frozenset[str], str]:
        """Where `platform.cname_target` leads, and why that is not known."""
        if not wanted.target:
            return frozenset(), ""

        async def find() -> tuple[tuple[frozenset[str], str], float]:
            found = await asyncio.gather(self._ask(wanted.target, "A"), self._ask(wanted.target, "AAAA"))
            addresses = frozenset(record for answer in found for record in answer.records)
            unknown = next((answer.detail for answer in found if not answer.certain), "")
            self._ours = frozenset(self._config.platform.addresses) | addresses
            return (addresses, unknown), TROUBLE_SECONDS if unknown else TARGET_SECONDS

        return await self._target.get(wanted.target, find)

    async def _caa(self, wanted: Wanted) -> tuple[Ruling | None, tuple[str, ...]]:
        """What they let the CA do, and which count. A look-up that fails forbids nothing: the CA looks for itself."""
        with contextlib.suppress(DnsUnavailable):
            async with self._any.pace.turn():
                found = await self._any.lookup.caa(wanted.hostname)
            shown = tuple(f"{found.name} {record}" for record in found.records)
            if self._ca is None:
                return None, shown
            try:
                identities, account = await self._ca.identities()
            except EdgeError:
                return None, shown
            return rule(found, wanted.hostname, identities, self._config.issuance.challenges, account), shown
        return None, ()


def _young(domain: Domain, now: float) -> bool:
    return domain.looking_since is None or now - domain.looking_since < EAGER_SECONDS
