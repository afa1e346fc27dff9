"""`edgeproxy webhooks …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli.main import REFUSED
from edgeproxy.cli.options import Json, Limit, Socket, admin, named
from edgeproxy.cli.show import as_json, fields, listing_as_json, say, table, text_of
from edgeproxy.errors import EdgeError, Fault

WEBHOOKS = "/api/v1/infrastructure/webhooks"

SECRET_BYTES = 1_024
"""Bytes of a file with a secret that are read; it has some 50."""

app = typer.Typer(help="Endpoints that events are sent to.", no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="The endpoint's id; `webhooks list` has it.", show_default=False, callback=named),
]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        "-e",
        metavar="EVENT",
        help='An event that it gets, like domain.active, "domain.*" or "certificate.*"; may be repeated. Else all.',
        show_default=False,
    ),
]
Label = Annotated[str | None, typer.Option("--label", metavar="TEXT", help="What to call it.", show_default=False)]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        readable=False,
        help='A file with its secret, "whsec_…". Else one is made and printed.',
        show_default=False,
    ),
]


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent, like https://example.com/hooks.")],
    event: Events = None,
    label: Label = None,
    secret_file: SecretFile = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Add an endpoint. It gets what happens from now on; its secret is shown this once."""
    body = {"url": url, "events": event or [], "label": label or "", "secret": _secret(secret_file)}
    answer = admin(socket).post(WEBHOOKS, body)
    if json:
        as_json(answer)
        return
    _tell_secret(answer)
    one = answer["webhook"]["id"]
    say(f"{one} gets {_chosen(answer['webhook'])} from now on. `edgeproxy webhooks test {one}` tries it.")


@app.command("list")
def list_webhooks(json: Json = False, socket: Socket = None) -> None:
    """List endpoints, those of the configuration too."""
    found = admin(socket).get(WEBHOOKS).get("webhooks", [])
    if json:
        listing_as_json("webhooks", found)
        return
    rows = ((each["id"], _state(each), each["pending"], _chosen(each), each["label"], each["url"]) for each in found)
    table(("id", "state", "waiting", "events", "label", "url"), rows, empty="No endpoints: nobody is told of events.")


@app.command()
def show(webhook: Id, json: Json = False, socket: Socket = None) -> None:
    """Show an endpoint."""
    found = admin(socket).get(_path(webhook))
    as_json(found) if json else fields({**found, "events": _chosen(found)})


@app.command()
def change(
    webhook: Id,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Another url.", show_default=False)] = None,
    event: Events = None,
    label: Label = None,
    secret_file: SecretFile = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Another secret, shown this once. The one before signs beside it for a day.")
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Change an endpoint: what is not given stays as it is."""
    secret = _secret(secret_file) if secret_file is not None else "" if new_secret else None
    given = {"url": url, "events": event, "label": label, "secret": secret}
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise typer.BadParameter("Say what is to be changed: --url, --event, --label, --new-secret or --secret-file.")
    answer = admin(socket).patch(_path(webhook), body)
    if json:
        as_json(answer)
        return
    _tell_secret(answer)
    say(f"{webhook} is changed.")


@app.command()
def enable(webhook: Id, socket: Socket = None) -> None:
    """Have an endpoint get events again: those that happen from now on."""
    admin(socket).patch(_path(webhook), {"enabled": True})
    say(f"{webhook} gets events again. What it missed is sent by `edgeproxy events replay {webhook} --since TIME`.")


@app.command()
def disable(webhook: Id, socket: Socket = None) -> None:
    """Send an endpoint nothing any more, until it is enabled again."""
    admin(socket).patch(_path(webhook), {"enabled": False})
    say(f"{webhook} gets no more events.")


@app.command()
def remove(webhook: Id, json: Json = False, socket: Socket = None) -> None:
    """Remove an endpoint, with its secret and its deliveries."""
    answer = admin(socket).delete(_path(webhook))
    as_json(answer) if json else say(f"{answer['webhook']['url']} is removed.")


@app.command("test")
def send_test(webhook: Id, json: Json = False, socket: Socket = None) -> int:
    """Send a test event now, once, and tell what was answered."""
    found = admin(socket).post(f"{_path(webhook)}/test")
    if json:
        as_json(found)
    elif found["delivered"]:
        say(f"Delivered: it answered {found['status']} after {found['seconds']:.1f} s.")
    else:
        say(f"Not delivered: {text_of(found['error'])}")
    return 0 if found["delivered"] else REFUSED


@app.command()
def deliveries(
    webhook: Id,
    failed: Annotated[bool, typer.Option("--failed", help="Only those whose last try failed.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only those that wait.")] = False,
    limit: Limit = 50,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List what became of events at an endpoint, the newest first."""
    if failed and pending:
        raise typer.BadParameter("--failed or --pending, not both.")
    state = "failed" if failed else "pending" if pending else None
    found = admin(socket).pages(f"{_path(webhook)}/deliveries", "deliveries", limit, state=state)
    if json:
        listing_as_json("deliveries", found)
        return
    heads = ("event", "type", "domain", "happened", "state", "tries", "next try", "last answer")
    rows = (
        (
            each["event_id"],
            each["type"],
            each["domain"],
            each["happened_at"],
            each["state"],
            each["tries"],
            each["next_try_at"],
            each["error"] or each["status"],
        )
        for each in found
    )
    table(heads, rows, empty="No deliveries.")


@app.command()
def redeliver(
    webhook: Id,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The event's id, msg_….", show_default=False)],
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Deliver an event once more, under the same id."""
    answer = admin(socket).post(f"{_path(webhook)}/deliveries/{quote(event, safe='')}/redeliver")
    as_json(answer) if json else say(f"{event} is delivered once more; `edgeproxy webhooks deliveries {webhook}` tells how.")


def _path(webhook: str) -> str:
    return f"{WEBHOOKS}/{quote(webhook, safe='')}"


def _chosen(webhook: dict[str, Any]) -> str:
    return text_of(webhook["events"]) if webhook["events"] else "all events"


def _state(webhook: dict[str, Any]) -> str:
    if not webhook["enabled"]:
        return "disabled"
    return f"failing since {webhook['failing_since']}" if webhook["failing_since"] else "well"


def _tell_secret(answer: dict[str, Any]) -> None:
    if answer.get("secret"):
        typer.echo(answer["secret"])
        say("This is its secret, by which the receiver knows our events from forged ones. It is not shown again.")


def _secret(path: Path | None) -> str:
    """A file's text; "" for none. What it holds is never in an error."""
    if path is None:
        return ""
    with path.open("rb") as file:
        data = file.read(SECRET_BYTES + 1)
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > SECRET_BYTES:
        raise EdgeError(f'{path} holds no secret; write "whsec_" and base64 into it, and nothing else.', fault=Fault.CLIENT)
    return text
