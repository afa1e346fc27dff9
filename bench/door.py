"""One visitor after the other at a running Edgeproxy: whether each worker answers, routes rightly or refuses. Blocking."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from bench.errors import BenchError, WrongAnswer
from bench.load.client import client_context, read_http1
from bench.many import accepted_by
from bench.origin import WORKSPACE_FIELD
from bench.traffic import Tenant

PATIENCE = 60.0
"""Seconds for anything that ought to happen at once."""

DOMAINS = "/api/v1/infrastructure/domains"
_CLIENTS = 8
_SPARE = 64
"""Connections that are opened at most until each worker has accepted one."""


@dataclasses.dataclass(frozen=True)
class Door:
    """Where a program listens, and what its certificates verify against."""

    port: int
    root_file: Path
    admin: Path

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Verifies certificates and names."""
        return client_context(self.root_file, "http/1.1")

    def dial(self) -> socket.socket:
        """A connection by TCP alone; waits until somebody listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise BenchError(f"Nobody listens on port {self.port}.") from None
                _pause(0.001)
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection

    def visit(self, tenant: Tenant, dialled: socket.socket | None = None) -> None:
        """A handshake and a request; raises WrongAnswer unless the origin was told this tenant's workspace."""
        with self.context.wrap_socket(dialled or self.dial(), server_hostname=tenant.hostname) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {tenant.hostname}\r\nConnection: close\r\n\r\n".encode())
            answer = read_http1(connection)
        if answer.fields.get(WORKSPACE_FIELD) != tenant.workspace:
            raise WrongAnswer(f"{tenant.hostname} was answered {answer.status}: {answer.fields} {answer.body[:200]!r}")

    def visit_all(self, visited: Iterable[Tenant]) -> None:
        """Several visitors at a time, until all have been served."""
        with ThreadPoolExecutor(_CLIENTS) as threads:
            for _ in threads.map(self.visit, visited):
                pass

    def handshakes(self, visited: Iterable[Tenant]) -> list[float]:
        """One after the other: seconds from the connection to the finished handshake of each.

        What the client has to do for itself is kept small: certificates are verified when all are timed. Raises WrongAnswer
        for one that is not of its name, or of another root.
        """
        seconds, presented = [], []
        for tenant in visited:
            began = time.monotonic()
            with self.dial() as connection:
                certificate = _shake_hands(connection, tenant.hostname)
                seconds.append(time.monotonic() - began)
            presented.append((tenant.hostname, certificate))
        roots = x509.load_pem_x509_certificates(self.root_file.read_bytes())
        for hostname, certificate in presented:
            verify(hostname, certificate, roots)
        return seconds

    def wait_published(self, patience: float = PATIENCE) -> None:
        """Waits until the published map has all that the store has."""
        deadline = time.monotonic() + patience
        while "edgeproxy_map_behind_changes 0.0" not in self._metrics():
            if time.monotonic() > deadline:
                raise BenchError("The published map does not reach the store.")
            _pause(0.2)

    def is_refused(self, hostname: str, dialled: socket.socket) -> bool:
        """Whether the handshake ends with the alert for names that are not served."""
        try:
            with self.context.wrap_socket(dialled, server_hostname=hostname):
                return False
        except ssl.SSLError as error:
            if "UNRECOGNIZED_NAME" not in str(error.reason):
                raise WrongAnswer(f"{hostname} was refused with {error.reason}.") from None
            return True

    @contextlib.contextmanager
    def one_each(self, workers: Sequence[int]) -> Iterator[dict[int, socket.socket]]:
        """A connection that is accepted already, nothing said yet, for each of the workers."""
        with contextlib.ExitStack() as stack:
            found: dict[int, socket.socket] = {}
            for _ in range(_SPARE):
                connection = stack.enter_context(self.dial())
                found.setdefault(_accepting(connection, workers), connection)
                if len(found) == len(workers):
                    yield found
                    return
            raise BenchError(f"Of {len(workers)} workers only {sorted(found)} accept connections.")

    def add(self, tenant: Tenant, workers: Sequence[int]) -> float:
        """Registers a tenant: seconds until each of the workers has answered a visitor."""
        with self.one_each(workers) as connections:
            began = time.monotonic()
            self.call("POST", DOMAINS, {"domain": tenant.hostname, "workspace_id": tenant.workspace}, 201)
            for connection in connections.values():
                self.visit(tenant, connection)
            return time.monotonic() - began

    def remove(self, hostname: str, workers: Sequence[int]) -> float:
        """Ends a registration: seconds until each of the workers has refused a visitor. Raises WrongAnswer if one does not."""
        with self.one_each(workers) as connections:
            began = time.monotonic()
            self.call("DELETE", f"{DOMAINS}/{hostname}", None, 200)
            for pid, connection in connections.items():
                if not self.is_refused(hostname, connection):
                    raise WrongAnswer(f"{hostname} was served by worker {pid} after its removal.")
            return time.monotonic() - began

    def call(self, method: str, path: str, body: object, expected: int) -> Any:
        """A request on the admin socket, which takes connections before anybody answers: the JSON of the answer."""
        with contextlib.closing(http.client.HTTPConnection("localhost", timeout=PATIENCE)) as connection:
            connection.sock = self._admin()
            connection.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        if response.status != expected:
            raise BenchError(f"{method} {path} was answered {response.status}: {text[:500]!r}")
        return json.loads(text)

    def _metrics(self) -> str:
        with contextlib.closing(http.client.HTTPConnection("localhost", timeout=PATIENCE)) as connection:
            connection.sock = self._admin()
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    def _admin(self) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
            try:
                connection.connect(str(self.admin))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() > deadline:
                    raise BenchError(f"Nobody listens at {self.admin}.") from None
                _pause(0.01)
            else:
                return connection


def verify(hostname: str, certificate: bytes, roots: Sequence[x509.Certificate]) -> None:
    """Raises WrongAnswer unless the certificate (DER) is good for the name under one of the roots."""
    verifier = PolicyBuilder().store(Store(list(roots))).build_server_verifier(x509.DNSName(hostname))
    try:
        verifier.verify(x509.load_der_x509_certificate(certificate), [])
    except VerificationError as error:
        raise WrongAnswer(f"{hostname} was served under a certificate that is not good for it: {error}.") from None


def _shake_hands(connection: socket.socket, hostname: str) -> bytes:
    """A handshake that believes everything; the certificate that was presented, DER."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _believing().wrap_bio(incoming, outgoing, server_hostname=hostname)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            came = connection.recv(65536)
            if not came:
                raise WrongAnswer(f"The handshake for {hostname} was broken off.") from None
            incoming.write(came)
        else:
            connection.sendall(outgoing.read())
            return tls.getpeercert(binary_form=True) or b""


@functools.cache
def _believing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def _accepting(connection: socket.socket, workers: Sequence[int]) -> int:
    """The worker that accepts a connection."""
    deadline = time.monotonic() + PATIENCE
    while (pid := accepted_by(connection, workers)) is None:
        if time.monotonic() > deadline:
            raise BenchError("No worker accepts a connection.")
        _pause(0.001)
    return pid


def _pause(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - never in a loop of asyncio
