"""Writes docs/commands.md from the commands themselves: `python scripts/commands.py > docs/commands.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from edgeproxy.cli.commands import app

HEAD = """\
# Commands

`edgeproxy`, also `python -m edgeproxy`. Exit status: 0 done, 1 refused or failed, 2 usage or configuration, 3 the admin
socket does not answer. All but `serve`, `demo`, `check`, `state` and `completion` talk to a running edge over its admin socket.

This page is made from the program itself by `make docs`.
"""


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for command, context in commands(get_command(app), None, "edgeproxy"):
        parts.append(f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def commands(command: Any, parent: Any, name: str) -> Iterator[tuple[Any, Any]]:
    """Every command with its context, those with subcommands replaced by these."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=100)
    below = getattr(command, "commands", None)
    if below is None:
        yield command, context
    for each in below or {}:
        yield from commands(below[each], context, each)


if __name__ == "__main__":
    sys.stdout.write(page())
