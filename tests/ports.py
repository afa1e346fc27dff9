"""Ports for servers that tests start."""

from __future__ import annotations

import contextlib
import os
import random
import socket

_choose = random.SystemRandom().randrange
_given: set[int] = set()

_LOWEST, _BEYOND = 12_000, 32_000
"""Below the range from which the kernel takes ports for connections: one of those may be taken by anybody's connection between
the choice of a port and the server's start."""


def _place() -> tuple[int, int]:
    """Which of the processes that run tests beside each other this one is, and how many there are (pytest-xdist's words)."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    count = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    return (int(number), int(count)) if number.isdecimal() and count.isdecimal() and int(number) < int(count) else (0, 1)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP and UDP port that nobody has just now, and that neither this process was given before nor another one of those that
    run tests beside it is given: of a thousand choices in four processes some would meet between a choice and its use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place, places = _place()
    while True:
        port = _choose(_LOWEST + place, _BEYOND, places)
        if port in _given:
            continue
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind((host, port))
            udp.bind((host, port))
            _given.add(port)
            return port
