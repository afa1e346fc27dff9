"""`edgeproxy tokens …`"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from edgeproxy.cli.completion import known_workspaces, registered_names
from edgeproxy.cli.options import Json, Limit, Socket, WorkspaceFilter, admin, named
from edgeproxy.cli.show import as_json, listing_as_json, say, table
from edgeproxy.model import TokenScope
from edgeproxy.units import Duration

TOKENS = "/api/v1/tokens"

SHORTEST = 60
"""Seconds; the API takes no less."""

app = typer.Typer(help="Bearer tokens for the API under api.hostname.", no_args_is_help=True)


@app.command()
def create(
    scope: Annotated[
        TokenScope,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="tenant (one workspace's domains), platform (those of all), operator:read, operator:write, or domain:read "
            "(one domain, for a page in a browser).",
            show_default=False,
        ),
    ],
    workspace: Annotated[
        str,
        typer.Option(
            "--workspace",
            "-w",
            metavar="ID",
            help="tenant: whose domains.",
            show_default=False,
            autocompletion=known_workspaces,
        ),
    ] = "",
    domain: Annotated[
        str,
        typer.Option(
            "--domain", metavar="HOST", help="domain:read: which.", show_default=False, autocompletion=registered_names
        ),
    ] = "",
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for.", show_default=False)] = "",
    expires: Annotated[
        str,
        typer.Option(
            "--expires",
            metavar="TIME",
            help="How long it is valid, like 90d or 12h. Else until it is revoked; domain:read 15m.",
            show_default=False,
        ),
    ] = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Make a token. It is shown this once; only a digest is stored."""
    if scope is TokenScope.TENANT and not workspace:
        raise typer.BadParameter("it is missing; a tenant's token is for one workspace.", param_hint="--workspace")
    if scope is TokenScope.DOMAIN_READ and not domain:
        raise typer.BadParameter("it is missing; a token to show one domain needs to know which.", param_hint="--domain")
    wanted = {
        "scope": scope.value,
        "workspace_id": workspace,
        "domain": domain,
        "label": label,
        "expires_in": _seconds(expires),
    }
    made = admin(socket).post(TOKENS, wanted)
    if json:
        as_json(made)
        return
    typer.echo(made["token"])
    until = f"valid until {made['expires_at']}" if made.get("expires_at") else "valid until it is revoked"
    say(f"Keep it: it is not shown again. It is {until}: `edgeproxy tokens revoke {made['id']}`.")


@app.command("list")
def list_tokens(
    workspace: WorkspaceFilter = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that ended within the last 30 days.")] = False,
    limit: Limit = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List tokens, with the last use of each."""
    found = admin(socket).pages(TOKENS, "tokens", limit, workspace_id=workspace, ended="true" if ended else None)
    if json:
        listing_as_json("tokens", found)
        return
    columns = ("id", "scope", "state", "workspace_id", "domain", "label", "expires_at", "last_used_at", "created_by")
    heads = ("id", "scope", "state", "workspace", "domain", "label", "expires", "last used", "made by")
    table(heads, ([each.get(column) for column in columns] for each in found), empty="No tokens.")


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `tokens list` has it.", show_default=False, callback=named)],
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Revoke a token, at once and for good."""
    revoked = admin(socket).delete(f"{TOKENS}/{quote(token_id, safe='')}")
    if json:
        as_json(revoked)
        return
    say(f"The token {revoked.get('id', token_id)} is revoked.")


def _seconds(text: str) -> int | None:
    """Raises BadParameter."""
    if not text:
        return None
    try:
        seconds = int(Duration.parse(text))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} cannot be read: {error}.", param_hint="--expires") from None
    if seconds < SHORTEST:
        raise typer.BadParameter(f"{text!r} is too short; a token is valid for 1m at least.", param_hint="--expires")
    return seconds
