"""`serve`, `demo` and `check`: the commands that need no running edge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproxy.cli.options import ConfigFile


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(serve)
    app.command()(demo)
    app.command()(check)


def serve(config: ConfigFile = None) -> None:
    """Run the edge, in the foreground."""
    from edgeproxy.cli.serve import run_edge

    raise typer.Exit(run_edge(config))


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="The port for https.")] = 8443,
    http_port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="The port for http.")] = 8080,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", readable=False, help="Where its state is kept. Else it is temporary.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the whole edge on localhost, to try it."""
    if port == http_port:
        raise typer.BadParameter(
            f"{port} is the port for https (--port) already; give http another one, with make run as HTTP_PORT=…",
            param_hint="--http-port",
        )
    from edgeproxy.demo.run import run

    raise typer.Exit(run(port=port, http_port=http_port, directory=directory))


def check(config: ConfigFile = None) -> None:
    """Check the configuration and print what counts.

    Every fault is told with file, line and key, and what would be right.
    """
    from edgeproxy.cli.serve import load_configuration
    from edgeproxy.config.document import effective

    loaded, path = load_configuration(config, places=True)
    typer.echo(effective(loaded), nl=False)
    typer.echo(f"{path or 'The environment, without a file,'} is right. Above is the configuration that counts.", err=True)
