"""The demo, whole, as `edgeproxy demo` starts it."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.running import PATIENCE, ROOT, wait_for
from tests.ports import free_port


class Demo:
    """A running demo in `folder`."""

    def __init__(self, folder, *arguments):
        self.port, self.http_port = free_port(), free_port()
        self.home = folder / "demo"
        self.log = folder / "demo.log"
        command = [sys.executable, "-m", "edgeproxy", "demo", "--port", str(self.port), "--http-port", str(self.http_port)]
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--dir", str(self.home), *arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_welcome(self):
        def there():
            assert self.process.poll() is None, self.log.read_text()
            return "Ctrl-C ends it." in self.log.read_text()

        wait_for(there, "the demo's welcome")

    def processes(self):
        """Every process of it, companions included."""
        found, left = set(), [self.process.pid]
        while left:
            pid = left.pop()
            found.add(pid)
            with contextlib.suppress(OSError):
                left += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def connect(self, host="gallery.localhost"):
        """A connection after its handshake."""
        context = ssl.create_default_context(cafile=str(self.home / "internal-ca.pem"))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        return context.wrap_socket(plain, server_hostname=host)

    def get(self, path, host="gallery.localhost"):
        """One request over TLS, verified against the demo's root: status and JSON body."""
        with self.connect(host) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}:{self.port}\r\nconnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(sock)
            response.begin()
            return response.status, json.loads(response.read())

    def end(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def demo(tmp_path):
    demo = Demo(tmp_path)
    try:
        demo.wait_welcome()
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGTERM)
            try:
                demo.process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in demo.processes():
                    os.kill(pid, signal.SIGKILL)
                demo.process.wait()
        assert "Traceback" not in demo.log.read_text()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_each_name_is_its_workspace(demo):
    for host, workspace in (
        ("gallery.localhost", "spandantest"),
        ("shop.localhost", "acme-store"),
        ("any-workspace.platform.localhost", "any-workspace"),
    ):
        status, told = demo.get("/a?b=c", host)
        assert (status, told["workspace"], told["host"], told["path"]) == (200, workspace, f"{host}:{demo.port}", "/a?b=c")


