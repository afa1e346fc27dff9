"""The program, started as a user starts it, with a configuration of its own on free ports."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds that a test waits for something that ought to happen at once; only a broken program uses them up."""

T = TypeVar("T")
Tables = Mapping[str, Mapping[str, Any]]


def wait_for(what: Callable[[], T | None], why: str, within: float = PATIENCE) -> T:
    """Calls until it returns something true, and returns that; fails saying `why` when it never does."""
    deadline = time.monotonic() + within
    while not (value := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within:g} s still not: {why}")
        time.sleep(0.01)  # noqa: TID251
    return value


PYTHONPATH_FOR_EVERYBODY = f"{ROOT}:{sysconfig.get_paths()['purelib']}"


def python_for_everybody() -> str:
    """A Python that other users may read too, with PYTHONPATH_FOR_EVERYBODY; skips the test where there is none.

    For tests that are run as root and become others: the one that runs them may be below root's home directory.
    """
    code = "import os; open(os.__file__).close(); import edgeproxy.control.controller, edgeproxy.edge.worker"
    environ = {"PYTHONPATH": PYTHONPATH_FOR_EVERYBODY}
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [python, "-c", code],
                env=environ,
                cwd="/",
                user=65534,
                group=65534,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0:
                return python
    pytest.skip("there is no Python here that every user may read")


