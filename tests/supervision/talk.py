"""Talking to the stand-ins."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.running import PATIENCE, Running, wait_for

COMMAND = (sys.executable, "-m", "tests.supervision.standin")


class Talk:
    """A connection to a stand-in: a line goes, a JSON object comes."""

    def __init__(self, address: tuple[str, int] | Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(str(address) if isinstance(address, Path) else address)
        except OSError:
            self.sock.close()
            raise
        self._file = self.sock.makefile("rb")

    def send(self, line: str) -> None:
        self.sock.sendall(line.encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise ConnectionResetError("no answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        self.send(line)
        return self.receive()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


def ask(edge: Running, line: str, port: int | None = None) -> dict[str, Any]:
    """One question to some worker."""
    with contextlib.closing(Talk((edge.host, port or edge.https_port))) as one:
        return one.ask(line)


def ask_controller(edge: Running, line: str) -> dict[str, Any]:
    """One question to the controller. The stand-in that is just ending may take it and not answer: then to the next one."""
    while True:
        with contextlib.closing(Talk(edge.socket)) as one, contextlib.suppress(ConnectionError):
            return one.ask(line)


def only_new_workers(edge: Running, generation: int) -> None:
    """Waits until no worker of an older generation accepts any more; it may until it has read that it shall drain."""

    def all_new() -> bool:
        return all(ask(edge, "who")["generation"] == generation for _ in range(20))

    wait_for(all_new, "only new workers")


def with_each_worker(edge: Running, talk: Callable[..., Talk], count: int = 2) -> dict[int, Talk]:
    """An open conversation with every worker, by pid."""
    found: dict[int, Talk] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, "not every worker accepts"
        one = talk()
        if found.setdefault(one.ask("who")["pid"], one) is not one:
            one.close()
    return found


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        Talk(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def refusal(edge: Running) -> dict[str, Any]:
    """Starts it and returns why it did not."""
    edge.start(wait=False)
    assert edge.wait_ended() == 1
    return next(line for line in edge.log_lines() if line["message"] == "refused")


def status(edge: Running) -> dict[str, Any]:
    data: dict[str, Any] = ask_controller(edge, "status")["data"]
    return data


def links(edge: Running) -> list[tuple[int, int]]:
    """Workers that greeted the controller there is now."""
    try:
        return [tuple(each) for each in ask_controller(edge, "greetings")["greetings"]]
    except OSError:
        return []
