"""`edgeproxy domains …`"""

from __future__ import annotations

import json as codec
import shlex
import threading
import time
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli import policies
from edgeproxy.cli.bulk.command import import_domains
from edgeproxy.cli.completion import known_workspaces
from edgeproxy.cli.events import again
from edgeproxy.cli.options import Host, Json, Limit, NewHost, Socket, WorkspaceFilter, admin
from edgeproxy.cli.show import as_json, end_with_reader, fields, listing_as_json, say, table, text_of, zone_lines
from edgeproxy.model import ANSWERED, DomainState

DOMAINS = "/api/v1/infrastructure/domains"

WATCH_SECONDS = 1.0
"""Between two questions of `watch`."""

app = typer.Typer(help="Customers' domains.", no_args_is_help=True)

_RedirectTo = Annotated[
    str | None,
    typer.Option(
        "--redirect-to",
        metavar="HOST",
        help="A domain of the same workspace that visitors are sent to instead.",
        show_default=False,
    ),
]
_Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="The workspace's own words, as often as needed.", show_default=False),
]


@app.command()
def add(
    host: NewHost,
    workspace: Annotated[
        str,
        typer.Option(
            "--workspace",
            "-w",
            metavar="ID",
            help="Whose the domain is; the origin sees it.",
            show_default=False,
            autocompletion=known_workspaces,
        ),
    ],
    origin: Annotated[
        str, typer.Option("--origin", metavar="URL", help="The domain's own origin. Else the platform's.", show_default=False)
    ] = "",
    redirect_to: _RedirectTo = None,
    include_www: Annotated[
        bool, typer.Option("--include-www", help="Add its www, or for a www its apex, too: it redirects to this one.")
    ] = False,
    metadata: _Metadata = None,
    policy: policies.Typed = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Have it verified like a tenant's, and served once its owner has proven it.")
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Add a domain. It is the operator's word, served at once; or, with --verify, it has to be proven first."""
    body: dict[str, Any] = {"domain": host, "workspace_id": workspace, "origin": origin}
    if verify:
        body["verify"] = True
    if redirect_to is not None:
        body["redirect_to"] = redirect_to
    if include_www:
        body["include_www"] = True
    if metadata:
        body["metadata"] = _pairs(metadata)
    if policy:
        body["policies"] = policies.change_of(policy, {})
    answer = admin(socket).post(DOMAINS, body)
    if json:
        as_json(answer)
        return
    added = answer.get("domain_config", {})
    later = "" if answer.get("published", True) else " It is stored, and will be served in a moment."
    say(f"{added.get('domain', host)} is {added.get('state', 'added')} for {added.get('workspace_id', workspace)}.{later}")
    for each in answer.get("warnings", ()):
        say(f"Beware: {text_of(each)}")


app.command("import")(import_domains)


@app.command()
def verify(
    host: Host,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="Have it proven by cname, dns (TXT) or file now; email sends a mail.",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="The code of a mail, which proves it.", show_default=False)
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Look at a domain's records now, and say what is missing. Wakes one that was parked. Exit status 1: not verified."""
    if code is not None:
        admin(socket).post(f"{_path(host)}/verify/code", {"code": code})
    answer = admin(socket).post(f"{_path(host)}/verify", None if method is None else {"method": method})
    if json:
        as_json(answer)
    else:
        _say_standing(answer["domain_config"])
        if not answer["verified"]:
            zone_lines(answer)
    if not answer["verified"]:
        raise typer.Exit(1)


@app.command()
def watch(
    host: Host,
    seconds: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=1, help="Give up after so long.", show_default=False)
    ] = 86_400.0,
    json: Annotated[bool, typer.Option("--json", help="JSON, a line for each change.")] = False,
    socket: Socket = None,
) -> None:
    """Wait until a domain is live, telling each change. Exit status 1: it is not, and the time is over."""
    end_with_reader()
    edge, until = admin(socket), time.monotonic() + seconds
    edge.post(f"{_path(host)}/verify")
    before: tuple[Any, ...] = ()
    while True:
        domain = again(partial(edge.get, _path(host)))
        error = domain.get("error") or {}
        now = (domain["state"], error.get("code"), error.get("detail"))
        if now != before:
            typer.echo(codec.dumps(domain, ensure_ascii=False)) if json else _say_standing(domain)
            before = now
        if not _is_on_its_way(domain):
            raise typer.Exit(0 if domain["state"] in (DomainState.ACTIVE, DomainState.VERIFIED) else 1)
        if time.monotonic() >= until:
            raise typer.Exit(1)
        threading.Event().wait(min(WATCH_SECONDS, max(until - time.monotonic(), 0.01)))


