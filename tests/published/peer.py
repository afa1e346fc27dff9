"""A worker's stand-in: a MapReader in a process of its own, since LMDB refuses one map twice in one process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Expressions arrive as lines, their values leave as lines; both written by the test itself.
_PROGRAM = """
import sys, time
from pathlib import Path
from edgeproxy.errors import MapError
from edgeproxy.published.records import *
from edgeproxy.published.reader import MapReader
directory = Path(sys.argv[1])
reader = None
def opened():
    global reader
    reader = MapReader(directory)
def seen(hostname, present, patience):
    '''Unix time when a site is there (or gone), told by the stamp alone; None if never.'''
    until, stamp = time.time() + patience, None
    while time.time() < until:
        if reader.stamp() != stamp:
            stamp = reader.stamp()
            reader.changes()
            if (reader.site(hostname) is not None) == present:
                return time.time()
        time.sleep(0.001)
for line in sys.stdin:
    try:
        value = repr(eval(line))
    except MapError as error:
        value = "MapError: " + error.detail
    print(value, flush=True)
"""


class Peer:
    """The other process. `ask` has an expression evaluated there, with `reader` in scope."""

    def __init__(self, directory: Path, *, opened: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        if opened:
            assert self.ask("opened()") == "None"

    def send(self, expression: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()

    def receive(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the reading process ended"
        return line.rstrip("\n")

    def ask(self, expression: str) -> str:
        self.send(expression)
        return self.receive()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        self._process.communicate(timeout=60)


@contextlib.contextmanager
def peer(directory: Path, **options: Any) -> Iterator[Peer]:
    """A reading process for the length of a test."""
    one = Peer(directory, **options)
    try:
        yield one
    finally:
        one.kill()
