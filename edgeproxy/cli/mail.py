"""`edgeproxy mail …`"""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproxy.cli.options import Json, Socket, admin
from edgeproxy.cli.show import as_json

app = typer.Typer(help="Mail that the edge sends, as the [mail] table of its configuration says.", no_args_is_help=True)


@app.callback()
def _only() -> None:  # without it Typer would make `test` the whole of `mail`
    pass


@app.command("test")
def try_mail(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="To whom.", show_default=False)],
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Send a mail, to see whether that works."""
    sent = admin(socket).post("/api/v1/admin/mail", {"to": address})
    if json:
        as_json(sent)
        return
    typer.echo(f"{sent['server']} took a mail to {sent['to']}. Whether it arrives, its mailbox shows.")
