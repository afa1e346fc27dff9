"""Visitors of a running edge: curl, and a TLS client that keeps sessions."""

from __future__ import annotations

import dataclasses
import http.client
import itertools
import json
import re
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.running import PATIENCE, Running, wait_for

HTTP1, HTTP2 = "--http1.1", "--http2"
PROTOCOLS = [HTTP1, HTTP2]


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """One transfer of curl."""

    status: int
    heads: list[tuple[str, dict[str, list[str]]]]
    """Each head that came, interim ones and those of redirects too: status line, fields by lower-case name. Trailers are
    among the fields of the last."""
    body: bytes
    info: dict[str, Any]
    """curl's own words: num_connects, http_version, url_effective, …"""

    def field(self, name: str) -> str:
        """The only value of a field of the answer; "" where there is none."""
        values = self.heads[-1][1].get(name, [])
        if len(values) > 1:
            raise AssertionError(f"{name} came {len(values)} times")
        return values[0] if values else ""

    @property
    def seen(self) -> dict[str, str]:
        """What nginx was asked (`/seen`)."""
        return seen(self.body)


def seen(body: bytes) -> dict[str, str]:
    """Lines of "name: value"."""
    return dict(line.split(": ", 1) for line in body.decode().splitlines())


def url(edge: Running, hostname: str, path: str = "/") -> str:
    """Of a path over TLS."""
    return f"https://{hostname}:{edge.https_port}{path}"


def curl_fails(edge: Running, *arguments: str) -> tuple[int, str]:
    """A transfer that comes to nothing: curl's exit status and what it says."""
    done = _run([*_common(edge), "--output", "/dev/null", *arguments])
    if done.returncode == 0:
        raise AssertionError("curl got an answer")
    return done.returncode, done.stderr


def curl_begun(edge: Running, *arguments: str) -> subprocess.Popen[bytes]:
    """A transfer that goes on; the caller ends it, and waits for its end."""
    return subprocess.Popen(["curl", "-q", *_common(edge), *arguments], stdin=subprocess.DEVNULL)


def curl(edge: Running, *arguments: str, stdin: bytes = b"") -> Reply:
    """One transfer. Whatever host is asked for is looked for on the edge's address, at the port of the URL."""
    return curl_all(edge, *arguments, stdin=stdin)[0]


def curl_answered(edge: Running, *arguments: str, stdin: bytes = b"") -> Reply:
    """One transfer of a body that the edge answers before it has come. It reads on for a second or two: a curl that was not
    through by then, on a slow machine, was reset, and may have thrown the answer away; it tries again."""

    def once() -> Reply | None:
        try:
            return curl(edge, *arguments, stdin=stdin)
        except AssertionError as error:
            if re.search(r": (55|56|92) ", str(error)) is None:
                raise
            return None

    return wait_for(once, "an answer")


def curl_all(edge: Running, *arguments: str, stdin: bytes = b"") -> list[Reply]:
    """One curl, with a transfer for each URL among the arguments. Groups of them are kept apart by "--next"."""
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        command: list[str] = []
        for group in _groups(arguments):
            command += ["--dump-header", f"{folder}/heads{number}", "--write-out", "%{stdout}%{json}\n", *_common(edge)]
            for argument in group:
                command.append(argument)
                if "://" in argument:
                    command += ["--output", f"{folder}/{number}"]
                    number += 1
            command.append("--next")
        done = _run(command[:-1], stdin)
        if done.returncode:
            raise AssertionError(f"curl {' '.join(arguments)}: {done.returncode} {done.stderr}")
        dumps = sorted(Path(folder).glob("heads*"), key=lambda file: int(file.name[5:]))
        heads = itertools.chain.from_iterable(_heads(dump.read_bytes()) for dump in dumps)
        replies = []
        for place, line in enumerate(done.stdout.splitlines()):
            info = json.loads(line)
            file = Path(folder, str(place))
            mine = _take(heads, 1 + info["num_redirects"])
            replies.append(Reply(info["http_code"], mine, file.read_bytes() if file.exists() else b"", info))
        return replies


