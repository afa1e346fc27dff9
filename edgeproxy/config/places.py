"""What the configuration names and this machine has not (yet), where the edge starts nevertheless and goes on trying."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from edgeproxy.config.structs import Config


def faults(config: Config) -> Iterator[tuple[str, str]]:
    """(key, what is wrong and what would be right). What this user may not look at is passed over: the edge may be another."""
    if config.log.access in ("stdout", "off"):
        return
    path = Path(config.log.access)
    if _kind(path) == "folder":
        yield "log.access", f"{path} is a folder; name a file in it, like {path / 'access.log'}"
    elif (kind := _kind(path.parent)) in ("nothing", "file"):
        wrong = "is not there" if kind == "nothing" else "is no folder"
        text = (
            f"its folder {path.parent} {wrong}, and lines would be lost; make it, so that the workers' user may write in it, "
        )
        yield "log.access", f'{text}or write "stdout"'


def _kind(path: Path) -> Literal["folder", "file", "nothing", "unknown"]:
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except OSError:
        return "unknown"
