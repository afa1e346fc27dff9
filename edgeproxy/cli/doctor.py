"""`edgeproxy doctor`"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli.main import DONE, REFUSED
from edgeproxy.cli.options import Host, Json, Socket, admin
from edgeproxy.cli.show import Progress, as_json, text_of

SECONDS = 120.0
"""A DNS that is silent takes some tens of seconds to be found so."""

_WHO = {"customer_dns": "in the customer's DNS", "operator": "by the operator of this edge"}
_SIGNS = {"ok": "Good", "note": "Note", "unknown": "Not known", "wrong": "Wrong"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(doctor)


def doctor(
    host: Host,
    resolver: Annotated[
        list[str] | None,
        typer.Option(
            "--resolver", metavar="ADDRESS[:PORT]", help="Ask this resolver too; several times for several.", show_default=False
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Ask some public resolvers too, which then know the name.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> int:
    """Say what the world sees of a name, and what has to be changed. Exit status 0: nothing; 1: something."""
    path = f"/api/v1/infrastructure/doctor/{quote(host, safe='')}"
    query = {"resolvers": ",".join(resolver or ()) or None, "public": "true" if public else None}
    with Progress(f"Looking at {host}"):
        found = admin(socket, timeout=SECONDS, hint=False).get(path, **query)
    if json:
        as_json(found)
    else:
        _tell(found)
    return DONE if found.get("well") else REFUSED


def _tell(found: dict[str, Any]) -> None:
    """Whole sentences, in an order in which they can be read aloud."""
    name, changes = text_of(found.get("domain")), found.get("changes", [])
    if found.get("well") and any(finding.get("level") == "unknown" for finding in found.get("findings", [])):
        typer.echo(f"{name}: nothing wrong was found, but not everything could be looked at.")
    elif found.get("well"):
        typer.echo(f"{name}: all is well.")
    elif not changes:
        typer.echo(f"{name}: something is wrong.")
    else:
        typer.echo(f"{name}: {'one thing has' if len(changes) == 1 else f'{len(changes)} things have'} to be changed.")
    for number, change in enumerate(changes, 1):
        who = _WHO.get(str(change.get("who")), "")
        typer.echo(f"\n{number}. Change {text_of(change.get('what'))}, {who}.")
        typer.echo(f"   It is now: {text_of(change.get('present'))}")
        typer.echo(f"   It must be: {text_of(change.get('wanted'))}")
        typer.echo(f"   Why: {text_of(change.get('why'))}")
    typer.echo("\nWhat was looked at:")
    for finding in found.get("findings", []):
        typer.echo(f"- {_SIGNS.get(str(finding.get('level')), 'Note')}: {text_of(finding.get('text'))}")
