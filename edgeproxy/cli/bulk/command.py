"""`edgeproxy domains import`"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeproxy.cli.completion import known_workspaces
from edgeproxy.cli.options import Json, Socket, admin
from edgeproxy.cli.show import Bar, as_json, say


def import_domains(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with a header, or a JSON object on each line.", show_default=False)
    ],
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace",
            "-w",
            metavar="ID",
            help="Whose the domains are that do not say so themselves.",
            show_default=False,
            autocompletion=known_workspaces,
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Have them verified like a tenant's, but for those that say otherwise.")
    ] = False,
    refused: Annotated[
        Path | None,
        typer.Option(
            "--refused",
            metavar="FILE",
            help="Where refused lines go, each with its number and why. Else beside FILE, as FILE.refused.csv.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Tell domain.registered of each, to webhooks.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Add many domains from a file, each as `domains add` would.

    Columns, or names in JSON: hostname, workspace; where they are wanted origin, redirect_to, include_www, metadata, policies
    (JSON objects), verify, method. A domain that its workspace has already counts as done. Interrupted anyhow, the same command
    goes on where it was. Exit status 1: lines were refused.
    """
    from edgeproxy.cli.bulk.run import Import, duration  # not for --help

    defaults: dict[str, Any] = {} if workspace is None else {"workspace_id": workspace}
    if verify:
        defaults["verify"] = True
    began = time.monotonic()
    with Import(file, admin(socket, hint=False), defaults, refused=refused, events=events) as work:
        try:
            with Bar(file.name, file.stat().st_size) as bar:
                work.run(bar)
        except BaseException:
            if done := work.place.lines + work.place.ahead:
                say(f"{done:,} domains are done. The same command goes on there.")
            raise
    seconds = time.monotonic() - began
    place = work.place
    if json:
        told = {name: value for name, value in dataclasses.asdict(place).items() if name in ("added", "there", "refused")}
        file_of = str(work.refused_path) if place.refused else None
        as_json({"lines": place.lines, **told, "refused_file": file_of, "seconds": round(seconds, 1)})
    else:
        say(_summary(file, work, duration(seconds)))
    raise typer.Exit(1 if place.refused else 0)


def _summary(file: Path, work: Any, took: str) -> str:
    place = work.place
    parts = [f"{place.added:,} added"]
    if place.there:
        parts.append(f"{place.there:,} there already")
    if place.refused:
        parts.append(f"{place.refused:,} refused")
    text = f"{file}: {place.lines:,} domains in {took}, {', '.join(parts)}."
    if place.refused:
        text += f" {work.refused_path} has the refused ones with the reason for each; corrected, it can be imported itself."
    if not work.published:
        text += " They are stored, and will be served in a moment."
    return text
