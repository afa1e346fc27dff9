"""Whether a name's DNS leads to this edge, asked before a renewal is spent on it."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Collection, Sequence

from edgeproxy.config.structs import Config
from edgeproxy.control.dns.lookup import Answer, Lookup, Said

PATIENCE = 5.0
"""Seconds that one question may take."""

SHOWN = 5
"""Addresses that a sentence names."""


class Points(enum.Enum):
    """Where a name points."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    """The DNS said so."""
    UNKNOWN = "unknown"
    """It gave no answer, or nothing says which addresses are ours."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pointing:
    """What the DNS says of a name."""

    points: Points
    detail: str = ""
    """One plain sentence, where it is not HERE."""


def judge(
    hostname: str, own: Sequence[Answer], target: Sequence[Answer], *, cname_target: str, addresses: Collection[str]
) -> Pointing:
    """By the answers for the name's addresses, and for those of `cname_target`, which are ours too, as are `addresses`.

    A CNAME to `cname_target` or to a name below it is ours wherever that leads. One address of ours among others is enough.
    Pure.
    """
    ours = {*addresses, *(record for answer in target for record in answer.records)}
    chain = {alias for answer in own for alias in answer.chain}
    seen = [record for answer in own for record in answer.records]
    if cname_target and any(alias == cname_target or alias.endswith(f".{cname_target}") for alias in (hostname, *chain)):
        return Pointing(Points.HERE)
    if ours & set(seen):
        return Pointing(Points.HERE)
    unsure = next((answer for answer in (*own, *target) if not answer.certain), None)
    if unsure is not None:
        return Pointing(Points.UNKNOWN, unsure.detail)
    if not seen:
        gone = any(answer.said is Said.NO_NAME for answer in own)
        what = "There is no such name" if gone else "It has no address"
        return Pointing(Points.ELSEWHERE, f"{what} in the DNS: {hostname}.")
    if not ours:
        return Pointing(Points.UNKNOWN, "Neither platform.addresses nor platform.cname_target says which addresses are ours.")
    more = ", …" if len(seen) > SHOWN else ""
    return Pointing(Points.ELSEWHERE, f"The DNS has {', '.join(seen[:SHOWN])}{more} for {hostname}, which is not this edge.")


class Pointer:
    """Asks the configured resolvers, or the system's."""

    def __init__(self, config: Config) -> None:
        self._target = config.platform.cname_target
        self._addresses = frozenset(config.platform.addresses)
        self._lookup = Lookup(config.dns.resolvers, patience=PATIENCE)

    @property
    def knows(self) -> bool:
        """Whether the configuration says what pointing here means. Where it does not, nothing is asked."""
        return bool(self._target or self._addresses)

    async def look(self, hostname: str) -> Pointing:
        """Where a hostname, not a wildcard, points. Never raises for what the DNS says."""
        if not self.knows:
            return Pointing(Points.UNKNOWN, "platform.cname_target and platform.addresses are not set.")
        await self._lookup.prepare()
        asked = [(hostname, "A"), (hostname, "AAAA")]
        if self._target:
            asked += [(self._target, "A"), (self._target, "AAAA")]
        own4, own6, *target = await asyncio.gather(*(self._lookup.ask(name, kind) for name, kind in asked))
        return judge(hostname, (own4, own6), target, cname_target=self._target, addresses=self._addresses)
