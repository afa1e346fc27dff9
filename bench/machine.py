"""Where and with what a run was made."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import ssl
import subprocess
from pathlib import Path

from bench.errors import BenchError

TOOLS = ("nginx", "haproxy", "caddy", "wrk", "h2load", "pebble", "pebble-challtestsrv", "taskset", "setpriv")
"""Programs that a run needs."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a reader must know to judge the figures."""

    processor: str
    cores: int
    kernel: str
    python: str
    openssl: str
    date: str
    """ISO 8601, UTC."""
    commit: str
    load_average: float | None
    """Of the last minute when the run began: what else the machine was doing. None: not noted."""


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        processor=_processor(Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _processor(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit that was measured, or "" outside of a git work tree."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()


def check_tools(search_path: str | None = None) -> None:
    """Raises BenchError naming what is missing, and how to get it."""
    folders = [Path(folder) for folder in (search_path or os.environ.get("PATH", "")).split(os.pathsep)]
    folders += [Path("/usr/sbin")]
    missing = [tool for tool in TOOLS if not any(os.access(folder / tool, os.X_OK) for folder in folders)]
    if missing:
        raise BenchError(
            f"Not installed: {', '.join(missing)}. On Debian: "
            "apt-get install nginx haproxy caddy wrk nghttp2-client pebble util-linux"
        )
