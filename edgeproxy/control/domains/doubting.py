"""Whether it says nothing of whose a name is that the name leads here."""

from __future__ import annotations

from edgeproxy.control.store import Domain, Store
from edgeproxy.model import wildcard_of


async def leads_here_anyway(domain: Domain, store: Store, preset: str) -> bool:
    """Of a domain that leads here and is not proven yet: whether it did so before anybody registered it (`preset` "prove"), or
    may do so by the wildcard of another workspace, whose customer set the wildcard's record and nothing for this name."""
    if preset == "prove" and domain.looks == 0:
        return True
    above = await store.get_domain(wildcard_of(domain.hostname))
    return above is not None and above.workspace_id != domain.workspace_id
