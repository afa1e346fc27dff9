"""Shell completion: the script for a shell, and the names that a running edge knows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

SECONDS = 1.0
"""For which a shell waits for names. One that takes longer is a nuisance, and an edge that is well takes some 10 ms."""

NAMES = 200
"""Names that are offered at most. A shell asks before it shows a hundred."""

INFRASTRUCTURE = "/api/v1/infrastructure"


class Shell(StrEnum):
    """Those that completion is made for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(completion)


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print the script that completes commands, options and names in a shell.

    bash: `source <(edgeproxy completion bash)` in ~/.bashrc. zsh: the same with zsh in ~/.zshrc, below compinit. fish:
    `edgeproxy completion fish | source` in ~/.config/fish/config.fish.
    """
    typer.echo(_SCRIPTS[shell], nl=False)


_BASH = r"""_edgeproxy_completion() {
    local IFS=$'\n'
    COMPREPLY=( $(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _EDGEPROXY_COMPLETE=complete_bash "$1" 2>/dev/null) )
}
complete -o default -F _edgeproxy_completion edgeproxy
"""

_ZSH = r"""#compdef edgeproxy
_edgeproxy_completion() {
    eval "$(_TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _EDGEPROXY_COMPLETE=complete_zsh "${words[1]}" 2>/dev/null)"
}
compdef _edgeproxy_completion edgeproxy
"""

_FISH = r"""function _edgeproxy_completion
    set -lx _EDGEPROXY_COMPLETE complete_fish
    set -lx _TYPER_COMPLETE_FISH_ACTION $argv[1]
    set -lx _TYPER_COMPLETE_ARGS (commandline -cp)
    edgeproxy 2>/dev/null
end
complete -c edgeproxy --no-files -a "(_edgeproxy_completion get-args)" --condition "_edgeproxy_completion is-args"
"""

_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}
"""Typer prints its own by --show-completion, but only that of the shell which it finds itself in."""


def registered_names(context: typer.Context, incomplete: str) -> list[str]:
    """Domains that begin so. No wildcards: a shell would take them for patterns of files."""
    if incomplete.startswith("-"):
        return []
    found = _asked(context, f"{INFRASTRUCTURE}/domains", "domains", prefix=incomplete.lower())
    return [each["domain"] for each in found if not each["domain"].startswith("*")]


def known_workspaces(context: typer.Context, incomplete: str) -> list[str]:
    """Workspaces that begin so, of the first thousand."""
    found = _asked(context, f"{INFRASTRUCTURE}/workspaces", "workspaces", limit=1000)
    return [each["workspace_id"] for each in found if each["workspace_id"].startswith(incomplete)][:NAMES]


def _asked(context: typer.Context, path: str, key: str, limit: int = NAMES, **query: str) -> list[dict[str, Any]]:
    """A page of a listing; nothing where no edge answers at once. Whoever presses a key wants no sentence about it."""
    import contextlib

    from edgeproxy.cli.options import admin
    from edgeproxy.errors import EdgeError

    given = context.params.get("socket")
    with contextlib.suppress(EdgeError, OSError, ValueError):
        found = admin(Path(given) if given else None, SECONDS).get(path, limit=limit, **query).get(key)
        return found if isinstance(found, list) else []
    return []
