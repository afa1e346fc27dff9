"""Processes born of one that has imported already what they need: to import it takes each a second of the CPU otherwise.

They are real ones, which may be killed; a test that runs dozens of them is why this is here.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from typing import TypeVarTuple

from tests.integration.running import PATIENCE

Arguments = TypeVarTuple("Arguments")

_IMPORTED = ("pytest", "tests.integration.issue_once", "tests.integration.roll_over_once", "tests.integration.rotate_once")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_IMPORTED))


def run(main: Callable[[*Arguments], int | None], *arguments: *Arguments) -> tuple[int | None, str]:
    """Runs a function of a module, which gives the exit status. Returns that (negative: the signal) and what it printed.

    Fails when it does not end.
    """
    with tempfile.NamedTemporaryFile() as output:
        process = _CONTEXT.Process(target=_printing, args=(output.name, main, arguments), daemon=True)
        process.start()
        try:
            process.join(PATIENCE)
            if process.is_alive():
                raise AssertionError(
                    f"after {PATIENCE:g} s {main.__module__} still runs; it printed:\n{output.read().decode()}"
                )
            return process.exitcode, output.read().decode()
        finally:
            process.kill()
            process.join()
            process.close()


async def running(main: Callable[[*Arguments], int | None], *arguments: *Arguments) -> tuple[int | None, str]:
    """The same, where a loop has to go on."""
    return await asyncio.to_thread(lambda: run(main, *arguments))


def _printing(file: str, main: Callable[[*Arguments], int | None], arguments: tuple[*Arguments]) -> None:
    output = os.open(file, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.close(output)
    sys.exit(main(*arguments))
