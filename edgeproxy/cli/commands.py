"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproxy import __version__
from edgeproxy.cli import certs, completion, doctor, domains, events, local, mail, process, state, tokens, webhooks, workspaces
from edgeproxy.cli.main import DONE, USAGE

app = typer.Typer(
    name="edgeproxy",
    help="A TLS-terminating edge for platforms whose customers bring their own domains.",
    epilog="Exit status: 0 done, 1 refused or failed, 2 usage or configuration, 3 the admin socket does not answer.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgeproxy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="The version, and nothing else.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


local.register(app)
process.register(app)
doctor.register(app)
app.add_typer(domains.app, name="domains")
app.add_typer(certs.app, name="certs")
app.add_typer(workspaces.app, name="workspaces")
app.add_typer(tokens.app, name="tokens")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(events.app, name="events")
app.add_typer(mail.app, name="mail")
app.add_typer(state.app, name="state")
completion.register(app)


def invoke(arguments: list[str]) -> int:
    """Runs what the command line says; gives the exit status. A wrong command line is told here, other errors are raised."""
    try:
        result = app(arguments, prog_name="edgeproxy", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "edgeproxy"
        message = error.format_message().strip().replace("Value error, ", "")  # pydantic's, which says nothing
        bare = type(error).__name__ == "NoArgsIsHelpError"  # its message is the help itself
        typer.echo(message if bare else f"edgeproxy: {message}\nTry `{command} --help`.", err=True)
        return USAGE
    except typer.Abort:
        return 130
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # Typer calls that a failure; what it means is `main`'s to say
            raise ended.__context__ from None
        raise
    return result if isinstance(result, int) else DONE
