"""What a domain does instead of going to its origin, in the whole program: said once, it is so in every worker."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.origins import Origin
from tests.integration.running import Running, wait_for
from tests.integration.visitors import HTTP1, HTTP2, Reply, curl, url

DOMAINS = "/api/v1/infrastructure/domains"
ROUND = 10
"""Connections, so that each of two workers gets some."""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Running]:
    page = tmp_path / "closed.html"
    page.write_text("<h1>Closed: {{host}}</h1><p>{{request_id}}")
    with (
        Origin() as origin,
        Running(
            tmp_path / "edge",
            {"origin": {"url": origin.url}, "pages": {"maintenance": str(page)}, "tls": {"hsts": "1d", "hsts_after": "1d"}},
        ) as running,
    ):
        for name in ("example.test", "gallery.example.test"):
            assert running.api("POST", DOMAINS, {"domain": name, "workspace_id": "w"})[0] == 201
        yield running


def visits(edge: Running, path: str = "/", *options: str) -> list[Reply]:
    return [curl(edge, (HTTP1, HTTP2)[number % 2], *options, url(edge, "example.test", path)) for number in range(ROUND)]


def change(edge: Running, **body: object) -> None:
    status, answer = edge.api("PATCH", f"{DOMAINS}/example.test", body)
    assert (status, answer["published"]) == (200, True)


def test_a_switch_counts_in_every_worker_once_it_is_said(edge: Running) -> None:
    for _ in range(3):
        change(edge, maintenance=True)
        closed = visits(edge)
        assert {(reply.status, reply.field("retry-after")) for reply in closed} == {(503, "120")}
        assert all(reply.body.startswith(b"<h1>Closed: example.test</h1><p>") for reply in closed)
        change(edge, maintenance=False)
        assert {reply.status for reply in visits(edge)} == {200}
    change(edge, redirect_to="gallery.example.test")
    moved = {(reply.status, reply.field("location")) for reply in visits(edge, "/a%20b?c=d")}
    assert moved == {(308, url(edge, "gallery.example.test", "/a%20b?c=d"))}
    assert edge.api("DELETE", f"{DOMAINS}/gallery.example.test")[0] == 200
    assert {reply.status for reply in visits(edge)} == {200}  # what it led to is not this workspace's any more


def test_who_is_told_to_come_back_is_in_the_access_log_with_the_reason(edge: Running) -> None:
    change(edge, maintenance=True)
    reply = curl(edge, HTTP1, "-H", "Accept: application/json", url(edge, "example.test"))
    request_id = json.loads(reply.body)["request_id"]

    def line() -> dict[str, object] | None:
        lines = [json.loads(text) for text in edge.output.read_text().splitlines() if request_id in text]
        return lines[0] if lines else None

    told = wait_for(line, "the line of the request")
    assert (told["status"], told["workspace"], told["error"]) == (503, "w", "the domain is in maintenance")


def test_a_page_is_read_anew_with_the_configuration_and_a_wrong_one_is_refused(edge: Running, tmp_path: Path) -> None:
    change(edge, maintenance=True)
    page = tmp_path / "closed.html"
    page.write_text("<h1>{{hots}}")
    status, answer = edge.api("POST", "/api/v1/admin/reload")
    assert status == 422
    assert "pages.maintenance: " in answer["detail"]
    assert b"Closed: " in visits(edge)[0].body
    page.write_text("<h1>Open at nine")
    assert edge.api("POST", "/api/v1/admin/reload")[0] == 200
    assert {reply.body for reply in visits(edge)} == {b"<h1>Open at nine"}


def test_hsts_is_said_once_a_names_certificate_is_old_enough_and_not_before(edge: Running) -> None:
    def said() -> str:
        reply = curl(edge, HTTP2, url(edge, "example.test"))
        assert reply.status == 200
        return reply.field("strict-transport-security")

    assert said() == ""
    edge.configure({"tls": {"hsts_after": "1s"}})
    assert edge.api("POST", "/api/v1/admin/reload")[0] == 200
    assert wait_for(said, "HSTS") == "max-age=86400"


def test_a_wildcard_leads_all_its_names_to_one_of_them_which_is_served(edge: Running) -> None:
    wish = {"domain": "*.shop.test", "workspace_id": "w", "redirect_to": "www.shop.test"}
    assert edge.api("POST", DOMAINS, wish)[0] == 201
    for name in ("a.shop.test", "b.shop.test"):
        reply = curl(edge, HTTP2, url(edge, name, "/x?y"))
        assert (reply.status, reply.field("location")) == (308, url(edge, "www.shop.test", "/x?y"))
    reply = curl(edge, HTTP2, "--location", url(edge, "a.shop.test", "/x?y"))
    assert (reply.status, json.loads(reply.body)["path"]) == (200, "/x?y")


def test_a_workspace_that_stops_paying_shows_the_page_under_its_certificate_until_it_pays_again(edge: Running) -> None:
    edge.configure({"entitlement": {"grace": "1s"}})
    assert edge.api("POST", "/api/v1/admin/reload")[0] == 200
    assert edge.api("PUT", "/api/v1/infrastructure/workspaces/w", {"paid": False})[0] == 200
    wait_for(lambda: curl(edge, HTTP2, url(edge, "example.test")).status == 403, "the suspension")
    assert {reply.status for reply in visits(edge)} == {403}
    assert all(b"This site is not available" in reply.body for reply in visits(edge))
    assert edge.api("PUT", "/api/v1/infrastructure/workspaces/w", {"paid": True})[0] == 200
    wait_for(lambda: curl(edge, HTTP2, url(edge, "example.test")).status == 200, "the end of the suspension")
    assert {reply.status for reply in visits(edge)} == {200}
