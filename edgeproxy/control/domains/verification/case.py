"""A name, what is wanted of it and what was seen, and how both are put into words. Pure."""

from __future__ import annotations

import dataclasses
import functools
import re

from edgeproxy.control.domains.records import host_field, registered
from edgeproxy.control.domains.verification.providers import Provider, provider_of
from edgeproxy.control.domains.verification.reading import Route, Text, route, text
from edgeproxy.control.domains.verification.seen import Seen, View
from edgeproxy.control.domains.verification.wanted import Wanted

SHOWN = 5
"""Records that a sentence names."""

LONGEST = 253
"""Characters of a name that are shown. A label may have bytes of any value, which are written with four each."""

_UNUSUAL = re.compile(r"[^A-Za-z0-9._*\\ :\[\]-]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """It."""

    wanted: Wanted
    seen: Seen
    now: float
    """Unix time."""

    @functools.cached_property
    def authority(self) -> list[Route]:
        """Where the zone's own servers say that the name leads."""
        return self._routes(self.seen.authority)

    @functools.cached_property
    def resolvers(self) -> list[Route]:
        """Where the resolvers say so."""
        return self._routes(self.seen.resolvers)

    @functools.cached_property
    def authority_texts(self) -> list[tuple[View, Text]]:
        """What the zone's own servers say of the TXT record."""
        return self._texts(self.seen.authority)

    @functools.cached_property
    def resolver_texts(self) -> list[tuple[View, Text]]:
        """What the resolvers say of it."""
        return self._texts(self.seen.resolvers)

    @property
    def host(self) -> str:
        """As people know it."""
        return self.wanted.hostname

    @property
    def zone(self) -> str:
        """Where the name's records stand, as far as known."""
        zone = self.seen.zone
        return zone.name if zone is not None and zone.servers else registered(self.wanted.hostname)

    @property
    def apex(self) -> bool:
        """Whether it is the top of its zone, where a CNAME cannot stand (RFC 1034 section 3.6.2)."""
        return self.wanted.hostname == self.zone

    @property
    def own_offered(self) -> bool:
        """Whether a CNAME to the workspace's own target can be set, and proves whose the name is."""
        return self.wanted.own_proves and not self.apex

    @property
    def provider(self) -> Provider | None:
        """The DNS provider, where the name servers tell."""
        return provider_of(self.seen.zone.names) if self.seen.zone is not None else None

    @property
    def keeper(self) -> str:
        """Who is to be asked for a change: "Cloudflare", "the DNS provider of example.com"."""
        return self.provider.name if self.provider is not None else f"the DNS provider of {self.zone}"

    @property
    def addresses(self) -> list[str]:
        """Ours: those that are configured, else those of the target."""
        return sorted(self.wanted.addresses or self.seen.ours, key=lambda each: (":" in each, each))

    @property
    def routing(self) -> str:
        """What the name's records have to be: "CNAME domain.ve.ai", "A 192.0.2.1"."""
        target = self.wanted.target
        if target and not self.apex:
            return f"CNAME {target}"
        if self.addresses:
            return listed(self.addresses)
        alias = self.provider.alias if self.provider is not None and self.provider.alias else "ALIAS or ANAME"
        return f"{alias} {target}"

    def hint(self, name: str) -> str:
        """What to type at the provider for a record's name, with a space before; empty where no provider is known."""
        return f" {self.provider.hint(host_field(name, self.zone))}" if self.provider is not None else ""

    @property
    def to_add(self) -> str:
        """The same as `routing`, for who has to make it: "of type CNAME with the value domain.ve.ai"."""
        each = [part.rsplit(" ", 1) for part in self.routing.split(", ") if " " in part]
        return " and one ".join(f"of type {kind} with the value {value}" for kind, value in each)

    def typed(self, name: str) -> str:
        """What to type for a record's name, with a space before."""
        field = host_field(name, self.zone)
        if self.provider is not None:
            return f" {self.provider.typed(field)}"
        return " As its name: @, or leave it empty." if field == "@" else f" As its name: {field}, without the domain."

    def _routes(self, views: tuple[View, ...]) -> list[Route]:
        return [found for view in views if (found := route(view, self.wanted, self.seen)) is not None]

    def _texts(self, views: tuple[View, ...]) -> list[tuple[View, Text]]:
        return [(view, found) for view in views if (found := text(view, self.wanted)) is not None]


def listed(addresses: list[str] | tuple[str, ...]) -> str:
    """ "A 192.0.2.1, AAAA 2001:db8::1"."""
    shown = ", ".join(f"{'AAAA' if ':' in address else 'A'} {address}" for address in addresses[:SHOWN])
    return f"{shown}, …" if len(addresses) > SHOWN else shown


def present(view: View) -> str:
    """What a name has by a view: "CNAME other.example, A 192.0.2.9"; "no record"."""
    aliases = [f"CNAME {readable(view.chain[0])}"] if view.chain else []
    return ", ".join([*aliases, *([listed(view.addresses)] if view.addresses else [])]) or "no record"


def named(names: list[str] | tuple[str, ...]) -> str:
    """ "ns1.example.com and ns2.example.com", at most SHOWN."""
    some = [*map(readable, names[:SHOWN]), *(["others"] if len(names) > SHOWN else [])]
    return some[0] if len(some) == 1 else f"{', '.join(some[:-1])} and {some[-1]}"


def start(sentence: str) -> str:
    """With a capital, but for names of hosts."""
    return sentence[:1].upper() + sentence[1:] if sentence.startswith("the ") else sentence


def printable(value: str, most: int = 100) -> str:
    """What others wrote into their zone, fit for a terminal and a page."""
    shown = "".join(char if char.isprintable() else "·" for char in value[: most + 1])
    return bounded(shown, most)


def bounded(text: str, most: int) -> str:
    """At most so many characters of it."""
    return text if len(text) <= most else text[: most - 1] + "…"


def readable(name: str) -> str:
    """A name that others wrote into their zone, where a label can hold any bytes (RFC 2181 section 11), or who was asked: with
    what hostnames and addresses have."""
    return bounded(_UNUSUAL.sub("·", name), LONGEST)