class Running:
    """One running edgeproxy: internal CA, two workers, everything under `folder` and on loopback.

    `with Running(tmp_path) as edge:` starts it, waits until it serves, and stops it; nothing of it is left afterwards, also
    when the test fails. `tables` are added to the configuration: `{"origin": {"url": …}}`; `environ` to the environment.
    """

    def __init__(
        self,
        folder: Path,
        tables: Tables | None = None,
        *,
        workers: int = 2,
        command: Iterable[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.host = "127.0.0.1"
        self.https_port = free_port()
        self.http_port = free_port()
        self.state = folder / "state"
        self.socket = folder / "admin.sock"
        self.config = folder / "edgeproxy.toml"
        self.log = folder / "edgeproxy.log"
        self.output = folder / "edgeproxy.out"
        self.command = [*(command or (sys.executable, "-m", "edgeproxy", "serve", "--config")), str(self.config)]
        paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH", "")) if path)
        self.environ = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "default", **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._log_from = 0
        self._pids: set[int] = set()
        self._tables: dict[str, dict[str, Any]] = {
            "listen": {
                "https": [f"{self.host}:{self.https_port}"],
                "http": [f"{self.host}:{self.http_port}"],
                "public_https_port": self.https_port,
            },
            "state": {"directory": str(self.state)},
            "admin": {"socket": str(self.socket)},
            "workers": {"count": workers},
            "issuance": {"directory": "internal"},
            "timeouts": {"drain": "5s"},
            "log": {"level": "debug", "format": "json"},
        }
        self.configure(tables or {})

    def configure(self, tables: Tables) -> None:
        """Writes the configuration with these values changed or added; a value None takes the key out."""
        for table, values in tables.items():
            section = self._tables.setdefault(table, {})
            section.update(values)
            for key in [key for key, value in section.items() if value is None]:
                del section[key]
        lines = []
        for table, values in self._tables.items():
            lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]
        self.config.write_text("\n".join(lines))

    def start(self, *, wait: bool = True) -> Self:
        """Starts it; with `wait` returns when everything serves. Fails with its log when it ends instead."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self._started = time.monotonic()
        with self.log.open("ab") as log, self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=self.environ, cwd=self.folder
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Waits until the program says that it serves."""

        def ready() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
            self.remember_pids()
            return self.logged(" serves") is not None

        wait_for(ready, f"ready; its log:\n{self.log.read_text()[-4000:] if self.log.exists() else ''}")

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        if self.process is None:
            raise AssertionError("it was not started")
        return self.process.pid

    def children(self) -> dict[int, str]:
        """Pids of controller and workers, with the kernel's name of each ("edgeproxy ctl", "edgeproxy w 0")."""
        found = {}
        with contextlib.suppress(OSError):
            for text in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    found[int(text)] = Path(f"/proc/{text}/comm").read_text().strip()
        self._pids |= set(found)
        return found

    def remember_pids(self) -> None:
        """Notes who runs now, so that nobody is left over when the supervisor is killed."""
        self.children()

    def log_lines(self, *, all_runs: bool = False) -> list[dict[str, Any]]:
        """The program's log since its last start; lines that are not JSON as {"message": line}."""
        if not self.log.exists():
            return []
        lines: list[dict[str, Any]] = []
        for line in self.log.read_bytes()[0 if all_runs else self._log_from :].decode(errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"message": line})
        return lines

    def logged(self, text: str) -> dict[str, Any] | None:
        """The first line whose message contains this."""
        return next((line for line in self.log_lines() if text in str(line.get("message", line.get("event", "")))), None)

    def wait_logged(self, text: str, within: float = PATIENCE) -> dict[str, Any]:
        """The same, once it is there."""
        return wait_for(lambda: self.logged(text), f"a log line with {text!r}", within)

    def api(self, method: str, path: str, body: object = None, timeout: float = PATIENCE) -> tuple[int, Any]:
        """A request to the admin socket: status, and the JSON body (or its text where it is none)."""
        try:
            return self._ask(method, path, body, timeout)
        except ConnectionError:
            if method not in ("GET", "PUT"):
                raise
            # After a reload the controller before may take a connection and end. What may be asked twice is asked again, as
            # any client of HTTP does (RFC 9110 section 9.2.2).
            return self._ask(method, path, body, timeout)

    def _ask(self, method: str, path: str, body: object, timeout: float) -> tuple[int, Any]:
        connection = _UnixConnection(str(self.socket), timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", "Accept": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def visitor(self, host: str) -> Visitor:
        """A visitor's TLS connection for this hostname, verified against the internal CA's root."""
        return Visitor(self, host)

    def get(self, host: str, path: str = "/") -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        with contextlib.closing(self.visitor(host)) as visitor:
            return visitor.get(path)

    def add_domain(self, host: str, workspace: str = "acme-store", **fields: object) -> None:
        """Registers a hostname over the admin socket; it is served at once. `fields` are more of the request's."""
        wanted = {"domain": host, "workspace_id": workspace, **fields}
        status, body = self.api("POST", "/api/v1/infrastructure/domains", wanted)
        if status != 201:
            raise AssertionError(f"{host} was not added: {status} {body}")
        if not body["published"]:  # stored, but the controller stood still for five seconds: workers follow
            wait_for(lambda: self.api("GET", "/api/v1/admin/status")[1]["map"]["behind"] == 0, "the map of the workers")

    @property
    def root(self) -> Path:
        """The internal CA's certificate. On a first start it is there soon after the first domain: this waits for it."""
        root = self.state / "internal-ca.pem"
        wait_for(root.exists, "the internal CA's root")
        return root

    def cli(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs `edgeproxy …` against this instance's admin socket."""
        return subprocess.run(
            [sys.executable, "-m", "edgeproxy", *arguments],
            env={**self.environ, "EDGEPROXY_SOCKET": str(self.socket)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,  # a reload may take as long as PATIENCE by itself
            check=check,
        )

    def kill(self, pid: int | None = None, number: int = signal.SIGKILL) -> None:
        """Sends a signal to one of its processes; to the supervisor when no pid is given."""
        self.remember_pids()
        os.kill(self.pid if pid is None else pid, number)

    def wait_ended(self, within: float = PATIENCE) -> int:
        """Waits for the supervisor's end: its exit status."""
        if self.process is None:
            raise AssertionError("it was not started")
        return self.process.wait(within)

    def stop(self) -> int | None:
        """SIGTERM, then, if that was not enough, SIGKILL to each of its processes. The exit status; None: never started."""
        if self.process is None:
            return None
        self.remember_pids()
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._kill_leftovers()

    def living(self) -> set[int]:
        """Of all processes that were ever seen to be children, those that still run."""
        return {pid for pid in self._pids if _is_ours(pid, self.config)}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _kill_leftovers(self) -> None:
        """Those whose supervisor was killed end by themselves; a test does not wait for slow ones."""
        deadline = time.monotonic() + 2
        while self.living() and time.monotonic() < deadline:
            time.sleep(0.02)  # noqa: TID251
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pids.clear()


class Visitor:
    """A keep-alive HTTP/1.1 connection over TLS."""

    def __init__(self, edge: Running, host: str) -> None:
        self.host = host
        self._port = edge.https_port
        context = ssl.create_default_context(cafile=edge.root)
        plain = socket.create_connection((edge.host, edge.https_port), timeout=PATIENCE)
        try:
            self.sock = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self._connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        self._connection.sock = self.sock
        self.last = False
        """Whether the edge said with its last answer that it ends the connection."""
        self._connection.auto_open = 0  # a connection that the edge closed is a fact, not to be hidden by another one

    @property
    def serial(self) -> str:
        """Serial number of the certificate that was presented."""
        certificate = self.sock.getpeercert()
        return str(certificate["serialNumber"]) if certificate else ""

    def send(self, path: str = "/") -> None:
        """Sends a request; its answer is read by `receive`."""
        self._connection.putrequest("GET", path, skip_host=True)
        self._connection.putheader("Host", f"{self.host}:{self._port}")
        self._connection.endheaders()

    def receive(self) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError or http.client.HTTPException when there is none."""
        response = self._connection.getresponse()
        self.last = response.will_close
        return response.status, response.read()

    def get(self, path: str = "/") -> tuple[int, bytes]:
        """Both."""
        self.send(path)
        return self.receive()

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()
        self.sock.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _is_ours(pid: int, config: Path) -> bool:
    """A pid may be another process's by now: its command line names our configuration, and it is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and str(config).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _toml(value: object) -> str:
    """JSON's strings, numbers, booleans and arrays of them are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
