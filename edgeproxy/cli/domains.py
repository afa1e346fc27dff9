"""`edgeproxy domains …`"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli.options import Host, Json, Limit, Socket, admin
from edgeproxy.cli.show import as_json, fields, listing_as_json, say, table, zone_lines
from edgeproxy.model import DomainState

DOMAINS = "/api/v1/infrastructure/domains"

app = typer.Typer(help="Customers' domains.", no_args_is_help=True)

_WorkspaceFilter = Annotated[
    str | None, typer.Option("--workspace", "-w", metavar="ID", help="Only this workspace's.", show_default=False)
]


@app.command()
def add(
    host: Host,
    workspace: Annotated[
        str,
        typer.Option("--workspace", "-w", metavar="ID", help="Whose the domain is; the origin sees it.", show_default=False),
    ],
    origin: Annotated[
        str, typer.Option("--origin", metavar="URL", help="The domain's own origin. Else the platform's.", show_default=False)
    ] = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Add a domain. It is the operator's word: served at once."""
    answer = admin(socket).post(DOMAINS, {"domain": host, "workspace_id": workspace, "origin": origin})
    if json:
        as_json(answer)
        return
    added = answer.get("domain_config", {})
    later = "" if answer.get("published", True) else " It is stored, and will be served in a moment."
    say(f"{added.get('domain', host)} is {added.get('state', 'added')} for {added.get('workspace_id', workspace)}.{later}")


@app.command("list")
def list_domains(
    workspace: _WorkspaceFilter = None,
    state: Annotated[
        DomainState | None, typer.Option("--state", metavar="STATE", help="Only in this state.", show_default=False)
    ] = None,
    limit: Limit = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List domains, by name."""
    found = admin(socket).pages(DOMAINS, "domains", limit, workspace_id=workspace, state=state)
    if json:
        listing_as_json("domains", found)
        return
    rows = ((each["domain"], each["workspace_id"], each["state"], each["origin"], each.get("certificate_id")) for each in found)
    table(("domain", "workspace", "state", "origin", "certificate"), rows, empty="No domains.")


@app.command()
def show(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Show one domain."""
    found = admin(socket).get(_path(host))
    domain: dict[str, Any] = found.get("domain_config", found)
    if json:
        as_json(domain)
        return
    fields(domain, leave_out=frozenset(("dns_records",)))
    zone_lines(domain)


@app.command()
def remove(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Remove a domain. Every worker refuses it at once."""
    answer = admin(socket).delete(_path(host))
    if json:
        as_json(answer)
        return
    later = "" if answer.get("published", True) else " It is stored, and will be refused in a moment."
    say(f"{answer.get('domain_config', {}).get('domain', host)} is removed.{later}")


def _path(host: str) -> str:
    return f"{DOMAINS}/{quote(host, safe='')}"
