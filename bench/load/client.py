"""A small blocking client over TLS 1.3 that checks what it is given. The load generators count; this one looks."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from bench.errors import WrongAnswer
from bench.origin import PATH_FIELD, SIZES, WORKSPACE_FIELD
from bench.traffic import SMALL_BODY, Tenant

TIMEOUT = 10.0
CIPHER = "TLS_AES_128_GCM_SHA256"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came, its field names in lower case."""

    status: int
    fields: Mapping[str, str]
    body: bytes


def client_context(root_file: Path, protocol: str) -> ssl.SSLContext:
    """A context that verifies certificates and names below the given root and offers only `protocol` by ALPN."""
    context = ssl.create_default_context(cafile=str(root_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([protocol])
    return context


def connect(
    port: int,
    tenant: Tenant,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    timeout: float = TIMEOUT,
) -> ssl.SSLSocket:
    """A connection after its handshake, certificate and name verified; raises WrongAnswer for another cipher."""
    plain = socket.create_connection(("127.0.0.1", port), timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, server_hostname=tenant.hostname, session=session)
    cipher = connection.cipher()
    if cipher is None or cipher[0] != CIPHER:
        raise WrongAnswer(f"{tenant.hostname} negotiated {cipher}, not {CIPHER}.")
    return connection


def read_http1(connection: ssl.SSLSocket) -> Answer:
    """One HTTP/1.1 response with Content-Length, which is what the origin sends; raises WrongAnswer otherwise."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(65536)
        if not piece:
            raise WrongAnswer(f"The connection ended within a response's head, after {data[:200]!r}.")
        data += piece
    lines = data[:end].decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if not fields.get("content-length", "").isdecimal():
        raise WrongAnswer(f"A response came without Content-Length: {lines}")
    length = int(fields["content-length"])
    pieces = [data[end + 4 :]]
    missing = length - len(pieces[0])
    while missing > 0:
        piece = connection.recv(262_144)
        if not piece:
            raise WrongAnswer(f"The connection ended {missing} bytes before the end of a response's body.")
        pieces.append(piece)
        missing -= len(piece)
    return Answer(int(lines[0].split(" ")[1]), fields, b"".join(pieces))


def expected_body(tenant: Tenant, path: str) -> bytes:
    """What the origin sends for this request."""
    for root, size in SIZES.items():
        if path.startswith(root):
            return (b"0123456789abcdef" * (size // 16))[:size]
    return f"{tenant.workspace} ".encode().ljust(SMALL_BODY, b".")


def check(answer: Answer, tenant: Tenant, path: str) -> None:
    """Raises WrongAnswer unless this is the whole answer to this request of this tenant."""
    if answer.status != 200:
        raise WrongAnswer(f"{tenant.hostname}{path} was answered {answer.status}: {answer.body[:200]!r}")
    if answer.fields.get(WORKSPACE_FIELD) != tenant.workspace:
        raise WrongAnswer(f"{tenant.hostname}{path} was routed to workspace {answer.fields.get(WORKSPACE_FIELD)!r}.")
    if answer.fields.get(PATH_FIELD) != path:
        raise WrongAnswer(f"{tenant.hostname}{path} was given the answer to {answer.fields.get(PATH_FIELD)!r}.")
    if answer.body != expected_body(tenant, path):
        raise WrongAnswer(f"{tenant.hostname}{path} was answered with a wrong body of {len(answer.body)} bytes.")
