"""`edgeproxy state …`: the keys at rest. These commands work on the files of the edge, and not through its admin socket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeproxy.cli.options import ConfigFile, Json
from edgeproxy.cli.show import as_json, say, table
from edgeproxy.errors import StateError

if TYPE_CHECKING:
    from edgeproxy.config.structs import Config
    from edgeproxy.control.store.sealed import Report

app = typer.Typer(help="The store and its keys at rest, without a running edge.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = None, json: Json = False) -> None:
    """Open everything that is sealed under the state key.

    Writes nothing, and may run beside a running edge.
    """
    loaded, directory = _state(config)
    from edgeproxy.control import rekey  # not for --help

    report = rekey.check(loaded, directory)
    if json:
        as_json({"opened": report.opened, "faults": list(report.faults), "further_faults": report.further})
    else:
        _show(report)
    if report.faults:
        lost = len(report.faults) + report.further
        raise StateError(
            f"{lost} secret{'' if lost == 1 else 's'} cannot be used; the others can. A certificate among them is "
            "obtained anew by `edgeproxy certs renew HOST`; if it is many, put back the store from a backup."
        )
    say("Everything that is sealed opens under the state key.")


@app.command("rotate-key")
def rotate_key(
    old_key_to: Annotated[
        Path | None,
        typer.Option(
            "--old-key-to",
            metavar="FILE",
            readable=False,
            help="Copy the old key there first, for backups from before.",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Make a new state key and seal everything under it. The edge must not run.

    If it is interrupted, nothing is lost: the edge does not start until this command was run again and has finished.
    """
    loaded, directory = _state(config)
    from edgeproxy.control import rekey  # not for --help

    rotated = rekey.rotate(loaded, directory, lambda step: say(f"{step} …"), old_key_to=old_key_to)
    _show(rotated.report)
    if rotated.finished:
        say("The change of the state key that was interrupted is finished.")
    destroyed = "The old key is destroyed: backups of the store from before open only under a copy of it that you kept."
    for_copies = f"The old key is in {old_key_to}; backups from before need it." if old_key_to else destroyed
    say(f"The state key is a new one: {rotated.key}. Keep a copy of it in another place. {for_copies}")


def _state(config: Path | None) -> tuple[Config, Path]:
    from edgeproxy.cli.serve import load_configuration

    loaded, _ = load_configuration(config)
    return loaded, Path(loaded.state.directory).absolute()


def _show(report: Report) -> None:
    table(("sealed", "opened"), sorted(report.opened.items()), empty="Nothing is sealed yet.")
    for fault in report.faults:
        say(f"Fault: {fault}.")
    if report.further:
        say(f"And {report.further} more.")
