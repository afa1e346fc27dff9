"""`status`, `reload` and `stop`."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeproxy.cli.options import Json, Socket, admin
from edgeproxy.cli.show import Progress, as_json, fields, say, table, text_of
from edgeproxy.errors import AdminUnavailable, EdgeError

if TYPE_CHECKING:
    from edgeproxy.cli.client import AdminClient

STATUS = "/api/v1/admin/status"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(status)
    app.command()(reload)
    app.command()(stop)


def status(json: Json = False, socket: Socket = None) -> None:
    """What runs, since when, workers, certificates by state."""
    found = admin(socket).get(STATUS)
    if json:
        as_json(found)
        return
    supervisor, controller, reached = found.get("supervisor", {}), found.get("controller", {}), found.get("map") or {}
    behind = reached.get("behind", 0)
    fields(
        {
            "edgeproxy": f"{found.get('version', '')}, {'serving' if found.get('ready') else 'not serving'}",
            "since": f"{found.get('started_at', '')} ({_ago(found.get('uptime_seconds', 0))})",
            "supervisor": f"pid {supervisor['pid']}" if "pid" in supervisor else "does not answer",
            "controller": f"pid {controller.get('pid')}, since {controller.get('started_at')}",
            "domains": found.get("domains") or "none",
            "certificates": found.get("certificates") or "none",
            "served": found.get("served", {}).get("grades") or "not looked at yet",
            **_issuance(found.get("issuance") or {}),
            "refused": found.get("refused") or "nothing",
            "published map": f"{behind} changes behind" if behind else f"change {reached['change']}" if reached else "unknown",
        }
    )
    typer.echo("")
    heads = ("index", "pid", "state", "connections", "last_report_seconds")
    rows = ([worker.get(head) for head in heads] for worker in found.get("workers", []))
    table(("worker", "pid", "state", "connections", "heard of (s)"), rows, empty="No worker has reported yet.")
    for bad in found.get("served", {}).get("worst", []):
        say(f"\nNot served well: {text_of(bad.get('detail'))}")
    _tell_authorities((found.get("issuance") or {}).get("authorities", []))
    _tell_endings(found.get("uploads_ending", []))
    for fault in found.get("faults", []):
        say(f"\nFault in {text_of(fault.get('part'))}, since {text_of(fault.get('since'))}: {text_of(fault.get('detail'))}")


def _tell_endings(ending: list[dict[str, Any]]) -> None:
    """Uploaded certificates that end soon, and what comes then."""
    for each in ending:
        left = each.get("days_left", 0.0)
        when = f"ends in {left:g} day{'' if left == 1 else 's'}" if left > 0 else "has ended"
        then = "then the edge obtains its own" if each.get("auto_renew") else "nothing takes its place: upload another"
        say(
            f"\nThe certificate uploaded for {text_of(each.get('hostname'))} {when} ({text_of(each.get('not_after'))}); {then}."
        )


def _issuance(found: dict[str, Any]) -> dict[str, str]:
    """The queue for certificates, in lines of their own."""
    waiting = {kind: count for kind, count in (found.get("waiting") or {}).items() if count}
    lines = {"being obtained": str(found.get("working", 0)), "waiting": text_of(waiting) if waiting else "none"}
    if found.get("next_turn_at"):
        lines["waiting"] += f"; the next at {found['next_turn_at']}"
    budget = found.get("budget") or {}
    if budget.get("limit"):
        lines["budget"] = f"{budget['left']} of the {budget['limit']} orders per {_ago(budget['window_seconds'])} left"
        if spent := {kind: count for kind, count in budget.get("spent", {}).items() if count}:
            lines["budget"] += f", spent on {text_of(spent)}"
        if full := budget.get("domains_full"):
            lines["budget"] += f"; {full} registered domain{'' if full == 1 else 's'} at the limit of certificates"
    return lines


def _tell_authorities(authorities: list[dict[str, Any]]) -> None:
    """Those CAs that are not used just now, and why."""
    for each in authorities:
        if each.get("state") == "closed":
            continue
        at = each.get("next_trial_at")
        trial = f"; it is tried again at {at}" if at else "; the next order tries it"
        since = f"since {text_of(each.get('since'))}{trial}"
        say(f"\nThe CA {text_of(each.get('ca'))} is left alone {since}: {text_of(each.get('error'))}")


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def reload(socket: Socket = None) -> None:
    """Take the new configuration; an invalid one changes nothing."""
    client = admin(socket, timeout=120, hint=False)
    with Progress("The new configuration is being taken"):
        answer = client.post("/api/v1/admin/reload")
    say(str(answer.get("detail") or "The new configuration is in force."))


def stop(
    socket: Socket = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has ended.")] = True,
) -> None:
    """Let open requests end, then end the edge."""
    from edgeproxy.cli.client import SILENT  # not for --help

    client = admin(socket)
    try:
        with _process(_pid(client.get(STATUS))) as process:
            client.post("/api/v1/admin/stop")
            if not wait:
                return
            with Progress("The edge lets open requests end") as progress:
                while not _ended(client, process):
                    progress.step("")
    except AdminUnavailable as error:
        if error.code == SILENT:
            error.detail += " To end it nevertheless send SIGTERM to its first process: `systemctl stop`, or `kill`."
        raise
    say("The edge has ended.")


def _pid(found: dict[str, Any]) -> int:
    pid = found.get("supervisor", {}).get("pid")
    return pid if isinstance(pid, int) else 0


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int | None]:
    """A descriptor that tells when the process ends; None where it is not to be seen (another namespace)."""
    try:
        descriptor = os.pidfd_open(pid) if pid > 0 else None
    except OSError:
        descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _ended(client: AdminClient, process: int | None) -> bool:
    """Whether the edge is gone; waits up to half a second."""
    if process is not None:
        return bool(select.select([process], [], [], 0.5)[0])
    until = time.monotonic() + 0.5
    try:
        client.get("/healthz")
    except AdminUnavailable:
        return True
    except EdgeError:
        pass  # it answers, so it lives
    select.select([], [], [], max(0.0, until - time.monotonic()))
    return False
