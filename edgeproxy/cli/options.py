"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeproxy.cli.completion import known_workspaces, registered_names

if TYPE_CHECKING:
    from edgeproxy.cli.client import AdminClient

Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        readable=False,
        help="The admin socket. Else EDGEPROXY_SOCKET, else the configuration's.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        readable=False,
        help="The configuration. Else /etc/edgeproxy/edgeproxy.toml, where it is there.",
        show_default=False,
    ),
]


def named(context: typer.Context, value: str) -> str:
    """An argument that becomes a part of a path: what cannot be one is told here, for the edge could only say that there is
    nothing under the path."""
    if not context.resilient_parsing and (not value.strip(". ") or "/" in value):
        raise typer.BadParameter(f"{value!r} names nothing.")
    return value


NewHost = Annotated[
    str, typer.Argument(metavar="HOST", help="A hostname, like gallery.example.com.", show_default=False, callback=named)
]
Host = Annotated[
    str,
    typer.Argument(
        metavar="HOST",
        help="A hostname, like gallery.example.com.",
        show_default=False,
        autocompletion=registered_names,
        callback=named,
    ),
]
WorkspaceFilter = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="ID",
        help="Only this workspace's.",
        show_default=False,
        autocompletion=known_workspaces,
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many.", show_default=False)]


def admin(socket: Path | None, timeout: float | None = None, *, hint: bool = True) -> AdminClient:
    """The edge to talk to."""
    from edgeproxy.cli.client import SECONDS, AdminClient, default_socket  # not for --help

    return AdminClient(socket or default_socket(os.environ), SECONDS if timeout is None else timeout, hint=hint)
