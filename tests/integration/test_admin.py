"""The admin socket of the whole program: what it says is so in every worker."""

import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import Running, wait_for
from tests.ports import free_port

DOMAINS = "/api/v1/infrastructure/domains"
STATUS = "/api/v1/admin/status"


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """An origin that answers with the headers of the request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def edge(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One running program for the tests that leave it whole."""
    with Running(tmp_path_factory.mktemp("admin"), {"origin": {"url": origin}}) as running:
        yield running


def workspace(edge: Running, hostname: str) -> str | None:
    """Which workspace the origin is told for a hostname, over a new connection; None where the handshake is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((edge.host, edge.https_port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as sock,
        ):
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {hostname}:{edge.https_port}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(sock)
            response.begin()
            assert response.status == 200
            told: str = json.loads(response.read())["workspace-id"]
            return told
    except ssl.SSLError:
        return None


def test_an_added_domain_is_served_by_every_worker_once_it_is_said_and_a_removed_one_by_none(edge):
    for number in range(5):
        name = f"n{number}.example.com"
        assert workspace(edge, name) is None
        status, added = edge.api("POST", DOMAINS, {"domain": name, "workspace_id": f"w{number}"})
        assert (status, added["published"]) == (201, True)
        # Many connections, so that each worker gets some; not one may come too early.
        assert {workspace(edge, name) for _ in range(20)} == {f"w{number}"}
        status, removed = edge.api("DELETE", f"{DOMAINS}/{name}")
        assert (status, removed["published"]) == (200, True)
        assert {workspace(edge, name) for _ in range(20)} == {None}


def test_a_domain_that_waits_for_verification_is_not_served(edge):
    status, added = edge.api("POST", DOMAINS, {"domain": "later.example.com", "workspace_id": "w", "verify": True})
    assert (status, added["verification_required"]) == (201, True)
    assert workspace(edge, "later.example.com") is None


def test_the_socket_is_open_to_its_group_alone_and_curl_can_use_it(edge):
    assert stat.S_IMODE(edge.socket.stat().st_mode) == 0o660
    command = ["curl", "-sS", "--unix-socket", str(edge.socket), "--json", '{"domain": "c.example.com", "workspace_id": "w"}']
    answer = subprocess.run([*command, f"http://edge{DOMAINS}"], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(answer.stdout)["domain_config"]["domain"] == "c.example.com"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused(edge):
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sS", "--unix-socket", str(edge.socket)]
    answer = subprocess.run([*command, f"http://edge{STATUS}"], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode != 0
    assert answer.stdout == ""


def test_a_certificate_is_issued_and_listed(edge):
    edge.api("POST", DOMAINS, {"domain": "d.example.com", "workspace_id": "w"})
    status, issued = edge.api("POST", "/api/v1/infrastructure/ssl/d.example.com")
    assert status == 200
    listed = edge.api("GET", "/api/v1/infrastructure/ssl")[1]["certificates"]
    assert issued["certificate"]["id"] in {found["id"] for found in listed}
    status, refused = edge.api("POST", "/api/v1/infrastructure/ssl/stranger.example.com")
    assert (status, refused["code"]) == (403, "issuance_denied")


def test_status_and_metrics_know_workers_and_supervisor(edge):
    status = wait_for(lambda: next((s for s in [edge.api("GET", STATUS)[1]] if s["ready"]), None), "ready")
    assert {worker["pid"] for worker in status["workers"]} <= set(edge.children())
    assert status["supervisor"]["pid"] == edge.pid
    assert status["faults"] == []
    assert edge.api("GET", "/readyz")[0] == 200

    def counted() -> bool:
        return 'edgeproxy_requests_total{code_class="2xx",protocol="h1"}' in edge.api("GET", "/metrics")[1]

    edge.api("POST", DOMAINS, {"domain": "e.example.com", "workspace_id": "w"})
    assert workspace(edge, "e.example.com") == "w"
    wait_for(counted, "the request counted")

    def restarts() -> list[str]:
        """Left out where the supervisor does not answer for half a second."""
        lines = edge.api("GET", "/metrics")[1].splitlines()
        return [line for line in lines if line.startswith("edgeproxy_worker_restarts_total")]

    assert wait_for(restarts, "the supervisor's counter") == ["edgeproxy_worker_restarts_total 0.0"]


def test_totals_do_not_fall_when_a_worker_is_killed(edge):
    edge.api("POST", DOMAINS, {"domain": "f.example.com", "workspace_id": "w"})
    for _ in range(10):
        assert workspace(edge, "f.example.com") == "w"

    def total() -> float:
        lines = [line for line in edge.api("GET", "/metrics")[1].splitlines() if line.startswith("edgeproxy_requests_total")]
        return sum(float(line.split()[-1]) for line in lines)

    before = wait_for(lambda: total() if total() >= 10 else None, "ten requests counted")
    for pid, name in edge.children().items():
        if " w" in name:
            edge.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        return "edgeproxy_worker_restarts_total 2.0" in edge.api("GET", "/metrics")[1]

    wait_for(replaced, "two workers replaced")
    assert workspace(edge, "f.example.com") == "w"
    wait_for(lambda: total() >= before + 1, "the request after it counted on top")


def test_health_and_metrics_have_a_listener_of_their_own(tmp_path, origin):
    port = free_port()
    with Running(tmp_path, {"origin": {"url": origin}, "metrics": {"listen": f"127.0.0.1:{port}"}}):
        for path, expected in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), (STATUS, 404)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", path)
            assert connection.getresponse().status == expected
            connection.close()


def _damage(edge: Running) -> bytes:
    store = edge.state / "edgeproxy.db"
    for suffix in ("-wal", "-shm"):
        Path(f"{store}{suffix}").unlink(missing_ok=True)
    data = b"this was a database once" * 1000
    store.write_bytes(data)
    return data


def test_a_start_on_a_damaged_store_is_refused_with_what_to_do(tmp_path, origin):
    edge = Running(tmp_path, {"origin": {"url": origin}})
    with edge:
        edge.api("POST", DOMAINS, {"domain": "a.example.com", "workspace_id": "w"})
    data = _damage(edge)
    edge.start(wait=False)
    try:
        assert edge.wait_ended() != 0
        assert "backup" in edge.log.read_text()
    finally:
        edge.stop()
    assert (edge.state / "edgeproxy.db").read_bytes() == data


def test_a_controller_that_meets_a_damaged_store_says_so_while_the_workers_serve(tmp_path, origin):
    with Running(tmp_path, {"origin": {"url": origin}}) as edge:
        edge.api("POST", DOMAINS, {"domain": "a.example.com", "workspace_id": "w"})
        assert workspace(edge, "a.example.com") == "w"
        pid = edge.api("GET", STATUS)[1]["controller"]["pid"]
        edge.kill(pid, signal.SIGSTOP)  # so that it does not write while its file is taken from under it
        _damage(edge)
        edge.kill(pid, signal.SIGKILL)

        def fault() -> dict[str, Any] | None:
            try:
                status = edge.api("GET", STATUS)[1]
            except OSError:
                return None
            return next((found for found in status["faults"] if found["part"] == "store"), None)

        assert "backup" in wait_for(fault, "the fault of the store")["detail"]
        assert {workspace(edge, "a.example.com") for _ in range(10)} == {"w"}
        assert edge.api("GET", DOMAINS)[0] == 503
        assert edge.api("GET", "/readyz")[0] == 200
