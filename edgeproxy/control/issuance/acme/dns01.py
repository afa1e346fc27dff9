"""DNS-01 (RFC 8555 section 8.4): the TXT record that a CA looks for, and the places where we can put it.

It is looked for at `_acme-challenge.HOST`, which is the customer's. Whoever sets the CNAME `_acme-challenge.HOST → LABEL.ZONE`
once need never touch it again: ZONE is a zone that this edge answers itself (`dns.zone`), or one at a server that takes its
dynamic updates (`dns.rfc2136`). A name inside the latter needs no CNAME.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.lookup import DnsUnavailable, Lookup
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.issuance.acme.challenges import NO_DNS, AnswerFailed, NotApplicable
from edgeproxy.control.issuance.acme.rfc2136 import DynamicZone, UpdateFailed
from edgeproxy.control.issuance.acme.transport import Sleep
from edgeproxy.control.issuance.issuer import Published, until_published
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError, Fault
from edgeproxy.published.records import Challenge

log = structlog.get_logger("issuance")

OWN_TIME = 10.0
"""Seconds within which our own DNS server must answer with what the store has."""

OWN_PATIENCE = 2.0
"""Seconds that it may take for one answer. What asks is the process that answers."""

RESOLVER_TIME = 120.0
"""Seconds within which each of dns.resolvers must see a record: secondaries have it within seconds, and a resolver that was
asked too early remembers for the zone's negative TTL, usually a minute, that there was none."""

FIRST_LOOK = 0.02
LONGEST_LOOK = 5.0
"""Seconds between two looks, doubling."""

LEFT_BEHIND = 10_000
"""Records of an earlier process that are looked at in one sweep."""

PER_NAME = 64
"""Records of one name that are looked at: a hostname and its wildcard have one each."""


def record_name(hostname: str) -> str:
    """Where the CA looks, for a hostname and for its wildcard alike."""
    return f"_acme-challenge.{hostname.removeprefix('*.')}"


def record_value(key_authorization: str) -> str:
    """What it must find there."""
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


class TxtRecords(Protocol):
    """A place for the TXT records of DNS-01."""

    def name_for(self, hostname: str) -> str:
        """The name at which a hostname's records stand here."""
        ...

    async def put(self, hostname: str, value: str) -> None:
        """Sets a record beside those that there are; returns when it can be seen. Doing it twice is doing it once.

        Raises AnswerFailed saying whose fault it is, StateError or MapError. The record may be there then: `clear` it.
        """
        ...

    async def remove(self, hostname: str, value: str) -> None:
        """Removes one record, if it is there. Raises as `put`."""
        ...

    async def clear(self, hostname: str) -> None:
        """Removes every record that was ever put for a hostname and not removed, by an earlier process too. Raises as `put`."""
        ...

    async def left_behind(self) -> list[str]:
        """The hostnames that have records here."""
        ...


class _Kept:
    """What the store knows of records: a row stands from before a record is put until after it was removed."""

    def __init__(self, store: Store, clock: Callable[[], float], prefix: str) -> None:
        self._store = store
        self._clock = clock
        self._prefix = prefix

    async def note(self, place: str, hostname: str, value: str) -> int:
        """The number of the change. The row has the hostname: its wildcard's records stand at the same place."""
        record = Challenge(hostname=hostname, token=value)
        return await self._store.put_challenge(f"{self._prefix}{place}/{value}", record, self._clock())

    async def forget(self, place: str, value: str) -> None:
        await self._store.delete_challenge(f"{self._prefix}{place}/{value}", self._clock())

    async def values(self, place: str, hostname: str) -> list[str]:
        start = f"{self._prefix}{place}/"
        keys = [key for key in await self._store.keys_of("challenges", start, PER_NAME) if key.startswith(start)]
        found = await self._store.published_challenges(keys)
        return [record.token for record in found.values() if record.hostname == hostname]

    async def hostnames(self) -> list[str]:
        keys = await self._store.keys_of("challenges", self._prefix, LEFT_BEHIND)
        found = await self._store.published_challenges([key for key in keys if key.startswith(self._prefix)])
        return sorted({record.hostname for record in found.values()})


