"""Modules that are slow to import and not needed at once: loaded in threads, while the loop goes on.

One thread at a time: where two import packages that need each other in turn, Python breaks the deadlock by showing one of them
a module of which half is missing, and so it stays for as long as the process lives.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

from anyio.to_thread import run_sync

_turn = threading.Lock()
_loaded: set[str] = set()
"""What was imported to its end: in `sys.modules` a module is from the beginning on."""


async def load(*names: str) -> list[ModuleType]:
    """The modules, imported where they are not yet. Raises ImportError."""
    if not _loaded.issuperset(names):
        await run_sync(_load, names)
    return [sys.modules[name] for name in names]


def _load(names: tuple[str, ...]) -> None:
    with _turn:
        for name in names:
            importlib.import_module(name)
            _loaded.add(name)
