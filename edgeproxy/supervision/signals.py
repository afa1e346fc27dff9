"""Signals as numbers on a pipe, for a loop that polls descriptors. No Python code runs inside a handler."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
"""SIGUSR1 has no meaning yet, but a log rotation that sends it must not kill the program."""


class Signals:
    """A context: within it the signals of `HANDLED` arrive at `take`. For the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._wakeup = -1

    def __enter__(self) -> Self:
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in HANDLED:
            self._before[number] = signal.signal(number, _nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self.close()

    def fileno(self) -> int:
        """Readable when a signal came."""
        return self._read

    def take(self) -> list[int]:
        """Numbers of the signals that came since."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._read, 4096))
        return []

    def close(self) -> None:
        """Closes the pipe only; what a child does, which has its handlers reset otherwise."""
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The byte on the pipe says it all."""
