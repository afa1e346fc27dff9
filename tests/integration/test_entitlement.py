"""Workspaces that pay, stop and pay again, and domains that are proven by mail, in the whole program."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.origins import Origin
from tests.integration.running import Running, wait_for
from tests.integration.servers import require
from tests.integration.visitors import HTTP1, HTTP2, curl, url
from tests.mailbox import Mailbox
from tests.ports import free_port

API = "api.test"
HOST = "gallery.example.test"
DOMAINS = "/api/v1/infrastructure/domains"
WORKSPACES = "/api/v1/infrastructure/workspaces"


class Platform:
    """Says of every workspace what `answer` is, for a second."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, object]] = (200, {"paid": True})
        self.asked: list[str] = []
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                platform.asked += parse_qs(urlsplit(self.path).query)["workspace_id"]
                status, body = platform.answer
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("cache-control", "max-age=1")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/paid"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as platform:
        yield platform


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def edge(tmp_path: Path, platform: Platform, mailbox: Mailbox) -> Iterator[Running]:
    require("curl")
    tables: dict[str, dict[str, Any]] = {
        "api": {"hostname": API},
        "dns": {"resolvers": [f"127.0.0.1:{free_port()}"]},  # nobody answers there
        "platform": {"cname_target": "edge.platform.test"},
        "entitlement": {"url": platform.url, "grace": "1ms", "timeout": "60s"},
        "mail": {"server": "127.0.0.1", "port": mailbox.port, "security": "none", "sender": "edge@platform.test"},
    }
    with Origin() as origin, Running(tmp_path / "edge", tables | {"origin": {"url": origin.url}}) as running:
        yield running


def status_of(edge: Running) -> int:
    return curl(edge, HTTP1, url(edge, HOST, "/")).status


def test_a_workspace_that_does_not_pay_is_refused_suspended_and_served_again(edge: Running, platform: Platform) -> None:
    assert edge.api("POST", DOMAINS, {"domain": HOST, "workspace_id": "acme"})[0] == 201
    assert status_of(edge) == 200
    status, answer = edge.api("PUT", f"{WORKSPACES}/acme", {"paid": False})
    assert (status, answer["source"]) == (200, "api")
    more = {"domain": "more.example.test", "workspace_id": "acme", "verify": True}
    status, answer = edge.api("POST", DOMAINS, more)
    assert (status, answer["code"]) == (403, "payment_required")
    wait_for(lambda: status_of(edge) == 403, "the page of a suspended domain")
    assert edge.api("PUT", f"{WORKSPACES}/acme", {"paid": True})[0] == 200
    assert status_of(edge) == 200, "not later, but when the answer is there"

    platform.answer = (500, {})
    assert edge.api("DELETE", f"{WORKSPACES}/acme")[1]["trouble"]
    assert status_of(edge) == 200, "trouble suspends nobody"
    platform.answer = (200, {"paid": True, "max_domains": 1})
    wait_for(lambda: edge.api("GET", f"{WORKSPACES}/acme")[1]["source"] == "platform", "the platform's answer")
    status, answer = edge.api("POST", DOMAINS, more)
    assert (status, answer["code"]) == (409, "too_many_domains")


def test_a_domain_is_proven_by_the_button_to_which_a_mail_leads(edge: Running, mailbox: Mailbox) -> None:
    body = {"subdomain": "gallery", "domain": "example.test", "workspaceId": "acme", "method": "email"}
    status, answer = edge.api("POST", "/api/domains/register", body)
    assert (status, answer["message"]) == (200, "Please check your email for domain validation")
    text = mailbox.next().message.get_body(("plain",))
    assert text is not None
    found = re.search(rf"https://{API}(?::\d+)?(/confirm/\S+)", text.get_content())
    assert found is not None
    page = curl(edge, HTTP2, url(edge, API, found[1]))
    assert (page.status, b"<button>" in page.body) == (200, True)
    assert edge.api("GET", f"{DOMAINS}/{HOST}")[1]["state"] == "pending_validation"
    done = curl(edge, HTTP2, "-X", "POST", "-H", "content-type: application/x-www-form-urlencoded", url(edge, API, found[1]))
    assert (done.status, b"is confirmed" in done.body) == (200, True)
    domain = edge.api("GET", f"{DOMAINS}/{HOST}")[1]
    assert (domain["state"], domain["verified_at"] is None) == ("awaiting_cutover", False)
    assert curl(edge, HTTP1, "-X", "POST", url(edge, API, found[1])).status == 404, "once"


def test_mail_can_be_tried_and_what_is_wrong_with_it_is_told(edge: Running, mailbox: Mailbox) -> None:
    assert edge.cli("mail", "test", "ops@example.test").returncode == 0
    assert mailbox.next().recipients == ["ops@example.test"]
    mailbox.__exit__()
    failed = edge.cli("mail", "test", "ops@example.test")
    assert (failed.returncode, "connection refused" in failed.stderr) == (1, True)
