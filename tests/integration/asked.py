"""The program as one whose API is asked: a token of each scope, a domain, a server for mail, and a DNS in which nobody has any
name."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.integration.running import PATIENCE, Running
from tests.mailbox import Mailbox
from tests.ports import free_port

API = "api.test"
DOMAIN = "shop.example.com"
WORKSPACE = "acme"

SCOPES: Mapping[str, Mapping[str, str]] = {
    "operator:write": {},
    "operator:read": {},
    "platform": {},
    "tenant": {"workspace_id": WORKSPACE},
    "domain:read": {"domain": DOMAIN},
}
"""What each scope's token is for."""


class Asked(Running):
    """`Running` with one worker and what the module says."""

    def __init__(self, folder: Path, dns_port: int, mail_port: int) -> None:
        tables: dict[str, dict[str, Any]] = {
            "api": {"hostname": API, "cors_origins": ["https://app.example.com"]},
            "limits": {"token_requests": 100_000},
            "platform": {"name": "ve.example", "cname_target": "edge.platform.com"},
            "dns": {"resolvers": [f"127.0.0.1:{dns_port}"]},
            "mail": {"server": "127.0.0.1", "port": mail_port, "security": "none", "sender": "edge@ve.example"},
            "webhooks": {"allow": ["127.0.0.0/8"]},
        }
        super().__init__(folder, tables, workers=1)
        self.tokens: dict[str, str] = {}
        self.hook = ""
        """The id of an endpoint of webhooks."""
        self.api_socket = self.socket.with_name("api.sock")
        """Where workers bring what comes for API; they run as this user here."""

    def prepare(self) -> None:
        """Registers the domain, an endpoint of webhooks where nobody is, and a token of each scope."""
        self.add_domain(DOMAIN, WORKSPACE)
        self.hook = self.made("/api/v1/infrastructure/webhooks", {"url": f"http://127.0.0.1:{free_port()}/"})["webhook"]["id"]
        self.make_tokens()

    def make_tokens(self) -> None:
        """Again, since who tries everything that is described may have revoked those that there were."""
        for scope, more in SCOPES.items():
            self.tokens[scope] = self.made("/api/v1/tokens", {"scope": scope, **more})["token"]

    def described(self, socket_path: Path) -> dict[str, Any]:
        """/openapi.json as it is under a socket."""
        fields = {"Authorization": f"Bearer {self.tokens['operator:write']}"}
        transport = httpx2.HTTPTransport(uds=str(socket_path))
        with httpx2.Client(transport=transport, base_url="http://edge", headers=fields, timeout=PATIENCE) as client:
            return dict(client.get("/openapi.json").raise_for_status().json())

    def hints(self) -> str:
        """More of schemathesis.toml: test events go to the endpoint where nobody is, which is found out at once."""
        path = "/api/v1/infrastructure/webhooks/{webhook_id}/test"
        return f'\n[[operations]]\ninclude-path = "{path}"\nparameters = {{ "path.webhook_id" = "{self.hook}" }}\n'

    def made(self, path: str, body: object) -> dict[str, Any]:
        """What was made on the admin socket."""
        status, answer = self.api("POST", path, body)
        if status != 201:
            raise AssertionError(f"{path} made nothing: {status} {answer}")
        return dict(answer)


@contextlib.contextmanager
def asked(folder: Path) -> Iterator[Asked]:
    """It runs, and is as it ought to be afterwards."""
    with nobody_has_any_name() as port, Mailbox() as mailbox, Asked(folder, port, mailbox.port) as edge:
        edge.prepare()
        before = edge.children()
        yield edge
        if edge.children() != before:
            raise AssertionError("one of its processes died")
        if (line := edge.logged("nobody foresaw")) is not None:
            raise AssertionError(f"a request failed: {line}")


@contextlib.contextmanager
def nobody_has_any_name() -> Iterator[int]:
    """The port of a DNS server that says NXDOMAIN to everybody (RFC 1035 section 4.1.1)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def answer() -> None:
            while (asked := sock.recvfrom(4096))[0]:
                query, address = asked
                question = query[12 : query.index(0, 12) + 5]
                sock.sendto(query[:2] + b"\x81\x83\x00\x01" + bytes(6) + question, address)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join()