@app.command()
def restore(host: NewHost, json: Json = False, socket: Socket = None) -> None:
    """Bring back a domain that was removed, while its time lasts (verification.undo). Not one that was the operator's word."""
    answer = admin(socket).post(f"{_path(host)}/restore")
    if json:
        as_json(answer)
        return
    restored = answer["domain_config"]
    names = " and ".join((restored["domain"], *answer.get("also", ())))
    say(f"{names} {'are' if answer.get('also') else 'is'} back for {restored['workspace_id']}: {restored['state']}.")


@app.command("list")
def list_domains(
    workspace: WorkspaceFilter = None,
    state: Annotated[
        DomainState | None, typer.Option("--state", metavar="STATE", help="Only in this state.", show_default=False)
    ] = None,
    limit: Limit = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List domains, by name."""
    found = admin(socket).pages(DOMAINS, "domains", limit, workspace_id=workspace, state=state)
    if json:
        listing_as_json("domains", found)
        return
    rows = ((each["domain"], each["workspace_id"], each["state"], each["origin"], each.get("certificate_id")) for each in found)
    table(("domain", "workspace", "state", "origin", "certificate"), rows, empty="No domains.")


@app.command()
def show(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Show one domain; where it has no certificate, why, whose fault that is, and when it is tried again."""
    found = admin(socket).get(_path(host))
    domain: dict[str, Any] = found.get("domain_config", found)
    if json:
        as_json(domain)
        return
    fields(domain | _certificate(domain), leave_out=frozenset(("dns_records", "error", "queued")))
    zone_lines(domain)


@app.command("set")
def set_domain(
    host: Host,
    maintenance: Annotated[
        bool | None,
        typer.Option(
            "--maintenance/--no-maintenance", help="Whether visitors are told to come back later (503).", show_default=False
        ),
    ] = None,
    redirect_to: _RedirectTo = None,
    no_redirect: Annotated[bool, typer.Option("--no-redirect", help="Redirect no more.")] = False,
    origin: Annotated[
        str | None,
        typer.Option("--origin", metavar="URL", help="The domain's own origin; '' for the platform's.", show_default=False),
    ] = None,
    metadata: _Metadata = None,
    policy: policies.Typed = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Change a domain. Every worker does so at once."""
    if no_redirect and redirect_to:
        raise typer.BadParameter("--redirect-to and --no-redirect together make no sense; give one of them.")
    body: dict[str, Any] = {"maintenance": maintenance, "redirect_to": "" if no_redirect else redirect_to, "origin": origin}
    body = {name: value for name, value in body.items() if value is not None}
    if metadata:
        body["metadata"] = _pairs(metadata)
    if policy:
        body["policies"] = policies.change_of(policy, {})
        if any("." in text.partition("=")[0] for text in policy):
            body["policies"] = policies.change_of(policy, admin(socket).get(_path(host)).get("policies", {}))
    if not body:
        raise typer.BadParameter("nothing is to be changed; say what, like --maintenance.")
    answer = admin(socket).patch(_path(host), body)
    if json:
        as_json(answer)
        return
    changed = answer.get("domain_config", {})
    later = "" if answer.get("published", True) else " It is stored, and will be so in a moment."
    own = f" Its own settings: {text_of(changed['policies'])}." if policy and changed.get("policies") else ""
    none = " It has no settings of its own now." if policy and not own else ""
    say(f"{changed.get('domain', host)} {_does(changed)}.{own}{none}{later}")


def _does(domain: dict[str, Any]) -> str:
    """What visitors of a domain meet."""
    if domain.get("maintenance"):
        return "is in maintenance: visitors are told to come back later"
    if domain.get("redirect_to"):
        return f"redirects to {domain['redirect_to']}"
    return f"goes to {domain.get('origin') or 'the platform’s origin'}"


def _pairs(texts: list[str]) -> dict[str, str]:
    """Metadata as it is typed: "key=value"."""
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (key, equals, _) in zip(texts, pairs, strict=True) if not (key and equals)]:
        raise typer.BadParameter(f"{wrong[0]!r} is not KEY=VALUE, like plan=gold.")
    return {key: value for key, _, value in pairs}


@app.command()
def remove(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Remove a domain. Every worker refuses it at once. What redirects to it as the other one of its pair goes too."""
    answer = admin(socket).delete(_path(host))
    if json:
        as_json(answer)
        return
    later = "" if answer.get("published", True) else " It is stored, and will be refused in a moment."
    names = (answer.get("domain_config", {}).get("domain", host), *answer.get("also", ()))
    say(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} removed.{later}")


def _certificate(domain: dict[str, Any]) -> dict[str, str]:
    """How it stands with a domain's certificate, for people: lines to be shown with its fields."""
    name, error, queued = domain["domain"], domain.get("error"), domain.get("queued")
    at_once = f"at once by `edgeproxy certs issue {shlex.quote(name)}`"
    if error is not None and error["code"] != "issuance_failed":
        return _not_right(domain, error)
    if domain["state"] not in ANSWERED:
        return {"certificate": "none; the domain is not served before it is verified"}
    if error is None and domain.get("certificate_id"):
        return {"renewal": queued} if queued else {}
    if error is None:
        return {"certificate": f"none yet; {queued or f'with the first visitor, or {at_once}'}"}
    times = error["times"]
    row = f", the {_ordinal(times)} time in a row" if times > 1 else ""
    what = "not renewed" if domain.get("certificate_id") else "no certificate"
    who = "by itself" if domain.get("certificate_id") else "with the next visitor"
    after = error["next_try_at"]
    return {
        what: error["detail"],
        "whose fault": _WHOSE.get(error["fault"], _WHOSE["edge"]).format(name=shlex.quote(name)),
        "last try": f"{error['failed_at']}{row}",
        "next try": queued or (f"{who}, not before {after}, or {at_once}" if after else at_once),
    }


def _not_right(domain: dict[str, Any], error: dict[str, Any]) -> dict[str, str]:
    """What looks at a domain found: its records, and how it is served."""
    name, after = domain["domain"], error["next_try_at"]
    at_once = f"at once by `edgeproxy domains verify {shlex.quote(name)}`"
    return {
        "wrong" if domain["state"] in ("active", "attention") else "not live": error["detail"],
        "whose fault": _WHOSE.get(error["fault"], _WHOSE["edge"]).format(name=shlex.quote(name)),
        "last look": error["failed_at"],
        "next look": f"by itself at {after}, or {at_once}" if after else at_once,
    }


_WHOSE = {
    "customer_dns": "the domain owner's: `edgeproxy doctor {name}` says which record to change",
    "ca": "the CA's; there is nothing to do but to wait, unless it says so",
    "operator": "the operator's: a setting of this edge",
    "edge": "the edge's own; its log says more",
}


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _say_standing(domain: dict[str, Any]) -> None:
    """One line: the state, and what is wrong."""
    error = domain.get("error")
    why = f": {text_of(error['detail'])}" if error else ""
    say(f"{domain['domain']} is {domain['state']}{why}")


def _is_on_its_way(domain: dict[str, Any]) -> bool:
    """Whether it becomes active by itself."""
    return domain["state"] in (
        DomainState.PENDING_VALIDATION,
        DomainState.AWAITING_CUTOVER,
        DomainState.ISSUING,
        DomainState.ATTENTION,
    ) or (domain["state"] == DomainState.VERIFIED and any(each["purpose"] == "routing" for each in domain["dns_records"]))


def _path(host: str) -> str:
    return f"{DOMAINS}/{quote(host, safe='')}"
