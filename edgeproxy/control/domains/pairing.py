"""Removing and bringing back domains that were registered as a pair, an apex and its www.

The one that redirects is there for the other. So with the other it is removed, and brought back; by itself it goes alone, and
the other is served as before, no longer one of a pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.pairs import partner_of
from edgeproxy.control.domains.service import Domains
from edgeproxy.control.issuance.policy import served_unregistered
from edgeproxy.control.issuance.registered import load, registered_domain
from edgeproxy.control.store import Domain, Store
from edgeproxy.errors import Conflict, NotFound


@dataclasses.dataclass(frozen=True, slots=True)
class Pairing:
    """`clock` gives Unix time."""

    config: Config
    store: Store
    domains: Domains
    clock: Callable[[], float]

    async def remove(self, domain: Domain, *, actor: str) -> str:
        """Ends a registration, and that of the name which redirects to it as the other one of its pair; that name, or "".
        Raises NotFound."""
        other, now = await self._other(domain), self.clock()
        if other is not None and other.redirect_to == domain.hostname:
            with contextlib.suppress(NotFound):  # somebody was faster
                await self._end(other, actor, now)
            await self._end(domain, actor, now)
            return other.hostname
        await self._end(domain, actor, now)
        if other is not None:
            await self._note(other, paired=False, actor=actor)
        return ""

    async def undo(self, hostname: str, workspace_id: str, *, actor: str, at_most: int | None = None) -> tuple[Domain, str]:
        """Brings a removed domain back (`Domains.undo`), and with it the other one of its pair if both were removed together:
        the domain, and the other's name or ""."""
        removal = await self.domains.removal_of(hostname, workspace_id)
        workspace_id = removal.domain.workspace_id
        back = await self.domains.undo(hostname, workspace_id, actor=actor, at_most=at_most)
        if not back.include_www:
            return back, ""
        name = await _partner(back.hostname)
        together = [each.removed_at for each in await self.store.removals_of(name) if each.domain.workspace_id == workspace_id]
        if removal.removed_at in together:
            with contextlib.suppress(Conflict, NotFound):  # somebody else's by now, just brought back, or one too many
                return back, (await self.domains.undo(name, workspace_id, actor=actor, at_most=at_most)).hostname
        other = await self._other(back, among_pairs=False)
        if other is not None and other.redirect_to != back.hostname and back.redirect_to != other.hostname:
            other = None  # registered by itself meanwhile
        await self._note(back if other is None else other, paired=other is not None, actor=actor)
        return await self.domains.get(back.hostname), ""

    async def _other(self, domain: Domain, *, among_pairs: bool = True) -> Domain | None:
        """The other one of its pair, if it is there and the same workspace's."""
        if not domain.include_www:
            return None
        other = await self.store.get_domain(await _partner(domain.hostname))
        if other is None or other.workspace_id != domain.workspace_id or (among_pairs and not other.include_www):
            return None
        return other

    async def _end(self, domain: Domain, actor: str, now: float) -> None:
        if domain.method:
            await self.domains.remove(domain.hostname, domain.workspace_id, actor=actor, at=now)
            return
        destroy = not served_unregistered(domain.hostname, self.config)
        await self.store.remove_domain(domain.hostname, actor=actor, now=now, destroy_keys=destroy)

    async def _note(self, domain: Domain, *, paired: bool, actor: str) -> None:
        """Says of a domain whether it is one of a pair; not where it is being changed at this moment."""
        after, how = msgspec.structs.replace(domain, include_www=paired), "off to on" if paired else "on to off"
        await self.store.advance_domain(
            domain, after, action="domain.changed", detail=f"include_www: {how}", actor=actor, now=self.clock()
        )


async def _partner(hostname: str) -> str:
    await asyncio.to_thread(load)  # of public suffixes, which takes 80 ms once
    return partner_of(hostname, registered_domain)
