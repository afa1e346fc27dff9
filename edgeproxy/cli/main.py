"""Where the program begins, and the one place where errors become a sentence and an exit status."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgeproxy.errors import AdminUnavailable, ConfigError, EdgeError

DONE, REFUSED, USAGE, UNANSWERED = 0, 1, 2, 3
"""Exit statuses. They are part of the program's contract."""


def main() -> None:
    """The console script."""
    _open_closed_streams()
    sys.exit(run(sys.argv[1:]))


def _open_closed_streams() -> None:
    """Puts /dev/null in the place of standard streams that are closed: the next file or socket would have their number, and
    what is printed would go there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 for the whole life


def run(arguments: list[str]) -> int:
    """Runs a command; gives its exit status. Every error is a sentence on stderr, never a traceback."""
    try:
        plain, config = _plain_serve(arguments)
        if plain:
            from edgeproxy.cli.serve import run_edge

            return run_edge(config)
        from edgeproxy.cli.commands import invoke

        status = invoke(arguments)
        sys.stdout.flush()
    except EdgeError as error:
        return _told(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough (`… | head`). The interpreter must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        print(f"edgeproxy: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)  # noqa: T201
        return REFUSED
    return status


def _plain_serve(arguments: list[str]) -> tuple[bool, Path | None]:
    """Whether this is `serve` with nothing but a configuration, and which.

    Typer brings pydantic: 90 ms and 13 MB, which the supervisor would hold for its whole life and every worker with it.
    So the plain daemon does without; all else about `serve`, mistakes and --help included, goes through Typer.
    """
    match arguments:
        case ["serve"]:
            return True, None
        case ["serve", "--config" | "-c", file] if file and not file.startswith("-"):
            return True, Path(file)
        case ["serve", option] if option.startswith("--config=") and len(option) > len("--config="):
            return True, Path(option.removeprefix("--config="))
        case _:
            return False, None


def _told(error: EdgeError) -> int:
    """Says what is wrong; gives the exit status that it means. Faults of a configuration have a line each already."""
    prefix = "" if isinstance(error, ConfigError) else "edgeproxy: "
    print(f"{prefix}{error.detail}", file=sys.stderr)  # noqa: T201
    if isinstance(error, AdminUnavailable):
        return UNANSWERED
    # A reload that is refused means what a start that is refused for the same reason means.
    return USAGE if ConfigError.code in (error.code, getattr(error, "cause", "")) else REFUSED


if __name__ == "__main__":
    main()
