"""Redirects between domains, within the transaction that sets one or takes its target away."""

from __future__ import annotations

from sqlalchemy import or_, select

from edgeproxy.control.domains.pairs import RedirectCheck
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


async def target_changed(write: Write, hostname: str) -> None:
    """Has the map say anew what redirects to a name that was registered, or whose registration ended, just now: only to a name
    of its own workspace a domain redirects."""
    here = domains.c.redirect_to == hostname
    if hostname.startswith("*."):
        here = or_(here, domains.c.redirect_to.endswith(hostname[1:], autoescape=True))
    for name in (await write.connection.scalars(select(domains.c.hostname).where(REDIRECTS, here))).all():
        write.changed("sites", name)
