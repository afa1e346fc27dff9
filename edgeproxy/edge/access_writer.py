"""The thread that writes the access log."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final

PIECE: Final = select.PIPE_BUF
"""Bytes of one write to a pipe. Up to this many are written whole or not at all, so the lines of several workers that share
a pipe never mix."""

FILE_PIECE: Final = 64 * 1024
"""Bytes of one write to a file, where appending is whole anyway."""

RETRY_SECONDS: Final = 1.0
"""How often a file that can not be opened is tried again."""

SAY_SECONDS: Final = 60.0
"""How often a fault is told at most."""


class Writer:
    """Writes lines to standard output or to a file that it appends to. `run` is its thread; the other methods are for the
    event loop's, and never wait.

    A blocked reader blocks this thread alone; the caller sees by `done` how far it is, and drops what is too much.
    """

    def __init__(self, path: Path | None, on_fault: Callable[[str], None]) -> None:
        self._path = path
        self._on_fault = on_fault
        self._queue: SimpleQueue[Sequence[bytes] | bool] = SimpleQueue()
        self._file: int | None = None
        self._piece = PIECE
        self._torn = False
        self._try_again = self._say_again = 0.0
        self.done = 0
        """Lines written or lost, since the start. Only the thread changes it; so for `lost`."""
        self.lost = 0
        """Lines that could not be written."""

    @property
    def terminal(self) -> bool:
        """Whether a person reads along."""
        return self._path is None and os.isatty(1)

    def put(self, lines: Sequence[bytes]) -> None:
        """Lines to write, each with its newline."""
        self._queue.put(lines)

    def reopen(self) -> None:
        """Opens the file anew, behind all lines put before."""
        self._queue.put(True)

    def end(self) -> None:
        """Ends the thread, behind all lines put before."""
        self._queue.put(False)

    def run(self) -> None:
        """The thread."""
        self._open()  # what is wrong with the path is told at the start, not at the first request
        while True:
            item = self._queue.get()
            if item is False:
                self._close()
                return
            if item is True:
                self._close()
                self._try_again = 0.0
            else:
                self._write(item)

    def _write(self, lines: Sequence[bytes]) -> None:
        file = self._open()
        if file is None:
            self.lost += len(lines)
            self.done += len(lines)
            return
        start = size = 0
        for index, line in enumerate(lines):
            if size and size + len(line) > self._piece:
                self._write_piece(file, lines[start:index])
                start, size = index, 0
            size += len(line)
        self._write_piece(file, lines[start:])

    def _write_piece(self, file: int, lines: Sequence[bytes]) -> None:
        """Writes lines at once; loses those that are not whole afterwards."""
        piece = b"".join(lines)
        left = memoryview(b"\n" + piece if self._torn else piece)
        try:
            while left:
                try:
                    left = left[os.write(file, left) :]
                except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
                    self._wait(file)
            self._torn = False
        except OSError as error:
            written = len(piece) - len(left)  # -1 where not even the newline that ends a torn line was
            if written >= 0:  # the next line must not be glued to half of this one
                self._torn = not piece[:written].endswith(b"\n") and written > 0
                self.lost -= piece[:written].count(b"\n")
            self.lost += len(lines)
            self._say(
                f"The access log can not be written, lines are lost: {error.strerror or error}. Requests go on; look after its "
                "disk, or after whoever reads it (log.access)."
            )
        self.done += len(lines)

    @staticmethod
    def _wait(file: int) -> None:
        poll = select.poll()
        poll.register(file, select.POLLOUT)
        poll.poll(1000)

    def _open(self) -> int | None:
        """The descriptor; None while the file can not be opened, which is tried once a second."""
        if self._file is not None:
            return self._file
        now = time.monotonic()
        if now < self._try_again:
            return None
        try:
            if self._path is None:
                self._file = os.dup(1)
            else:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY, 0o640)
            regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        except OSError as error:
            self._try_again = now + RETRY_SECONDS
            self._say(
                f"The access log can not be opened, lines are lost: {self._path or 'stdout'}: {error.strerror or error}. See "
                "that its folder is there and that the workers' user may write in it (log.access); it is tried again."
            )
            return None
        self._piece = FILE_PIECE if regular else PIECE
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _say(self, sentence: str) -> None:
        now = time.monotonic()
        if now >= self._say_again:
            self._say_again = now + SAY_SECONDS
            self._on_fault(sentence)
