"""README's commands, run as they stand there: against a demo, and against an edge with README's own configuration.

The word after `sh` says what a block is run beside: "demo", "serve", "start" (it starts that), or "make", which is not run
here (`make run` starts the same demo). Ports and folders are exchanged for free ones.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.config.load import load
from tests.integration.running import PATIENCE, wait_for
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"(?ms)^```(\w+) ?(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text())

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="README's commands use curl")


def blocks(kind):
    found = [text for _, given, text in BLOCKS if given == kind]
    assert found, f"README has no block marked {kind}"
    return found


def test_every_block_says_what_it_is_run_beside():
    assert {kind for language, kind, _ in BLOCKS if language == "sh"} <= {"make", "demo", "serve", "start"}
    assert {kind for language, kind, _ in BLOCKS if language != "sh"} <= {"config"}


class Shell:
    """Runs README's commands with places exchanged, and `edgeproxy` on the path."""

    def __init__(self, folder, places, environ):
        command = folder / "bin" / "edgeproxy"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgeproxy "$@"\n')
        command.chmod(0o755)
        self.folder = folder
        self.places = places
        path = f"{command.parent}:{os.environ['PATH']}"
        self.environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder), **environ}

    def exchanged(self, text):
        for place, other in self.places.items():
            text = text.replace(place, str(other))
        return text

    def start(self, text, log):
        return subprocess.Popen(
            ["bash", "-c", f"exec {self.exchanged(text)}"],
            env=self.environ,
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def run(self, text):
        command = ["bash", "-euo", "pipefail", "-c", self.exchanged(text)]
        done = subprocess.run(
            command, env=self.environ, cwd=self.folder, capture_output=True, text=True, timeout=5 * PATIENCE, check=False
        )
        assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def until(log, process, text):
    """Waits until a line is in the log."""

    def there():
        assert process.poll() is None, log.read_text()
        return text in log.read_text()

    try:
        wait_for(there, text)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from None


def end(process, signal_number):
    """Ends it as a person would; gives its exit status."""
    if process.poll() is None:
        process.send_signal(signal_number)
    try:
        return process.wait(PATIENCE)
    finally:
        process.kill()


@pytest.fixture
def demo(tmp_path):
    port, http_port = free_port(), free_port()
    shell = Shell(tmp_path, {".run/demo": tmp_path / "demo", ":8443": f":{port}"}, {})
    log = tmp_path / "demo.log"
    with log.open("w") as file:
        process = shell.start(f"edgeproxy demo --dir .run/demo --port {port} --http-port {http_port}", file)
    try:
        until(log, process, "Ctrl-C ends it.")
        [shell.environ["TOKEN"]] = re.findall(r"(?m)^ *TOKEN=(\S+)$", log.read_text())
        yield shell
        assert end(process, signal.SIGINT) == 0, log.read_text()
    finally:
        end(process, signal.SIGKILL)
    assert "Traceback" not in log.read_text()


def live(demo, ask):
    return '"status":"verified"' in demo.run(ask)


def test_the_demo_does_what_readme_says(demo):
    told = ""
    for text in blocks("demo"):
        told += demo.run(text)
        for ask in re.findall(r"(?m)^curl.*\\\n.*/verify/.*$", text):
            wait_for(functools.partial(live, demo, ask), "live")
    for workspace in ("spandantest", "acme-store", "any-workspace"):
        assert f'"workspace": "{workspace}"' in told
    assert "blog.localhost is removed." in told
    assert "domain.active  shop.customer.localhost" in told


@pytest.fixture
def serving(tmp_path):
    """An edge with README's configuration; only addresses, folders and the CA are others', by environment variables."""
    places = {"/etc/edgeproxy/": f"{tmp_path}/", "/run/edgeproxy/": f"{tmp_path}/"}
    port = free_port()
    environ = {
        "EDGEPROXY_LISTEN__HTTPS": f'["127.0.0.1:{port}"]',
        "EDGEPROXY_LISTEN__HTTP": f'["127.0.0.1:{free_port()}"]',
        "EDGEPROXY_STATE__DIRECTORY": str(tmp_path / "state"),
        "EDGEPROXY_ADMIN__SOCKET": str(tmp_path / "admin.sock"),
        "EDGEPROXY_ISSUANCE__DIRECTORY": "internal",
        "EDGEPROXY_WORKERS__COUNT": "2",
    }
    (tmp_path / "edgeproxy.toml").write_text(blocks("config")[0])
    shell = Shell(tmp_path, places, environ)
    log = tmp_path / "serve.log"
    with log.open("w") as file:
        process = shell.start(blocks("start")[0], file)
    try:
        until(log, process, " serves")
        yield shell
        assert end(process, signal.SIGTERM) == 0, log.read_text()
    finally:
        end(process, signal.SIGKILL)
    assert "Traceback" not in log.read_text()


def test_the_first_configuration_does_what_readme_says(serving):
    told = "".join(serving.run(text) for text in blocks("serve"))
    assert "edgeproxy.toml is right." in told
    assert "gallery.customer.example is verified for spandantest." in told
    assert '"domain":"shop.customer.example"' in told.replace('": ', '":')
    assert "gallery.customer.example has a certificate" in told


def test_the_first_configuration_is_right_as_it_stands(tmp_path):
    path = tmp_path / "edgeproxy.toml"
    path.write_text(blocks("config")[0])
    assert load(path, {}).issuance.directory.startswith("https://acme-v02.api.letsencrypt.org/")


def test_make_run_is_the_demo():
    makefile = (ROOT / "Makefile").read_text()
    assert "make run\n" in blocks("make")
    assert "edgeproxy demo --dir .run/demo --port $(PORT) --http-port $(HTTP_PORT)" in makefile
