"""The API and its description, which agree: schemathesis finds no fault in them. `make fuzz` has it look for long."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.integration.asked import SCOPES, Asked, asked
from tests.integration.running import ROOT

THOROUGH = settings.get_current_profile_name() == "fuzz"

PATIENT = ("--suppress-health-check", "all", "--request-timeout", "600", "--request-retries", "3")
"""A slow machine is no fault of the API's."""

BOUNDED = (*PATIENT, "--generation-deterministic", "--no-shrink")
FOR_LONG = (*PATIENT, "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "300")


FEWER = """
[phases.coverage]
unexpected-methods = ["TRACE"]
"""
"""More of schemathesis.toml: one method that is not taken, of all."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory) -> Iterator[Asked]:
    with asked(tmp_path_factory.mktemp("schemathesis")) as edge:
        yield edge


@contextlib.contextmanager
def bridged(path: Path) -> Iterator[int]:
    """A TCP port that leads to a Unix socket: schemathesis knows no other."""
    ends: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                # The rest of an answer must not wait until its beginning is acknowledged: 40 ms each time.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = socket.socket(socket.AF_UNIX)
                ends.extend((client, server))
                server.connect(str(path))
                for pair in ((client, server), (server, client)):
                    threads.append(threading.Thread(target=pump, args=pair))
                    threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            threads[0].join()
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for end in ends:
                end.close()


def tried(edge: Asked, path: Path, folder: Path, scope: str | None, *arguments: str) -> None:
    """Lets schemathesis try all that is described under a socket. Fails with its report."""
    edge.make_tokens()
    document = folder / "openapi.json"
    document.write_text(json.dumps(edge.described(path)))
    fields = () if scope is None else ("-H", f"Authorization: Bearer {edge.tokens.get(scope, 'edgeproxy_0_0')}")
    config = folder / "schemathesis.toml"
    config.write_text((ROOT / "schemathesis.toml").read_text() + edge.hints() + ("" if THOROUGH else FEWER))
    with bridged(path) as port:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(document)),
                *("--url", f"http://127.0.0.1:{port}", "--checks", "all", "--no-color", *fields, *arguments),
            ],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert " generated, " in done.stdout


def test_it_finds_no_fault_in_the_whole_api(edge, tmp_path):
    tried(edge, edge.socket, tmp_path, None, *(FOR_LONG if THOROUGH else (*BOUNDED, "--phases", "examples,coverage")))


@pytest.mark.parametrize("scope", [*SCOPES, "nobody"] if THOROUGH else ["platform"])
def test_it_finds_no_fault_in_what_tokens_are_let_into(edge, tmp_path, scope):
    few = (*BOUNDED, "--phases", "fuzzing", "--max-examples", "1")
    tried(edge, edge.api_socket, tmp_path, scope, *(FOR_LONG if THOROUGH else few))
