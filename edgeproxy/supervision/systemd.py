"""systemd's protocols, spoken without its library: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

FIRST_DESCRIPTOR = 3


class Notifier:
    """Tells systemd how things stand. Without systemd it does nothing."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables out of the environment, so that no child speaks in our name."""
        self._address = _notify_address(environ.pop("NOTIFY_SOCKET", ""))
        self.watchdog = _watchdog(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        """Seconds between two signs of life, half of what systemd asks for; None: it asks for none."""
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ready(self, status: str) -> None:
        """The program serves (again)."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """A reload began; `ready` ends it, whether or not it succeeded (Type=notify-reload)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The program ends, in order."""
        self._send("STOPPING=1\nSTATUS=Finishing open requests")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """For the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Says no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def descriptors(self) -> set[int]:
        """What a child must close."""
        return {self._socket.fileno()} if self._socket is not None else set()

    def _send(self, text: str) -> None:
        if self._socket is not None:
            # systemd that does not listen, or is restarted just now, is no reason to stop serving.
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), self._address)


def activated_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd opened for this process; takes the variables out of the environment."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)):
        try:
            sockets.append(socket.socket(fileno=descriptor))
        except OSError:  # not a socket: a FIFO or file unit
            continue
    return sockets


def _notify_address(text: str) -> str:
    """Abstract names are written with an @ for their leading zero byte; other kinds (vsock) are not ours."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog(microseconds: str, pid: str) -> float | None:
    if not microseconds.isdigit() or int(microseconds) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 2_000_000
