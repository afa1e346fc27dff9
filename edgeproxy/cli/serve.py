"""Running the edge. Light to import: what the supervisor has in memory when it forks, every worker has too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.errors import ConfigError

if TYPE_CHECKING:
    from edgeproxy.config.structs import Config


def configuration_file(given: Path | None) -> Path | None:
    """The file to read: the given one, or the usual one where there is one; None: only defaults and the environment."""
    from edgeproxy.config.load import DEFAULT_PATH

    if given is not None:
        return given.absolute()
    try:
        DEFAULT_PATH.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may be there: that it cannot be read is told by whoever reads it, and never taken for its absence
    return DEFAULT_PATH


def load_configuration(given: Path | None, *, places: bool = False) -> tuple[Config, Path | None]:
    """The configuration and the file it is from. Raises ConfigError with every fault, with `places` those that the edge would
    start with too."""
    from edgeproxy.config.load import DEFAULT_PATH, load

    path = configuration_file(given)
    try:
        return load(path, os.environ, places=places), path
    except ConfigError as error:
        if path is not None:
            raise
        raise ConfigError(f"{error.detail}\nThere is no {DEFAULT_PATH}; name a file with --config.") from None


def run_edge(given: Path | None) -> int:
    """Runs the edge until it is stopped; gives the exit status. Raises EdgeError when it cannot start."""
    config, path = load_configuration(given)
    from edgeproxy import supervisor  # once the configuration is right: a fault of it is told sooner

    return supervisor.run(config, path)