def _groups(arguments: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    for argument in arguments:
        if argument == "--next":
            yield group
            group = []
        else:
            group.append(argument)
    yield group


def _common(edge: Running) -> list[str]:
    """What every transfer needs: curl forgets it at each "--next"."""
    trust = ["--cacert", str(edge.state / "internal-ca.pem")]
    return ["-sS", "--max-time", str(int(PATIENCE)), "--connect-to", f"::{edge.host}:", "--noproxy", "*", *trust]


def _run(command: Iterable[str], stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["curl", "-q", *command], input=stdin, capture_output=True, timeout=PATIENCE + 5, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def _heads(dump: bytes) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Status lines with their fields. Fields without a status line before them are trailers of the head before."""
    current: tuple[str, dict[str, list[str]]] | None = None
    for line in dump.decode("latin-1").splitlines():
        if line.startswith("HTTP/"):
            if current is not None:
                yield current
            current = line, {}
        elif line and current is not None:
            name, _, value = line.partition(":")
            current[1].setdefault(name.lower(), []).append(value.strip())
    if current is not None:
        yield current


def _take(heads: Iterator[tuple[str, dict[str, list[str]]]], finals: int) -> list[tuple[str, dict[str, list[str]]]]:
    """The heads of the next transfer: up to so many that are final."""
    taken = []
    while finals:
        head = next(heads)
        taken.append(head)
        if not head[0].split()[1].startswith("1"):
            finals -= 1
    return taken


def h2load(edge: Running, hostname: str, *options: str, path: str = "/seen") -> int:
    """Runs h2load: how many requests were answered, all of which must have been with 2xx."""
    command = ["h2load", "--connect-to", f"{edge.host}:{edge.https_port}", *options, url(edge, hostname, path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout.partition("requests: ")[2])}
    if done.returncode or counts["succeeded"] != counts["total"] or counts["2xx"] != counts["total"]:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return counts["total"]


def log_lines(edge: Running) -> list[dict[str, Any]]:
    """The access log so far. A line that is being written is left out."""
    return [json.loads(line) for line in edge.output.read_text().split("\n")[:-1]]


def logged(edge: Running, key: str, value: object) -> dict[str, Any]:
    """The access log's line with this value, once it is there."""
    return wait_for(
        lambda: next((line for line in log_lines(edge) if line[key] == value), None),
        f"a line of the access log with {key} {value}",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """One handshake and one request of `TlsClient`."""

    status: int
    body: bytes
    reused: bool
    version: str
    session: ssl.SSLSession


class TlsClient:
    """A TLS client in this process, which trusts the edge's root, speaks HTTP/1.1 and can offer a session again."""

    def __init__(self, edge: Running, version: ssl.TLSVersion | None = None) -> None:
        self.edge = edge
        self.context = ssl.create_default_context(cafile=edge.root)
        if version is not None:
            self.context.minimum_version = self.context.maximum_version = version

    def connect(self, hostname: str, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        """A connection after its handshake."""
        plain = socket.create_connection((self.edge.host, self.edge.https_port), timeout=PATIENCE)
        return self.context.wrap_socket(plain, server_hostname=hostname, session=session)

    def visit(self, hostname: str, path: str = "/seen", session: ssl.SSLSession | None = None) -> Visit:
        """A handshake, one request, the end."""
        with self.connect(hostname, session) as sock:
            request = f"GET {path} HTTP/1.1\r\nhost: {hostname}:{self.edge.https_port}\r\nconnection: close\r\n\r\n"
            sock.sendall(request.encode())
            response = http.client.HTTPResponse(sock)
            response.begin()
            body = response.read()
            if sock.session is None:
                raise AssertionError("there is no session")
            return Visit(response.status, body, bool(sock.session_reused), sock.version() or "", sock.session)
