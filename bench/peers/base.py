"""What every proxy in the comparison must offer."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.children import Child
from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running proxy: one worker on the proxies' core, TLS on `port`, every tenant served, access log off.

    It forwards over a keep-alive pool to the origin and sets workspace-id, x-forwarded-for and x-forwarded-proto.
    """

    name: str
    version: str
    port: int
    root_file: Path
    """The PEM file that its certificates verify against."""
    child: Child


Starter = Callable[[Stage, int], Awaitable[Peer]]
"""Starts a proxy on the stage, with the origin on the given port."""


async def version_text(*command: str) -> str:
    """The first line that a program prints about its version, on whichever stream."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[0].strip() if lines else ""


def stay_root() -> str:
    """nginx's directive that keeps its workers from becoming a user who may not read the work folder."""
    return "user root;" if os.geteuid() == 0 else ""
