"""Redirects between domains: what is looked at before one is set, and who redirects where."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, select

from edgeproxy.control.domains.pairs import RedirectCheck
from edgeproxy.control.store.base import Part, listed, wildcard
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.schema import REDIRECTS, domains
from edgeproxy.model import wildcard_of


async def check_redirect(write: Write, hostname: str, workspace_id: str, target: str) -> None:
    """Raises InvalidName unless a domain of this workspace may redirect to the target: a domain of the same workspace, from
    which visitors are not led round or too far."""
    check = RedirectCheck(hostname, workspace_id, target)
    while check.name:
        names = (check.name, wildcard_of(check.name))
        query = select(domains.c.hostname, domains.c.workspace_id, domains.c.redirect_to).where(domains.c.hostname.in_(names))
        rows = {row.hostname: row for row in await write.connection.execute(query)}
        row = rows.get(names[0]) or rows.get(names[1])
        check.found(*(("", "", "") if row is None else row))


class Redirects(Part):
    """Who redirects where."""

    async def redirecting_to(self, hostnames: Sequence[str]) -> list[str]:
        """The domains that redirect to some names, or, for a wildcard, to a name beneath it: what the map says of them depends
        on who has those names, since a domain redirects only within its workspace."""
        values = {"names": msgspec.json.encode(hostnames).decode()}
        queries = [_TO, _BENEATH] if any(name.startswith("*.") for name in hostnames) else [_TO]
        found: list[str] = []
        for query in queries:
            found += [row[0] for row in await self.database.rows(query, values)]
        return found


# Made once: they are asked with each change.
_TO = select(domains.c.hostname).where(REDIRECTS, domains.c.redirect_to.in_(select(listed(bindparam("names")).c.value)))
_BENEATH = select(domains.c.hostname).where(
    REDIRECTS, wildcard(domains.c.redirect_to).in_(select(listed(bindparam("names")).c.value))
)
