"""`edgeproxy demo`: its configuration, its sample origin, the edge itself, and an orderly end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeproxy.config.document import literal
from edgeproxy.config.load import load
from edgeproxy.config.rules.paths import SOCKET_PATH
from edgeproxy.errors import EdgeError, Fault
from edgeproxy.supervision.listeners import PortRefused
from edgeproxy.supervision.state import DirectoryLocked, StateLock

DOMAINS = {"gallery.localhost": "spandantest", "shop.localhost": "acme-store"}
"""The demo's domains and their workspaces."""

PLATFORM = "platform.localhost"
"""Under it every label is a workspace: spandantest.platform.localhost."""

TARGET = f"domain.{PLATFORM}"
"""What customers point their names at."""

API = "api.localhost"
"""Where the API is served to whoever has a token."""

_END_SECONDS = 5.0


def run(*, port: int, http_port: int, directory: Path | None) -> int:
    """Runs the demo until Ctrl-C; gives the exit status. Its state is in `directory`, or in a temporary one that goes with it.

    Raises EdgeError when it cannot start.
    """
    starter = os.getpid()
    with contextlib.ExitStack() as stack:
        try:
            home = _home(directory, stack)
            with _in_the_demos_terms(home, port, http_port):
                # Before anything of a demo that runs there is touched: its configuration, and its domains by our welcome.
                StateLock(home).close()
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
            names = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            names.bind(("127.0.0.1", 0))
            config_path = home / "edgeproxy.toml"
            ports = listener.getsockname()[1], names.getsockname()[1]
            config_path.write_text(configuration(home, port, http_port, *ports, _sockets(home, stack)))
        except OSError as error:
            raise EdgeError(
                f"The demo cannot write its state: {error.strerror}: {error.filename}. Name another folder with --dir.",
                code="demo_state",
                fault=Fault.OPERATOR,
            ) from None
        config = load(config_path, os.environ)
        stack.enter_context(_companion("edgeproxy.demo.origin", str(listener.fileno()), takes=listener))
        told = (PLATFORM, TARGET, *_loopback())
        stack.enter_context(_companion("edgeproxy.demo.names", str(names.fileno()), *told, takes=names))
        stack.enter_context(_companion("edgeproxy.demo.welcome", str(home), config.admin.socket, str(port)))
        listener.close()
        names.close()
        from edgeproxy import supervisor

        try:
            with _in_the_demos_terms(home, port, http_port):
                return supervisor.run(config, config_path, trial=True)
        finally:
            if os.getpid() != starter:
                # A forked child of the supervisor that unwinds must not clean up what its parent still uses.
                stack.pop_all()


def configuration(home: Path, port: int, http_port: int, origin_port: int, dns_port: int, sockets: Path) -> str:
    """The demo's configuration file. A real one looks much like it, with an ACME directory and public addresses."""
    hosts = [f"[{address}]" if ":" in address else address for address in _loopback()]
    return f"""\
# The demo's configuration, written anew at each start.

[listen]
https = {literal([f"{host}:{port}" for host in hosts])}
http = {literal([f"{host}:{http_port}" for host in hosts])}
public_https_port = {port}

[state]
directory = {literal(str(home))}

[workers]
count = {min(2, len(os.sched_getaffinity(0)))}

[admin]
socket = {literal(str(sockets / "admin.sock"))}

[api]
hostname = "{API}"

[platform]
name = "{PLATFORM}"
cname_target = "{TARGET}"

[origin]
url = "http://127.0.0.1:{origin_port}"

[issuance]
directory = "internal"

# The demo's own DNS, in which all names under .localhost lead here, but those under .pending.localhost.
[dns]
resolvers = ["127.0.0.1:{dns_port}"]

# Only for a try on one machine: names under .localhost are nobody's.
[verification]
localhost = true

# Receivers of webhooks may run on this machine too.
[webhooks]
allow = ["127.0.0.0/8", "::1/128"]

[timeouts]
drain = "5s"
"""


@contextlib.contextmanager
def _in_the_demos_terms(home: Path, port: int, http_port: int) -> Iterator[None]:
    """Gives other advice where a start is refused: the configuration is the demo's own, so its keys would be none."""
    try:
        yield
    except PortRefused as error:
        option, variable, used = ("--http-port", "HTTP_PORT", http_port) if error.role == "http" else ("--port", "PORT", port)
        other = used + 1000 if used + 1000 < 65536 else used - 1000
        cure = f"Take another one: edgeproxy demo {option} {other}, or make run {variable}={other}."
        raise EdgeError(f"{error.what} {cure}", code=error.code, fault=error.fault) from None
    except DirectoryLocked as error:
        raise EdgeError(
            f"A demo runs in {home} already: {error.who}. End it with Ctrl-C in its terminal, or keep this one's state in "
            "another folder: edgeproxy demo --dir DIR, with --port and --http-port of its own.",
            code=error.code,
            fault=error.fault,
        ) from None


def _home(directory: Path | None, stack: contextlib.ExitStack) -> Path:
    """The folder for everything: the given one, made if need be, or a temporary one that goes when the demo ends."""
    if directory is None:
        home = Path(tempfile.mkdtemp(prefix="edgeproxy-demo-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        return home
    home = directory.absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def _sockets(home: Path, stack: contextlib.ExitStack) -> Path:
    """Where the Unix sockets are: the folder itself, or a temporary one where its path is too long for a socket's."""
    if len(os.fsencode(home / "admin.sock")) <= SOCKET_PATH:
        return home
    short = Path(tempfile.mkdtemp(prefix="edgeproxy-demo-"))
    stack.callback(shutil.rmtree, short, ignore_errors=True)
    return short


def _loopback() -> list[str]:
    """This machine's own addresses, ::1 where it is there: browsers try it first for *.localhost."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


@contextlib.contextmanager
def _companion(module: str, *arguments: str, takes: socket.socket | None = None) -> Iterator[None]:
    """A process beside the edge, which `takes` a socket. It ends when its standard input does, so however this one ends it is
    not orphaned.

    It is in a process group of its own: Ctrl-C goes to the edge, which drains while the origin still answers.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        pass_fds=() if takes is None else (takes.fileno(),),
        process_group=0,
    )
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
