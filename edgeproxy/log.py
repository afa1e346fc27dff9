"""The program's own log of supervisor and workers: readable on a terminal, else one JSON object per line.

Deliberately small: the supervisor must start fast and never fail, so nothing is imported for it. It never blocks: a line
that the reader of stderr does not take at once is dropped and counted, and the next line that gets through says how many
were. Never log a secret; what is logged may be read by everyone who may see the machine's logs.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import stat
import time
from typing import Any, Literal

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

LINE = select.PIPE_BUF
"""Bytes of one line. A pipe takes up to this many whole or not at all, so lines of several processes never mix."""

_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[36m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class Sink:
    """Where lines go: a descriptor of which the program may not know what it is. Made before the fork, used by all.

    A pipe or terminal is opened a second time without blocking: O_NONBLOCK on the descriptor itself would also change it for
    the shell that it is shared with.
    """

    def __init__(self, descriptor: int = 2) -> None:
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self.descriptor = descriptor
        self.dropped = 0
        """Lines that could not be written since the last one that could."""
        self.terminal = os.isatty(descriptor)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(mode):  # journald's
            self._socket = socket.socket(fileno=os.dup(descriptor))
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with contextlib.suppress(
                OSError
            ):  # not allowed, or no /proc: the plain descriptor, asked by poll, does nearly as well
                self._own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_NOCTTY)

    def fileno(self) -> int:
        """The descriptor that is written to: one of those that a child must keep."""
        return self._socket.fileno() if self._socket is not None else self.descriptor if self._own is None else self._own

    def write(self, line: bytes) -> bool:
        """Writes one line, cut at `LINE` bytes; False when it was dropped. Never waits and never raises."""
        if len(line) > LINE:
            line = line[: LINE - 5].decode("utf-8", "ignore").encode() + "…\n".encode()
        try:
            if self._socket is not None:
                self._socket.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            elif self._own is not None:
                os.write(self._own, line)
            elif self._writable():
                os.write(self.descriptor, line)
            else:
                raise BlockingIOError(errno.EAGAIN, "would block")
        except OSError:
            # Blocked reader, closed pipe, full disk: there is nobody left to tell but the next line.
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        """Closes what was opened here; the given descriptor stays."""
        if self._own is not None:
            os.close(self._own)
            self._own = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        return bool(poll.poll(0))


class Log:
    """A named source of lines.

    `name` is the process ("supervisor", "worker 0"); `context` fields are added to every line. Fields should be plain values;
    others are shown as text. `style` "auto" is "human" on a terminal, else "json"; "combined" (a form of the access log)
    counts as "auto".
    """

    def __init__(
        self,
        name: str,
        sink: Sink | None = None,
        *,
        level: str = "info",
        style: Literal["auto", "human", "json", "combined"] = "auto",
        context: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.sink = sink if sink is not None else Sink()
        self.level = level
        self.human = style == "human" or (style != "json" and self.sink.terminal)
        self._threshold = LEVELS[level]
        self._context = context or {}

    def named(self, name: str, **context: Any) -> Log:
        """The same log under another name, with more context."""
        style: Literal["human", "json"] = "human" if self.human else "json"
        return Log(name, self.sink, level=self.level, style=style, context={**self._context, **context})

    def debug(self, message: str, **fields: Any) -> None:
        """For whoever develops it."""
        self.write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """Something worth knowing happened, and it is fine."""
        self.write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """Something should be looked at; the program goes on as it should."""
        self.write("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Something does not work."""
        self.write("error", message, fields)

    def write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """One line of that level; drops it where the level is below the configured one or the reader is too slow."""
        if LEVELS[level] < self._threshold:
            return
        fields = {**self._context, **fields}
        lost = self.sink.dropped
        if lost:
            fields["lines_dropped"] = lost
        render = human_line if self.human else json_line
        line = render(time.time(), level, self.name, message, fields).encode("utf-8", "replace")
        if len(line) > LINE:  # shorten what is long, so that it stays whole as JSON
            message, fields = _cut(message, 1500), {key: _cut(str(value), 100) for key, value in fields.items()}
            line = render(time.time(), level, self.name, message, fields).encode("utf-8", "replace")
        if self.sink.write(line) and lost:
            self.sink.dropped = 0


def json_line(now: float, level: str, name: str, message: str, fields: dict[str, Any]) -> str:
    """One JSON object and a newline: time (UTC, ISO 8601, ms), level, process, pid, message, then the fields. Pure but for
    the pid.
    """
    line = {"time": f"{_utc(now)}Z", "level": level, "process": name, "pid": os.getpid(), "message": message}
    line.update((f"{key}_" if key in line else key, value) for key, value in fields.items())
    return json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":")) + "\n"


def human_line(now: float, level: str, name: str, message: str, fields: dict[str, Any]) -> str:
    """For a terminal: local time, process, message, fields; the level as a colour, and as a word where it is not "info"."""
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    colour = _COLOURS[level]
    word = "" if level == "info" else f"{colour}{level}{_PLAIN} "
    shown = "".join(f"  {_DIM}{key}={_PLAIN}{_printable(_short(value))}" for key, value in fields.items())
    # A message of several lines (faults of a configuration) keeps them, indented; nothing else may control the terminal.
    lines = [_printable(part) for part in message.splitlines()] or [""]
    text = ("\n" + " " * 22).join(lines)
    return f"{_DIM}{clock}{_PLAIN} {colour}{name:<11}{_PLAIN}  {word}{text}{shown}\n"


def _utc(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"


def _short(value: Any) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """Without what could control a terminal: log lines may quote what strangers sent."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
