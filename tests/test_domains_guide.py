"""docs/domains.md, run as it stands there against a demo: its curl lines, its Python, its receiver of webhooks.

Only names, ports and folders are exchanged. The word after a block's language says what it is for.
"""

import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import types

import pytest

from tests.integration.running import PATIENCE, ROOT, wait_for
from tests.ports import free_port
from tests.test_readme import Shell, end, until

BLOCKS = re.findall(r"(?ms)^```(\w+) (\w+)\n(.*?)^```$", (ROOT / "docs" / "domains.md").read_text())

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's commands use curl")

LOCAL = """\
import socket

known = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: known("127.0.0.1" if host.endswith(".localhost") else host, *more, **named)
"""
"""For programs that ask the system for names under .localhost: curl and browsers know them, Python may not."""


def block(kind):
    [text] = [text for _, given, text in BLOCKS if given == kind]
    return text


def shape(value):
    """The names in a JSON value, without what they have."""
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else None


def test_every_block_of_a_language_says_what_it_is_for():
    text = (ROOT / "docs" / "domains.md").read_text()
    assert len(re.findall(r"(?m)^```\w*", text)) == 2 * len(BLOCKS)
    assert {kind for _, kind, _ in BLOCKS} == {
        "token",
        "guide",
        "register",
        "remove",
        "restore",
        "client",
        "webhooks",
        "receiver",
    }


class Guide(Shell):
    """Runs its blocks beside a demo, and what it starts meanwhile."""

    def __init__(self, folder):
        port, self.hooks = free_port(), free_port()
        root = folder / "demo" / "internal-ca.pem"
        (folder / "local").mkdir()
        (folder / "local" / "sitecustomize.py").write_text(LOCAL)
        (folder / ".curlrc").write_text("silent\nshow-error\nfail\n")
        environ = {"CURL_CA_BUNDLE": root, "REQUESTS_CA_BUNDLE": root, "EDGEPROXY_SOCKET": folder / "demo" / "admin.sock"}
        environ["EDGEPROXY_WEBHOOKS__ALLOW"] = '["127.0.0.1/32"]'
        places = {
            "api.example.com": f"api.localhost:{port}",
            "https://platform.example.com/hooks": f"http://127.0.0.1:{self.hooks}/hooks",
            "client-domain.com": "customer.localhost",
            "8000": str(self.hooks),
        }
        super().__init__(folder, places, {name: str(value) for name, value in environ.items()})
        self.demo = f"edgeproxy demo --dir demo --port {port} --http-port {free_port()}"

    def python(self, text, log, **environ):
        """A program of the guide, started."""
        return subprocess.Popen(
            [sys.executable, "-c", self.exchanged(text)],
            env={**self.environ, "PYTHONPATH": f"{self.folder / 'local'}:{ROOT}", **environ},
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def guide(tmp_path):
    guide = Guide(tmp_path)
    log = tmp_path / "demo.log"
    with log.open("w") as file:
        process = guide.start(guide.demo, file)
    try:
        until(log, process, "Ctrl-C ends it.")
        yield guide
        assert end(process, signal.SIGINT) == 0, log.read_text()
    finally:
        end(process, signal.SIGKILL)
    assert "Traceback" not in log.read_text()


def test_it_does_what_it_says(guide, tmp_path):
    made = guide.run(f"{block('token').strip()} --json")
    guide.environ["TOKEN"] = json.loads(made)["token"]
    secret = json.loads(guide.run(f"{block('webhooks').strip()} --json"))["secret"]
    received, printed = tmp_path / "received", tmp_path / "printed"
    with received.open("w") as file:
        receiver = guide.python(block("receiver"), file, WEBHOOK_SECRET=secret)
    try:
        curl_lines(guide)
        with printed.open("w") as file:
            client = guide.python(block("client"), file)
        assert client.wait(2 * PATIENCE) == 0, printed.read_text()
        lines = printed.read_text().splitlines()
        assert lines[0] == "Please add a CNAME record: name portfolio, value domain.platform.localhost"
        assert lines[-1] == "portfolio.customer.localhost is live"
        for event in ("domain.registered", "domain.verified", "domain.active"):
            until(received, receiver, f"{event} portfolio.customer.localhost")
    finally:
        end(receiver, signal.SIGTERM)
    assert "Traceback" not in received.read_text()


def curl_lines(guide):
    """Its curl lines, in their order."""
    register, verify, known, browser = [text for _, kind, text in BLOCKS if kind == "guide"]
    told = json.loads(guide.run(register))
    documented = json.loads(block("register"))
    assert shape(told) == shape(documented)
    assert {**told, "dns_records": []} == {**documented, "dns_records": []}
    [required] = [record for record in told["dns_records"] if record["required"]]
    [shown] = documented["dns_records"]
    for name in ("purpose", "type", "host_field", "ttl", "required", "seen", "ok", "reason", "hint"):
        assert required[name] == shown[name]
    told = wait_for(functools.partial(live, guide, verify), "live")
    assert set(told) == {"status", "message", "state", "dns_records"}
    one, records, listed = [json.loads(guide.run(line)) for line in known.strip().splitlines()]
    assert one["state"] == "active"
    assert len(records["dns_records"]) == 2
    assert "gallery.customer.localhost" in [each["domain"] for each in listed["domains"]]
    page = json.loads(guide.run(browser))
    assert (page["scope"], page["domain"]) == ("domain:read", "gallery.customer.localhost")
    assert live(guide, verify.replace("$TOKEN", page["token"]))
    removed = json.loads(guide.run(block("remove")))["domain_config"]
    assert (removed["domain"], removed["state"]) == ("gallery.customer.localhost", "removed")
    assert json.loads(guide.run(block("restore")))["domain_config"]["verified_at"] == one["verified_at"]


def live(guide, line):
    told = json.loads(guide.run(line))
    return told if told["status"] == "verified" else None


def test_its_receiver_takes_what_is_signed_and_new_and_nothing_else(monkeypatch):
    from edgeproxy.control.webhooks.message import headers, new_secret

    secret = new_secret()
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    module = types.ModuleType("receiver")
    exec(block("receiver").partition("ThreadingHTTPServer((")[0], module.__dict__)
    now, body = 1_800_000_000.0, b'{"type": "domain.active"}'
    monkeypatch.setattr(module.time, "time", lambda: now)
    assert module.verified(headers("msg_1", body, [secret], now), body) == {"type": "domain.active"}
    assert module.verified(headers("msg_1", body, [new_secret(), secret], now), body)
    for given, content in (
        (headers("msg_1", body, [new_secret()], now), body),
        (headers("msg_1", body, [secret], now), body + b" "),
        (headers("msg_1", body, [secret], now) | {"webhook-id": "msg_2"}, body),
        (headers("msg_1", body, [secret], now - 600), body),
        (headers("msg_1", body, [secret], now) | {"webhook-timestamp": "soon"}, body),
        (headers("msg_1", body, [secret], now) | {"webhook-signature": "v1,ü v2,"}, body),
        ({}, body),
    ):
        with pytest.raises(ValueError, match=r"signed|old"):
            module.verified(given, content)
