"""Visitors who ask once and stay. Run as a process: `python -m bench.load.idle`.

Each comes from an address of its own, over HTTP/1.1 or HTTP/2, has one request of a browser's answered, and then says nothing
until the process is told to end (SIGTERM). That all are still there then is part of the report.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence

import h2.config
import h2.connection
import hpack

from bench.errors import WrongAnswer
from bench.load.base import LoadReport
from bench.load.sink import ANSWER
from bench.load.slow import THERE, TIMEOUT, address_of, careless_context
from bench.load.verifier import HTTP1, HTTP2
from bench.traffic import Tenant, browser_fields, kind_of, request_tail, visitor_of

_BIND_WITHOUT_PORT = 24
_HEADERS, _DATA, _END_STREAM, _PADDED_OR_PRIORITY = 1, 0, 1, 0x28
_SETTINGS_ACK = b"\0\0\0\4\1\0\0\0\0"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What one such process is to do."""

    port: int
    protocol: str
    """HTTP1 or HTTP2."""
    first: int
    """The number of its first visitor; those of other processes have others."""
    count: int
    hostnames: str
    """Whom they visit in turn, with commas between them."""

    def command(self) -> Sequence[str]:
        """The process."""
        values = [f"--{field}={value}" for field, value in dataclasses.asdict(self).items()]
        return [sys.executable, "-m", "bench.load.idle", *values]


class Visitors:
    """Those of one process."""

    def __init__(self, idle: Idle) -> None:
        self._idle = idle
        self._context = careless_context()
        self._context.set_alpn_protocols([idle.protocol])
        self._tenants = [Tenant(hostname, "") for hostname in idle.hostnames.split(",")]
        self.there: list[ssl.SSLSocket] = []

    def come(self) -> None:
        """One after the other. Raises WrongAnswer or OSError where one is not answered as it must be."""
        for number in range(self._idle.first, self._idle.first + self._idle.count):
            tenant = self._tenants[number % len(self._tenants)]
            client = self._connected(number, tenant)
            self.there.append(client)
            if self._idle.protocol == HTTP2:
                client.sendall(http2_request(tenant, number))
                check_http2(client)
            else:
                client.sendall(f"GET / HTTP/1.1\r\n{request_tail(tenant, visitor_of(number), kind_of(number))}".encode())
                check_http1(client)

    def _connected(self, number: int, tenant: Tenant) -> ssl.SSLSocket:
        plain = socket.socket()
        try:
            plain.settimeout(TIMEOUT)
            plain.setsockopt(socket.IPPROTO_IP, _BIND_WITHOUT_PORT, 1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.bind((address_of(number), 0))
            plain.connect(("127.0.0.1", self._idle.port))
            client = self._context.wrap_socket(plain, server_hostname=tenant.hostname)
        except BaseException:
            plain.close()
            raise
        if client.selected_alpn_protocol() != self._idle.protocol:
            client.close()
            raise WrongAnswer(f"{tenant.hostname} does not take {self._idle.protocol}.")
        return client

    def leave(self) -> LoadReport:
        """How many were there to the end; those that the server had ended are among the failures."""
        ended = 0
        for client in self.there:
            client.setblocking(False)
            ended += is_ended(client)
            client.close()
        return LoadReport(succeeded=len(self.there) - ended, failures={"ended": ended} if ended else {})


def is_ended(client: ssl.SSLSocket) -> bool:
    """Whether the other side of a connection that does not block has closed it; what it has sent is thrown away."""
    try:
        while client.recv(65536):
            pass
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    except OSError:  # ssl.SSLError too
        return True
    return True


def http2_request(tenant: Tenant, number: int) -> bytes:
    """All that a visitor says who asks once."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
    connection.initiate_connection()
    pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", tenant.hostname), (":path", "/")]
    connection.send_headers(1, [*pseudo, *browser_fields(tenant, visitor_of(number), kind_of(number))], end_stream=True)
    return connection.data_to_send()


def check_http1(client: ssl.SSLSocket) -> None:
    """Raises WrongAnswer unless the origin's answer comes, whole."""
    answer = b""
    while not answer.endswith(ANSWER):
        piece = client.recv(65536)
        answer += piece
        if not piece or not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]):
            raise WrongAnswer(f"A visitor was answered {answer[:200]!r}.")


def check_http2(client: ssl.SSLSocket) -> None:
    """The same over HTTP/2, of the first stream; agrees to the server's settings."""
    data, body, status = b"", b"", b""
    while True:
        piece = client.recv(65536)
        if not piece:
            raise WrongAnswer("A visitor's HTTP/2 connection was closed before the answer's end.")
        data += piece
        while len(data) >= 9 and len(data) >= 9 + (size := int.from_bytes(data[:3], "big")):
            kind, flags, payload = data[3], data[4], data[9 : 9 + size]
            stream = int.from_bytes(data[5:9], "big") & 0x7FFFFFFF
            data = data[9 + size :]
            if stream != 1:
                continue
            if kind not in (_HEADERS, _DATA) or flags & _PADDED_OR_PRIORITY:
                raise WrongAnswer(f"A visitor got an HTTP/2 frame of kind {kind} with flags {flags:#x}.")
            if kind == _DATA:
                body += payload
            else:
                status = dict(hpack.Decoder().decode(payload, raw=True)).get(b":status", b"")
            if flags & _END_STREAM:
                if (status, body) != (b"200", ANSWER):
                    raise WrongAnswer(f"A visitor was answered {status!r}: {body[:200]!r}")
                client.sendall(_SETTINGS_ACK)
                return


def stay(idle: Idle, wait: Callable[[], object]) -> LoadReport:
    """All come; then `wait` returns when they are to leave."""
    visitors = Visitors(idle)
    try:
        visitors.come()
        sys.stdout.write(THERE)
        sys.stdout.flush()
        wait()
    except (WrongAnswer, OSError) as error:
        visitors.leave()
        return LoadReport(succeeded=0, failures={f"{type(error).__name__}: {error}": 1})
    return visitors.leave()


def main() -> None:
    """Does what the command line says, and prints the report that `arguments.parse` reads."""
    parser = argparse.ArgumentParser()
    for field in ("port", "first", "count"):
        parser.add_argument(f"--{field}", type=int, required=True)
    parser.add_argument("--protocol", choices=(HTTP1, HTTP2), required=True)
    parser.add_argument("--hostnames", required=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    report = stay(Idle(**vars(parser.parse_args())), ended.wait)
    sys.stdout.write("report " + json.dumps(dataclasses.asdict(report)) + "\n")


if __name__ == "__main__":
    main()