class OwnZone:
    """The zone that this edge answers itself, from the store's challenges `dns:LABEL/VALUE`. Fulfils `TxtRecords`."""

    def __init__(
        self, config: Config, store: Store, publisher: Published, clock: Callable[[], float], *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.zone = config.dns.zone
        self._kept = _Kept(store, clock, "dns:")
        self._publisher = publisher
        self._servers = [_within(address) for address in config.dns.listen]
        self._sleep = sleep

    def name_for(self, hostname: str) -> str:
        """See TxtRecords."""
        return f"{zone_label(hostname)}.{self.zone}"

    async def put(self, hostname: str, value: str) -> None:
        """See TxtRecords. Our own server is asked as a CA would ask it."""
        await until_published(self._publisher, await self._kept.note(zone_label(hostname), hostname, value))
        for server in self._servers[:1]:
            seen = await _until_seen(
                Lookup((server,), patience=OWN_PATIENCE), self.name_for(hostname), value, OWN_TIME, self._sleep
            )
            if seen is not None:
                raise AnswerFailed(
                    f"The DNS server of this edge does not answer with the record that it was given, at {server} (dns.listen): "
                    f"{seen} Its log tells why.",
                    code="own_zone_silent",
                    fault=Fault.EDGE,
                )

    async def remove(self, hostname: str, value: str) -> None:
        """See TxtRecords."""
        await self._kept.forget(zone_label(hostname), value)

    async def clear(self, hostname: str) -> None:
        """See TxtRecords."""
        for value in await self._kept.values(zone_label(hostname), hostname):
            await self.remove(hostname, value)

    async def left_behind(self) -> list[str]:
        """See TxtRecords."""
        return await self._kept.hostnames()


class UpdatedZone:
    """A zone at a server that takes dynamic updates. Fulfils `TxtRecords`.

    What was put is noted as `rfc2136:NAME/VALUE` before the server hears of it, so that whoever comes after a crash knows what
    to remove.
    """

    def __init__(self, zone: DynamicZone, store: Store, clock: Callable[[], float]) -> None:
        self.zone = zone.zone
        self._dynamic = zone
        self._kept = _Kept(store, clock, "rfc2136:")

    def name_for(self, hostname: str) -> str:
        """See TxtRecords. A name inside the zone has its records where the CA looks."""
        name = record_name(hostname)
        return name if name.endswith(f".{self.zone}") else f"{zone_label(hostname)}.{self.zone}"

    async def put(self, hostname: str, value: str) -> None:
        """See TxtRecords."""
        name = self.name_for(hostname)
        await self._kept.note(name, hostname, value)
        try:
            await self._dynamic.add(name, value)
        except UpdateFailed as error:
            if not error.retryable:  # the server said no: there is nothing to be removed
                await self._kept.forget(name, value)
            raise

    async def remove(self, hostname: str, value: str) -> None:
        """See TxtRecords."""
        name = self.name_for(hostname)
        await self._dynamic.remove(name, value)
        await self._kept.forget(name, value)

    async def clear(self, hostname: str) -> None:
        """See TxtRecords."""
        for value in await self._kept.values(self.name_for(hostname), hostname):
            await self.remove(hostname, value)

    async def left_behind(self) -> list[str]:
        """See TxtRecords."""
        return await self._kept.hostnames()


class Dns01:
    """Which place is right for which hostname, and that resolvers see what was put there."""

    def __init__(
        self, config: Config, store: Store, publisher: Published, clock: Callable[[], float], *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._lookup = Lookup(config.dns.resolvers)
        self._sleep = sleep
        self.places: list[TxtRecords] = []
        """Most preferred first; empty: DNS-01 is not set up."""
        if config.dns.zone:
            self.places.append(OwnZone(config, store, publisher, clock, sleep=sleep))
        if config.dns.rfc2136.server:
            self.places.append(UpdatedZone(DynamicZone(config.dns.rfc2136, sleep), store, clock))

    async def place_for(self, hostname: str) -> TxtRecords:
        """Where a CA that looks for a hostname's record comes to. Raises NotApplicable with the CNAME that is missing."""
        if not self.places:
            raise NotApplicable(f"It is not set up ({NO_DNS}).", fault=Fault.OPERATOR, retryable=False)
        name = record_name(hostname)
        places = {place.name_for(hostname): place for place in reversed(self.places)}
        wanted = self.places[0].name_for(hostname)
        try:
            aliases = await self._lookup.aliases(name, places.keys() - {name})
        except DnsUnavailable as error:
            if name in places:
                return places[name]
            raise NotApplicable(
                f"Whether {name} is a CNAME to {wanted} cannot be seen. {error.detail}", fault=error.fault
            ) from None
        for alias in aliases:
            if alias in places:
                return places[alias]
        if not aliases and name in places:
            return places[name]
        wrong = f"{name} is a CNAME to {aliases[0]}" if aliases else f"{name} is not a CNAME"
        cure = f"must set it to CNAME {wanted}, once and for good" if wanted != name else "must remove that"
        raise NotApplicable(f"{wrong}. Its owner {cure}.")

    async def put(self, place: TxtRecords, hostname: str, value: str) -> None:
        """Puts a record; returns when it can be seen there, and by each of dns.resolvers. Raises as `TxtRecords.put`."""
        await place.put(hostname, value)
        name = record_name(hostname)
        for resolver in self._lookup.resolvers:
            # its own question for each: what one of them sees another one may not yet
            seen = await _until_seen(Lookup((resolver,)), name, value, RESOLVER_TIME, self._sleep)
            if seen is not None:
                raise AnswerFailed(
                    f"The resolver {resolver} (dns.resolvers) does not see the TXT record at {name} that stands at "
                    f"{place.name_for(hostname)}: {seen} Look at the delegation of that zone, and whether all of its name "
                    "servers have the record.",
                    code="record_not_seen",
                    fault=Fault.OPERATOR,
                )

    async def clear(self, hostname: str) -> None:
        """Removes every record of a hostname from every place; tries all, then raises the first error."""
        await _all_of([place.clear(hostname) for place in self.places])

    async def sweep(self, under_way: Callable[[str], Awaitable[bool]]) -> None:
        """Removes what earlier processes left, but for names of which `under_way` says that they are being worked on."""
        for place in self.places:
            for hostname in await place.left_behind():
                if not await under_way(hostname):
                    log.info("a DNS record of an earlier process is removed", hostname=hostname)
                    await place.clear(hostname)


async def _until_seen(lookup: Lookup, name: str, value: str, limit: float, sleep: Sleep) -> str | None:
    """Looks until a name has this TXT record: None then, else, when the time is over, what was seen instead."""
    spent, delay = 0.0, FIRST_LOOK
    while True:
        try:
            found = await lookup.txt(name)
            if value in found:
                return None
            instead = f"after {limit:g} s it has {', '.join(found)[:200] or 'no record'} there."
        except DnsUnavailable as error:
            instead = error.detail
        if spent >= limit:
            return instead
        await sleep(delay)
        spent, delay = spent + delay, min(delay * 2, LONGEST_LOOK)


async def _all_of(work: list[Awaitable[None]]) -> None:
    """Each in turn, whatever becomes of the others; then the first error."""
    first: EdgeError | None = None
    for each in work:
        try:
            await each
        except EdgeError as error:
            first = first or error
    if first is not None:
        raise first


def _within(address: str) -> str:
    """An address at which this machine itself reaches what listens there."""
    host, port = socket_address(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - asked, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
