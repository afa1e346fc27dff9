"""The API under its hostname: through a worker's TLS to the controller and back."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

import pytest

from tests.integration.running import Running, wait_for
from tests.integration.servers import require
from tests.integration.visitors import HTTP1, HTTP2, Reply, curl, curl_answered, url
from tests.ports import free_port

API = "api.test"
PAGE = "https://app.example.com"
DOMAINS = "/api/v1/infrastructure/domains"
TOKENS = "/api/v1/tokens"


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    require("curl")
    folder = tmp_path_factory.mktemp("edge")
    tables: dict[str, dict[str, Any]] = {
        "api": {"hostname": API, "cors_origins": [PAGE]},
        "log": {"access": str(folder / "access.log")},
        "platform": {"cname_target": "edge.platform.com"},
        "dns": {"resolvers": [f"127.0.0.1:{free_port()}"]},  # nobody answers there
    }
    with Running(folder, tables) as edge:
        yield edge


def made(edge: Running, scope: str, *more: str) -> dict[str, Any]:
    done = edge.cli("tokens", "create", "--scope", scope, *more, "--json", check=True)
    return dict(json.loads(done.stdout))


def ask(edge: Running, protocol: str, token: str | None, method: str, path: str, body: object = None, *more: str) -> Reply:
    arguments = [protocol, "-X", method, *more]
    if token is not None:
        arguments += ["-H", f"Authorization: Bearer {token}"]
    if body is not None:
        arguments += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
    data = b"" if body is None else json.dumps(body).encode()
    return curl(edge, *arguments, url(edge, API, path), stdin=data)


def test_a_domain_is_registered_with_a_token_and_who_did_it_is_told(edge, protocol):
    token = made(edge, "operator:write", "--label", "deploy")
    name = f"of-{protocol.strip('-.')}.example.com".replace(".1", "1")
    body = {"domain": name, "workspace_id": "acme"}
    answer = ask(edge, protocol, token["token"], "POST", DOMAINS, body, "-H", "X-Forwarded-For: 192.0.2.66")
    assert answer.status == 201, answer.body
    assert json.loads(answer.body)["domain_config"]["domain"] == name
    assert ask(edge, protocol, token["token"], "GET", f"{DOMAINS}/{name}").status == 200
    assert edge.api("GET", f"{DOMAINS}/{name}")[0] == 200

    def told() -> dict[str, Any] | None:
        lines = (line for line in edge.log_lines() if line.get("message") == "domain added")
        return next((line for line in lines if line["domain"] == name), None)

    assert wait_for(told, "the registration's log line")["actor"] == f"token:{token['id']} 127.0.0.1"


def test_without_a_token_nothing_is_told_not_even_to_one_who_sends_much(edge, protocol):
    much = (protocol, "-H", "Content-Type: application/json", "--data-binary", "@-", url(edge, API, DOMAINS))
    for answer in (
        ask(edge, protocol, None, "GET", DOMAINS),
        ask(edge, protocol, None, "GET", "/openapi.json"),
        curl_answered(edge, *much, stdin=b"x" * 5_000_000),
        ask(edge, protocol, None, "GET", "/api/v1/admin/status"),
    ):
        document = json.loads(answer.body)
        assert (answer.status, document["code"]) == (401, "unauthorized")
        assert answer.field("content-type") == "application/problem+json"
        assert answer.field("www-authenticate") == 'Bearer realm="edgeproxy"'
    assert json.loads(ask(edge, protocol, None, "GET", "/api/domains/verify/a.example.com").body)["status"] == "error"


def test_a_revoked_token_is_refused_at_once_and_its_last_use_is_listed(edge):
    token = made(edge, "tenant", "--workspace", "acme")
    assert ask(edge, HTTP2, token["token"], "GET", DOMAINS).status == 200
    assert ask(edge, HTTP2, token["token"], "GET", f"{DOMAINS}?workspace_id=other").status == 403
    assert edge.cli("tokens", "revoke", token["id"]).returncode == 0
    answer = ask(edge, HTTP2, token["token"], "GET", DOMAINS)
    assert (answer.status, json.loads(answer.body)["code"]) == (401, "invalid_token")
    listed = json.loads(edge.cli("tokens", "list", "--ended", "--json", check=True).stdout)["tokens"]
    assert next(each["state"] for each in listed if each["id"] == token["id"]) == "revoked"


def test_a_page_looks_at_one_domain_with_a_token_for_that_alone(edge, protocol):
    names = [f"page-{protocol[-1]}.example.com", f"other-{protocol[-1]}.example.com"]
    for name in names:
        edge.add_domain(name, "acme")
    token = made(edge, "domain:read", "--domain", names[0])
    headers = ("-H", f"Origin: {PAGE}", "-H", "Access-Control-Request-Method: GET")
    preflight = ask(
        edge, protocol, None, "OPTIONS", DOMAINS, None, *headers, "-H", "Access-Control-Request-Headers: authorization"
    )
    assert (preflight.status, preflight.field("access-control-allow-origin")) == (200, PAGE)
    answer = ask(edge, protocol, token["token"], "GET", f"{DOMAINS}/{names[0]}", None, "-H", f"Origin: {PAGE}")
    assert (answer.status, json.loads(answer.body)["domain"]) == (200, names[0])
    assert answer.field("access-control-allow-origin") == PAGE
    for method, path in (
        ("GET", f"{DOMAINS}/{names[1]}"),
        ("GET", DOMAINS),
        ("DELETE", f"{DOMAINS}/{names[0]}"),
        ("GET", TOKENS),
    ):
        assert ask(edge, protocol, token["token"], method, path).status == 403


def test_what_controls_the_process_is_only_on_the_admin_socket(edge):
    token = made(edge, "operator:write")["token"]
    for path in ("/api/v1/admin/status", "/api/v1/admin/stop", "/metrics"):
        assert ask(edge, HTTP1, token, "GET", path).status == 404
        assert ask(edge, HTTP1, token, "POST", path).status == 404


def test_nobody_but_workers_may_speak_on_the_apis_socket(edge):
    """As root or as the service's user one may; what is said there of a client needs a token all the same."""
    command = ["curl", "-s", "--unix-socket", str(edge.socket.with_name("api.sock")), f"http://x{DOMAINS}"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["status"] == 401
    assert edge.socket.with_name("api.sock").stat().st_mode & 0o777 == 0o600


def test_neither_of_the_edges_sockets_is_an_origin(edge):
    for name in ("admin.sock", "api.sock"):
        body = {"domain": "evil.example.com", "workspace_id": "w", "origin": f"unix:{edge.socket.with_name(name)}"}
        assert edge.api("POST", DOMAINS, body)[1]["code"] == "invalid_origin"


def test_while_the_controller_is_away_the_api_says_when_to_come_again(edge):
    token = made(edge, "operator:read")["token"]
    assert ask(edge, HTTP1, token, "GET", DOMAINS).status == 200
    controller = next(pid for pid, name in edge.children().items() if name == "edgeproxy ctl")
    edge.kill(controller)
    seen: list[tuple[int, str]] = []

    def back() -> bool:
        answer = ask(edge, HTTP1, token, "GET", DOMAINS)
        document = json.loads(answer.body)
        seen.append((answer.status, document.get("code", "")))
        return answer.status == 200

    wait_for(back, "an API that answers again")
    assert set(seen[:-1]) <= {(503, "api_not_available")}


def test_a_reload_costs_no_request(edge):
    token = made(edge, "operator:read")["token"]
    seen: list[int] = []
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            seen.append(ask(edge, HTTP2, token, "GET", DOMAINS).status)

    controller = next(pid for pid, name in edge.children().items() if name == "edgeproxy ctl")
    polling = threading.Thread(target=poll)
    polling.start()
    try:
        wait_for(lambda: len(seen) > 3, "some answers")
        assert edge.cli("reload").returncode == 0
        wait_for(lambda: controller not in edge.children(), "another controller")
        after = len(seen)
        wait_for(lambda: len(seen) > after + 3, "answers of the next controller")
    finally:
        over.set()
        polling.join()
    assert set(seen) == {200}


def test_no_token_is_in_any_log_or_file(edge):
    token = made(edge, "platform")["token"]
    for text in (token, token[:-1] + "x"):
        ask(edge, HTTP1, text, "GET", f"{DOMAINS}?limit=7")
    log = edge.folder / "access.log"
    wait_for(lambda: log.read_bytes().count(b"limit=7") == 2, "both requests in the access log")
    secret = token[-30:-1].encode()  # what both have in common
    files = [edge.log, edge.output, log, *(path for path in edge.state.rglob("*") if path.is_file())]
    assert [path for path in files if secret in path.read_bytes()] == []


def test_a_customers_dashboard_registers_and_polls_with_a_token_of_its_workspace(edge, protocol):
    token = made(edge, "tenant", "--workspace", "spandantest")["token"]
    label = f"t{protocol.strip('-.').replace('.', '')}"
    body = {"subdomain": label, "domain": "client-domain.com", "workspaceId": "spandantest"}
    answer = ask(edge, protocol, token, "POST", "/api/domains/register", body)
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "pending_validation"), answer.body
    answer = ask(edge, protocol, token, "GET", f"/api/domains/verify/{label}.client-domain.com")
    assert (answer.status, json.loads(answer.body)["state"]) == (200, "pending_validation")


def test_another_workspaces_domains_are_not_a_tenants_business(edge, protocol):
    token = made(edge, "tenant", "--workspace", "other")["token"]
    label = f"f{protocol.strip('-.').replace('.', '')}"
    body = {"subdomain": label, "domain": "client-domain.com", "workspaceId": "spandantest"}
    not_yours = (403, {"status": "error", "message": "Not your workspace"})
    refused = ask(edge, protocol, token, "POST", "/api/domains/register", body)
    assert (refused.status, json.loads(refused.body)) == not_yours
    assert edge.api("POST", "/api/domains/register", body)[0] == 200
    refused = ask(edge, protocol, token, "GET", f"/api/domains/verify/{label}.client-domain.com")
    assert (refused.status, json.loads(refused.body)) == not_yours
    refused = ask(edge, protocol, None, "GET", f"/api/domains/verify/{label}.client-domain.com")
    assert (refused.status, set(json.loads(refused.body))) == (401, {"status", "message"})
