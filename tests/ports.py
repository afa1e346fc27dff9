"""Ports for servers that tests start."""

from __future__ import annotations

import contextlib
import random
import socket

_choose = random.SystemRandom().randrange
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP and UDP port that nobody has just now, and that this process was not given before.

    From below the range from which the kernel takes ports for connections: one of those may be taken by anybody's
    connection between this call and the server's start.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = _choose(20_000, 32_000)
        if port in _given:
            continue
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind((host, port))
            udp.bind((host, port))
            _given.add(port)
            return port
