"""`edgeproxy certs …`"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import typer

from edgeproxy.cli.options import Host, Json, Limit, Socket, admin
from edgeproxy.cli.show import Progress, as_json, fields, listing_as_json, say, table
from edgeproxy.errors import EdgeError

CERTIFICATES = "/api/v1/infrastructure/ssl"

app = typer.Typer(help="Certificates.", no_args_is_help=True)


@app.command("list")
def list_certificates(limit: Limit = None, json: Json = False, socket: Socket = None) -> None:
    """List certificates."""
    found = admin(socket).pages(CERTIFICATES, "certificates", limit)
    if json:
        listing_as_json("certificates", found)
        return
    rows = ((each["names"], each["state"], each["not_after"], each["issuer"], each["id"]) for each in found)
    table(("names", "state", "expires", "issuer", "id"), rows, empty="No certificates.")


@app.command()
def show(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Show the certificate that a name is served under."""
    found = admin(socket).get(_path(host))
    if json:
        as_json(found)
        return
    served = found.get("served") or {}
    fields({**found.get("certificate", found), "served": served.get("detail")})
    if found.get("chain"):
        typer.echo(f"\n{found['chain'].strip()}")


@app.command()
def issue(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Obtain a certificate now."""
    from edgeproxy.cli.client import refusal_of  # not for --help

    answer: dict[str, Any] = {}
    with Progress(f"A certificate for {host}") as progress:
        for step in admin(socket, timeout=300).steps(_path(host), {"type": "lets_encrypt"}):
            match step.get("event"):
                case "progress":
                    progress.step(str(step.get("detail", "")))
                case "failed":
                    raise refusal_of(step.get("problem", {}))
                case "done" | None:  # None: an answer in one piece
                    answer = step
    if not answer:
        raise EdgeError(f"The edge did not say what became of the certificate for {host}. Look at its log, or try again.")
    if json:
        as_json(answer)
        return
    certificate = answer["certificate"]
    say(f"{', '.join(certificate['names'])} has a certificate from {certificate['issuer']}, until {certificate['not_after']}.")


def _path(host: str) -> str:
    return f"{CERTIFICATES}/{quote(host, safe='')}"
