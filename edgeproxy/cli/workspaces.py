"""`edgeproxy workspaces …`"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli.completion import known_workspaces
from edgeproxy.cli.options import Json, Limit, Socket, admin, named
from edgeproxy.cli.show import as_json, fields, listing_as_json, say, table

WORKSPACES = "/api/v1/infrastructure/workspaces"

app = typer.Typer(help="Whether workspaces may have domains of their own, and how many.", no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="A workspace's id.", show_default=False, autocompletion=known_workspaces, callback=named),
]

_SAYS = {
    "api": "set here or by the API",
    "config": "the configuration (entitlement.static)",
    "platform": "the platform (entitlement.url)",
    "default": "nobody; all may, or entitlement.on_error counts",
}


@app.command("list")
def list_workspaces(limit: Limit = None, json: Json = False, socket: Socket = None) -> None:
    """List workspaces that have domains, or of which something was said. The platform is not asked anew."""
    found = admin(socket).pages(WORKSPACES, "workspaces", limit)
    if json:
        listing_as_json("workspaces", found)
        return
    columns = ("workspace_id", "paid", "domains", "max_domains", "source", "unpaid_since", "suspended_from")
    heads = ("workspace", "paid", "domains", "at most", "says", "unpaid since", "suspended from")
    table(heads, ([each.get(column) for column in columns] for each in found), empty="No workspaces.")


@app.command()
def show(workspace: Id, json: Json = False, socket: Socket = None) -> None:
    """Show what a workspace may, and who says so. The platform is asked where its last answer no longer counts."""
    found = admin(socket).get(_path(workspace))
    if json:
        as_json(found)
        return
    fields(found | {"source": _SAYS.get(found["source"], found["source"])})


@app.command("set")
def set_workspace(
    workspace: Id,
    paid: Annotated[
        bool,
        typer.Option(
            "--paid/--unpaid",
            help="Whether it may have domains of its own. Those of one that may not are suspended after entitlement.grace; "
            "those of one that may again are served again at once.",
            show_default=False,
        ),
    ],
    max_domains: Annotated[
        int | None,
        typer.Option(
            "--max-domains", min=0, metavar="N", help="How many. Else limits.domains_per_workspace.", show_default=False
        ),
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Say what a workspace may, until `unset`. It goes before the configuration and the platform, and replaces what was set."""
    found = admin(socket).put(_path(workspace), {"paid": paid, "max_domains": max_domains})
    _tell(found, json=json)


@app.command()
def unset(workspace: Id, json: Json = False, socket: Socket = None) -> None:
    """Take back what was set: the configuration or the platform decides again."""
    _tell(admin(socket).delete(_path(workspace)), json=json)


def _tell(found: dict[str, Any], *, json: bool) -> None:
    if json:
        as_json(found)
        return
    name, has, most = found["workspace_id"], found["domains"], found["max_domains"]
    having = f"it has {has}"
    if found["paid"]:
        say(f"{name} may have up to {most} domain{'' if most == 1 else 's'}; {having}.")
        return
    then = f", and what it has is suspended from {found['suspended_from']} on" if has and found["suspended_from"] else ""
    say(f"{name} may register no more domains; {having}{then}.")


def _path(workspace: str) -> str:
    return f"{WORKSPACES}/{quote(workspace, safe='')}"
