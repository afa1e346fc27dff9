"""`edgeproxy events …`"""

from __future__ import annotations

import json as codec
import select
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli.completion import registered_names
from edgeproxy.cli.options import Json, Socket, admin
from edgeproxy.cli.show import as_json, end_with_reader, say, text_of
from edgeproxy.cli.webhooks import WEBHOOKS, Events, Id
from edgeproxy.errors import AdminUnavailable
from edgeproxy.units import Duration

EVENTS = "/api/v1/infrastructure/events"

WAIT_SECONDS = 25
"""For which the edge is asked to wait for an event; less than the client waits for an answer."""

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""After which an edge that does not answer is asked again."""

app = typer.Typer(help="What happened to domains and certificates.", no_args_is_help=True)


@app.command()
def tail(
    domain: Annotated[
        str,
        typer.Option(
            "--domain", metavar="HOST", help="Only of this name.", show_default=False, autocompletion=registered_names
        ),
    ] = "",
    last: Annotated[int, typer.Option("--last", min=0, max=1000, metavar="N", help="Begin with the newest so many.")] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for what comes, until broken off.")] = True,
    json: Annotated[bool, typer.Option("--json", help="JSON, a line for each.")] = False,
    socket: Socket = None,
) -> None:
    """Show events as they happen."""
    name = domain or None
    page = admin(socket).get(EVENTS, last=last, domain=name)
    client = admin(socket, hint=False)
    if follow:
        end_with_reader()
    while True:
        for event in page["events"]:
            typer.echo(codec.dumps(event, ensure_ascii=False) if json else _line(event))
        if not follow:
            return
        page = again(partial(client.get, EVENTS, cursor=page["next_cursor"], domain=name, wait=WAIT_SECONDS))


@app.command()
def replay(
    webhook: Id,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="From when on: a time like 2026-11-21T08:00:00Z, or how long ago, like 2h."
        ),
    ],
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="And up to when. Else now.", show_default=False)] = "",
    event: Events = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those whose last try failed.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Send an endpoint the events of a time once more, each under the same id."""
    body = {"since": _moment(since), "until": _moment(until) if until else None, "events": event or [], "failed": failed}
    answer = admin(socket).post(f"{WEBHOOKS}/{quote(webhook, safe='')}/replay", body)
    if json:
        as_json(answer)
        return
    count = answer["events"]
    said = f"{count} event{'' if count == 1 else 's'} are delivered once more" if count else "There is no such event"
    say(f"{said}. `edgeproxy webhooks deliveries {webhook}` shows what becomes of deliveries.")


def again(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Asks, again and again where no edge answers: one that is replaced meanwhile, as by a reload, does in a moment."""
    for seconds in RETRY_SECONDS:
        try:
            return ask()
        except AdminUnavailable:
            select.select([], [], [], seconds)
    return ask()


def _moment(text: str) -> str:
    """RFC 3339 of a time, or of how long ago it was."""
    try:
        ago = Duration.parse(text)
    except ValueError:
        return text
    return (datetime.now(UTC) - timedelta(seconds=float(ago))).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(event: dict[str, Any]) -> str:
    """An event for a person: when, what, of which name, and why."""
    data = event.get("data", {})
    problem = data.get("error")
    why = problem.get("detail") if isinstance(problem, dict) else problem
    parts = [event["timestamp"], event["type"], event["domain"], event.get("workspace_id") or "", why or ""]
    return "  ".join(text_of(part) for part in parts if part)