class Copied:
    """The lines of the welcome that a newcomer copies into a shell, in their order."""

    def __init__(self, demo):
        lines = demo.log.read_text().replace("\\\n", "").splitlines()
        starts = ("TOKEN=", "curl ")
        self.lines = [line.strip() for line in lines if line.strip().startswith(starts) or " events tail " in line]
        self.token = next(line for line in self.lines if line.startswith("TOKEN="))

    def with_(self, *parts):
        """The one line that has them."""
        [line] = [line for line in self.lines if all(part in line for part in parts)]
        return line

    def run(self, line):
        """What it prints, in a shell that has run the one with the token."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{self.token}\n{line}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the demo's lines use curl")
def test_a_customers_domain_goes_live_by_the_lines_that_are_printed(demo):
    copied = Copied(demo)
    told = json.loads(copied.run(copied.with_("/register", "customer.localhost")))
    assert told["status"] == "pending_validation"
    [required] = [record for record in told["dns_records"] if record["required"]]
    assert (required["type"], required["host_field"], required["value"]) == ("CNAME", "shop", "domain.platform.localhost")

    ask = copied.with_("/verify/shop.customer.localhost")
    told = wait_for(lambda: (told := json.loads(copied.run(ask)))["status"] == "verified" and told, "live")
    assert (told["state"], told["message"]) == ("active", "Domain verified and mapped successfully")
    assert json.loads(copied.run(copied.with_("https://shop.customer.localhost:")))["workspace"] == "spandantest"

    assert json.loads(copied.run(copied.with_("/register", "pending.localhost")))["status"] == "pending_validation"
    told = json.loads(copied.run(copied.with_("/verify/shop.pending.localhost")))
    assert (told["status"], told["state"]) == ("pending_validation", "pending_validation")
    [required] = [record for record in told["dns_records"] if record["required"]]
    assert required["reason"].startswith("shop.pending.localhost has no record yet.")

    happened = [line.split()[1:3] for line in copied.run(copied.with_(" events tail ")).splitlines()]
    for event in ("registered", "verified", "active"):
        assert [f"domain.{event}", "shop.customer.localhost"] in happened
    assert ["domain.registered", "shop.pending.localhost"] in happened
    assert ["domain.verified", "shop.pending.localhost"] not in happened

    token = copied.token.removeprefix("TOKEN=")
    logged = "".join(line for line in demo.log.read_text().splitlines() if line.startswith("{"))
    files = [path for path in demo.home.rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert token not in logged
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def test_http_is_redirected_to_https(demo):
    connection = http.client.HTTPConnection("127.0.0.1", demo.http_port, timeout=PATIENCE)
    connection.request("GET", "/x?y", headers={"host": f"gallery.localhost:{demo.http_port}"})
    response = connection.getresponse()
    assert (response.status, response.getheader("location")) == (308, f"https://gallery.localhost:{demo.port}/x?y")
    connection.close()


def test_an_interrupt_ends_all_of_it(demo):
    pids = demo.processes()
    assert len(pids) >= 5
    before = demo.log.stat().st_size
    assert demo.end() == 0
    wait_for(lambda: gone(pids), "every process ended")
    lines = [json.loads(line) for line in demo.log.read_bytes()[before:].splitlines()]
    assert [line["message"] for line in lines] == ["SIGINT came: open requests may end first", "stopped"]


def test_what_matters_in_earnest_only_is_no_warning_of_a_demo(demo):
    lines = [json.loads(line) for line in demo.log.read_text().splitlines() if line.startswith("{")]
    assert lines
    assert {line["level"] for line in lines} == {"info"}


def test_a_demo_in_the_same_folder_keeps_its_root(demo, tmp_path):
    root = (demo.home / "internal-ca.pem").read_bytes()
    assert demo.end() == 0
    again = Demo(tmp_path)
    try:
        again.wait_welcome()
        assert (again.home / "internal-ca.pem").read_bytes() == root
        assert again.get("/")[1]["workspace"] == "spandantest"
    finally:
        again.end()


def test_companions_do_not_outlive_a_demo_that_was_killed(demo):
    pids = demo.processes()
    demo.process.kill()
    demo.process.wait()
    wait_for(lambda: gone(pids), "every process ended")


def refused(*arguments):
    """Runs a demo that does not start: what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeproxy", "demo", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_demo_whose_port_is_taken_names_the_option_for_another(demo):
    said = refused("--port", demo.port, "--http-port", free_port())
    assert f"Port {demo.port} on 127.0.0.1 is in use by process {demo.process.pid} (edgeproxy)." in said
    assert "edgeproxy demo --port " in said
    assert "make run PORT=" in said
    assert "listen." not in said
    said = refused("--port", free_port(), "--http-port", demo.http_port)
    assert "edgeproxy demo --http-port " in said
    assert "make run HTTP_PORT=" in said


def test_a_second_demo_in_the_same_folder_says_so(demo):
    before = (demo.home / "edgeproxy.toml").read_text()
    said = refused("--port", free_port(), "--http-port", free_port(), "--dir", demo.home)
    assert (demo.home / "edgeproxy.toml").read_text() == before
    assert f"A demo runs in {demo.home} already: process {demo.process.pid}." in said
    assert "--dir DIR" in said


def test_sigterm_to_every_process_at_once_lets_open_requests_end(demo):
    with demo.connect() as sock:
        head = "host: gallery.localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
        sock.sendall(f"POST / HTTP/1.1\r\n{head}".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")  # so it has begun
        edge = [pid for pid in demo.processes() if b"edgeproxy\0demo" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(edge) >= 3
        for pid in edge:
            with contextlib.suppress(ProcessLookupError):  # ended already, since another was told to
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not accepts(demo.port), "new connections refused")
        sock.sendall(b"hello")
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["workspace"] == "spandantest"
    assert demo.process.wait(PATIENCE) == 0
